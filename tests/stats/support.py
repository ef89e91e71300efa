"""Recorders on a clock that stands, and reports in one line."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from p2pcdn.config import Config
from p2pcdn.stats import Counts, Recorder
from p2pcdn.stats.redis_store import connect
from p2pcdn.stats.sqlite_schema import FILE_NAME
from p2pcdn.stats.store import shared_name
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
        self.config = Config(**settings)
        self.recorder = Recorder(self.config, folder=folder, clock=self.clock, flush_every_s=3600)

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

    def idle(self, seconds: float) -> None:
        """`later`, while the recorder goes on as it does: it writes every few minutes."""
        for _ in range(int(seconds // 300)):
            self.later(300)
        self.later(seconds % 300)

    def totals(self, since: float = 0.0) -> Counts:
        return self.recorder.summary(since).totals

    def rows(self, sql: str) -> list[Any]:
        assert self.folder is not None and self.config.redis_url is None
        self.recorder.flush()
        connection = sqlite3.connect(self.folder / FILE_NAME)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def dump(self) -> dict[str, list[Any]]:
        """Everything that is kept, by table or key."""
        if self.config.redis_url is None:
            tables = [name for (name,) in self.rows("SELECT name FROM sqlite_master "
                                                    "WHERE type = 'table'")]  # fmt: skip
            return {name: self.rows(f"SELECT * FROM {name}") for name in tables}
        self.recorder.flush()
        found: dict[str, list[Any]] = {}
        at = f"p2pcdn:stats:{{{shared_name((self.config.secret or '').encode())}}}:"
        with connect(self.config.redis_url) as client:
            read = {
                "string": lambda key: [client.get(key)],
                "hash": lambda key: list(client.hgetall(key).items()),
                "zset": lambda key: client.zrange(key, 0, -1),
            }
            for key in client.scan_iter(f"{at}*"):
                found[key.removeprefix(at)] = read[client.type(key)](key)
        return found

    def paths(self) -> set[str]:
        """Every path that is kept."""
        kept = self.dump()
        if self.config.redis_url is None:
            return {row[1] for row in kept["contents"]} - {"(site)", "(others)"}
        return {path for path, _ in kept["contents"]}

    def kept_rows(self) -> dict[int, int]:
        """How many contents are kept in buckets of which length, in seconds."""
        kept = self.dump()
        if self.config.redis_url is None:
            found = Counter(row[0] for row in kept["buckets"])
        else:
            found = Counter()
            for name, rows in kept.items():
                if name.startswith("b:"):
                    found[int(name.split(":")[1])] += len(rows)
        return {res: n for res, n in found.items() if res}

    def tidy(self) -> None:
        """It is time to tidy up, and it is done."""
        self.recorder._store._maintained = float("-inf")
        self.recorder.flush()

    def sessions(self) -> int:
        """What is kept of page views: views, and claims that are open."""
        kept = self.dump()
        names = [n for n in kept if n in ("views", "ledger") or n.startswith("open:")]
        return sum(len(kept[name]) for name in names)


MakeSite = Callable[..., Site]
