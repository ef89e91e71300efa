"""Corrupt, locked, full, deleted, forked, clocks that jump: the site serves on."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from p2pcdn.stats.sqlite_schema import FILE_NAME
from tests.stats.support import MakeSite, Site

DAY = 86400
ROOT = Path(__file__).parents[2]


def test_a_corrupt_file_is_moved_aside_and_counting_goes_on(
    make_site: MakeSite, tmp_path: Path
) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"this is no database" * 1000)
    site = make_site()
    site.send(100)
    assert site.totals().origin_counted == 100
    assert list(tmp_path.glob("*.corrupt-*"))


def test_a_file_that_becomes_corrupt_while_it_is_used_costs_its_past_only(
    make_site: MakeSite, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site()
    site.send(100)
    site.recorder.flush()
    with sqlite3.connect(tmp_path / FILE_NAME) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    (tmp_path / FILE_NAME).write_bytes(b"\xff" * (tmp_path / FILE_NAME).stat().st_size)
    for _ in range(3):
        site.send(10)
        site.recorder.flush()
    assert site.totals().origin_counted >= 10
    assert sum("cannot be written" in r.message for r in caplog.records) <= 1


def test_a_deleted_file_is_made_anew(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site()
    site.send(100)
    site.recorder.flush()
    for file in tmp_path.glob(f"{FILE_NAME}*"):
        file.unlink()
    site.send(7)
    site.recorder.flush()
    assert make_site().totals().origin_counted == 7


def test_counts_wait_while_the_file_is_locked_and_the_reason_is_logged_once(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.send(1)
    site.recorder.flush()
    site.recorder._store._connection.execute("PRAGMA busy_timeout = 10")  # type: ignore[union-attr]
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with caplog.at_level(logging.WARNING, "p2pcdn.stats"):
            for n in range(4):
                site.send(10)
                site.tell("a", n + 1, from_origin=10 * (n + 1))
                site.recorder.flush()
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert sum("wait in memory" in record.message for record in caplog.records) == 1
    totals = site.totals()
    assert (totals.origin_counted, totals.origin_reported) == (41, 40)


def test_a_full_disk_does_not_stop_the_site_and_what_waited_is_written_later(
    tmp_path: Path,
) -> None:
    # A limit on the size of files stands for the full disk: SQLite sees a failing write.
    program = textwrap.dedent(
        f"""
        import resource, signal, pathlib
        from tests.stats.support import Site
        site = Site(pathlib.Path({str(tmp_path)!r}))
        site.send(5)
        site.recorder.flush()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = max(f.stat().st_size for f in pathlib.Path({str(tmp_path)!r}).iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        for n in range(300):
            site.send(10, f"/media/{{n}}.mp4")
            if n % 100 == 0:
                site.recorder.flush()
        failed = bool(site.recorder._complaints)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        site.recorder.flush()
        print(failed, site.totals().origin_counted)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["True", "3005"], done.stderr


def test_a_folder_that_cannot_be_written_keeps_the_counts_of_this_process(
    make_site: MakeSite, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_text("not a folder")
    site = make_site(blocked)
    for _ in range(3):
        site.send(50)
        site.recorder._store._opened -= 3600  # time to look again
        site.recorder.flush()
    assert site.totals().origin_counted == 150
    assert sum("kept in memory" in record.message for record in caplog.records) == 1
    # The folder is there again: what was counted meanwhile moves into it.
    blocked.unlink()
    site.recorder._store._opened -= 3600
    site.send(1)
    assert site.totals().origin_counted == 151
    assert make_site(blocked).totals().origin_counted == 151


def test_server_workers_that_were_forked_count_into_one_store(tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import os, pathlib, sys
        from tests.stats.support import Site
        site = Site(pathlib.Path({str(tmp_path)!r}))
        site.send(1)                       # before the fork: the parent's, counted once
        site.recorder.summary(0)           # ... whose connection the children must not use
        site.send(2)
        children = []
        for n in range(4):
            pid = os.fork()
            if not pid:
                for seq in range(25):
                    site.send(10)
                    site.tell(f"view{{n}}", seq + 1, from_origin=10 * (seq + 1))
                    if seq % 10 == 0:
                        site.recorder.flush()
                site.recorder.close()
                os._exit(0)
            children.append(pid)
        codes = [os.waitpid(pid, 0)[1] for pid in children]
        totals = site.totals()
        print(codes, totals.origin_counted, totals.origin_reported, totals.views)
        """
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "[0, 0, 0, 0] 1003 1000 4", done.stderr


def test_what_was_counted_last_is_written_when_the_process_ends(
    make_site: MakeSite, tmp_path: Path
) -> None:
    program = (
        "import pathlib; from tests.stats.support import Site;"
        f"Site(pathlib.Path({str(tmp_path)!r})).send(1234)"
    )
    # The recorder itself is garbage by then: hold it, as a site does.
    program = program.replace("Site(pathlib", "site = Site(pathlib").replace(".send", "; site.send")
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)
    assert make_site().totals().origin_counted == 1234


def test_many_threads_lose_no_count(site: Site) -> None:
    def work() -> None:
        for n in range(500):
            site.send(1)
            if n % 100 == 0:
                site.recorder.flush()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert site.totals().origin_counted == 4000


def test_counts_are_written_by_themselves_after_a_while(
    make_site: MakeSite, tmp_path: Path
) -> None:
    from p2pcdn.config import Config
    from p2pcdn.stats import Recorder

    recorder = Recorder(Config(), folder=tmp_path, flush_every_s=0.05)
    written = threading.Event()
    flush = recorder._store.write

    def write(*args: object, **kwargs: object) -> set[str]:
        dropped = flush(*args, **kwargs)  # type: ignore[arg-type]
        written.set()
        return dropped

    recorder._store.write = write  # type: ignore[method-assign]
    recorder.origin("/a.mp4", sent=9, whole=True, aborted=False, status=200)
    assert written.wait(30)
    reader = make_site()
    reader.clock.now = recorder.clock()
    assert reader.totals().origin_counted == 9
    recorder.close()
