"""Counting while the site serves: adds up in memory, writes to the shared store now and then."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from p2pcdn.config import Config
from p2pcdn.sqlite import fork_lock
from p2pcdn.stats.batch import Batch
from p2pcdn.stats.inbox import Inbox, Unread
from p2pcdn.stats.store import HURRY_S, Store, StoreError, open_store
from p2pcdn.stats.summary import Summary
from p2pcdn.stats.ticker import Ticker

__all__ = ["Recorder"]

log = logging.getLogger("p2pcdn.stats")

FLUSH_EVERY_S = 4.0
_HARMLESS = frozenset(("unknown content", "forgotten view"))
"""What honest pages are dropped for: a file was edited meanwhile, a laptop slept."""


class Recorder:
    """What one process counts. Thread-safe, and safe to make before a fork.

    Args:
        config: `redis_url`, `stats_retention_days` and `upload_limit` are read.
        folder: Where the SQLite file is (`Config.folder()`); None keeps it in memory.
        secret: The site's, the same on all machines; names it in Redis.
        clock: Unix time in seconds; default: this machine's, or that of Redis.
        flush_every_s: Longest time that counts wait in memory.
    """

    def __init__(
        self,
        config: Config,
        *,
        folder: Path | None,
        secret: bytes | None = None,
        clock: Callable[[], float] | None = None,
        flush_every_s: float = FLUSH_EVERY_S,
    ) -> None:
        self._config = config
        self._folder = folder
        self._secret = secret
        self._server_time = clock is None
        self.after_first_flush: Callable[[], object] | None = None
        """Called once, by whoever flushes first: mostly a thread that no visitor waits for."""
        self._clock = clock or time.time
        self._every = flush_every_s
        self._fresh()
        self._atexit = _closer(weakref.ref(self))
        atexit.register(self._atexit)
        _recorders.add(self)

    def _fresh(self) -> None:
        """State of one process; a forked child drops its parent's and begins anew."""
        self._lock = threading.Lock()
        self._writing = fork_lock()
        self._batch = Batch()
        self._flushed = time.monotonic()
        self._ticker = Ticker(self._every)
        self._inbox = Inbox()
        self._complaints: set[str] = set()
        self._doubts: set[str] = set()
        self._unsure: Batch | None = None
        self._store: Store = open_store(
            self._config, self._folder, secret=self._secret, server_time=self._server_time
        )

    def _forked(self) -> None:
        # The parent's connection must be neither used nor closed here (SQLite, "How To
        # Corrupt", 2.6), so it must not be collected either.
        self._store.abandon()
        _inherited.append(self._store)
        self._fresh()

    # --- counting ----------------------------------------------------------------------

    def origin(self, target: str, *, sent: int, whole: bool, aborted: bool, status: int) -> None:
        """A media response of the site itself has ended. Costs about a microsecond.

        Args:
            target: Path (and query, which is dropped) as the visitor asked for it.
            sent: Bytes of the body that were handed to the server.
            whole: It was the whole file, not a range.
            aborted: Fewer bytes were sent than announced.
            status: 200 and 206 count; other answers carry no content.
        """
        if status != 200 and status != 206:
            return
        target = target.partition("?")[0]
        with self._lock:
            row = self._batch.origin.get(target)
            if row is not None:
                row[0] += 1
                row[1] += whole
                row[2] += aborted
                row[3] += sent
                if row[0] & 63:
                    return
            else:
                self._batch.add_origin(target, sent, whole, aborted)
        self._tick()

    def report(
        self,
        report: Mapping[str, object],
        *,
        content_size: Callable[[str], int | None],
        content_url: Callable[[str], str | None] | None = None,
    ) -> None:
        """One loader's report, as parsed from JSON. Never raises: what is wrong is dropped.

        Args:
            report: See docs/statistics.md. Anything may stand in it.
            content_size: Bytes of the content with this key; None: no such content here.
            content_url: The content's path, below the site's prefix, as the origin's bytes
                are counted under. Default: what the first report of a content says.
        """
        self._take(Unread(report, content_size, content_url))
        self._tick()

    def report_later(
        self,
        report: Mapping[str, object],
        *,
        content_size: Callable[[str], int | None],
        content_url: Callable[[str], str | None] | None = None,
    ) -> None:
        """`report`, for an event loop: read at the next flush, by whoever flushes."""
        if not self._inbox.keep(Unread(report, content_size, content_url)):
            self._drop("flood")
        self._tick()

    def _take(self, unread: Unread) -> None:
        for found in self._inbox.read(unread):
            if isinstance(found, str):
                self._drop(found)
            else:
                with self._lock:
                    self._batch.add_part(*found, now=self._clock())

    def drop(self, reason: str) -> None:
        """Count a report that was refused before it was read, e.g. by a rate limit."""
        self._drop(reason)
        self._tick()

    def _drop(self, reason: str) -> None:
        with self._lock:
            self._batch.dropped[reason] += 1

    # --- writing -----------------------------------------------------------------------

    def flush(self) -> None:
        """Write what waits in memory. Where that fails, it stays and is tried again later."""
        with self._writing:
            self._write()
        later, self.after_first_flush = self.after_first_flush, None
        if later is not None:
            later()

    def _write(self) -> None:
        for unread in self._inbox.kept():
            self._take(unread)
        with self._lock:
            batch, self._batch = self._batch, Batch()
            self._flushed = time.monotonic()
        try:
            if self._unsure is not None:
                # As it was: the store knows by its name whether it has it.
                self._store.write(self._unsure, now=self._clock())
                self._unsure = None
            self._doubt(self._store.write(batch, now=self._clock()))
        except StoreError as error:
            self._complain(error)
            if error.unsure and self._unsure is None:
                self._unsure = batch
                return
            with self._lock:
                newer, self._batch = self._batch, batch
                self._batch.add(newer)
        else:
            self._content()

    def close(self) -> None:
        """Write a last time and let go of the store; counting again opens it again.

        Takes no longer than about a second: the process ends, and may be killed otherwise.
        """
        self._ticker.stop()
        if self._writing.acquire(timeout=HURRY_S):
            try:
                self._store.hurry()
                self._write()
                self._store.close()
            finally:
                self._writing.release()
        if self._batch:
            log.warning(
                "%s could not be written in time: what was counted last is lost when this "
                "process ends",
                self._store.name,
            )
        atexit.unregister(self._atexit)

    def _complain(self, error: StoreError) -> None:
        reason = str(error)
        if reason not in self._complaints:
            self._complaints.add(reason)
            log.warning(
                "statistics cannot be written to %s (%s): they wait in memory and are tried "
                "again; the site serves on",
                self._store.name,
                reason,
            )

    def _doubt(self, reasons: set[str]) -> None:
        for reason in sorted(reasons - self._doubts):
            self._doubts.add(reason)
            log.log(
                logging.INFO if reason in _HARMLESS else logging.WARNING,
                "parts of reports are not believed (%s): said once, `p2pcdn stats` counts them",
                reason,
            )

    def _content(self) -> None:
        if self._complaints:
            self._complaints.clear()
            log.warning("statistics are written to %s again", self._store.name)

    def _tick(self) -> None:
        if not self._ticker.running:
            self._ticker.start(self)
            atexit.unregister(self._atexit)  # closed before, by a server that stopped
            atexit.register(self._atexit)
        elif time.monotonic() - self._flushed > 4 * self._every:
            # Threads do not run everywhere (uWSGI without --enable-threads): do it here.
            self.flush()

    # --- reading -----------------------------------------------------------------------

    def summary(self, since: float, until: float | None = None, top: int | None = None) -> Summary:
        """What all server workers counted between two Unix times; `top` limits the contents.

        Raises:
            StoreError: The store cannot be read.
        """
        self.flush()
        with self._writing:
            return self._store.summary(self._clock(), since, until, top)

    def all_time(self, top: int | None = None) -> Summary:
        """Sums that only ever grow, for counters.

        Raises:
            StoreError: The store cannot be read.
        """
        self.flush()
        with self._writing:
            return self._store.all_time(self._clock(), top)

    def export(self, top: int, work: Callable[[Summary, dict[str, float]], None]) -> bool:
        """For OpenTelemetry: `work` gets what `all_time` says, and what was exported until now
        by all who share the store, to be changed in place.

        Returns:
            False where another process exports: `work` was not called.

        Raises:
            StoreError: The store cannot be read.
        """
        self.flush()
        with self._writing, self._store.exporter() as exported:
            if exported is None:
                return False
            work(self._store.all_time(self._clock(), top), exported)
            return True

    def live(self) -> dict[str, Any]:
        """Who watches what now and who is linked to whom, without ids: see `live.py`.

        Raises:
            StoreError: The store cannot be read.
        """
        with self._writing:
            return self._store.live(self._clock())

    @property
    def clock(self) -> Callable[[], float]:
        return self._clock


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()
_inherited: list[Store] = []


def _after_fork() -> None:
    # Locks may be held by threads that this process has not got; counts are the parent's.
    for recorder in list(_recorders):
        recorder._forked()


os.register_at_fork(after_in_child=_after_fork)


def _closer(recorder: weakref.ref[Recorder]) -> Callable[[], None]:
    def close() -> None:
        alive = recorder()
        if alive is not None:
            with contextlib.suppress(Exception):
                alive.close()

    return close
