"""Several machines count into one Redis, which comes and goes, and every byte counts once."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pcdn.config import Config
from p2pcdn.stats import Recorder
from p2pcdn.stats import batch as batches
from p2pcdn.stats.redis_store import connect
from p2pcdn.stats.store import StoreError, shared_name
from tests.servers.redis import Redis
from tests.stats.support import Site
from tests.stats.test_command import stats
from tests.web.stats_site import serve

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]


@pytest.fixture
def machine(tmp_path: Path, redis_server: Redis) -> Iterator[Any]:
    """`machine()`: one more machine of the site."""
    made: list[Site] = []

    def make(url: str = redis_server.url, **settings: Any) -> Site:
        folder = tmp_path / f"machine{len(made)}"
        made.append(Site(folder, redis_url=url, secret=str(tmp_path), **settings))
        return made[-1]

    yield make
    for site in made:
        with contextlib.suppress(StoreError):
            site.recorder.close()


@pytest.fixture
def redis(request: pytest.FixtureRequest) -> Iterator[Redis]:
    """One that the test may stop: it keeps what it has on disk."""
    with DurableRedis() as server:
        yield server


class DurableRedis(Redis):
    def command(self) -> list[str]:
        command = [*super().command(), "--appendfsync", "always"]
        command[command.index("--appendonly") + 1] = "yes"
        return command


# --- several machines --------------------------------------------------------------------------


def test_every_machine_tells_the_sum_of_all(machine: Any) -> None:
    one, two = machine(), machine()
    one.send(1000)
    two.send(500, "/media/b.mp4")
    one.tell("a", 1, from_origin=1000, uploaded=400)
    two.tell("b", 1, from_peers=400, from_origin=500)
    one.recorder.flush()
    two.recorder.flush()
    assert one.totals() == two.totals()
    totals = one.totals()
    assert (totals.origin_counted, totals.from_peers, totals.views) == (1500, 400, 2)
    assert one.recorder.live()["viewers"] == 2


def test_a_visitor_whose_reports_reach_another_machine_each_time_is_counted_once(
    machine: Any,
) -> None:
    machines = [machine() for _ in range(3)]
    for seq in range(1, 10):
        here = machines[seq % 3]
        here.tell("a", seq, from_origin=1000 * seq, watched_s=10 * seq, startup_ms=80)
        here.recorder.flush()
    totals = machines[0].totals()
    assert (totals.origin_reported, totals.views, totals.startups) == (9000, 1, 1)


def test_dashboard_metrics_and_command_of_any_machine_say_the_same(
    tmp_path: Path, redis_server: Redis
) -> None:
    import httpx

    settings = {"redis_url": redis_server.url, "secret": str(tmp_path), "stats_token": "t"}
    with (
        serve(tmp_path / "one", **settings) as (one, here),
        serve(tmp_path / "two", **settings) as (two, there),
    ):
        here.origin("/media/a.mp4", sent=700, whole=True, aborted=False, status=200)
        there.origin("/media/a.mp4", sent=300, whole=True, aborted=False, status=200)
        here.flush()
        there.flush()
        for port in (one, two):
            at, owner = f"http://127.0.0.1:{port}/p2pcdn", {"Authorization": "Bearer t"}
            found = httpx.get(f"{at}/stats", headers=owner).json()
            assert found["totals"]["origin_counted"] == 1000
            text = httpx.get(f"{at}/metrics", headers=owner).text
            assert "p2pcdn_origin_sent_bytes_total 1000\n" in text
    env = {"P2PCDN_REDIS_URL": redis_server.url, "P2PCDN_SECRET": str(tmp_path)}
    done = stats("--json", env=env)
    assert json.loads(done.stdout)["totals"]["origin_counted"] == 1000, done.stderr


def test_two_sites_in_one_redis_know_nothing_of_each_other(
    machine: Any, redis_server: Redis, tmp_path: Path
) -> None:
    ours = machine()
    other = Site(tmp_path, redis_url=redis_server.url, secret="another site's")
    ours.send(10)
    other.send(5)
    assert (ours.totals().origin_counted, other.totals().origin_counted) == (10, 5)
    other.recorder.close()
    which = stats("--json", env={"P2PCDN_REDIS_URL": redis_server.url})
    assert which.returncode == 2 and "P2PCDN_SECRET" in which.stderr


def test_workers_that_write_at_once_lose_nothing(redis_server: Redis, tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import os, pathlib
        from tests.stats.support import Site
        site = Site(pathlib.Path({str(tmp_path)!r}), redis_url={redis_server.url!r}, secret="w")
        site.send(1)
        site.recorder.summary(0)           # ... whose connection the children must not use
        children = []
        for n in range(4):
            pid = os.fork()
            if not pid:
                for seq in range(25):
                    site.send(10)
                    site.tell(f"view{{n}}", seq + 1, from_origin=10 * (seq + 1))
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
        cwd=ROOT, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.stdout.strip() == "[0, 0, 0, 0] 1001 1000 4", done.stderr


def test_machines_with_wrong_clocks_go_by_the_clock_of_redis(
    redis_server: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(redis_url=redis_server.url, secret=str(tmp_path))
    right = Recorder(config, folder=None, flush_every_s=3600)
    right.origin("/a.mp4", sent=5, whole=True, aborted=False, status=200)
    right.flush()
    with monkeypatch.context() as patch:
        real = time.time
        patch.setattr(time, "time", lambda: real() - 5 * 3600)
        wrong = Recorder(config, folder=None, flush_every_s=3600)
        wrong.origin("/a.mp4", sent=5, whole=True, aborted=False, status=200)
        wrong.flush()
        assert wrong.summary(real() - 600).totals.origin_counted == 10
        wrong.close()
    summary = right.summary(time.time() - 600)
    assert summary.totals.origin_counted == 10 and summary.notes == ()
    right.close()


# --- Redis goes away and comes back ------------------------------------------------------------


def test_counts_wait_while_redis_is_away_and_are_counted_once_when_it_is_back(
    machine: Any, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = machine(redis.url), machine(redis.url)
    one.send(100)
    one.tell("a", 1, from_origin=100, startup_ms=70)
    one.recorder.flush()
    redis.kill()
    with caplog.at_level(logging.WARNING, "p2pcdn.stats"):
        for seq in range(2, 7):
            one.send(10)
            one.tell("a", seq, from_origin=100 + 10 * seq)
            two.send(1)
            one.recorder.flush()
            two.recorder.flush()
        with pytest.raises(StoreError):
            one.recorder.summary(0)
        assert (
            sum("wait in memory" in record.message for record in caplog.records) == 2
        )  # each once
        redis.start()
        one.recorder.flush()
    assert sum("are written to" in record.message for record in caplog.records) == 1
    two.recorder.flush()
    totals = one.totals()
    assert (totals.origin_counted, totals.origin_reported) == (100 + 50 + 5, 160)
    assert (totals.views, totals.startups) == (1, 1)


def test_a_view_goes_on_over_an_outage_that_is_longer_than_its_memory(
    machine: Any, redis: Redis
) -> None:
    one, two = machine(redis.url), machine(redis.url)
    one.tell("a", 1, from_origin=1000, startup_ms=70)
    two.tell("b", 1, from_origin=1000, startup_ms=70)
    one.recorder.flush()
    two.recorder.flush()
    redis.kill()
    for minute in range(1, 61):
        for site, view in ((one, "a"), (two, "b")):
            site.clock.now += 60
            site.tell(view, 1 + minute, from_origin=1000 * (1 + minute), watched_s=60 * minute,
                      idle_s=60)  # fmt: skip
        if minute % 10 == 0:
            one.recorder.flush()
            two.recorder.flush()
    two.tell("late", 1, from_origin=1000, watched_s=1)  # came during the outage
    redis.start()
    one.recorder.flush()
    two.recorder.flush()
    totals = one.totals()
    assert totals.origin_reported == 2 * 61_000 + 1000
    assert (totals.views, totals.startups) == (3, 2)
    assert one.recorder.summary(0).dropped == {}


def test_one_machine_that_was_cut_off_loses_its_views_rather_than_count_them_twice(
    machine: Any, redis_server: Redis
) -> None:
    with Gate(redis_server.port) as gate:
        far, near = machine(gate.url), machine()
        far.tell("a", 1, from_origin=1000)
        far.recorder.flush()
        gate.shut()
        for _ in range(12):  # meanwhile the others tidy up
            near.clock.now += 300
            near.send(1)
            near.recorder.flush()
        far.clock.now += 60
        far.tell("a", 2, from_origin=1100, idle_s=60)
        far.recorder.flush()
        far.clock.now = near.clock.now
        gate.open()
        far.recorder.flush()
        far.tell("a", 3, from_origin=1300, idle_s=10)
    summary = near.recorder.summary(0)
    assert summary.totals.origin_reported == 1000
    far.recorder.flush()
    assert near.totals().origin_reported in (1000, 1200)
    assert near.recorder.summary(0).dropped == {"forgotten view": 1}


def test_what_waits_for_redis_has_a_ceiling(
    machine: Any, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_PARTS", 20)
    monkeypatch.setattr(batches, "MAX_PATHS", 10)
    site = machine(redis.url)
    redis.kill()
    for n in range(200):
        site.send(1, f"/media/{n}.mp4")
        site.tell(f"view{n}", from_origin=1)
        if n % 50 == 0:
            site.recorder.flush()
    waiting = site.recorder._batch
    assert len(waiting.parts) == 20 and len(waiting.origin) <= 11
    redis.start()
    summary = site.recorder.summary(0)
    assert summary.totals.origin_counted == 200 and summary.totals.views == 20
    assert summary.dropped == {"flood": 180}


class Gate:
    """A way to Redis that can be shut, or lose one answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._shut = False
        self.lose_answer_to = b""
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def __enter__(self) -> Gate:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def shut(self) -> None:
        self._shut = True
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        self._shut = False

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self._shut:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += [near, far]
                deaf = threading.Event()
                for source, target, watched in ((near, far, True), (far, near, False)):
                    threading.Thread(
                        target=self._pass, args=(source, target, watched, deaf), daemon=True
                    ).start()

    def _pass(
        self, source: socket.socket, target: socket.socket, watched: bool, deaf: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 20):
                if watched and self.lose_answer_to and self.lose_answer_to in piece:
                    self.lose_answer_to = b""
                    deaf.set()
                if not watched and deaf.is_set():
                    self.lost.set()
                    break
                target.sendall(piece)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def test_a_batch_whose_answer_got_lost_is_not_counted_twice(
    machine: Any, redis_server: Redis
) -> None:
    with Gate(redis_server.port) as gate:
        site = machine(gate.url)
        site.send(1)
        site.recorder.flush()
        site.send(100)
        gate.lose_answer_to = b"p2pcdn:stats-sites"  # stands in the MULTI that writes
        site.recorder.flush()
        assert gate.lost.is_set() and site.recorder._unsure is not None
        site.send(10)
        site.recorder.flush()
        assert site.recorder._unsure is None
        assert site.totals().origin_counted == 111
    assert machine().totals().origin_counted == 111


