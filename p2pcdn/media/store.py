"""What the site's server workers remember together: known URLs, hashes, and who is hashing.

One SQLite file. Everything in it can be made again, so a failure of the disk is never an
error to the site: it is logged once and the answer is "not known".
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from p2pcdn.sqlite import fork_lock, open_database

__all__ = ["SEEN", "SERVED", "Claim", "Hashes", "Store"]

log = logging.getLogger("p2pcdn.media")

SEEN = 0
"""A page of the site showed the URL."""
SERVED = 1
"""The site answered a visitor's own request for the URL with media.

Kept apart: visitors choose what they request, so these must not push out what pages show.
"""

_MOST_KNOWN = {SEEN: 50_000, SERVED: 5_000}
_KNOWN_FOR_S = 30 * 86_400.0
_MOST_CONTENTS = 10_000
_MOST_NAMED = 20_000
_MOST_HASH_BYTES = 128 * 1024 * 1024
_PRUNE_EVERY = 500
_OWNER_DEAD_AFTER_S = 10.0
_LOCK_TIMEOUT_S = 1.0
_ANEW_AT_MOST_EVERY_S = 60.0
_TRY_FILE_AGAIN_S = 60.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS known (
    digest BLOB PRIMARY KEY, how INTEGER NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS known_by_age ON known (how, at);
CREATE TABLE IF NOT EXISTS hashes (
    content TEXT PRIMARY KEY, stamp TEXT NOT NULL, size INTEGER NOT NULL,
    segment_bytes INTEGER NOT NULL, made REAL NOT NULL, used REAL NOT NULL,
    length INTEGER NOT NULL, hashes BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS hashes_by_use ON hashes (used, length);
CREATE TABLE IF NOT EXISTS claims (
    content TEXT PRIMARY KEY, stamp TEXT NOT NULL, owner TEXT NOT NULL,
    size INTEGER NOT NULL, started REAL NOT NULL);
CREATE TABLE IF NOT EXISTS named (
    key TEXT PRIMARY KEY, path TEXT NOT NULL, size INTEGER NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS named_by_age ON named (at);
CREATE TABLE IF NOT EXISTS owners (
    owner TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, beat REAL NOT NULL);
"""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Hashes:
    """The digests of one version of a content.

    Args:
        size: Bytes of the content.
        segment_bytes: Length of a segment.
        hashes: SHA-256 digests, 32 bytes each.
        made: When they were made, unix seconds.
    """

    size: int
    segment_bytes: int
    hashes: bytes
    made: float


@dataclass(frozen=True, slots=True)
class Claim:
    """The outcome of asking for a content's hashing job.

    Args:
        mine: The job is this process's.
        running_s: Otherwise, for how long another process has had it.
    """

    mine: bool
    running_s: float = 0.0


