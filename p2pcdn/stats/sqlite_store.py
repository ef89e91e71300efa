"""The store's file: opened late, opened again when it comes back, made anew when corrupt."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from p2pcdn.sqlite import open_database
from p2pcdn.stats.batch import Batch
from p2pcdn.stats.fields import FIELDS
from p2pcdn.stats.plausible import Limits
from p2pcdn.stats.sqlite_read import all_time, read_live, read_summary
from p2pcdn.stats.sqlite_rollup import maintain
from p2pcdn.stats.sqlite_schema import FILE_NAME, SCHEMA, UPSERT_BUCKET, UPSERT_TALLY
from p2pcdn.stats.sqlite_tables import write_batch
from p2pcdn.stats.store import HURRY_S, StoreError
from p2pcdn.stats.summary import Summary
from p2pcdn.stats.tidy import EVERY_S

__all__ = ["SqliteStore"]

log = logging.getLogger("p2pcdn.stats")

_REOPEN_S = 60.0
_LOCK_TIMEOUT_S = 2.0


class SqliteStore:
    """The file that the server workers of one machine share; see `store.Store`."""

    def __init__(self, folder: Path | None, *, limits: Limits, retention_days: int) -> None:
        self.path = None if folder is None else folder / FILE_NAME
        self._limits = limits
        self._retention_days = retention_days
        self._connection: sqlite3.Connection | None = None
        self._in_memory = False
        self._file: tuple[int, int] | None = None
        self._opened = 0.0
        self._maintained = float("-inf")
        self._hurried = False
        self._lease: int | None = None

    @property
    def name(self) -> str:
        """See `Store`."""
        return "memory" if self.path is None else str(self.path)

    def write(self, batch: Batch, *, now: float) -> set[str]:
        """See `Store`."""
        with self._failing():
            connection = self._open()
            due = not self._hurried and time.monotonic() - self._maintained > EVERY_S
            # First: should it fail, the batch is not written, and counts once later.
            if due:
                self._maintained = time.monotonic()
                maintain(connection, now=now, retention_days=self._retention_days)
            if batch or due:  # an empty batch still ends what is too old
                return write_batch(connection, batch, now=now, limits=self._limits)
            return set()

    def summary(self, now: float, since: float, until: float | None, top: int | None) -> Summary:
        """See `Store`."""
        with self._reading() as connection:
            return read_summary(connection, now=now, since=since, until=until, top=top)

    def all_time(self, now: float, top: int | None) -> Summary:
        """See `Store`."""
        with self._reading() as connection:
            return all_time(connection, now=now, top=top)

    def live(self, now: float) -> dict[str, Any]:
        """See `Store`."""
        with self._reading() as connection:
            return read_live(connection, now=now)

    @contextlib.contextmanager
    def exporter(self) -> Iterator[dict[str, float] | None]:
        """See `Store`."""
        if not self._leads():
            yield None
            return
        with self._failing():
            connection = self._open()
            exported = dict(connection.execute("SELECT name, value FROM exported").fetchall())
            yield exported
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(
                    "INSERT OR REPLACE INTO exported VALUES (?, ?)", exported.items()
                )

    def _leads(self) -> bool:
        """The lock is this process's until it ends, however it ends."""
        if self.path is not None and self._lease is None:
            try:
                lease = os.open(
                    self.path.with_name("exporter.lock"),
                    os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
                    0o600,
                )
            except OSError:
                return True  # no folder: this process counts for itself
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lease)
                return False
            self._lease = lease
        return True

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection within one read transaction: all queries see the same moment."""
        with self._failing():
            connection = self._open()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection is self._connection and connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            # Locked, full, read-only: the file may be fine again in a moment.
            raise StoreError(str(error)) from error
        except sqlite3.Error as error:
            self._disconnect()  # corrupt: the next opening moves it aside
            raise StoreError(str(error)) from error

    def abandon(self) -> None:
        """See `Store`."""
        # The connection stays as it is: SQLite, "How To Corrupt An SQLite Database", 2.6. The
        # lock is the parent's as long as nobody else has the descriptor.
        if self._lease is not None:
            os.close(self._lease)
            self._lease = None

    def hurry(self) -> None:
        """See `Store`."""
        self._hurried = True
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute(f"PRAGMA busy_timeout = {int(HURRY_S * 1000)}")

    def close(self) -> None:
        """See `Store`."""
        self._disconnect()
        self._hurried = False
        self.abandon()

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and not self._in_memory and self._identity() != self._file:
            self._disconnect()  # deleted, or moved aside by another worker that found it corrupt
        due = self._in_memory and time.monotonic() - self._opened > _REOPEN_S
        if self._connection is not None and not due:
            return self._connection
        before, self._opened = self._connection, time.monotonic()
        again = before is not None
        timeout_s = HURRY_S if self._hurried else _LOCK_TIMEOUT_S
        connection = open_database(self.path, SCHEMA, timeout_s=timeout_s, again=again)
        in_memory = self.path is not None and _is_in_memory(connection)
        if before is not None:
            if in_memory:
                connection.close()
                return before
            _carry_over(before, connection)
            before.close()
            log.warning("%s can be used again: statistics are kept there", self.path)
        self._connection, self._in_memory = connection, in_memory
        self._file = self._identity()
        return connection

    def _identity(self) -> tuple[int, int] | None:
        try:
            stat = self.path.stat() if self.path is not None else None
        except OSError:
            return None
        return None if stat is None else (stat.st_dev, stat.st_ino)


def _is_in_memory(connection: sqlite3.Connection) -> bool:
    return not any(row[2] for row in connection.execute("PRAGMA database_list"))


def _carry_over(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Add what was counted in memory to the file, where the same content has another id."""
    target.execute("BEGIN IMMEDIATE")
    try:
        ids: dict[int, int] = {}
        for content, path, size in source.execute("SELECT id, path, size FROM contents"):
            target.execute(
                "INSERT OR IGNORE INTO contents (path, size) VALUES (?, ?)", (path, size)
            )
            (ids[content],) = target.execute(
                "SELECT id FROM contents WHERE path = ?", (path,)
            ).fetchone()
        names = ", ".join(FIELDS)
        for res, ts, content, *row in source.execute(
            f"SELECT res, ts, content, {names} FROM buckets"
        ):
            target.execute(UPSERT_BUCKET, (res, ts, ids[content], *row))
        for res, ts, content, *tally in source.execute("SELECT * FROM tallies"):
            target.execute(UPSERT_TALLY, (res, ts, ids[content], *tally))
        for key, content, seen in source.execute("SELECT * FROM keys"):
            target.execute("INSERT OR IGNORE INTO keys VALUES (?, ?, ?)", (key, ids[content], seen))
        for view, key, content, *state in source.execute("SELECT * FROM views"):
            target.execute(
                "INSERT OR IGNORE INTO views VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (view, key, ids[content], *state),
            )
        target.execute("COMMIT")
    except BaseException:
        if target.in_transaction:
            target.execute("ROLLBACK")
        raise
