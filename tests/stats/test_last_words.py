"""What a server has counted last is in the store when its process has ended."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from p2pcdn.stats.store import HURRY_S
from tests.servers.process import ROOT, Server
from tests.servers.python import Gunicorn, Uvicorn, Waitress
from tests.servers.redis import Redis
from tests.stats.support import MakeSite
from tests.stats.test_command import stats

pytestmark = pytest.mark.server

SIZE = 2000


def uvicorn(workers: int) -> Callable[..., Server]:
    return lambda env: Uvicorn(
        "tests.sites.guests:asgi", workers=workers, arguments=["--factory"], env=env
    )


def gunicorn(worker_class: str, app: str = "wsgi") -> Callable[..., Server]:
    return lambda env: Gunicorn(
        f"tests.sites.guests:{app}()", workers=2, worker_class=worker_class, env=env
    )


SERVERS = {
    "uvicorn": uvicorn(1),
    "uvicorn, 2 workers": uvicorn(2),
    "gunicorn sync": gunicorn("sync"),
    "gunicorn gthread": gunicorn("gthread"),
    "waitress": lambda env: Waitress("tests.sites.guests:wsgi", env=env),
}


@pytest.mark.parametrize("shared", ["sqlite", "redis"])
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_is_stopped_writes_what_it_counted_last(
    server: str, shared: str, tmp_path: Path, request: pytest.FixtureRequest,
    run: Callable[[Any], Any],
) -> None:  # fmt: skip
    (tmp_path / "film.mp4").write_bytes(os.urandom(SIZE))
    env = {"SITE_FOLDER": str(tmp_path), "P2PCDN_SECRET": str(tmp_path)}
    if shared == "redis":
        redis: Redis = request.getfixturevalue("redis_server")
        env["P2PCDN_REDIS_URL"] = redis.url
    site = run(lambda: SERVERS[server](env=env))
    with httpx.Client(timeout=30) as http:
        for _ in range(20):
            assert http.get(f"{site.url}/film.mp4").content
    process = site.process
    # waitress knows Ctrl-C only.
    process.send_signal(signal.SIGINT if server == "waitress" else signal.SIGTERM)
    process.wait(15)
    where = [] if shared == "redis" else ["--data-dir", str(site.data_dir)]
    done = stats("--json", *where, env=env)
    assert done.stdout, done.stderr + site.log()
    assert json.loads(done.stdout)["totals"]["origin_counted"] == 20 * SIZE


def test_a_redis_that_hangs_holds_up_the_end_of_a_process_for_moments_only(
    machine: Any, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    known, new = machine(redis.url), machine(redis.url)
    known.send(1)
    known.recorder.flush()
    for site in (known, new):
        site.send(100)
    assert redis.process is not None
    os.kill(redis.process.pid, signal.SIGSTOP)
    try:
        for site in (known, new):
            began = time.monotonic()
            with caplog.at_level(logging.WARNING, "p2pcdn.stats"):
                site.recorder.close()
            assert time.monotonic() - began < 6 * HURRY_S  # and not 5 s for each answer
        assert sum("is lost when this process ends" in r.message for r in caplog.records) == 2
    finally:
        os.kill(redis.process.pid, signal.SIGCONT)
    assert known.totals().origin_counted == 101  # a process that lives on loses nothing
    assert new.totals().origin_counted == 201


def test_a_write_that_goes_on_holds_up_the_end_of_a_process_for_moments_only(
    make_site: MakeSite,
) -> None:
    site = make_site()
    site.send(1)
    with site.recorder._writing:
        site.recorder.close()
    assert site.totals().origin_counted == 1


def test_a_server_that_stopped_and_went_on_writes_its_last_words_again(
    tmp_path: Path,
) -> None:
    program = (
        "import pathlib; from tests.stats.support import Site;"
        f"site = Site(pathlib.Path({str(tmp_path)!r}));"
        "site.send(1); site.recorder.close(); site.send(20)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)
    done = stats("--json", "--since", "all", "--data-dir", str(tmp_path))
    assert json.loads(done.stdout)["totals"]["origin_counted"] == 21
