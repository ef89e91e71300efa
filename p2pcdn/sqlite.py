"""Opening a SQLite file that several processes share, and surviving a corrupt one."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
import weakref
from pathlib import Path

__all__ = ["fork_lock", "open_database"]

log = logging.getLogger("p2pcdn.sqlite")

_FORK_WAITS_S = 2.0
_locks: weakref.WeakSet[threading.Lock] = weakref.WeakSet()
_held: list[threading.Lock] = []


def fork_lock() -> threading.Lock:
    """A lock to hold while SQLite is used: a fork waits until nobody holds it.

    A child that is forked while another thread is inside SQLite inherits that thread's mutexes,
    and the belief that this process has the file's lock: whatever it opens anew then hangs, or
    stays "locked" for ever, as no thread is left to give any of it back.
    """
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def _before_fork() -> None:
    end = time.monotonic() + _FORK_WAITS_S
    for lock in list(_locks):
        if lock.acquire(timeout=max(0.0, end - time.monotonic())):
            _held.append(lock)


def _after_fork() -> None:
    while _held:
        _held.pop().release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def open_database(
    path: Path | None, schema: str, *, timeout_s: float = 5.0, again: bool = False
) -> sqlite3.Connection:
    """Open (or make) the database at `path` and apply `schema` (idempotent statements).

    Write-ahead logging, so readers never wait for the one writer. A file that SQLite calls
    corrupt is moved aside (`name.corrupt-<unix time>`) and made anew: everything kept here
    can be made again. Where the file cannot be had at all (read-only disk, no space), the
    database lives in memory and the reason is logged once.

    Args:
        path: The file, or None for a private in-memory database.
        schema: SQL run at every opening, e.g. `CREATE TABLE IF NOT EXISTS ...`.
        timeout_s: How long a statement waits for another process's lock.
        again: It could not be had before: that is known, and not logged once more.

    Returns:
        A connection in autocommit mode, usable from any thread (callers lock).
    """
    if path is None:
        return _connect(":memory:", schema, timeout_s)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError("read-only")  # SQLite would say so only at the first write
        return _connect(str(path), schema, timeout_s)
    except sqlite3.OperationalError as error:
        # Locked, read-only, no space: the file may be fine, so it is left where it is.
        reason: Exception = error
    except sqlite3.DatabaseError as error:
        try:
            return _made_anew(path, schema, timeout_s, error)
        except (OSError, sqlite3.Error) as again:
            reason = again
    except OSError as error:
        reason = error
    level = logging.DEBUG if again else logging.WARNING
    log.log(level, "%s cannot be used (%s): kept in memory of this process instead", path, reason)
    return _connect(":memory:", schema, timeout_s)


def _made_anew(path: Path, schema: str, timeout_s: float, error: Exception) -> sqlite3.Connection:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        try:
            return _connect(str(path), schema, timeout_s)  # another process was here first
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            pass
        aside = path.with_name(f"{path.name}.corrupt-{int(time.time())}")
        log.warning("%s is corrupt (%s): moved to %s and made anew", path, error, aside.name)
        # The log goes first: left alone beside a new file it would be played into that one.
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.replace(aside)
        return _connect(str(path), schema, timeout_s)
    finally:
        os.close(folder)


def _connect(name: str, schema: str, timeout_s: float) -> sqlite3.Connection:
    end = time.monotonic() + timeout_s
    while True:
        try:
            return _connected(name, schema, timeout_s)
        except sqlite3.OperationalError as error:
            # For another process that turns a new file to write-ahead logging SQLite itself
            # does not wait.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                raise
        time.sleep(0.005)


def _connected(name: str, schema: str, timeout_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        name, timeout=timeout_s, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(schema)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.close()
        raise
    return connection
