"""Several machines count into one Redis: each tells the sum of all, every byte counts once."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from p2pcdn.config import Config
from p2pcdn.stats import Recorder
from tests.servers.redis import Redis
from tests.stats.support import Site
from tests.stats.test_command import stats
from tests.web.stats_site import serve

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]


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
