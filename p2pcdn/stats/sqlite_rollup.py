"""Minutes become hours, hours become days, days end: the file has a ceiling."""

from __future__ import annotations

import sqlite3

from p2pcdn.stats import tidy
from p2pcdn.stats.fields import DAY, FIELDS, HOUR, MINUTE
from p2pcdn.stats.tidy import KEEP_HOURS_S, KEEP_MINUTES_S, due

__all__ = ["maintain"]

_SUMS = ", ".join(f"sum({name})" for name in FIELDS)
_NAMES = ", ".join(FIELDS)
_ADD = ", ".join(f"{name} = {name} + excluded.{name}" for name in FIELDS)


def maintain(connection: sqlite3.Connection, *, now: float, retention_days: int) -> bool:
    """Roll up and delete what is due; cheap when another worker has just done it.

    Returns:
        Whether this call did it.

    Raises:
        sqlite3.Error: Locked, full, corrupt.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = due(_Meta(connection), now)
        if done:
            _shrink(connection, now, retention_days)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return done


def _shrink(connection: sqlite3.Connection, now: float, retention_days: int) -> None:
    minutes, hours, days = KEEP_MINUTES_S, KEEP_HOURS_S, retention_days * DAY
    while True:
        _roll(connection, MINUTE, HOUR, now - minutes)
        _roll(connection, HOUR, DAY, now - hours)
        for table in ("buckets", "tallies"):
            connection.execute(f"DELETE FROM {table} WHERE res > 0 AND ts < ?", (int(now - days),))
        if _rows(connection) <= tidy.MAX_ROWS or days <= DAY:
            break
        # Too many contents for the usual ages: keep everything, but less finely; then less.
        if minutes > HOUR:
            minutes //= 2
        elif hours > DAY:
            hours //= 2
        else:
            days //= 2
    connection.execute(
        "DELETE FROM keys WHERE seen < ? AND content NOT IN (SELECT content FROM buckets "
        "WHERE res > 0)",
        (int(now - DAY),),
    )
    # A content whose last bucket has gone gives its place to a new one; what it added to the
    # counters that only ever grow is handed to "(others)".
    gone = (
        "id > 1 AND id NOT IN (SELECT content FROM buckets WHERE res > 0) "
        "AND id NOT IN (SELECT content FROM views) AND id NOT IN (SELECT content FROM ledger) "
        "AND id NOT IN (SELECT content FROM keys)"
    )
    connection.execute(
        f"INSERT INTO buckets (res, ts, content, {_NAMES}) SELECT 0, 0, 1, {_SUMS} FROM buckets "
        f"WHERE res = 0 AND content IN (SELECT id FROM contents WHERE {gone}) "
        f"GROUP BY res ON CONFLICT DO UPDATE SET {_ADD}"
    )
    connection.execute(
        "INSERT INTO tallies (res, ts, content, kind, name, n) SELECT 0, 0, 1, kind, name, sum(n) "
        f"FROM tallies WHERE res = 0 AND content IN (SELECT id FROM contents WHERE {gone}) "
        "GROUP BY kind, name ON CONFLICT DO UPDATE SET n = n + excluded.n"
    )
    for table in ("buckets", "tallies"):
        connection.execute(
            f"DELETE FROM {table} WHERE res = 0 AND content IN "
            f"(SELECT id FROM contents WHERE {gone})"
        )
    connection.execute(f"DELETE FROM contents WHERE {gone}")


def _roll(connection: sqlite3.Connection, fine: int, coarse: int, before: float) -> None:
    # Whole coarse buckets only, so that no bucket is half rolled up.
    limit = int(before) // coarse * coarse
    connection.execute(
        f"INSERT INTO buckets (res, ts, content, {_NAMES}) "
        f"SELECT {coarse}, ts / {coarse} * {coarse} AS t, content, {_SUMS} FROM buckets "
        f"WHERE res = {fine} AND ts < ? GROUP BY t, content ON CONFLICT DO UPDATE SET {_ADD}",
        (limit,),
    )
    connection.execute(
        "INSERT INTO tallies (res, ts, content, kind, name, n) "
        f"SELECT {coarse}, ts / {coarse} * {coarse} AS t, content, kind, name, sum(n) "
        f"FROM tallies WHERE res = {fine} AND ts < ? GROUP BY t, content, kind, name "
        "ON CONFLICT DO UPDATE SET n = n + excluded.n",
        (limit,),
    )
    for table in ("buckets", "tallies"):
        connection.execute(f"DELETE FROM {table} WHERE res = {fine} AND ts < ?", (limit,))


def _rows(connection: sqlite3.Connection) -> int:
    (rows,) = connection.execute(
        "SELECT (SELECT count(*) FROM buckets) + (SELECT count(*) FROM tallies)"
    ).fetchone()
    return int(rows)


class _Meta:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def get(self, name: str) -> float | None:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else float(row[0])

    def set(self, name: str, value: float | None) -> None:
        if value is None:
            self._db.execute("DELETE FROM meta WHERE name = ?", (name,))
        else:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))
