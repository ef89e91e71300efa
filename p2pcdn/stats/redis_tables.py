"""`write.Tables` in Redis: read before, changed in memory, written in one MULTI.

Keys, below a prefix of the site's own (all values are text):

    lock             who writes now
    by:<process>     the last batch that this process has written
    names            hash   content -> [path, bytes]
    contents, next   hash   path -> content; the next number
    keys             hash   content key -> content
    used             hash   content -> when it was counted last
    views, last      hash   view:key -> `View`; sorted set by its last report
    open, open:<c>   sorted set  content -> its oldest claim; hash  ts:view -> received,sent
    b:<res>:<ts>     hash   content -> [sums by column, {kind: {name: n}}]
    t:<res>          sorted set  the buckets there are
    meta             hash   times, see `tidy.Meta`

Each minute is added to its quarter of an hour, hour and day at once, so that nothing has to be
rolled up and a range of any length is read from few buckets; `b:0:0` is all time.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from p2pcdn.stats import write
from p2pcdn.stats.batch import Batch
from p2pcdn.stats.fields import DAY, FIELDS, HOUR, MINUTE
from p2pcdn.stats.ledger import WINDOW_S, Entry
from p2pcdn.stats.report import NO_KEY, display_path
from p2pcdn.stats.write import OTHER, SITE, View

__all__ = ["LEVELS", "RedisTables", "Row", "bucket", "row_of", "view_of"]

LEVELS = (MINUTE, 900, HOUR, DAY)
_SESSIONS_S = 2 * HOUR
"""What is kept of page views goes by itself after this time, when nobody is there to tidy up."""

Row = tuple[list[int], dict[str, dict[str, int]]]
"""Sums by column, and numbers by kind and name."""

_dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def bucket(res: int, ts: int) -> str:
    """The key of a bucket, below the prefix."""
    return f"b:{res}:{ts}"


def row_of(text: str | None) -> Row:
    """One content in a bucket."""
    if text is None:
        return [0] * len(FIELDS), {}
    sums, tallies = json.loads(text)
    return sums, tallies


def view_of(text: str) -> View:
    """A view as it is kept."""
    content, seq, first, last, final, links, held, tags, state = json.loads(text)
    return View(content, seq, first, last, bool(final), links, held, tags, state)


class RedisTables:
    """See `write.Tables`. Only while the lock is held.

    Args:
        client: Reads; `write_to` gets the pipeline that writes.
        prefix: Of all keys.
        ttl_s: After this time without a write everything goes by itself.
    """

    def __init__(self, client: Any, prefix: str, *, ttl_s: int) -> None:
        self._client = client
        self._at = prefix
        self._ttl_s = ttl_s
        self._views: dict[str, View] = {}
        self._kept: set[str] = set()
        self._forgotten: set[str] = set()
        self._number_of_views = 0
        self._keys: dict[str, int] = {}
        self._paths: dict[str, int] = {}
        self._names: dict[int, list[Any]] = {}
        self._next = 2
        self._contents = 0
        self._new_keys: dict[str, int] = {}
        self._touched: set[int] = set()
        self._oldest: dict[int, float] = {}
        self._claims: dict[int, list[Entry]] = {}
        self._changed_claims: set[int] = set()
        self._rows: dict[tuple[int, int, int], Row] = defaultdict(lambda: row_of(None))
        self._written: float | None = None
        self._now = 0.0

    def load(self, batch: Batch, by: str) -> bool:
        """Read what a batch needs; False: the store has it already.

        Args:
            by: The process that the batch is from.
        """
        parts = [heard.part for heard in batch.parts.values()]
        views = [f"{part.view.hex()}:{part.key}" for part in parts]
        keys = sorted({part.key for part in parts} - {NO_KEY})
        paths = {display_path(target) for target in batch.origin if target}
        paths |= {p.path if p.path.startswith("/") else f"content {p.key[:12]}" for p in parts}
        at, names = self._at, sorted(paths)
        pipe = self._client.pipeline(transaction=True)
        pipe.get(f"{at}by:{by}")
        pipe.hlen(f"{at}views")
        pipe.hlen(f"{at}contents")
        pipe.get(f"{at}next")
        pipe.hget(f"{at}meta", "written")
        pipe.zrange(f"{at}open", 0, -1, withscores=True)
        for name, fields in (("views", views), ("keys", keys), ("contents", names)):
            for start in range(0, len(fields), 1000):
                pipe.hmget(f"{at}{name}", fields[start : start + 1000])
        found = iter(pipe.execute())
        last = next(found)
        if last == batch.id:
            return False
        self._number_of_views = next(found)
        self._contents = next(found)
        self._next = int(next(found) or 2)
        written = next(found)
        self._written = None if written is None else float(written)
        self._oldest = {int(content): score for content, score in next(found)}
        values = [value for answer in found for value in answer]
        for field, text in zip(views, values[: len(views)], strict=True):
            if text is not None:
                self._views[field] = view_of(text)
        for key, text in zip(keys, values[len(views) : len(views) + len(keys)], strict=True):
            if text is not None:
                self._keys[key] = int(text)
        for path, text in zip(names, values[len(views) + len(keys) :], strict=True):
            if text is not None:
                self._paths[path] = int(text)
        self._read_claims({*self._keys.values()} & {*self._oldest})
        return True

    # --- views -------------------------------------------------------------------------

    def view(self, view: bytes, key: str) -> View | None:
        return self._views.get(f"{view.hex()}:{key}")

    def count_views(self) -> int:
        return self._number_of_views

    def keep_view(self, view: bytes, key: str, row: View, *, new: bool) -> None:
        field = f"{view.hex()}:{key}"
        self._views[field] = row
        self._kept.add(field)
        self._touched.add(row.content)

    def forget_views(self, before: float) -> None:
        silent = self._client.zrangebyscore(f"{self._at}last", "-inf", f"({before!r}")
        self._forgotten = {field for field in silent if field not in self._kept}

    def shift_views(self, by_s: float) -> None:
        for field, text in self._client.hgetall(f"{self._at}views").items():
            row = self._views.setdefault(field, view_of(text))
            row.first += min(by_s, 0.0)
            row.last += by_s
            self._kept.add(field)

    def written(self, now: float) -> float | None:
        self._now = now
        return self._written

    # --- contents ----------------------------------------------------------------------

    def content_of(self, key: str) -> int | None:
        return self._keys.get(key)

    def keep_key(self, key: str, content: int, size: int, now: float) -> None:
        self._keys[key] = self._new_keys[key] = content
        name = self._names.get(content)
        if name is None:
            (text,) = self._client.hmget(f"{self._at}names", [str(content)])
            name = self._names[content] = json.loads(text) if text else ["(unknown)", None]
        name[1] = size

    def content(self, path: str) -> int:
        known = self._paths.get(path)
        if known is None:
            if self._contents + 2 >= write.MAX_CONTENTS:  # the site's own, and the others'
                known = OTHER
            else:
                known, self._next, self._contents = self._next, self._next + 1, self._contents + 1
                self._names[known] = [path, None]
                self._touched.add(known)
            self._paths[path] = known
        return known

    # --- claims ------------------------------------------------------------------------

    def claims(self, content: int) -> Iterable[Entry]:
        if content not in self._claims:
            self._read_claims({content})
        return self._claims[content]

    def _read_claims(self, contents: Iterable[int]) -> None:
        wanted = sorted(contents)
        pipe = self._client.pipeline(transaction=True)
        for content in wanted:
            pipe.hgetall(f"{self._at}open:{content}")
        for content, found in zip(wanted, pipe.execute() if wanted else (), strict=True):
            entries = self._claims[content] = []
            for field, value in found.items():
                ts, _, view = field.partition(":")
                received, _, sent = value.partition(",")
                entries.append(Entry(int(ts), bytes.fromhex(view), int(received), int(sent)))

    def keep_claims(self, content: int, entries: Iterable[Entry]) -> None:
        self._claims[content] = list(entries)
        self._changed_claims.add(content)

    def end_claims(self, now: float) -> Iterable[tuple[int, int]]:
        for content, oldest in self._oldest.items():
            if abs(now - oldest) > WINDOW_S:
                kept, ended = [], 0
                for entry in self.claims(content):
                    if abs(now - entry.ts) > WINDOW_S:
                        ended += entry.received
                    else:
                        kept.append(entry)
                self.keep_claims(content, kept)
                yield content, ended

    # --- sums --------------------------------------------------------------------------

    def add(self, ts: int, content: int, row: list[int]) -> None:
        for at in _buckets(ts):
            sums = self._rows[*at, content][0]
            for index, n in enumerate(row):
                sums[index] += n

    def tally(self, ts: int, content: int, kind: str, name: str, n: int) -> None:
        for at in _buckets(ts):
            names = self._rows[*at, content][1].setdefault(kind, {})
            names[name] = names.get(name, 0) + n

    # --- writing -----------------------------------------------------------------------

    def write_to(self, pipe: Any, batch: Batch, by: str) -> None:
        """Queue everything that changed."""
        at = self._at
        self._add_stored()
        pipe.set(f"{at}by:{by}", batch.id, ex=self._ttl_s)
        pipe.hset(f"{at}meta", "written", repr(self._now))
        rows: dict[tuple[int, int], dict[str, str]] = defaultdict(dict)
        for (res, ts, content), row in self._rows.items():
            rows[res, ts][str(content)] = _dumps(row)
            self._touched.add(content)
        for (res, ts), mapping in rows.items():
            pipe.hset(f"{at}{bucket(res, ts)}", mapping=mapping)
            pipe.expire(f"{at}{bucket(res, ts)}", self._ttl_s)
            pipe.zadd(f"{at}t:{res}", {str(ts): ts})
        self._write_views(pipe)
        self._write_claims(pipe)
        if self._names:
            names = {str(content): _dumps(name) for content, name in self._names.items()}
            pipe.hset(f"{at}names", mapping=names)
            paths = {name[0]: str(content) for content, name in self._names.items()}
            pipe.hset(f"{at}contents", mapping=paths)
            pipe.set(f"{at}next", self._next)
        if self._new_keys:
            pipe.hset(f"{at}keys", mapping={k: str(c) for k, c in self._new_keys.items()})
        used = {str(content): int(self._now) for content in self._touched - {SITE, OTHER}}
        if used:
            pipe.hset(f"{at}used", mapping=used)
        lasting = ("names", "contents", "next", "keys", "used", "meta")
        for name in (*lasting, *(f"t:{res}" for res in (0, *LEVELS))):
            pipe.expire(f"{at}{name}", self._ttl_s)
        for name in ("views", "last", "open"):
            pipe.expire(f"{at}{name}", _SESSIONS_S)

    def _add_stored(self) -> None:
        """What the buckets already hold, on top of what is new."""
        rows = list(self._rows.items())
        pipe = self._client.pipeline(transaction=True)
        for (res, ts, content), _ in rows:
            pipe.hget(f"{self._at}{bucket(res, ts)}", str(content))
        for (_, (sums, tallies)), text in zip(rows, pipe.execute() if rows else (), strict=True):
            before, told = row_of(text)
            for index, n in enumerate(before):
                sums[index] += n
            for kind, names in told.items():
                known = tallies.setdefault(kind, {})
                for name, n in names.items():
                    known[name] = known.get(name, 0) + n

    def _write_views(self, pipe: Any) -> None:
        forgotten = sorted(self._forgotten - self._kept)
        if forgotten:
            pipe.hdel(f"{self._at}views", *forgotten)
            pipe.zrem(f"{self._at}last", *forgotten)
        if self._kept:
            kept = [(field, self._views[field]) for field in self._kept]
            mapping = {
                field: _dumps(
                    (v.content, v.seq, v.first, v.last, v.final, v.links, v.held, v.tags, v.state)
                )
                for field, v in kept
            }
            pipe.hset(f"{self._at}views", mapping=mapping)
            pipe.zadd(f"{self._at}last", {field: v.last for field, v in kept})

    def _write_claims(self, pipe: Any) -> None:
        for content in self._changed_claims:
            at, claims = f"{self._at}open:{content}", self._claims[content]
            pipe.delete(at)
            if not claims:
                pipe.zrem(f"{self._at}open", str(content))
                continue
            merged: dict[str, list[int]] = defaultdict(lambda: [0, 0])
            for entry in claims:
                numbers = merged[f"{entry.ts}:{entry.view.hex()}"]
                numbers[0] += entry.received
                numbers[1] += entry.sent
            pipe.hset(at, mapping={field: f"{n[0]},{n[1]}" for field, n in merged.items()})
            pipe.expire(at, _SESSIONS_S)
            pipe.zadd(f"{self._at}open", {str(content): min(entry.ts for entry in claims)})


def _buckets(ts: int) -> Iterable[tuple[int, int]]:
    yield 0, 0
    for res in LEVELS:
        yield res, ts // res * res
