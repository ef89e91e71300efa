"""The SQLite file that the server workers of one machine share."""

from __future__ import annotations

from p2pcdn.stats.fields import FIELDS
from p2pcdn.stats.write import OTHER, SITE

__all__ = [
    "ALL_TIME",
    "FILE_NAME",
    "SCHEMA",
    "UPSERT_BUCKET",
    "UPSERT_TALLY",
]

FILE_NAME = "stats-1.sqlite3"
"""The number goes up when the tables change: an older version's file is left alone."""
ALL_TIME = 0
"""The resolution of the rows that only ever grow (at ts 0): what counters are made of."""

_COLUMNS = ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in FIELDS)

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS contents (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER
);
INSERT OR IGNORE INTO contents (id, path) VALUES ({SITE}, '(site)'), ({OTHER}, '(others)');
CREATE TABLE IF NOT EXISTS keys (
    key TEXT PRIMARY KEY, content INTEGER NOT NULL, seen INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS buckets (
    res INTEGER NOT NULL, ts INTEGER NOT NULL, content INTEGER NOT NULL, {_COLUMNS},
    PRIMARY KEY (res, ts, content)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tallies (
    res INTEGER NOT NULL, ts INTEGER NOT NULL, content INTEGER NOT NULL,
    kind TEXT NOT NULL, name TEXT NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (res, ts, content, kind, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS views (
    view BLOB NOT NULL, key TEXT NOT NULL, content INTEGER NOT NULL, seq INTEGER NOT NULL,
    first REAL NOT NULL, last REAL NOT NULL, final INTEGER NOT NULL, links INTEGER NOT NULL,
    held REAL NOT NULL, tags TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (view, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS views_last ON views (last);
CREATE TABLE IF NOT EXISTS ledger (
    content INTEGER NOT NULL, ts INTEGER NOT NULL, view BLOB NOT NULL,
    received INTEGER NOT NULL, sent INTEGER NOT NULL,
    PRIMARY KEY (content, ts, view)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS exported (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
"""

_NAMES = ", ".join(FIELDS)
_VALUES = ", ".join("?" * len(FIELDS))
_ADD = ", ".join(f"{name} = {name} + excluded.{name}" for name in FIELDS)

UPSERT_BUCKET = (
    f"INSERT INTO buckets (res, ts, content, {_NAMES}) VALUES (?, ?, ?, {_VALUES}) "
    f"ON CONFLICT DO UPDATE SET {_ADD}"
)
UPSERT_TALLY = (
    "INSERT INTO tallies (res, ts, content, kind, name, n) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET n = n + excluded.n"
)
