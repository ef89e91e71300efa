"""`write.Tables` in SQLite, inside one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable

from p2pcdn.stats import write
from p2pcdn.stats.batch import Batch
from p2pcdn.stats.fields import MINUTE
from p2pcdn.stats.ledger import WINDOW_S, Entry
from p2pcdn.stats.plausible import Limits
from p2pcdn.stats.sqlite_schema import ALL_TIME, UPSERT_BUCKET, UPSERT_TALLY
from p2pcdn.stats.write import OTHER, View, add_batch

__all__ = ["write_batch"]


def write_batch(
    connection: sqlite3.Connection, batch: Batch, *, now: float, limits: Limits
) -> set[str]:
    """Add `batch` at time `now`; all of it or, when SQLite raises, nothing.

    Returns:
        Why parts of it were not believed.

    Raises:
        sqlite3.Error: Locked, full, corrupt.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        dropped = add_batch(_Tables(connection), batch, now=now, limits=limits)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return dropped


class _Tables:
    """See `write.Tables`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._paths: dict[str, int] = {}
        self._keys: dict[str, int] = {}

    # --- views -------------------------------------------------------------------------

    def view(self, view: bytes, key: str) -> View | None:
        row = self._db.execute(
            "SELECT content, seq, first, last, final, links, held, state FROM views "
            "WHERE view = ? AND key = ?",
            (view, key),
        ).fetchone()
        if row is None:
            return None
        content, seq, first, last, final, links, held, state = row
        # Whoever asks replaces the links' names.
        return View(content, seq, first, last, bool(final), links, held, (), json.loads(state))

    def count_views(self) -> int:
        (number,) = self._db.execute("SELECT count(*) FROM views").fetchone()
        return int(number)

    def keep_view(self, view: bytes, key: str, row: View, *, new: bool) -> None:
        values = (
            row.content,
            row.seq,
            row.first,
            row.last,
            row.final,
            row.links,
            row.held,
            _dumps(row.tags),
            _dumps(row.state),
            view,
            key,
        )
        self._db.execute(_INSERT_VIEW if new else _UPDATE_VIEW, values)

    def forget_views(self, before: float) -> None:
        self._db.execute("DELETE FROM views WHERE last < ?", (before,))

    def shift_views(self, by_s: float) -> None:
        values = (min(by_s, 0.0), by_s)
        self._db.execute("UPDATE views SET first = first + ?, last = last + ?", values)

    def written(self, now: float) -> float | None:
        row = self._db.execute("SELECT value FROM meta WHERE name = 'written'").fetchone()
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('written', ?)", (now,))
        return None if row is None else float(row[0])

    # --- contents ----------------------------------------------------------------------

    def content_of(self, key: str) -> int | None:
        known = self._keys.get(key)
        if known is None:
            row = self._db.execute("SELECT content FROM keys WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            known = self._keys[key] = int(row[0])
        return known

    def keep_key(self, key: str, content: int, size: int, now: float) -> None:
        self._keys[key] = content
        self._db.execute("INSERT INTO keys VALUES (?, ?, ?)", (key, content, int(now)))
        self._db.execute("UPDATE contents SET size = ? WHERE id = ?", (size, content))

    def content(self, path: str) -> int:
        known = self._paths.get(path)
        if known is None:
            row = self._db.execute("SELECT id FROM contents WHERE path = ?", (path,)).fetchone()
            if row is not None:
                known = int(row[0])
            else:
                (count,) = self._db.execute("SELECT count(*) FROM contents").fetchone()
                if count >= write.MAX_CONTENTS:
                    known = OTHER
                else:
                    made = self._db.execute("INSERT INTO contents (path) VALUES (?)", (path,))
                    assert made.lastrowid is not None
                    known = made.lastrowid
            self._paths[path] = known
        return known

    # --- claims ------------------------------------------------------------------------

    def claims(self, content: int) -> Iterable[Entry]:
        return [
            Entry(*row)
            for row in self._db.execute(
                "SELECT ts, view, received, sent FROM ledger WHERE content = ?", (content,)
            )
        ]

    def keep_claims(self, content: int, entries: Iterable[Entry]) -> None:
        self._db.execute("DELETE FROM ledger WHERE content = ?", (content,))
        self._db.executemany(
            "INSERT INTO ledger VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "received = received + excluded.received, sent = sent + excluded.sent",
            [(content, e.ts, e.view, e.received, e.sent) for e in entries],
        )

    def end_claims(self, now: float) -> Iterable[tuple[int, int]]:
        late = "abs(? - ts) > ?"
        ended = self._db.execute(
            f"SELECT content, sum(received) FROM ledger WHERE {late} GROUP BY content",
            (now, WINDOW_S),
        ).fetchall()
        self._db.execute(f"DELETE FROM ledger WHERE {late}", (now, WINDOW_S))
        return ended

    # --- sums --------------------------------------------------------------------------

    def add(self, ts: int, content: int, row: list[int]) -> None:
        self._db.execute(UPSERT_BUCKET, (MINUTE, ts, content, *row))
        self._db.execute(UPSERT_BUCKET, (ALL_TIME, 0, content, *row))

    def tally(self, ts: int, content: int, kind: str, name: str, n: int) -> None:
        self._db.execute(UPSERT_TALLY, (MINUTE, ts, content, kind, name, n))
        self._db.execute(UPSERT_TALLY, (ALL_TIME, 0, content, kind, name, n))


_dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_COLUMNS = ("content", "seq", "first", "last", "final", "links", "held", "tags", "state")
_INSERT_VIEW = f"INSERT INTO views ({', '.join(_COLUMNS)}, view, key) VALUES ({'?, ' * 10}?)"
_UPDATE_VIEW = f"UPDATE views SET {' = ?, '.join(_COLUMNS)} = ? WHERE view = ? AND key = ?"
