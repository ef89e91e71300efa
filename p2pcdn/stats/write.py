"""One batch into the store, in one transaction: differences, bounds, confirmation.

Every server worker does this for what it heard itself. What several of them need to agree on
(the last cumulative numbers of a view, the open claims) is read and written inside the
transaction, so it does not matter which worker a report reaches.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping

from p2pcdn.stats.batch import Batch
from p2pcdn.stats.fields import FIELDS, ORIGIN, REPORTED, startup_bound
from p2pcdn.stats.ledger import TOLERANCE, WINDOW_S, Entry, match
from p2pcdn.stats.plausible import Limits, impossible
from p2pcdn.stats.report import NO_KEY, Part, display_path
from p2pcdn.stats.schema import ALL_TIME, MINUTE, OTHER, SITE, UPSERT_BUCKET, UPSERT_TALLY

__all__ = ["MAX_CONTENTS", "MAX_VIEWS", "VIEW_IDLE_S", "write"]

MAX_CONTENTS = 5_000
MAX_VIEWS = 100_000
VIEW_IDLE_S = 30 * 60
"""A view that is silent for this long is forgotten..."""
FORGOTTEN_S = 20 * 60
"""...and what a view says that was silent for longer than this is not counted a second time."""

_AT = {name: index for index, name in enumerate(FIELDS)}


def write(connection: sqlite3.Connection, batch: Batch, *, now: float, limits: Limits) -> None:
    """Add `batch` at time `now`; all of it or, when SQLite raises, nothing.

    Raises:
        sqlite3.Error: Locked, full, corrupt.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        _Writing(connection, now, limits).run(batch)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


