"""Where statistics are kept: an interface with two implementations, SQLite and Redis.

Both pass one suite of tests (tests/stats/: every test with the `site` fixture runs over both).
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any, Protocol

from p2pcdn.config import Config
from p2pcdn.errors import ConfigError, P2PCDNError
from p2pcdn.stats.batch import Batch
from p2pcdn.stats.plausible import Limits
from p2pcdn.stats.summary import Summary

__all__ = ["HURRY_S", "Store", "StoreError", "open_store", "shared_name"]

HURRY_S = 0.5
"""A lock or an answer that comes later comes too late for a process that ends: with a lock and an
answer it is held up for about a second."""


class StoreError(P2PCDNError):
    """The store cannot be read or written now: locked, full, corrupt, unreachable.

    Attributes:
        unsure: It may have taken the batch; asked again with the same batch, it knows.
    """

    def __init__(self, message: str, *, unsure: bool = False) -> None:
        super().__init__(message)
        self.unsure = unsure


class Store(Protocol):
    """One process's hand on what several share. Not thread-safe: the recorder locks.

    Every method may raise `StoreError`. Times are Unix seconds.
    """

    @property
    def name(self) -> str:
        """What messages call it."""

    def write(self, batch: Batch, *, now: float) -> set[str]:
        """Add a batch, all of it or nothing, and never twice; tidy up when it is time.

        Returns:
            Why parts of its reports were not believed.
        """

    def summary(self, now: float, since: float, until: float | None, top: int | None) -> Summary:
        """Everything from `since` to `until` (default now), with the `top` contents.

        Data older than two days is kept by the hour or the day: a bucket that overlaps the range
        counts in full.
        """

    def all_time(self, now: float, top: int | None) -> Summary:
        """The sums since the store was made; they never go down, whatever is tidied away."""

    def live(self, now: float) -> dict[str, Any]:
        """See `live.picture`."""

    def exporter(self) -> contextlib.AbstractContextManager[dict[str, float] | None]:
        """For OpenTelemetry: of all who share the store only one exports at a time.

        Yields what the exporters before had exported, to be changed in place; None in every
        process but the one.
        """

    def abandon(self) -> None:
        """This process is a fork: close what must not stay open in it, and use nothing."""

    def hurry(self) -> None:
        """The process ends: until `close`, wait for nobody longer than `HURRY_S`."""

    def close(self) -> None:
        """Let go of files and connections; what is asked later opens them again."""


def shared_name(secret: bytes) -> str:
    """What a site is called in Redis; the same on all of its machines."""
    return hashlib.sha256(b"p2pcdn stats 1|" + hashlib.sha256(secret).digest()).hexdigest()[:16]


def open_store(
    config: Config, folder: Path | None, *, secret: bytes | None, server_time: bool
) -> Store:
    """The store of a site; no I/O yet.

    Args:
        config: `redis_url` decides; `stats_retention_days` and `upload_limit` are read.
        folder: Where SQLite's file is; None keeps it in memory.
        secret: The site's; names it in Redis.
        server_time: In Redis, go by its clock rather than by those of many machines.
    """
    limits = Limits()
    if config.upload_limit is not None:
        # A token bucket lets a little more through than its rate: half again is generous.
        limits = Limits(upload_bps=config.upload_limit * 1.5 + 64 * 1024)
    days = config.stats_retention_days
    if config.redis_url is not None:
        try:
            from p2pcdn.stats.redis_store import RedisStore
        except ModuleNotFoundError as error:
            raise ConfigError(
                'the option redis_url needs redis: pip install "p2pcdn[redis]"'
            ) from error
        site = shared_name(secret or (config.secret or "").encode())
        return RedisStore(
            config.redis_url, site, limits=limits, retention_days=days, server_time=server_time
        )
    from p2pcdn.stats.sqlite_store import SqliteStore

    return SqliteStore(folder, limits=limits, retention_days=days)
