"""Minutes become hours, hours become days, days end: the file has a ceiling."""

from __future__ import annotations

import logging
import sqlite3

from p2pcdn.stats.fields import FIELDS
from p2pcdn.stats.schema import DAY, HOUR, MINUTE

__all__ = ["EVERY_S", "MAX_ROWS", "maintain"]

log = logging.getLogger("p2pcdn.stats")

EVERY_S = 600
MAX_ROWS = 400_000
_KEEP_MINUTES_S = 48 * HOUR
_KEEP_HOURS_S = 32 * DAY
_DOUBT_S = 30 * DAY

_SUMS = ", ".join(f"sum({name})" for name in FIELDS)
_NAMES = ", ".join(FIELDS)
_ADD = ", ".join(f"{name} = {name} + excluded.{name}" for name in FIELDS)


def maintain(
    connection: sqlite3.Connection, *, now: float, retention_days: int, max_rows: int = MAX_ROWS
) -> bool:
    """Roll up and delete what is due; cheap when another worker has just done it.

    Returns:
        Whether this call did it.

    Raises:
        sqlite3.Error: Locked, full, corrupt.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = _due(connection, now)
        if done:
            _shrink(connection, now, retention_days, max_rows)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return done


def _due(connection: sqlite3.Connection, now: float) -> bool:
    last = _get(connection, "maintained")
    if last is not None and now - last > _DOUBT_S:
        # Either the site was down for a month or the clock is wrong: a clock that jumped
        # to 2099 must not delete everything. It is believed once it has stood for a day.
        since = _get(connection, "doubt")
        if since is None or not 0 <= now - since <= _DOUBT_S:
            log.warning(
                "the clock says that %d days have passed since the statistics were last "
                "tidied: nothing is deleted for a day, in case the clock is wrong",
                (now - last) // DAY,
            )
            _set(connection, "doubt", now)
            return False
        if now - since < DAY:
            return False
        connection.execute("DELETE FROM meta WHERE name = 'doubt'")
    elif last is not None and abs(now - last) < EVERY_S:
        return False
    _set(connection, "maintained", now)
    return True


def _shrink(connection: sqlite3.Connection, now: float, retention_days: int, max_rows: int) -> None:
    minutes, hours, days = _KEEP_MINUTES_S, _KEEP_HOURS_S, retention_days * DAY
    while True:
        _roll(connection, MINUTE, HOUR, now - minutes)
        _roll(connection, HOUR, DAY, now - hours)
        for table in ("buckets", "tallies"):
            connection.execute(f"DELETE FROM {table} WHERE res > 0 AND ts < ?", (int(now - days),))
        if _rows(connection) <= max_rows or days <= DAY:
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


def _get(connection: sqlite3.Connection, name: str) -> float | None:
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else float(row[0])


def _set(connection: sqlite3.Connection, name: str, value: float) -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))
