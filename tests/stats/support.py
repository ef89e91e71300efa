"""Recorders on a clock that stands, and reports in one line."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from p2pcdn.config import Config
from p2pcdn.stats import Counts, Recorder
from p2pcdn.stats.schema import FILE_NAME
from tests.stats.day import Clock

NOON = 1_780_000_000.0 // 86400 * 86400 + 12 * 3600
KEY = "0123456789abcdef0123456789abcdef"
SIZE = 10_000_000
PATH = "/media/a.mp4"


def size_of(key: str) -> int | None:
    return SIZE if key == KEY else None


def report(view: str, seq: int = 1, *, key: str = KEY, url: str = PATH, **numbers: Any) -> Any:
    """A report about one content; `view` may be short."""
    top = {n: numbers.pop(n) for n in ("final", "links", "direct", "idle_s") if n in numbers}
    return {
        "view": view.ljust(8, "_"),
        "seq": seq,
        "transport": "websocket",
        "contents": [{"key": key, "url": url, **numbers}],
        **top,
    }


class Site:
    """A recorder whose flushes and time the test decides."""

    def __init__(self, folder: Path | None, *, now: float = NOON, **settings: Any) -> None:
        self.folder = folder
        self.clock = Clock(now)
        self.recorder = Recorder(
            Config(**settings), folder=folder, clock=self.clock, flush_every_s=3600
        )

    def tell(self, view: str, seq: int = 1, **numbers: Any) -> None:
        self.recorder.report(report(view, seq, **numbers), content_size=size_of)

    def send(self, sent: int, path: str = PATH, *, whole: bool = False, aborted: bool = False,
             status: int = 206) -> None:  # fmt: skip
        self.recorder.origin(path, sent=sent, whole=whole, aborted=aborted, status=status)

    def later(self, seconds: float) -> None:
        self.recorder.flush()
        self.clock.now += seconds
        # The store tidies up by the monotonic clock, which does not move here.
        self.recorder._store._maintained -= seconds

    def totals(self, since: float = 0.0) -> Counts:
        return self.recorder.summary(since).totals

    def rows(self, sql: str) -> list[Any]:
        assert self.folder is not None
        self.recorder.flush()
        connection = sqlite3.connect(self.folder / FILE_NAME)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()


MakeSite = Callable[..., Site]