class Store:
    """The shared memory of one process's view; every method may be called from any thread.

    Methods read and write a file: never call them on an event loop.

    Args:
        path: The SQLite file, or None to keep everything in this process.
        clock: Unix time in seconds, comparable between processes.
    """

    def __init__(self, path: Path | None, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._lock = fork_lock()
        self._database: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._try_again_at = float("inf")
        self._closed = False
        self._warned: set[str] = set()
        self._remembered = _PRUNE_EVERY  # the first write prunes what earlier runs left
        self._anew_at = -_ANEW_AT_MOST_EVERY_S
        self._owner = uuid.uuid4().hex
        self._host = socket.gethostname()

    # --- known URLs ----------------------------------------------------------------------

    def known(self, digest: bytes) -> bool:
        """Whether any server worker has seen or served this URL."""
        return self._run(
            lambda db: (
                db.execute("SELECT 1 FROM known WHERE digest = ?", (digest,)).fetchone() is not None
            ),
            False,
        )

    def remember(self, entries: Iterable[tuple[bytes, int]]) -> None:
        """Note URLs (their digests, with `SEEN` or `SERVED`); the oldest make room."""
        now = self._clock()
        rows = [(digest, how, now) for digest, how in entries]

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(
                "INSERT INTO known VALUES (?, ?, ?) ON CONFLICT (digest) DO UPDATE "
                "SET at = excluded.at, how = min(how, excluded.how)",
                rows,
            )
            self._remembered += len(rows)
            if self._remembered >= _PRUNE_EVERY:
                self._remembered = 0
                db.execute("DELETE FROM known WHERE at < ?", (now - _KNOWN_FOR_S,))
                for how, most in _MOST_KNOWN.items():
                    db.execute(
                        "DELETE FROM known WHERE digest IN (SELECT digest FROM known "
                        "WHERE how = ? ORDER BY at DESC LIMIT -1 OFFSET ?)",
                        (how, most),
                    )
            db.execute("COMMIT")

        self._run(work, None)

    # --- hashes --------------------------------------------------------------------------

    def get(self, content: str, stamp: str) -> Hashes | None:
        """The digests of exactly this version of the content, where they are known."""

        def work(db: sqlite3.Connection) -> Hashes | None:
            row = db.execute(
                "SELECT size, segment_bytes, hashes, made, used FROM hashes "
                "WHERE content = ? AND stamp = ?",
                (content, stamp),
            ).fetchone()
            if row is None:
                return None
            size, segment_bytes, hashes, made, used = row
            if len(hashes) != -(-size // segment_bytes) * 32:
                return None
            if self._clock() - used > 3600.0:  # a write for each read would be dear
                db.execute("UPDATE hashes SET used = ? WHERE content = ?", (self._clock(), content))
            return Hashes(size, segment_bytes, hashes, made)

        return self._run(work, None)

    def put(self, content: str, stamp: str, found: Hashes) -> None:
        """Keep the digests of this version, forget those of an older one; give the claim back."""
        now = self._clock()
        length = len(found.hashes)

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            db.execute(
                "INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    content,
                    stamp,
                    found.size,
                    found.segment_bytes,
                    found.made,
                    now,
                    length,
                    found.hashes,
                ),
            )
            db.execute("DELETE FROM claims WHERE content = ? AND owner = ?", (content, self._owner))
            count, total = db.execute("SELECT count(*), sum(length) FROM hashes").fetchone()
            while count > _MOST_CONTENTS or (total > _MOST_HASH_BYTES and count > 1):
                oldest, size = db.execute(
                    "SELECT content, length FROM hashes ORDER BY used LIMIT 1"
                ).fetchone()
                db.execute("DELETE FROM hashes WHERE content = ?", (oldest,))
                count, total = count - 1, total - size
            db.execute("COMMIT")

        self._run(work, None)

    def forget(self, content: str) -> None:
        """Drop the digests: the content was found to be another one."""
        self._run(lambda db: _done(db.execute("DELETE FROM hashes WHERE content = ?", (content,))))

    # --- content keys ----------------------------------------------------------------------

    def name(self, key: str, path: str, size: int) -> None:
        """Remember which path and size a content key stands for, newest first, bounded."""

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT OR REPLACE INTO named VALUES (?,?,?,?)", (key, path, size, self._clock())
            )
            db.execute(
                "DELETE FROM named WHERE key IN "
                "(SELECT key FROM named ORDER BY at DESC LIMIT -1 OFFSET ?)",
                (_MOST_NAMED,),
            )

        self._run(work, None)

    def named(self, key: str) -> tuple[str, int] | None:
        """Path and size of the content with this key, if a manifest ever carried it."""

        def work(db: sqlite3.Connection) -> tuple[str, int] | None:
            row = db.execute("SELECT path, size FROM named WHERE key = ?", (key,)).fetchone()
            return None if row is None else (str(row[0]), int(row[1]))

        return self._run(work, None)

    # --- who is hashing ------------------------------------------------------------------

    def claim(self, content: str, stamp: str, size: int) -> Claim:
        """Ask for the job of hashing this version; one process of the machine gets it.

        A job whose owner died or stands still is handed on. Without a working file every
        process works for itself.
        """
        now = self._clock()

        def work(db: sqlite3.Connection) -> Claim:
            db.execute("BEGIN IMMEDIATE")
            row = db.execute(
                "SELECT c.stamp, c.owner, c.started, o.host, o.pid, o.beat FROM claims c "
                "LEFT JOIN owners o USING (owner) WHERE content = ?",
                (content,),
            ).fetchone()
            if row is not None and row[0] == stamp and row[1] != self._owner:
                _, _, started, host, pid, beat = row
                if beat is not None and self._alive(host, pid, beat, now):
                    db.execute("COMMIT")
                    return Claim(mine=False, running_s=max(now - started, 0.0))
            db.execute(
                "INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?)",
                (content, stamp, self._owner, size, now),
            )
            self._beat(db, now)
            db.execute("COMMIT")
            return Claim(mine=True)

        return self._run(work, Claim(mine=True))

    def release(self, content: str) -> None:
        """Give the job back undone."""
        self._run(
            lambda db: _done(
                db.execute(
                    "DELETE FROM claims WHERE content = ? AND owner = ?", (content, self._owner)
                )
            )
        )

    def beat(self) -> None:
        """Say that this process still works on its claims; call it every second or so."""
        self._run(lambda db: self._beat(db, self._clock()))

    def _beat(self, db: sqlite3.Connection, now: float) -> None:
        db.execute(
            "INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?)",
            (self._owner, self._host, os.getpid(), now),
        )
        db.execute("DELETE FROM owners WHERE beat < ?", (now - 3600.0,))

    def _alive(self, host: str, pid: int, beat: float, now: float) -> bool:
        if abs(now - beat) > _OWNER_DEAD_AFTER_S:
            return False
        if host != self._host:
            return True
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True

    # --- the file ------------------------------------------------------------------------

    def close(self) -> None:
        """Close the file; later calls find nothing and keep nothing."""
        with self._lock:
            self._closed = True
            if self._database is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("DELETE FROM claims WHERE owner = ?", (self._owner,))
                    self._database.execute("DELETE FROM owners WHERE owner = ?", (self._owner,))
                with contextlib.suppress(sqlite3.Error):
                    self._database.close()
                self._database = None

    def abandon(self) -> sqlite3.Connection | None:
        """In a forked child: hand over the parent's connection, which must not be closed here.

        SQLite's rule for fork(2): a child neither uses nor closes what it inherited.
        """
        database, self._database = self._database, None
        return database

    def _run(self, work: Callable[[sqlite3.Connection], _T], default: _T = None) -> _T:  # type: ignore[assignment]
        with self._lock:
            if self._closed:
                return default
            try:
                if self._database is None or time.monotonic() > self._try_again_at:
                    self._open()
                assert self._database is not None
                return work(self._database)
            except sqlite3.Error as error:
                self._failed(error)
                return default

    def _open(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = open_database(self._path, _SCHEMA, timeout_s=_LOCK_TIMEOUT_S)
        self._try_again_at = float("inf")
        if self._path is None:
            return
        ((_, _, name),) = self._database.execute("PRAGMA database_list").fetchall()
        if not name:  # in memory: the file was locked or the disk full, which may pass
            self._try_again_at = time.monotonic() + _TRY_FILE_AGAIN_S
        with contextlib.suppress(OSError):
            self._inode = os.stat(self._path).st_ino

    def _failed(self, error: sqlite3.Error) -> None:
        if str(error) not in self._warned and len(self._warned) < 20:
            self._warned.add(str(error))
            log.warning("%s: %s; hashes are not shared until that is over", self._path, error)
        database = self._database
        if database is None:
            return
        with contextlib.suppress(sqlite3.Error):
            if database.in_transaction:
                database.execute("ROLLBACK")
        if type(error) is sqlite3.DatabaseError:  # malformed; its subclasses mean other things
            self._start_anew(database)

    def _start_anew(self, database: sqlite3.Connection) -> None:
        with contextlib.suppress(sqlite3.Error):
            database.close()
        self._database = None
        now = time.monotonic()
        if self._path is None or now - self._anew_at < _ANEW_AT_MOST_EVERY_S:
            self._path = None
            return
        self._anew_at = now
        with contextlib.suppress(OSError):
            # Another worker may have met the damage first: its new file stays.
            if os.stat(self._path).st_ino == self._inode:
                for suffix in ("-wal", "-shm"):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                aside = self._path.with_name(f"{self._path.name}.corrupt-{int(time.time())}")
                self._path.replace(aside)


def _done(_: object) -> None:
    return None
