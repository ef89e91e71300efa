"""From a report, as it comes, to the parts that a batch takes: at once or at the next flush."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from cachetools import LRUCache

from p2pcdn.stats.report import NO_KEY, Malformed, Part, display_path, parse

__all__ = ["Inbox", "Unread"]

log = logging.getLogger("p2pcdn.stats")

_MOST_UNREAD = 5000


class Unread(NamedTuple):
    """One loader's report, as parsed from JSON; see `Recorder.report`."""

    report: Mapping[str, object]
    content_size: Callable[[str], int | None]
    content_url: Callable[[str], str | None] | None


class Inbox:
    """One process's. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sizes: LRUCache[str, int] = LRUCache(maxsize=10_000)
        self._unread: deque[Unread] = deque()

    def keep(self, unread: Unread) -> bool:
        """Keep it for `kept`; False: there is no room."""
        if len(self._unread) >= _MOST_UNREAD:
            return False
        self._unread.append(unread)
        return True

    def kept(self) -> Iterator[Unread]:
        """Everything that was kept until now."""
        for _ in range(len(self._unread)):
            yield self._unread.popleft()

    def read(self, unread: Unread) -> Iterator[tuple[Part, int] | str]:
        """Each part with the bytes of its content, or why it is dropped."""
        report, content_size, content_url = unread
        try:
            parts = list(parse(report))
        except Malformed as error:
            log.debug("report dropped: %s", error)
            yield "malformed"
            return
        for part in parts:
            if isinstance(part, Malformed):
                log.debug("part of a report dropped: %s", part)
                yield "malformed"
                continue
            size = self._size(part.key, content_size)
            if size is None:
                yield "unknown content"
                continue
            if content_url is not None and part.key and (url := content_url(part.key)) is not None:
                part = part.at(display_path(url))
            yield part, size

    def _size(self, key: str, content_size: Callable[[str], int | None]) -> int | None:
        if key == NO_KEY:
            return 0
        with self._lock:
            size = self._sizes.get(key)
        if size is None and (size := content_size(key)) is not None:
            with self._lock:
                self._sizes[key] = size
        return size
