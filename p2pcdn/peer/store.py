"""Verified segments, in memory or in a folder that outlives the process; bounded."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from p2pcdn.peer import PeerError

__all__ = ["Store"]

log = logging.getLogger("p2pcdn.peer")

_KEY = re.compile(r"[0-9a-f]{32}")
_SEGMENT = re.compile(r"[0-9]{1,6}")
_HOT_BYTES = 32 * 1024 * 1024
_Name = tuple[str, int]


class Store:
    """Segments by content key and number.

    Nothing that was read from the disk is believed before its SHA-256 fits again, so a folder
    that somebody else wrote to costs a fetch, never a wrong byte.

    Args:
        limit_bytes: Most bytes of segments, in memory or, with a folder, on the disk.
        folder: Where they are kept, one file per segment; None: in memory only.
        evicted: Told of every segment that had to go.

    Raises:
        PeerError: The folder cannot be used, or another process uses it.
    """

    def __init__(
        self,
        limit_bytes: int,
        folder: Path | None = None,
        *,
        evicted: Callable[[str, int], None] = lambda key, segment: None,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.in_use: set[str] = set()
        """Content keys that are served now; others go first."""
        self._folder = folder
        self._evicted = evicted
        self._sizes: OrderedDict[_Name, int] = OrderedDict()
        self._hot: OrderedDict[_Name, bytes] = OrderedDict()
        self._hot_bytes = 0
        self._lock: IO[bytes] | None = None
        self._complained = False
        if folder is not None:
            self._open(folder)

    def held(self, key: str, length: Callable[[int], int | None]) -> Iterator[int]:
        """Segments of a content that are here, if `length` says the same length of them."""
        for name, size in list(self._sizes.items()):
            if name[0] == key:
                if length(name[1]) == size:
                    yield name[1]
                else:
                    self._remove(name)

    def get(self, key: str, segment: int, digest: bytes) -> bytes | None:
        """A segment's bytes, or None. `digest`: its SHA-256."""
        name = (key, segment)
        if name not in self._sizes:
            return None
        self._sizes.move_to_end(name)
        data = self._hot.get(name)
        if data is not None:
            self._hot.move_to_end(name)
            return data
        try:
            data = self._path(name).read_bytes()
        except OSError:
            data = b""
        if hashlib.sha256(data).digest() != digest:
            log.warning(
                "segment %d of %s was damaged on the disk; it is fetched again", *name[::-1]
            )
            self._remove(name)
            self._evicted(*name)
            return None
        self._warm(name, data)
        return data

    def room(self, size: int) -> bool:
        """Whether `size` bytes fit without evicting what is served."""
        free = self.limit_bytes - self.used_bytes
        if free < size:
            free += sum(n for name, n in self._sizes.items() if name[0] not in self.in_use)
        return free >= size

    def put(self, key: str, segment: int, data: bytes, *, evict: bool) -> bool:
        """Keep a verified segment; False where there is no place for it.

        Args:
            key: Content key.
            segment: Its number.
            data: Its bytes.
            evict: Let the least recently used segments go for it, even such that are served.
        """
        name = (key, segment)
        if name in self._sizes:
            return True
        if not (self.room(len(data)) or evict) or len(data) > self.limit_bytes:
            return False
        if self.used_bytes + len(data) > self.limit_bytes:
            self._make_room(len(data))
        if self._folder is not None and not self._write(name, data):
            return False
        self._sizes[name] = len(data)
        self.used_bytes += len(data)
        self._warm(name, data)
        return True

    def drop(self, key: str) -> None:
        """Forget a content, e.g. an older version of a file."""
        for name in [name for name in self._sizes if name[0] == key]:
            self._remove(name)
        if self._folder is not None and _KEY.fullmatch(key):
            shutil.rmtree(self._folder / key, ignore_errors=True)

    def close(self) -> None:
        """Let another process have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _make_room(self, size: int) -> None:
        for served in (False, True):
            for other in [n for n in self._sizes if (n[0] in self.in_use) == served]:
                if self.used_bytes + size <= self.limit_bytes:
                    return
                self._remove(other)
                self._evicted(*other)

    # --- the folder --------------------------------------------------------------------------

    def _open(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = open(folder / "lock", "ab")  # noqa: SIM115
        except OSError as error:
            raise PeerError(
                f"the cache folder {folder} cannot be used ({error.strerror}); choose another"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise PeerError(
                f"another process uses the cache folder {folder}; give each its own"
            ) from error
        found = []
        for place in folder.iterdir():
            if not _KEY.fullmatch(place.name) or not place.is_dir():
                continue
            for file in os.scandir(place):
                if _SEGMENT.fullmatch(file.name) and file.is_file(follow_symlinks=False):
                    stat = file.stat(follow_symlinks=False)
                    found.append((stat.st_mtime, (place.name, int(file.name)), stat.st_size))
                else:  # a write that was cut short
                    with contextlib.suppress(OSError):
                        os.unlink(file.path)
        for _, name, size in sorted(found):
            self._sizes[name] = size
            self.used_bytes += size
        while self.used_bytes > self.limit_bytes:
            self._remove(next(iter(self._sizes)))

    def _path(self, name: _Name) -> Path:
        assert self._folder is not None
        return self._folder / name[0] / str(name[1])

    def _write(self, name: _Name, data: bytes) -> bool:
        path = self._path(name)
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                try:
                    file.write(data)
                    file.close()
                    os.replace(file.name, path)
                except OSError:
                    os.unlink(file.name)
                    raise
        except OSError as error:
            if not self._complained:
                self._complained = True
                log.warning("%s cannot be written (%s): it is not kept", path, error.strerror)
            return False
        return True

    def _remove(self, name: _Name) -> None:
        self.used_bytes -= self._sizes.pop(name)
        self._hot_bytes -= len(self._hot.pop(name, b""))
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._path(name).unlink()

    def _warm(self, name: _Name, data: bytes) -> None:
        self._hot[name] = data
        self._hot_bytes += len(data)
        while self._folder is not None and self._hot_bytes > _HOT_BYTES and len(self._hot) > 1:
            self._hot_bytes -= len(self._hot.popitem(last=False)[1])
