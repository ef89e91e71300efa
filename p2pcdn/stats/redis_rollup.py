"""Old minutes, hours and days end, and contents that nobody watches any more."""

from __future__ import annotations

import json
from typing import Any

from p2pcdn.stats import tidy
from p2pcdn.stats.fields import DAY, FIELDS, HOUR, MINUTE
from p2pcdn.stats.redis_tables import LEVELS, bucket, row_of
from p2pcdn.stats.tidy import KEEP_HOURS_S, KEEP_MINUTES_S, due
from p2pcdn.stats.write import OTHER

__all__ = ["maintain"]


def maintain(client: Any, pipe: Any, at: str, *, now: float, retention_days: int) -> bool:
    """Queue into `pipe` what is to be deleted; what is cheap when another has just done it.

    Returns:
        Whether there is anything to execute.
    """
    meta = _Meta(client, f"{at}meta")
    done = due(meta, now)
    if not meta.changed:
        return False
    pipe.multi()
    meta.write_to(pipe)
    if done:
        _end_buckets(client, pipe, at, now, retention_days)
        _end_contents(client, pipe, at, now - retention_days * DAY)
    return True


def _end_buckets(client: Any, pipe: Any, at: str, now: float, retention_days: int) -> None:
    there = client.pipeline(transaction=True)
    for res in LEVELS:
        there.zrange(f"{at}t:{res}", 0, -1)
    buckets = [
        (res, int(ts)) for res, found in zip(LEVELS, there.execute(), strict=True) for ts in found
    ]
    for res, ts in buckets:
        there.hlen(f"{at}{bucket(res, ts)}")
    rows = dict(zip(buckets, there.execute() if buckets else (), strict=True))
    minutes, hours, days = KEEP_MINUTES_S, KEEP_HOURS_S, retention_days * DAY
    while True:
        # Whole hours and days: of the narrow buckets in a wide one, all are kept or none.
        begins = {
            MINUTE: (now - minutes) // HOUR * HOUR,
            900: (now - minutes) // HOUR * HOUR,
            HOUR: (now - hours) // DAY * DAY,
            DAY: now - days,
        }
        kept = sum(n for (res, ts), n in rows.items() if ts >= begins[res])
        if kept <= tidy.MAX_ROWS or days <= DAY:
            break
        # Too many contents for the usual ages: keep everything, but less finely; then less.
        if minutes > HOUR:
            minutes //= 2
        elif hours:
            hours = hours // 2 if hours > DAY else 0
        else:
            days //= 2
    for res, ts in buckets:
        if ts < begins[res] or ts < now - days:
            pipe.delete(f"{at}{bucket(res, ts)}")
            pipe.zrem(f"{at}t:{res}", str(ts))


def _end_contents(client: Any, pipe: Any, at: str, before: float) -> None:
    """A content that is in no bucket gives its place to a new one; what it added to the counters
    that only ever grow is handed to "(others)"."""
    gone = {content for content, used in client.hgetall(f"{at}used").items() if int(used) < before}
    if not gone:
        return
    everything = f"{at}{bucket(0, 0)}"
    sums, tallies = row_of(client.hget(everything, str(OTHER)))
    for content in sorted(gone):
        row, kinds = row_of(client.hget(everything, content))
        sums = [a + b for a, b in zip(sums, row, strict=True)]
        for kind, names in kinds.items():
            known = tallies.setdefault(kind, {})
            for name, n in names.items():
                known[name] = known.get(name, 0) + n
    assert len(sums) == len(FIELDS)
    pipe.hset(everything, str(OTHER), json.dumps([sums, tallies]))
    pipe.hdel(everything, *gone)
    names = client.hgetall(f"{at}names")
    paths = [json.loads(names[content])[0] for content in gone if content in names]
    keys = [key for key, content in client.hgetall(f"{at}keys").items() if content in gone]
    for name, fields in (("used", gone), ("names", gone), ("contents", paths), ("keys", keys)):
        if fields:
            pipe.hdel(f"{at}{name}", *fields)


class _Meta:
    """See `tidy.Meta`; read at once, written with the rest."""

    def __init__(self, client: Any, at: str) -> None:
        self._at = at
        self._known: dict[str, float] = {k: float(v) for k, v in client.hgetall(at).items()}
        self.changed: dict[str, float | None] = {}

    def get(self, name: str) -> float | None:
        return self._known.get(name)

    def set(self, name: str, value: float | None) -> None:
        self.changed[name] = value

    def write_to(self, pipe: Any) -> None:
        for name, value in self.changed.items():
            if value is None:
                pipe.hdel(self._at, name)
            else:
                pipe.hset(self._at, name, repr(value))