class _Writing:
    def __init__(self, connection: sqlite3.Connection, now: float, limits: Limits) -> None:
        self._db = connection
        self._now = now
        self._ts = int(now) // MINUTE * MINUTE
        self._limits = limits
        self._sums: dict[tuple[int, int], list[int]] = {}
        self._tallies: dict[tuple[int, str, str], int] = defaultdict(int)
        self._paths: dict[str, int] = {}
        self._keys: dict[str, int] = {}
        self._open: dict[tuple[int, bytes], list[int]] = {}
        self._views = 0

    def run(self, batch: Batch) -> None:
        for target, numbers in batch.origin.items():
            content = self._content(display_path(target)) if target else OTHER
            for name, number in zip(ORIGIN, numbers, strict=True):
                self._add(content, name, number)
        for reason, number in batch.dropped.items():
            self._tallies[SITE, "dropped", reason] += number
        self._expire()
        if batch.parts:
            (self._views,) = self._db.execute("SELECT count(*) FROM views").fetchone()
        for part, size in batch.parts.values():
            self._part(part, size)
        self._confirm()
        self._save()

    # --- reports -----------------------------------------------------------------------

    def _part(self, part: Part, size: int) -> None:
        direct = part.key == NO_KEY
        content = SITE if direct else self._keyed(part.key, part.path, size)
        row = self._db.execute(
            "SELECT seq, first, state FROM views WHERE view = ? AND key = ?",
            (part.view, part.key),
        ).fetchone()
        if row is None:
            if self._views >= MAX_VIEWS:
                # Rather not counted than an honest view forgotten and counted twice.
                self._tallies[SITE, "dropped", "flood"] += 1
                return
            self._views += 1
            seq, first, state = -1, self._now, _fresh()
        else:
            seq, first, state = row[0], row[1], json.loads(row[2])
            if part.seq <= seq:
                return
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
        if row is None and part.seq > 1 and part.idle_s > FORGOTTEN_S:
            # Silent for so long that it was forgotten: all but the last bit is counted already.
            reason = "forgotten view"
        if reason is None:
            self._count(part, content, numbers, causes, state)
        else:
            # Nothing of this difference counts; what comes on top of it later may.
            self._tallies[SITE, "dropped", reason] += 1
            for name, n in numbers.items():
                excused[name] = excused.get(name, 0) + n - state["last"].get(name, 0)
            state["flags"] = {"view": 1, "startup": 1} if row is None else state["flags"]
            for name, n in causes.items():
                at = f"cause {name}"
                excused[at] = excused.get(at, 0) + n - state["causes"].get(name, 0)
        state["last"], state["causes"] = numbers, causes
        now_known = (
            content,
            part.seq,
            first,
            self._now,
            part.final,
            part.links,
            part.held,
            _dumps(part.tags),
            _dumps(state),
            part.view,
            part.key,
        )
        if row is None:
            self._db.execute(_INSERT_VIEW, now_known)
        else:
            self._db.execute(_UPDATE_VIEW, now_known)

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
                self._tallies[content, kind, name] += more
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
            self._tallies[content, "transport", part.transport] += 1
        if part.startup_ms is not None and not flags.get("startup"):
            flags["startup"] = 1
            startup = min(part.startup_ms, 600_000)
            self._add(content, "startups", 1)
            self._add(content, "startup_ms", int(startup))
            self._tallies[content, "startup", startup_bound(startup)] += 1

    # --- confirmation ------------------------------------------------------------------

    def _confirm(self) -> None:
        touched: dict[int, list[tuple[bytes, list[int]]]] = defaultdict(list)
        for (content, view), numbers in self._open.items():
            touched[content].append((view, numbers))
        for content, fresh in touched.items():
            entries = [
                Entry(*row)
                for row in self._db.execute(
                    "SELECT ts, view, received, sent FROM ledger WHERE content = ?", (content,)
                )
            ]
            entries += [Entry(self._ts, view, n[0], n[1]) for view, n in fresh]
            result = match(entries)
            for ts, credited in result.credited.items():
                self._add(content, "from_peers", credited, ts=ts)
            self._db.execute("DELETE FROM ledger WHERE content = ?", (content,))
            self._db.executemany(
                "INSERT INTO ledger VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "received = received + excluded.received, sent = sent + excluded.sent",
                [(content, e.ts, e.view, e.received, e.sent) for e in result.left],
            )

    def _expire(self) -> None:
        # abs(): rows that a wrong clock put into the future must go as well.
        late = "abs(? - ts) > ?"
        values = (self._now, WINDOW_S)
        for content, received in self._db.execute(
            f"SELECT content, sum(received) FROM ledger WHERE {late} GROUP BY content", values
        ).fetchall():
            self._add(content, "unconfirmed", received)
        self._db.execute(f"DELETE FROM ledger WHERE {late}", values)
        self._db.execute("DELETE FROM views WHERE last < ?", (self._now - VIEW_IDLE_S,))
        # The clock was set back: a view stays as old as it was, or it would count twice.
        self._db.execute(
            "UPDATE views SET first = first - (last - :now), last = :now WHERE last > :now + 60",
            {"now": self._now},
        )

    # --- contents ----------------------------------------------------------------------

    def _keyed(self, key: str, path: str, size: int) -> int:
        known = self._keys.get(key)
        if known is not None:
            return known
        row = self._db.execute("SELECT content FROM keys WHERE key = ?", (key,)).fetchone()
        if row is not None:
            self._keys[key] = int(row[0])
            return int(row[0])
        content = self._content(path if path.startswith("/") else f"content {key[:12]}")
        if content != OTHER:
            self._db.execute("INSERT INTO keys VALUES (?, ?, ?)", (key, content, int(self._now)))
            self._db.execute("UPDATE contents SET size = ? WHERE id = ?", (size, content))
        return content

    def _content(self, path: str) -> int:
        known = self._paths.get(path)
        if known is None:
            row = self._db.execute("SELECT id FROM contents WHERE path = ?", (path,)).fetchone()
            if row is None:
                (count,) = self._db.execute("SELECT count(*) FROM contents").fetchone()
                if count >= MAX_CONTENTS:
                    known = OTHER
                else:
                    made = self._db.execute("INSERT INTO contents (path) VALUES (?)", (path,))
                    assert made.lastrowid is not None
                    known = made.lastrowid
            else:
                known = int(row[0])
            self._paths[path] = known
        return known

    # --- sums --------------------------------------------------------------------------

    def _add(self, content: int, name: str, number: int, *, ts: int | None = None) -> None:
        if number:
            at = (self._ts if ts is None else ts, content)
            row = self._sums.get(at)
            if row is None:
                row = self._sums[at] = [0] * len(FIELDS)
            row[_AT[name]] += number

    def _save(self) -> None:
        for (ts, content), row in self._sums.items():
            self._db.execute(UPSERT_BUCKET, (MINUTE, ts, content, *row))
            self._db.execute(UPSERT_BUCKET, (ALL_TIME, 0, content, *row))
        for (content, kind, name), n in self._tallies.items():
            self._db.execute(UPSERT_TALLY, (MINUTE, self._ts, content, kind, name, n))
            self._db.execute(UPSERT_TALLY, (ALL_TIME, 0, content, kind, name, n))


_dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_COLUMNS = ("content", "seq", "first", "last", "final", "links", "held", "tags", "state")
_INSERT_VIEW = f"INSERT INTO views ({', '.join(_COLUMNS)}, view, key) VALUES ({'?, ' * 10}?)"
_UPDATE_VIEW = f"UPDATE views SET {' = ?, '.join(_COLUMNS)} = ? WHERE view = ? AND key = ?"
_MAX_DIRECT = 200


def _impossible_direct(causes: Mapping[str, int]) -> str | None:
    return "more videos than a page has" if sum(causes.values()) > _MAX_DIRECT else None


def _fresh() -> dict[str, dict[str, int]]:
    return {"last": {}, "excused": {}, "causes": {}, "flags": {}}
