"""From Redis to a `Summary`."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from p2pcdn.stats import assemble
from p2pcdn.stats.assemble import SERIES, Found, end_of, ranged, step_of
from p2pcdn.stats.fields import DAY, FIELDS, MINUTE
from p2pcdn.stats.live import MAX_ROWS, NOW_S, picture
from p2pcdn.stats.redis_tables import LEVELS, Row, bucket, row_of, view_of
from p2pcdn.stats.report import NO_KEY
from p2pcdn.stats.summary import Summary
from p2pcdn.stats.write import View

__all__ = ["all_time", "cover", "read_live", "read_summary"]

_SERIES = [FIELDS.index(name) for name in SERIES]


def read_summary(
    client: Any, at: str, *, now: float, since: float, until: float | None, top: int | None
) -> Summary:
    """See `Store.summary`; `at` is the prefix of all keys."""
    end = end_of(now, until)
    pipe = client.pipeline(transaction=True)
    # Whole days, to see what was kept of the wide buckets at the range's ends.
    begin, past = since // DAY * DAY, (end // DAY + 1) * DAY
    for res in LEVELS:
        pipe.zrangebyscore(f"{at}t:{res}", repr(begin), f"({past!r}")
    pipe.zcount(f"{at}t:{MINUTE}", f"({now + 2 * MINUTE!r}", "+inf")
    *there, future = pipe.execute()
    times = {res: sorted(map(int, found)) for res, found in zip(LEVELS, there, strict=True)}
    finest = cover(times, since, end, widest=MINUTE)
    first = min((ts for _, ts in finest), default=None)
    step, found = MINUTE, []
    if first is not None:
        coarsest = max(res for res, _ in finest)
        step = step_of(max(since, first), end, at_least=coarsest)
        found = cover(times, since, end, widest=max(r for r in LEVELS if step % r == 0))
    pipe = client.pipeline(transaction=True)
    for res, ts in found:
        pipe.hgetall(f"{at}{bucket(res, ts)}")
    rows = [
        (ts, int(content), row_of(text))
        for (_, ts), contents in zip(found, pipe.execute() if found else (), strict=True)
        for content, text in contents.items()
    ]
    points: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * len(SERIES))
    for ts, content, (sums, _) in rows:
        point = points[ts // step * step, content]
        for index, column in enumerate(_SERIES):
            point[index] += sums[column]
    return ranged(
        _found(client, at, [(content, row) for _, content, row in rows], now),
        ((t, content, point) for (t, content), point in points.items()),
        now=now,
        since=since,
        end=end,
        first=first,
        step=step,
        future=future,
        top=top,
    )


def cover(
    times: dict[int, list[int]], since: float, end: float, *, widest: int
) -> list[tuple[int, int]]:
    """The fewest buckets, (length, begin), that hold the range: wide ones, up to `widest`, where
    they lie inside it, else narrower ones, unless only the wide one was kept.

    Args:
        times: Length -> begins of the buckets that there are, ascending. What is in a bucket is
            in a wider one, too; of the narrower ones within it all were kept, or none.
    """
    chosen: list[tuple[int, int]] = []

    def within(level: int, begin: int, past: float) -> None:
        res = LEVELS[level]
        for ts in _between(times[res], begin, past):
            if ts + res <= since or ts >= end:
                continue
            inside = res <= widest and since <= ts and ts + res <= end
            finer = level and _between(times[LEVELS[level - 1]], ts, ts + res)
            if level and finer and not inside:
                within(level - 1, ts, ts + res)
            else:
                chosen.append((res, ts))

    within(len(LEVELS) - 1, 0, float("inf"))
    return chosen


def _between(times: Sequence[int], begin: float, past: float) -> Sequence[int]:
    return times[bisect_left(times, begin) : bisect_left(times, past)]


def all_time(client: Any, at: str, *, now: float, top: int | None) -> Summary:
    """See `Store.all_time`."""
    contents = client.hgetall(f"{at}{bucket(0, 0)}")
    rows = [(int(content), row_of(text)) for content, text in contents.items()]
    return assemble.all_time(_found(client, at, rows, now), now=now, top=top)


def read_live(client: Any, at: str, *, now: float) -> dict[str, Any]:
    """See `Store.live`."""
    views = _watching(client, at, now)
    names = _names(client.hgetall(f"{at}names"))
    rows = [
        (bytes.fromhex(field.partition(":")[0]), names[view.content][0], view.held, view.tags,
         view.state["last"])
        for field, view in sorted(views)[:MAX_ROWS]
        if view.content in names
    ]  # fmt: skip
    return picture(_viewers(views), rows)


def _found(client: Any, at: str, rows: Iterable[tuple[int, Row]], now: float) -> Found:
    sums: dict[int, list[int]] = defaultdict(lambda: [0] * len(FIELDS))
    tallies: dict[str, dict[int, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for content, (row, kinds) in rows:
        total = sums[content]
        for index, n in enumerate(row):
            total[index] += n
        for kind, names in kinds.items():
            known = tallies[kind][content]
            for name, n in names.items():
                known[name] = known.get(name, 0) + n
    live: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    views = _watching(client, at, now)
    for _, view in views:
        number, links = live[view.content]
        live[view.content] = number + 1, links + view.links
    return Found(
        rows={content: dict(zip(FIELDS, row, strict=True)) for content, row in sums.items()},
        tallies=tallies,
        names=_names(client.hgetall(f"{at}names")),
        live=live,
        viewers=_viewers(views),
    )


def _watching(client: Any, at: str, now: float) -> list[tuple[str, View]]:
    fields = client.zrangebyscore(f"{at}last", f"({now - NOW_S!r}", f"({now + NOW_S!r}")
    fields = [field for field in fields if field.partition(":")[2] != NO_KEY]
    found = []
    for start in range(0, len(fields), 1000):
        part = fields[start : start + 1000]
        for field, text in zip(part, client.hmget(f"{at}views", part), strict=True):
            if text is not None and not (view := view_of(text)).final:
                found.append((field, view))
    return found


def _viewers(views: Iterable[tuple[str, View]]) -> int:
    return len({field.partition(":")[0] for field, _ in views})


def _names(found: dict[str, str]) -> dict[int, tuple[str, int | None]]:
    return {int(content): tuple(json.loads(text)) for content, text in found.items()}
