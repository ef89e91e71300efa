"""From SQLite to a `Summary`. Reads only; any process may, while others write."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from p2pcdn.stats import assemble
from p2pcdn.stats.assemble import SERIES, Found, Tallies, end_of, ranged, step_of
from p2pcdn.stats.fields import FIELDS, MINUTE
from p2pcdn.stats.live import MAX_ROWS, NOW_S, picture
from p2pcdn.stats.sqlite_schema import ALL_TIME
from p2pcdn.stats.summary import Summary

__all__ = ["all_time", "read_live", "read_summary"]

_SUMS = ", ".join(f"sum({name})" for name in FIELDS)
_SERIES = ", ".join(f"sum({name})" for name in SERIES)
_IN_RANGE = "res > 0 AND ts + res > :since AND ts < :until"
_LIVE = "final = 0 AND last > ? AND last < ? AND key <> ''"


def read_summary(
    connection: sqlite3.Connection,
    *,
    now: float,
    since: float,
    until: float | None = None,
    top: int | None = None,
) -> Summary:
    """See `Store.summary`.

    Raises:
        sqlite3.Error: The store cannot be read.
    """
    end = end_of(now, until)
    args = {"since": since, "until": end}
    rows = {
        row[0]: dict(zip(FIELDS, row[1:], strict=True))
        for row in connection.execute(
            f"SELECT content, {_SUMS} FROM buckets WHERE {_IN_RANGE} GROUP BY content", args
        )
    }
    tallies = _tallies(
        connection.execute(
            f"SELECT content, kind, name, sum(n) FROM tallies WHERE {_IN_RANGE} "
            "GROUP BY content, kind, name",
            args,
        )
    )
    first, coarsest = connection.execute(
        f"SELECT min(ts), max(res) FROM buckets WHERE {_IN_RANGE}", args
    ).fetchone()
    step = MINUTE if first is None else step_of(max(since, first), end, at_least=coarsest)
    series = connection.execute(
        f"SELECT ts / {step} * {step} AS t, content, {_SERIES} "
        f"FROM buckets WHERE {_IN_RANGE} GROUP BY t, content",
        args,
    )
    (future,) = connection.execute(
        "SELECT count(DISTINCT ts) FROM buckets WHERE res > 0 AND ts > ?", (now + 2 * MINUTE,)
    ).fetchone()
    return ranged(
        _found(connection, rows, tallies, now),
        ((t, content, row) for t, content, *row in series),
        now=now,
        since=since,
        end=end,
        first=first,
        step=step,
        future=future,
        top=top,
    )


def all_time(connection: sqlite3.Connection, *, now: float, top: int | None = None) -> Summary:
    """See `Store.all_time`."""
    rows = {
        row[0]: dict(zip(FIELDS, row[1:], strict=True))
        for row in connection.execute(
            f"SELECT content, {', '.join(FIELDS)} FROM buckets WHERE res = {ALL_TIME}"
        )
    }
    tallies = _tallies(
        connection.execute(f"SELECT content, kind, name, n FROM tallies WHERE res = {ALL_TIME}")
    )
    return assemble.all_time(_found(connection, rows, tallies, now), now=now, top=top)


def read_live(connection: sqlite3.Connection, *, now: float) -> dict[str, Any]:
    """See `Store.live`."""
    rows = connection.execute(
        "SELECT view, path, held, tags, state FROM views JOIN contents ON contents.id = content "
        f"WHERE {_LIVE} ORDER BY view LIMIT {MAX_ROWS}",
        (now - NOW_S, now + NOW_S),
    )
    return picture(
        _viewers(connection, now),
        (
            (view, path, held, json.loads(tags), json.loads(state)["last"])
            for view, path, held, tags, state in rows
        ),
    )


def _tallies(rows: Iterable[tuple[int, str, str, int]]) -> Tallies:
    found: dict[str, dict[int, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for content, kind, name, n in rows:
        found[kind][content][name] = n
    return found


def _found(
    connection: sqlite3.Connection,
    rows: Mapping[int, Mapping[str, int]],
    tallies: Tallies,
    now: float,
) -> Found:
    return Found(
        rows=rows,
        tallies=tallies,
        names={
            row[0]: (row[1], row[2])
            for row in connection.execute("SELECT id, path, size FROM contents")
        },
        live={
            row[0]: (row[1], row[2])
            for row in connection.execute(
                f"SELECT content, count(*), sum(links) FROM views WHERE {_LIVE} GROUP BY content",
                (now - NOW_S, now + NOW_S),
            )
        },
        viewers=_viewers(connection, now),
    )


def _viewers(connection: sqlite3.Connection, now: float) -> int:
    (viewers,) = connection.execute(
        f"SELECT count(DISTINCT view) FROM views WHERE {_LIVE}", (now - NOW_S, now + NOW_S)
    ).fetchone()
    return int(viewers)
