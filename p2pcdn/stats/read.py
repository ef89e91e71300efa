"""From the store to a `Summary`. Reads only; any process may, while others write."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from p2pcdn.stats.fields import FIELDS
from p2pcdn.stats.live import NOW_S
from p2pcdn.stats.schema import ALL_TIME, DAY, HOUR, MINUTE, OTHER, SITE
from p2pcdn.stats.summary import Content, Counts, Note, Point, Summary, percentile_ms

__all__ = ["all_time", "read_summary"]

_RECONCILED = 0.02
_MAX_POINTS = 150
_STEPS = (MINUTE, 300, 900, HOUR, 3 * HOUR, 6 * HOUR, DAY, 7 * DAY, 28 * DAY)
_SUMS = ", ".join(f"sum({name})" for name in FIELDS)
_IN_RANGE = "res > 0 AND ts + res > :since AND ts < :until"


def read_summary(
    connection: sqlite3.Connection,
    *,
    now: float,
    since: float,
    until: float | None = None,
    top: int | None = None,
) -> Summary:
    """Everything from `since` to `until` (Unix seconds; default now).

    Data older than two days is kept in buckets of an hour or a day: a bucket that overlaps
    the range counts in full.

    Raises:
        sqlite3.Error: The store cannot be read.
    """
    this_minute_ends = now // MINUTE * MINUTE + MINUTE
    end = this_minute_ends if until is None else min(until, this_minute_ends)
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
    step, series = _series(connection, rows, since=since, until=end)
    summary = _summary(connection, rows, tallies, now=now, top=top)
    return Summary(
        since=since,
        until=min(end, now),
        step_s=step,
        series=series,
        notes=(*_reconciled(summary["totals"]), *_future(connection, now)),
        **summary,
    )


def all_time(connection: sqlite3.Connection, *, now: float, top: int | None = None) -> Summary:
    """The sums since the store was made; they never go down, whatever is tidied away."""
    rows = {
        row[0]: dict(zip(FIELDS, row[1:], strict=True))
        for row in connection.execute(
            f"SELECT content, {', '.join(FIELDS)} FROM buckets WHERE res = {ALL_TIME}"
        )
    }
    tallies = _tallies(
        connection.execute(f"SELECT content, kind, name, n FROM tallies WHERE res = {ALL_TIME}")
    )
    parts = _summary(connection, rows, tallies, now=now, top=top)
    return Summary(since=0.0, until=now, step_s=0, **parts)


_Rows = Mapping[int, Mapping[str, int]]
_Tallies = Mapping[str, Mapping[int, Mapping[str, int]]]


def _tallies(rows: Iterable[tuple[int, str, str, int]]) -> _Tallies:
    found: dict[str, dict[int, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for content, kind, name, n in rows:
        found[kind][content][name] = n
    return found


def _summary(
    connection: sqlite3.Connection, rows: _Rows, tallies: _Tallies, *, now: float, top: int | None
) -> dict[str, Any]:
    names = {
        row[0]: (row[1], row[2])
        for row in connection.execute("SELECT id, path, size FROM contents")
    }
    live = {
        row[0]: (row[1], row[2])
        for row in connection.execute(
            "SELECT content, count(*), sum(links) FROM views "
            "WHERE final = 0 AND last > ? AND last < ? AND key <> '' GROUP BY content",
            (now - NOW_S, now + NOW_S),
        )
    }
    (viewers,) = connection.execute(
        "SELECT count(DISTINCT view) FROM views "
        "WHERE final = 0 AND last > ? AND last < ? AND key <> ''",
        (now - NOW_S, now + NOW_S),
    ).fetchone()
    startups = tallies.get("startup", {})
    contents = []
    for content in {*rows, *live} - {SITE}:
        path, size = names.get(content, ("(unknown)", None))
        counts = _counts(
            rows.get(content, {}), live.get(content, (0, 0)), startups.get(content, {})
        )
        contents.append(Content(path if content != OTHER else "(others)", size, counts))
    contents.sort(key=lambda c: (-c.counts.delivered, -c.counts.views, c.path))
    histogram = _merged(startups.values())
    totals = {
        name: sum(getattr(c.counts, name) for c in contents)
        for name in Counts.__dataclass_fields__
        if not name.endswith(("p50_ms", "p95_ms"))
    }
    totals["viewers_now"] = viewers
    shown = contents if top is None else contents[:top]
    return {
        "totals": Counts(
            **totals,
            startup_p50_ms=percentile_ms(histogram, 0.5),
            startup_p95_ms=percentile_ms(histogram, 0.95),
        ),
        "contents": tuple(shown),
        "more_contents": len(contents) - len(shown),
        "causes": _merged(tallies.get("cause", {}).values()),
        "direct": _merged(tallies.get("direct", {}).values()),
        "transports": _merged(tallies.get("transport", {}).values()),
        "startup": histogram,
        "dropped": _merged(tallies.get("dropped", {}).values()),
    }


def _counts(row: Mapping[str, int], live: tuple[int, int], startup: Mapping[str, int]) -> Counts:
    same = {
        name: row.get(name, 0)
        for name in FIELDS
        if name in Counts.__dataclass_fields__ and name != "from_origin"
    }
    counted, reported = row.get("origin_sent", 0), row.get("from_origin", 0)
    return Counts(
        **same,
        viewers_now=live[0],
        links_now=live[1],
        from_origin=max(counted, reported),
        origin_counted=counted,
        origin_reported=reported,
        startup_p50_ms=percentile_ms(startup, 0.5),
        startup_p95_ms=percentile_ms(startup, 0.95),
    )


def _merged(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for part in parts:
        for name, n in part.items():
            found[name] += n
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _series(
    connection: sqlite3.Connection, rows: _Rows, *, since: float, until: float
) -> tuple[int, tuple[Point, ...]]:
    args: dict[str, float] = {"since": since, "until": until}
    first, coarsest = connection.execute(
        f"SELECT min(ts), max(res) FROM buckets WHERE {_IN_RANGE}", args
    ).fetchone()
    if first is None:
        return MINUTE, ()
    begin = max(since, first)
    step = next(
        (s for s in _STEPS if s >= coarsest and (until - begin) / s <= _MAX_POINTS), _STEPS[-1]
    )
    points: dict[int, list[int]] = {
        t: [0, 0, 0, 0, 0]
        for t in range(int(begin) // step * step, int(until - 1) // step * step + 1, step)
    }
    for t, content, peers, reported, cache, views, stalls, counted in connection.execute(
        f"SELECT ts / {step} * {step} AS t, content, sum(from_peers), sum(from_origin), "
        "sum(from_cache), sum(views), sum(stalls), sum(origin_sent) "
        f"FROM buckets WHERE {_IN_RANGE} GROUP BY t, content",
        args,
    ):
        row = rows[content]
        origin = counted if row["origin_sent"] >= row["from_origin"] else reported
        point = points.setdefault(t, [0, 0, 0, 0, 0])
        for i, n in enumerate((peers, origin, cache, views, stalls)):
            point[i] += n
    return step, tuple(Point(t, *point) for t, point in sorted(points.items()))


def _reconciled(totals: Counts) -> Iterable[Note]:
    counted, reported = totals.origin_counted, totals.origin_reported
    if reported > counted * (1 + _RECONCILED):
        part = 1 - counted / reported
        yield Note(
            "front",
            f"Loaders report {part:.0%} more bytes from the origin than this application sent: "
            "a web server, a CDN or the browser's own cache answers media too. The larger "
            "number is used.",
        )
    elif counted > reported * (1 + _RECONCILED) and (totals.views or reported):
        part = 1 - reported / counted
        yield Note(
            "direct",
            f"{part:.0%} of the origin's bytes went to visitors that no loader reports: "
            "direct plays, downloads, crawlers, or reports still under way.",
        )


def _future(connection: sqlite3.Connection, now: float) -> Iterable[Note]:
    (rows,) = connection.execute(
        "SELECT count(DISTINCT ts) FROM buckets WHERE res > 0 AND ts > ?", (now + 2 * MINUTE,)
    ).fetchone()
    if rows:
        yield Note(
            "clock",
            f"{rows} time buckets lie in the future: the clock was set back. They are not "
            "shown until their time comes.",
        )
