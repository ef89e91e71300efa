"""The shared SQLite file: several processes, a corrupt file, a locked or read-only one."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from p2pcdn import sqlite
from p2pcdn.sqlite import open_database

ROOT = Path(__file__).parents[1]
SCHEMA = "CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, value INTEGER);"
_WRITER = """
import sys
from pathlib import Path
from p2pcdn.sqlite import open_database
database = open_database(Path(sys.argv[1]), sys.argv[2])
for number in range(50):
    database.execute("INSERT INTO kept VALUES (?, ?)", (f"{sys.argv[3]}-{number}", number))
"""


def _put(path: Path) -> None:
    with closing(open_database(path, SCHEMA)) as database:
        database.execute("INSERT INTO kept VALUES ('a', 1)")


def _rows(database: sqlite3.Connection) -> list[tuple[str, int]]:
    return database.execute("SELECT * FROM kept").fetchall()


def _in_memory(database: sqlite3.Connection) -> bool:
    return database.execute("PRAGMA database_list").fetchone()[2] == ""


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "kept.sqlite3"
    _put(path)
    with closing(open_database(path, SCHEMA)) as database:
        assert _rows(database) == [("a", 1)]
        assert not _in_memory(database)


def test_a_new_folder_is_for_this_user_alone(tmp_path: Path) -> None:
    _put(tmp_path / "data" / "kept.sqlite3")
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite3"
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(path), SCHEMA, str(n)])
        for n in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0] * 4
    with closing(open_database(path, SCHEMA)) as database:
        assert len(_rows(database)) == 200


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite3"
    _put(path)
    with closing(open_database(path, SCHEMA)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO kept VALUES ('b', 2)")
        with closing(open_database(path, SCHEMA, timeout_s=0)) as reader:
            assert not _in_memory(reader)
            assert _rows(reader) == [("a", 1)]
        writer.execute("COMMIT")


def test_any_thread_may_use_it(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "kept.sqlite3", SCHEMA)) as database:
        thread = threading.Thread(
            target=database.execute, args=("INSERT INTO kept VALUES ('a', 1)",)
        )
        thread.start()
        thread.join()
        assert _rows(database) == [("a", 1)]


@pytest.mark.parametrize("damage", ["not a database", "a torn page", "a torn schema"])
def test_a_corrupt_file_is_moved_aside_and_the_site_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path = tmp_path / "kept.sqlite3"
    _put(path)
    if damage == "not a database":
        path.write_bytes(b"<html>" * 1000)
    else:
        image = bytearray(path.read_bytes())
        start = 0 if damage == "a torn page" else 100
        image[start : start + 60] = b"\xa5" * 60
        path.write_bytes(image)
    before = path.read_bytes()
    with caplog.at_level(logging.WARNING), closing(open_database(path, SCHEMA)) as database:
        assert _rows(database) == []
        assert not _in_memory(database)
        database.execute("INSERT INTO kept VALUES ('b', 2)")
    assert [file.read_bytes() for file in tmp_path.glob("kept.sqlite3.corrupt-*")] == [before]
    assert "corrupt" in caplog.text
    with closing(open_database(path, SCHEMA)) as database:
        assert _rows(database) == [("b", 2)]


def test_the_second_process_that_finds_the_file_corrupt_keeps_what_the_first_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.sqlite3"
    path.write_bytes(b"<html>" * 1000)
    connect = sqlite._connect
    seen = []

    def slow(name: str, schema: str, timeout_s: float) -> sqlite3.Connection:
        """Between this process's first look and its answer another one has repaired the file."""
        try:
            return connect(name, schema, timeout_s)
        except sqlite3.DatabaseError:
            if not seen:
                seen.append(name)
                monkeypatch.setattr(sqlite, "_connect", connect)
                _put(path)
            raise

    monkeypatch.setattr(sqlite, "_connect", slow)
    with closing(open_database(path, SCHEMA)) as database:
        assert _rows(database) == [("a", 1)]
    assert seen


def test_a_locked_file_is_left_alone_and_the_site_goes_on_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kept.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE theirs (x)")
        other.execute("BEGIN EXCLUSIVE")
        with (
            caplog.at_level(logging.WARNING),
            closing(open_database(path, SCHEMA, timeout_s=0)) as database,
        ):
            assert _in_memory(database)
            database.execute("INSERT INTO kept VALUES ('a', 1)")
        other.execute("COMMIT")
    assert "kept in memory" in caplog.text
    assert not list(tmp_path.glob("*.corrupt-*"))
    with closing(open_database(path, SCHEMA)) as database:
        assert not _in_memory(database)


