"""A real site whose disk is full or whose statistics are locked: it serves on and says so once."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from p2pcdn.stats.sqlite_schema import FILE_NAME
from tests.servers.process import Server
from tests.servers.python import Uvicorn
from tests.servers.redis import Redis
from tests.stats.test_command import stats

pytestmark = pytest.mark.server

OWNER = {"Authorization": "Bearer owner"}
FILMS = 300
SIZE = 2000


class Cramped(Uvicorn):
    """A site whose processes may write files of 100 kB at most: SQLite's writes fail."""

    def command(self) -> list[str]:
        return ["prlimit", "--fsize=100000:unlimited", *super().command()]

    def room(self) -> None:
        assert self.process is not None
        for pid in (self.process.pid, *_children(self.process.pid)):
            subprocess.run(["prlimit", f"--pid={pid}", "--fsize=unlimited:unlimited"], check=True)


class Full(Uvicorn):
    """A site whose data folder is a file system of 420 kB."""

    def start(self) -> Full:
        self.data_dir.mkdir(exist_ok=True)
        self._mount("size=420k")
        return super().start()  # type: ignore[return-value]

    def room(self) -> None:
        self._mount("size=20m,remount")

    def close(self) -> None:
        self.stop()
        subprocess.run(["umount", str(self.data_dir)], capture_output=True)
        super().close()

    def _mount(self, options: str) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.data_dir)],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"this user may not mount: {done.stderr.strip()}")


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "index.html").write_text(
        "<!doctype html><html><head></head><body><video src='/film-0.mp4'></video></body></html>"
    )
    for n in range(FILMS):
        (folder / f"film-{n}.mp4").write_bytes(os.urandom(SIZE))
    return folder


def until(true: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.1)


@pytest.mark.parametrize("kind", [Cramped, Full])
def test_a_full_disk_costs_neither_page_nor_film_and_every_byte_is_counted_later(
    kind: Any, films: Path, run: Callable[[Any], Any]
) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit is not installed: apt-get install util-linux")
    env = {"SITE_FOLDER": str(films), "P2PCDN_STATS_TOKEN": "owner"}
    site = run(lambda: kind("tests.sites.guests:asgi", arguments=["--factory"], env=env))
    with httpx.Client(base_url=site.url, timeout=30) as http:
        sent = 0

        def watch(film: int) -> None:
            nonlocal sent
            assert "data-src" in http.get("/index.html").text
            answer = http.get(f"/film-{film}.mp4", headers={"Range": "bytes=0-999"})
            assert (answer.status_code, len(answer.content)) == (206, 1000)
            sent += 1000

        def counted() -> int:
            answer = http.get("/p2pcdn/stats", headers=OWNER)
            assert answer.status_code in (200, 503), answer.text
            found = answer.json()
            return found["totals"]["origin_counted"] if "totals" in found else 0

        for film in range(FILMS):
            watch(film)
            if film % 50 == 0:
                counted()  # ... writes what waits
        until(lambda: "cannot be written" in site.log(), "nobody said that the disk is full")
        for film in range(20):
            watch(film)
        counted()
        assert site.log().count("statistics cannot be written") == 1, site.log()
        assert "Traceback" not in site.log()
        done = stats("--data-dir", str(site.data_dir), "--json")
        assert done.returncode in (0, 1, 2) and "Traceback" not in done.stderr
        site.room()
        until(lambda: counted() == sent, f"{sent} bytes were sent, {counted()} are counted")
        assert "are written to" in site.log()


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A store that another program does not let go of."""
    from tests.stats.support import Site

    site = Site(tmp_path)
    site.send(1)
    site.recorder.close()
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    other.execute("DELETE FROM meta")
    yield tmp_path
    other.execute("ROLLBACK")
    other.close()


def test_the_command_says_that_the_store_is_locked_and_what_to_do(locked: Path) -> None:
    done = stats("--data-dir", str(locked))
    assert done.returncode == 2
    assert "is locked by another program" in done.stderr and "try again" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_site_whose_statistics_are_locked_serves_on(
    locked: Path, films: Path, run: Callable[[Any], Any]
) -> None:
    env = {
        "SITE_FOLDER": str(films),
        "P2PCDN_STATS_TOKEN": "owner",
        "P2PCDN_DATA_DIR": str(locked),
    }
    site: Server = run(lambda: Uvicorn("tests.sites.guests:asgi", arguments=["--factory"], env=env))
    with httpx.Client(base_url=site.url, timeout=60) as http:
        assert "data-src" in http.get("/index.html").text
        assert http.get("/film-1.mp4").status_code == 200
        body = {"view": "view-0001", "seq": 1, "contents": []}
        assert http.post("/p2pcdn/report", json=body).status_code == 204
        answer = http.get("/p2pcdn/stats", headers=OWNER)
        # In memory, or said in plain words.
        assert answer.status_code == 200 or "locked" in answer.json()["message"]
    until(lambda: "locked" in site.log(), site.log())
    assert site.log().count("locked") <= 2 and "Traceback" not in site.log()


def test_two_machines_tell_one_sum_also_after_redis_was_away(
    films: Path, redis: Redis, run: Callable[[Any], Any]
) -> None:
    shared = {
        "SITE_FOLDER": str(films),
        "P2PCDN_STATS_TOKEN": "owner",
        "P2PCDN_REDIS_URL": redis.url,
        "P2PCDN_SECRET": "the same on both",
    }
    machines = [
        run(lambda: Uvicorn("tests.sites.guests:asgi", arguments=["--factory"], env=shared))
        for _ in range(2)
    ]

    def watch(film: int) -> None:
        for machine in machines:
            answer = httpx.get(f"{machine.url}/film-{film}.mp4", timeout=30)
            assert answer.status_code == 200 and len(answer.content) == SIZE

    def counted(machine: Server) -> int:
        answer = httpx.get(f"{machine.url}/p2pcdn/stats", headers=OWNER, timeout=30)
        found = answer.json()
        return found["totals"]["origin_counted"] if answer.status_code == 200 else -1

    watch(1)
    for machine in machines:
        until(lambda m=machine: counted(m) == 2 * SIZE, "not the sum of both")  # type: ignore[misc]
    redis.kill()
    watch(2)
    until(lambda: all("wait in memory" in m.log() for m in machines), "nobody noticed")
    watch(3)
    redis.start()
    for machine in machines:
        until(lambda m=machine: counted(m) == 6 * SIZE, "not the sum of both")  # type: ignore[misc]
    said = stats("--json", env={name: shared[name] for name in shared if name != "SITE_FOLDER"})
    assert json.loads(said.stdout)["totals"]["origin_counted"] == 6 * SIZE, said.stderr
    for machine in machines:
        assert machine.log().count("wait in memory") == 1 and "Traceback" not in machine.log()
