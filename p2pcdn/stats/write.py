"""What a batch adds to the statistics: differences, bounds, confirmation. Pure but for `Tables`.

Every server worker does this for what it heard itself. What several of them need to agree on
(the last cumulative numbers of a view, the open claims) is read and written by way of `Tables`,
inside one transaction of the store, so it does not matter which worker, or which machine, a
report reaches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from p2pcdn.stats.batch import Batch, Heard
from p2pcdn.stats.fields import FIELDS, MINUTE, ORIGIN, REPORTED, startup_bound
from p2pcdn.stats.ledger import TOLERANCE, Entry, match
from p2pcdn.stats.plausible import Limits, impossible
from p2pcdn.stats.report import NO_KEY, Part, display_path

__all__ = [
    "MAX_CONTENTS",
    "MAX_VIEWS",
    "OTHER",
    "SITE",
    "VIEW_IDLE_S",
    "Tables",
    "View",
    "add_batch",
]

SITE = 0
"""Content 0: what belongs to no content, e.g. reports that were dropped."""
OTHER = 1
"""Content 1: everything above the ceiling on distinct contents."""

MAX_CONTENTS = 5_000
MAX_VIEWS = 100_000
VIEW_IDLE_S = 30 * 60
"""A view that is silent for this long is forgotten..."""
FORGOTTEN_S = 20 * 60
"""...and what a view says that was silent for longer than this is not counted a second time."""
_SET_BACK_S = 60.0
_AWAY_S = 20 * 60.0  # a store that can be written to is tidied every ten minutes

_AT = {name: index for index, name in enumerate(FIELDS)}


@dataclass(slots=True)
class View:
    """What is known of one page view and content."""

    content: int
    seq: int
    first: float
    last: float
    final: bool
    links: int
    held: float
    tags: tuple[tuple[str, int], ...]
    state: dict[str, dict[str, int]] = field(
        default_factory=lambda: {"last": {}, "excused": {}, "causes": {}, "flags": {}}
    )


class Tables(Protocol):
    """A store within one transaction. Both stores pass one suite of tests."""

    def view(self, view: bytes, key: str) -> View | None: ...

    def count_views(self) -> int: ...

    def keep_view(self, view: bytes, key: str, row: View, *, new: bool) -> None: ...

    def forget_views(self, before: float) -> None:
        """Forget views whose last report was before that time."""

    def shift_views(self, by_s: float) -> None:
        """Move the last report of all views; back in time their first one, too."""

    def written(self, now: float) -> float | None:
        """When anybody wrote last; from then on it is `now`."""

    def content_of(self, key: str) -> int | None:
        """The content of a content key."""

    def keep_key(self, key: str, content: int, size: int, now: float) -> None: ...

    def content(self, path: str) -> int:
        """The number of a path; a new one up to `MAX_CONTENTS`, else `OTHER`."""

    def claims(self, content: int) -> Iterable[Entry]:
        """What is open of a content (`ledger.py`)."""

    def keep_claims(self, content: int, entries: Iterable[Entry]) -> None: ...

    def end_claims(self, now: float) -> Iterable[tuple[int, int]]:
        """Drop entries older than `WINDOW_S`, and those of a wrong clock's future: content and
        the bytes that nobody said that he sent."""

    def add(self, ts: int, content: int, row: list[int]) -> None:
        """Add to the sums (`FIELDS`) of the minute at `ts` and of all time."""

    def tally(self, ts: int, content: int, kind: str, name: str, n: int) -> None: ...


def add_batch(tables: Tables, batch: Batch, *, now: float, limits: Limits) -> set[str]:
    """Add `batch` at time `now`; returns why parts of it were not believed."""
    adding = _Adding(tables, now, limits)
    adding.run(batch)
    return {name for _, kind, name in adding.tallies if kind == "dropped"}


class _Adding:
    def __init__(self, tables: Tables, now: float, limits: Limits) -> None:
        self._tables = tables
        self._now = now
        self._ts = int(now) // MINUTE * MINUTE
        self._limits = limits
        self._sums: dict[tuple[int, int], list[int]] = {}
        self.tallies: dict[tuple[int, str, str], int] = defaultdict(int)
        self._open: dict[tuple[int, bytes], list[int]] = {}
        self._views = 0

    def run(self, batch: Batch) -> None:
        for target, numbers in batch.origin.items():
            content = self._tables.content(display_path(target)) if target else OTHER
            for name, number in zip(ORIGIN, numbers, strict=True):
                self._add(content, name, number)
        for reason, number in batch.dropped.items():
            self.tallies[SITE, "dropped", reason] += number
        for content, received in self._tables.end_claims(self._now):
            self._add(content, "unconfirmed", received)
        self._keep_age()
        if batch.parts:
            self._views = self._tables.count_views()
        for heard in batch.parts.values():
            self._part(heard)
        # After the reports: a view whose reports waited for the store was not silent.
        self._tables.forget_views(self._now - VIEW_IDLE_S)
        self._confirm()
        for (ts, content), row in self._sums.items():
            self._tables.add(ts, content, row)
        for (content, kind, name), n in self.tallies.items():
            self._tables.tally(self._ts, content, kind, name, n)

    def _keep_age(self) -> None:
        """A clock that jumps, or a store that nobody could write to, makes no view older: it
        would be forgotten, and its past counted a second time."""
        before = self._tables.written(self._now)
        if before is not None and not -_SET_BACK_S < self._now - before < _AWAY_S:
            self._tables.shift_views(self._now - before)

    # --- reports -----------------------------------------------------------------------

    def _part(self, heard: Heard) -> None:
        part, size = heard.part, heard.size
        direct = part.key == NO_KEY
        content = SITE if direct else self._keyed(part.key, part.path, size)
        row = self._tables.view(part.view, part.key)
        new = row is None
        if row is None:
            if self._views >= MAX_VIEWS:
                # Rather not counted than an honest view forgotten and counted twice.
                self.tallies[SITE, "dropped", "flood"] += 1
                return
            self._views += 1
            first = min(self._now, heard.since)
            row = View(content, -1, first, self._now, False, 0, 0.0, ())
        elif part.seq <= row.seq:
            return
        first, state = row.first, row.state
        numbers = {n: max(part.numbers[n], state["last"].get(n, 0)) for n in part.numbers}
        causes = {
            name: max(part.causes.get(name, 0), state["causes"].get(name, 0))
            for name in {*part.causes, *state["causes"]}
        }
        excused = state["excused"]
        reason = (
            _impossible_direct(causes)
            if direct
            else impossible(
                {name: n - excused.get(name, 0) for name, n in numbers.items()},
                {name: n - excused.get(f"cause {name}", 0) for name, n in causes.items()},
                size=size,
                elapsed_s=self._now - first,
                limits=self._limits,
            )
        )
        silent_s = heard.idle_s + max(0.0, self._now - heard.since)
        if new and heard.first_seq > 1 and silent_s > FORGOTTEN_S:
            # Silent for so long that it was forgotten: all but the last bit is counted already.
            reason = "forgotten view"
        if reason is None:
            self._count(part, content, numbers, causes, state)
        else:
            # Nothing of this difference counts; what comes on top of it later may.
            self.tallies[SITE, "dropped", reason] += 1
            for name, n in numbers.items():
                excused[name] = excused.get(name, 0) + n - state["last"].get(name, 0)
            state["flags"] = {"view": 1, "startup": 1} if new else state["flags"]
            for name, n in causes.items():
                at = f"cause {name}"
                excused[at] = excused.get(at, 0) + n - state["causes"].get(name, 0)
        state["last"], state["causes"] = numbers, causes
        row.content, row.seq, row.last, row.final = content, part.seq, self._now, part.final
        row.links, row.held, row.tags = part.links, part.held, part.tags
        self._tables.keep_view(part.view, part.key, row, new=new)

    def _count(
        self,
        part: Part,
        content: int,
        numbers: Mapping[str, int],
        causes: Mapping[str, int],
        state: dict[str, dict[str, int]],
    ) -> None:
        kind = "direct" if part.key == NO_KEY else "cause"
        for name, number in causes.items():
            if more := number - state["causes"].get(name, 0):
                self.tallies[content, kind, name] += more
        if part.key == NO_KEY:
            return
        last, flags = state["last"], state["flags"]
        for name in REPORTED:
            self._add(content, name, numbers[name] - last.get(name, 0))
        received = numbers["from_peers"] - last.get("from_peers", 0)
        sent = numbers["uploaded"] - last.get("uploaded", 0)
        if received or sent:
            entry = self._open.setdefault((content, part.view), [0, 0])
            entry[0] += received
            entry[1] += int(sent * TOLERANCE)
        watched = any(numbers[n] for n in ("from_peers", "from_origin", "from_cache", "watched_s"))
        if watched and not flags.get("view"):
            flags["view"] = 1
            self._add(content, "views", 1)
            self.tallies[content, "transport", part.transport] += 1
        if part.startup_ms is not None and not flags.get("startup"):
            flags["startup"] = 1
            startup = min(part.startup_ms, 600_000)
            self._add(content, "startups", 1)
            self._add(content, "startup_ms", int(startup))
            self.tallies[content, "startup", startup_bound(startup)] += 1

    def _confirm(self) -> None:
        touched: dict[int, list[tuple[bytes, list[int]]]] = defaultdict(list)
        for (content, view), numbers in self._open.items():
            touched[content].append((view, numbers))
        for content, fresh in touched.items():
            entries = [*self._tables.claims(content)]
            entries += [Entry(self._ts, view, n[0], n[1]) for view, n in fresh]
            result = match(entries)
            for ts, credited in result.credited.items():
                self._add(content, "from_peers", credited, ts=ts)
            self._tables.keep_claims(content, result.left)

    def _keyed(self, key: str, path: str, size: int) -> int:
        content = self._tables.content_of(key)
        if content is None:
            content = self._tables.content(path if path.startswith("/") else f"content {key[:12]}")
            if content != OTHER:
                self._tables.keep_key(key, content, size, self._now)
        return content

    def _add(self, content: int, name: str, number: int, *, ts: int | None = None) -> None:
        if number:
            at = (self._ts if ts is None else ts, content)
            row = self._sums.get(at)
            if row is None:
                row = self._sums[at] = [0] * len(FIELDS)
            row[_AT[name]] += number


_MAX_DIRECT = 200


def _impossible_direct(causes: Mapping[str, int]) -> str | None:
    return "more videos than a page has" if sum(causes.values()) > _MAX_DIRECT else None
