"""From sums by content, as a store has them, to a `Summary`. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from p2pcdn.stats.fields import DAY, FIELDS, HOUR, MINUTE
from p2pcdn.stats.summary import Content, Counts, Note, Point, Summary, percentile_ms
from p2pcdn.stats.write import OTHER, SITE

__all__ = ["SERIES", "Found", "all_time", "end_of", "ranged", "step_of"]

SERIES = ("from_peers", "from_origin", "from_cache", "views", "stalls", "origin_sent")
"""The columns that a row of the time series is made of."""

_RECONCILED = 0.02
_MAX_POINTS = 150
_STEPS = (MINUTE, 300, 900, HOUR, 3 * HOUR, 6 * HOUR, DAY, 7 * DAY, 28 * DAY)

Tallies = Mapping[str, Mapping[int, Mapping[str, int]]]


@dataclass(frozen=True, slots=True)
class Found:
    """What a store has of a range of time, or of all time."""

    rows: Mapping[int, Mapping[str, int]]
    """Content -> sums by column (`FIELDS`)."""
    tallies: Tallies
    """Kind -> content -> name -> number."""
    names: Mapping[int, tuple[str, int | None]]
    """Content -> path, bytes."""
    live: Mapping[int, tuple[int, int]]
    """Content -> views and links now."""
    viewers: int
    """Page views that watch now."""


def end_of(now: float, until: float | None) -> float:
    """The end of the range: with the minute that is being counted now, not later."""
    this_minute_ends = now // MINUTE * MINUTE + MINUTE
    return this_minute_ends if until is None else min(until, this_minute_ends)


def step_of(begin: float, end: float, *, at_least: int) -> int:
    """Seconds of a step of the series."""
    return next(
        (s for s in _STEPS if s >= at_least and (end - begin) / s <= _MAX_POINTS), _STEPS[-1]
    )


def ranged(
    found: Found,
    series: Iterable[tuple[int, int, Sequence[int]]],
    *,
    now: float,
    since: float,
    end: float,
    first: float | None,
    step: int,
    future: int,
    top: int | None,
) -> Summary:
    """A range of time.

    Args:
        series: (time, content, `SERIES`), the time a multiple of `step`.
        first: When the first thing was counted in it; None: nothing was.
        future: Time buckets that lie in the future.
    """
    points: dict[int, list[int]] = {}
    if first is not None:
        begin = int(max(since, first)) // step * step
        points = {t: [0] * 5 for t in range(begin, int(end - 1) // step * step + 1, step)}
    for t, content, (peers, reported, cache, views, stalls, counted) in series:
        row = found.rows[content]
        origin = counted if row["origin_sent"] >= row["from_origin"] else reported
        point = points.setdefault(t, [0] * 5)
        for i, n in enumerate((peers, origin, cache, views, stalls)):
            point[i] += n
    totals, rest = _parts(found, top)
    return Summary(
        since=since,
        until=min(end, now),
        step_s=step,
        totals=totals,
        series=tuple(Point(t, *point) for t, point in sorted(points.items())),
        notes=(*_reconciled(totals), *_future(future)),
        **rest,
    )


def all_time(found: Found, *, now: float, top: int | None) -> Summary:
    """All time; without a series."""
    totals, rest = _parts(found, top)
    return Summary(since=0.0, until=now, step_s=0, totals=totals, **rest)


def _parts(found: Found, top: int | None) -> tuple[Counts, dict[str, Any]]:
    startups = found.tallies.get("startup", {})
    contents = []
    for content in {*found.rows, *found.live} - {SITE}:
        path, size = found.names.get(content, ("(unknown)", None))
        counts = _counts(
            found.rows.get(content, {}),
            found.live.get(content, (0, 0)),
            startups.get(content, {}),
        )
        contents.append(Content(path if content != OTHER else "(others)", size, counts))
    contents.sort(key=lambda c: (-c.counts.delivered, -c.counts.views, c.path))
    histogram = _merged(startups.values())
    totals = {
        name: sum(getattr(c.counts, name) for c in contents)
        for name in Counts.__dataclass_fields__
        if not name.endswith(("p50_ms", "p95_ms"))
    }
    totals["viewers_now"] = found.viewers
    shown = contents if top is None else contents[:top]
    return (
        Counts(
            **totals,
            startup_p50_ms=percentile_ms(histogram, 0.5),
            startup_p95_ms=percentile_ms(histogram, 0.95),
        ),
        {
            "contents": tuple(shown),
            "more_contents": len(contents) - len(shown),
            "causes": _merged(found.tallies.get("cause", {}).values()),
            "direct": _merged(found.tallies.get("direct", {}).values()),
            "transports": _merged(found.tallies.get("transport", {}).values()),
            "startup": histogram,
            "dropped": _merged(found.tallies.get("dropped", {}).values()),
        },
    )


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


def _future(buckets: int) -> Iterable[Note]:
    if buckets:
        yield Note(
            "clock",
            f"{buckets} time buckets lie in the future: the clock was set back. They are not "
            "shown until their time comes.",
        )
