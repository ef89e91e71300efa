"""What one server worker learnt the others know, through restarts and through damage."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from p2pcdn.media import store as store_module
from p2pcdn.media.known import KnownUrls
from p2pcdn.media.store import SEEN, SERVED, Hashes, Store

ONE = Hashes(10, 65_536, b"\1" * 32, 1000.0)


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def other_process(path: Path, code: str) -> subprocess.Popen[str]:
    """Another server worker, that runs `code` with `store` open on the same file."""
    start = (
        "import sys, time\nfrom pathlib import Path\n"
        "from p2pcdn.media.store import *\n"
        f"store = Store(Path({str(path)!r}))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", start + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_hashes_survive_a_restart(tmp_path: Path) -> None:
    first = Store(tmp_path / "m.sqlite")
    first.put("file:/a", "1", ONE)
    first.close()
    second = Store(tmp_path / "m.sqlite")
    assert second.get("file:/a", "1") == ONE
    assert second.get("file:/a", "2") is None
    second.close()


def test_another_version_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    store = Store(tmp_path / "m.sqlite")
    store.put("file:/a", "1", ONE)
    store.put("file:/a", "2", ONE)
    assert store.get("file:/a", "1") is None
    store.close()


def test_a_url_that_one_worker_showed_is_known_to_the_others(tmp_path: Path) -> None:
    child = other_process(
        tmp_path / "m.sqlite",
        "from p2pcdn.media.known import KnownUrls\n"
        "known = KnownUrls(store)\nknown.note('/media/a.mp4', SEEN)\nknown.close()\n",
    )
    child.communicate()
    store = Store(tmp_path / "m.sqlite")
    known = KnownUrls(store)
    assert not known.here("/media/a.mp4")
    assert known.anywhere("/media/a.mp4")
    assert not known.anywhere("/media/b.mp4")
    store.close()


def test_no_url_is_readable_in_the_file_because_signed_ones_are_secrets(tmp_path: Path) -> None:
    store = Store(tmp_path / "m.sqlite")
    known = KnownUrls(store)
    known.note("/media/a.mp4?signature=verysecret", SEEN)
    known.close()
    store.close()
    for file in tmp_path.iterdir():
        assert b"verysecret" not in file.read_bytes()


def test_a_flood_of_requested_urls_does_not_push_out_what_pages_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_MOST_KNOWN", {SEEN: 50, SERVED: 20})
    monkeypatch.setattr(store_module, "_PRUNE_EVERY", 10)
    store = Store(tmp_path / "m.sqlite")
    store.remember((b"page%d" % index, SEEN) for index in range(30))
    for start in range(0, 1000, 10):
        store.remember((b"made up %d" % index, SERVED) for index in range(start, start + 10))
    assert all(store.known(b"page%d" % index) for index in range(30))
    with sqlite3.connect(tmp_path / "m.sqlite") as reader:
        rows = dict(reader.execute("SELECT how, count(*) FROM known GROUP BY how"))
    reader.close()
    assert rows[SERVED] <= 30
    store.close()


def test_the_flood_costs_this_process_no_more_than_its_bound() -> None:
    store = Store(None)
    known = KnownUrls(store)
    for index in range(30_000):
        known.note(f"/media/{index}.mp4", SERVED)
    assert sum(len(told) for told in known._told.values()) <= 20_000
    assert len(known._waiting) <= 5_000
    known.close()
    store.close()


def test_hashes_are_bounded_and_the_longest_unused_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_MOST_CONTENTS", 3)
    clock = Clock()
    store = Store(tmp_path / "m.sqlite", clock=clock)
    for name in "abc":
        clock.now += 1
        store.put(name, "1", ONE)
    clock.now += 7200
    assert store.get("a", "1") == ONE  # in use again
    store.put("d", "1", ONE)
    assert [name for name in "abcd" if store.get(name, "1")] == ["a", "c", "d"]
    store.close()


def test_one_process_of_the_machine_gets_the_job(tmp_path: Path) -> None:
    child = other_process(
        tmp_path / "m.sqlite",
        "print(store.claim('file:/a', '1', 10).mine, flush=True)\nsys.stdin.read()\n",
    )
    assert child.stdout is not None and child.stdin is not None
    assert child.stdout.readline() == "True\n"
    store = Store(tmp_path / "m.sqlite")
    assert not store.claim("file:/a", "1", 10).mine
    assert store.claim("file:/a", "2", 10).mine, "the file changed: a new job"
    assert store.claim("file:/b", "1", 10).mine
    child.communicate()
    store.close()


def test_a_job_whose_process_was_killed_is_taken_over(tmp_path: Path) -> None:
    child = other_process(
        tmp_path / "m.sqlite",
        "print(store.claim('file:/a', '1', 10).mine, flush=True)\nsys.stdin.read()\n",
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "True\n"
    child.kill()
    child.communicate()
    store = Store(tmp_path / "m.sqlite")
    assert store.claim("file:/a", "1", 10).mine
    store.close()


def test_a_job_whose_process_stands_still_is_taken_over(tmp_path: Path) -> None:
    clock = Clock()
    stuck = Store(tmp_path / "m.sqlite", clock=clock)
    other = Store(tmp_path / "m.sqlite", clock=clock)
    assert stuck.claim("file:/a", "1", 10).mine
    clock.now += 8
    assert not other.claim("file:/a", "1", 10).mine
    stuck.beat()
    clock.now += 8
    assert not other.claim("file:/a", "1", 10).mine
    clock.now += 8
    assert other.claim("file:/a", "1", 10).mine
    stuck.close()
    other.close()


def test_a_finished_job_is_free_again(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "m.sqlite"), Store(tmp_path / "m.sqlite")
    assert one.claim("file:/a", "1", 10).mine
    one.release("file:/a")
    assert other.claim("file:/a", "1", 10).mine
    other.put("file:/a", "1", ONE)
    assert one.claim("file:/a", "1", 10).mine
    one.close()
    other.close()


def test_a_corrupt_file_is_made_anew_while_in_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "m.sqlite"
    store = Store(path)
    for index in range(200):
        store.put(f"file:/{index}", "1", Hashes(10, 65_536, os.urandom(32), 0.0))
    store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)  # the schema on page 1 stays readable
    path.write_bytes(data)
    damaged = Store(path)
    with caplog.at_level(logging.WARNING, "p2pcdn"):
        assert damaged.get("file:/1", "1") is None
        damaged.put("file:/1", "2", ONE)
        damaged.put("file:/1", "2", ONE)
    assert damaged.get("file:/1", "2") == ONE
    damaged.close()
    again = Store(path)
    assert again.get("file:/1", "2") == ONE
    again.close()
    assert list(tmp_path.glob("*.corrupt-*"))
    assert caplog.records


def test_a_locked_file_is_no_error_to_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_module, "_LOCK_TIMEOUT_S", 0.01)
    path = tmp_path / "m.sqlite"
    store = Store(path)
    store.put("file:/a", "1", ONE)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    store.put("file:/b", "1", ONE)
    store.put("file:/b", "1", ONE)
    assert store.get("file:/a", "1") == ONE
    assert store.claim("file:/c", "1", 1).mine, "better done twice than never"
    holder.execute("ROLLBACK")
    holder.close()
    store.put("file:/b", "1", ONE)
    assert store.get("file:/b", "1") == ONE
    store.close()
    assert len(caplog.records) == 1, "said once"


def test_a_full_disk_is_no_error_to_anybody(tmp_path: Path) -> None:
    store = Store(tmp_path / "m.sqlite")
    store.put("file:/a", "1", ONE)
    assert store._database is not None
    store._database.execute("PRAGMA max_page_count = 1")
    for index in range(300):
        store.put(f"file:/{index}", "1", Hashes(10, 65_536, os.urandom(32), 0.0))
    assert store.get("file:/a", "1") == ONE
    store.close()


def test_a_folder_that_cannot_be_had_leaves_everything_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    store = Store(tmp_path / "file" / "m.sqlite")
    store.put("file:/a", "1", ONE)
    assert store.get("file:/a", "1") == ONE
    store.close()
    assert store.get("file:/a", "1") is None


def test_a_content_key_is_known_to_every_process_that_shares_the_file(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "hashes.sqlite3"), Store(tmp_path / "hashes.sqlite3")
    one.name("ab" * 16, "/media/film.mp4", 1234)
    assert other.named("ab" * 16) == ("/media/film.mp4", 1234)
    assert other.named("cd" * 16) is None
    one.close()
    other.close()
