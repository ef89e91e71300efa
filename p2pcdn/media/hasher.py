"""SHA-256 of every segment of a content, from a file or from a stream of chunks."""

from __future__ import annotations

import hashlib
import os
import stat as stat_module
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FileChanged", "SegmentHasher", "Stamp", "hash_file", "stamp_of"]

# hashlib gives the interpreter free while it works on more than 2 KiB; a buffer of this size
# stays in the processor's cache and is refilled without waking the other threads too often.
_BUFFER_BYTES = 256 * 1024


class FileChanged(Exception):
    """The file was written to, cut or replaced while it was read."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one version of a file from another without reading it.

    `ctime_ns` is the kernel's own: unlike `mtime_ns` no program can set it back.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def text(self) -> str:
        return f"{self.device}:{self.inode}:{self.size}:{self.mtime_ns}:{self.ctime_ns}"

    def age_s(self, now: float) -> float:
        """Seconds since the last change; a change in the future counts as long ago."""
        ages = [now - self.mtime_ns / 1e9, now - self.ctime_ns / 1e9]
        return min((age for age in ages if age >= -1.0), default=float("inf"))


def stamp_of(status: os.stat_result) -> Stamp | None:
    """The stamp of a regular file; None for anything else (a folder, a pipe, a device)."""
    if not stat_module.S_ISREG(status.st_mode):
        return None
    return Stamp(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )


class SegmentHasher:
    """Segment digests of a stream, whatever chunks it comes in; holds no bytes of it."""

    def __init__(self, segment_bytes: int) -> None:
        self._segment_bytes = segment_bytes
        self._left = segment_bytes
        self._current = hashlib.sha256()
        self._digests = bytearray()
        self.size = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        self.size += len(view)
        while len(view) >= self._left:
            self._current.update(view[: self._left])
            self._digests += self._current.digest()
            view = view[self._left :]
            self._current = hashlib.sha256()
            self._left = self._segment_bytes
        if view:
            self._current.update(view)
            self._left -= len(view)

    def first(self) -> bytes | None:
        """The first segment's digest, once that is complete."""
        return bytes(self._digests[:32]) or None

    def finish(self) -> bytes:
        """All digests, the last segment's included, 32 bytes each."""
        if self._left != self._segment_bytes:
            self._digests += self._current.digest()
            self._left = self._segment_bytes
        return bytes(self._digests)


def hash_file(path: Path, stamp: Stamp, segment_bytes: int) -> Generator[int | bytes, None, None]:
    """Hash the file that `stamp` describes, a buffer at a time.

    Every step may be the last one: closing the generator cancels the work and closes the file.

    Args:
        path: A regular file.
        stamp: What `stamp_of` said when the work was ordered.
        segment_bytes: Length of a segment.

    Yields:
        The bytes read so far after each buffer (int); at the end all digests (bytes).

    Raises:
        FileChanged: What was read is not, or is no longer, what `stamp` describes.
        OSError: The file cannot be read.
    """
    # Non-blocking, so that a pipe put in the file's place cannot hold the thread.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if stamp_of(os.fstat(descriptor)) != stamp:
            raise FileChanged
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        hasher = SegmentHasher(segment_bytes)
        buffer = memoryview(bytearray(min(_BUFFER_BYTES, max(stamp.size, 1))))
        while hasher.size < stamp.size:
            count = os.readv(descriptor, [buffer[: stamp.size - hasher.size]])
            if count == 0:
                raise FileChanged
            hasher.update(buffer[:count])
            yield hasher.size
        if stamp_of(os.fstat(descriptor)) != stamp or stamp_of(os.stat(path)) != stamp:
            raise FileChanged
        yield hasher.finish()
    finally:
        os.close(descriptor)