def test_a_worker_that_was_too_slow_for_its_lock_does_not_write_over_another(
    machine: Any, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = machine(), machine()
    slow.send(1)
    slow.recorder.flush()
    slow.send(10)
    store: Any = slow.recorder._store
    write = store._write

    def stopped(batch: Any, now: float) -> None:
        from p2pcdn.stats import redis_tables

        load = redis_tables.RedisTables.load

        def overtaken(tables: Any, *arguments: Any) -> bool:
            with monkeypatch.context() as undone:
                undone.setattr(redis_tables.RedisTables, "load", load)
                with connect(redis_server.url) as client:  # the lock's time is over...
                    client.delete(f"{store._at}lock")
                quick.send(100)  # ... and another one writes
                quick.recorder.flush()
            return load(tables, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(redis_tables.RedisTables, "load", overtaken)
            write(batch, now)

    monkeypatch.setattr(store, "_write", stopped)
    slow.recorder.flush()
    assert quick.totals().origin_counted == 101
    monkeypatch.setattr(store, "_write", write)
    slow.recorder.flush()
    assert quick.totals().origin_counted == 111


def test_a_redis_that_hangs_holds_up_neither_page_nor_report(machine: Any, redis: Redis) -> None:
    site = machine(redis.url)
    site.send(1)
    site.recorder.flush()
    assert redis.process is not None
    os.kill(redis.process.pid, signal.SIGSTOP)
    flushing = threading.Thread(target=site.recorder.flush)
    try:
        site.send(1)
        flushing.start()
        for n in range(50):
            site.send(1)
            site.tell("a", n + 1, from_origin=n)
        assert flushing.is_alive()  # nothing above waited for it
    finally:
        os.kill(redis.process.pid, signal.SIGCONT)
    flushing.join(60)
    assert site.totals().origin_counted == 52


def test_a_redis_that_is_full_is_told_and_counts_wait(
    machine: Any, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    site = machine(redis.url)
    site.send(1)
    site.recorder.flush()
    with connect(redis.url) as client:
        client.config_set("maxmemory", "1mb")
        for _ in range(2):
            site.send(10)
            site.recorder.flush()
        assert sum("wait in memory" in record.message for record in caplog.records) == 1
        assert "maxmemory" in caplog.text
        client.config_set("maxmemory", "0")
    assert site.totals().origin_counted == 21


def test_nothing_stays_in_redis_for_ever_and_the_password_is_in_no_log(
    machine: Any, redis_server: Redis, tmp_path: Path
) -> None:
    site = machine()
    site.send(1)
    site.tell("a", from_peers=10, uploaded=5)
    site.recorder.flush()
    at = f"p2pcdn:stats:{{{shared_name(str(tmp_path).encode())}}}:"
    with connect(redis_server.url) as client:
        keys = list(client.scan_iter(f"{at}*"))
        assert len(keys) > 10
        assert [key for key in keys if client.ttl(key) < 0] == []
    secret = Site(None, redis_url="redis://:pass-word@127.0.0.1:1/0", secret="x")
    assert "pass-word" not in secret.recorder._store.name


# --- what the command says ---------------------------------------------------------------------


def test_the_command_says_what_is_wrong_with_redis(tmp_path: Path, redis_server: Redis) -> None:
    away = stats(env={"P2PCDN_REDIS_URL": "redis://127.0.0.1:1/0"})
    assert away.returncode == 2 and "redis_url" in away.stderr
    assert len(away.stderr.splitlines()) == 1
    env = {"P2PCDN_REDIS_URL": redis_server.url, "P2PCDN_SECRET": "never seen"}
    nothing = stats(env=env)
    assert nothing.returncode == 1 and "secret" in nothing.stderr


def test_a_site_whose_redis_is_away_answers_503_and_serves_on(tmp_path: Path) -> None:
    import httpx

    with serve(tmp_path, redis_url="redis://127.0.0.1:1/0", secret="x", debug=True) as (port, _):
        at = f"http://127.0.0.1:{port}/p2pcdn"
        for path in ("stats", "metrics"):
            answer = httpx.get(f"{at}/{path}", timeout=30)
            assert (answer.status_code, answer.json()["error"]) == (503, "store")
        body = {"view": "view-0001", "seq": 1, "contents": []}
        assert httpx.post(f"{at}/report", json=body).status_code == 204