_AS_NOBODY = """
import os, sys
from pathlib import Path
from p2pcdn.sqlite import open_database
if os.getuid() == 0:  # whom no permission keeps out
    os.setuid(65534)
database = open_database(Path(sys.argv[1]), sys.argv[2])
database.execute("INSERT INTO kept VALUES ('mine', 1)")
print(database.execute("PRAGMA database_list").fetchone()[2] or "memory")
"""


@pytest.mark.parametrize("what", ["file", "folder", "no folder"])
def test_a_read_only_disk_costs_only_what_would_have_been_kept(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "data"
    path = folder / "kept.sqlite3"
    if what == "no folder":
        tmp_path.chmod(0o555)
    else:
        _put(path)
        folder.chmod(0o555 if what == "folder" else 0o777)
        path.chmod(0o444)
    for parent in tmp_path.parents[:2]:  # pytest's own folders, for the other user's eyes
        parent.chmod(parent.stat().st_mode | 0o055)
    tmp_path.chmod(tmp_path.stat().st_mode | 0o055)
    result = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, str(path), SCHEMA],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert result.stdout.strip() == "memory", result.stderr
    assert "kept in memory of this process instead" in result.stderr


def test_a_file_in_the_place_of_the_folder_costs_only_what_would_have_been_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").write_text("")
    with caplog.at_level(logging.WARNING):
        database = open_database(tmp_path / "data" / "kept.sqlite3", SCHEMA)
    with closing(database):
        assert _in_memory(database)
    assert "kept in memory" in caplog.text


def test_without_a_file_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(open_database(None, SCHEMA)) as database:
        database.execute("INSERT INTO kept VALUES ('a', 1)")
        assert _in_memory(database)
    assert not list(tmp_path.iterdir())


def test_a_mistake_in_the_schema_is_not_taken_for_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite3"
    _put(path)
    with pytest.raises(sqlite3.Error):
        open_database(path, "CREATE TABEL x")
    assert not list(tmp_path.glob("*.corrupt-*"))


def test_a_worker_that_is_forked_while_another_thread_writes_can_use_its_own_database(
    tmp_path: Path,
) -> None:
    """The child inherits the mutexes and the locks of a thread that it does not have: it hung, or
    found its file "locked" for ever. In a process of its own, which has no threads but these."""
    script = """
import os, signal, sys, threading
from pathlib import Path
from p2pcdn.media.store import Store

statuses = []
for number in range(25):
    path = Path(sys.argv[1]) / f"{number}.sqlite"
    store, wrote, stop = Store(path), threading.Event(), threading.Event()

    def write():
        count = 0
        while not stop.is_set():
            count += 1
            store.name(f"{count:032x}", "/media/a.mp4", count)
            wrote.set()

    thread = threading.Thread(target=write)
    thread.start()
    wrote.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        inherited = store.abandon()
        fresh = Store(path)
        fresh.name("f" * 32, "/media/b.mp4", 1)
        os._exit(0 if fresh.named("f" * 32) else 1)
    stop.set()
    thread.join()
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    store.close()
print(statuses)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == f"{[0] * 25}\n", done.stdout + done.stderr


def test_processes_that_make_a_file_at_the_same_moment_all_have_it(tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib\n"
        "from p2pcdn.sqlite import open_database\n"
        "start = float(sys.stdin.readline())\n"
        "for n in range(15):\n"
        "    time.sleep(max(0, start + n * 0.1 - time.time()))\n"
        f"    path = pathlib.Path({str(tmp_path)!r}, str(n))\n"
        "    made = open_database(path, 'CREATE TABLE IF NOT EXISTS t (a)')\n"
        "    assert made.execute('PRAGMA database_list').fetchone()[2], 'in memory'\n"
        "    made.execute('INSERT INTO t VALUES (1)')\n"
    )
    several = [
        subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, text=True, cwd=ROOT
        )
        for _ in range(4)
    ]
    start = time.time() + 0.5
    for process in several:
        assert process.stdin is not None
        process.stdin.write(f"{start}\n")
        process.stdin.close()
    assert [process.wait(60) for process in several] == [0] * 4
    for n in range(15):
        with closing(sqlite3.connect(tmp_path / str(n))) as made:
            assert made.execute("SELECT count(*) FROM t").fetchone() == (4,)
