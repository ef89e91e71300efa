"""What leaves by the kernel's own hand (`sendfile`) is counted like everything else."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers.process import Server
from tests.servers.python import Gunicorn

pytestmark = pytest.mark.server

SIZE = 40_000_000
APPS = {
    "flask": "tests.sites.flask_app:wrapped()",
    "django": "tests.sites.django_site.wsgi:application",
}


@pytest.mark.parametrize("worker_class", ["sync", "gthread"])
@pytest.mark.parametrize("app", APPS)
def test_a_file_that_gunicorn_has_the_kernel_send_is_counted_as_far_as_it_was_sent(
    app: str, worker_class: str, tmp_path: Path, run: Callable[[Any], Any]
) -> None:
    (tmp_path / "film.mp4").write_bytes(os.urandom(SIZE))
    env = {"SITE_MEDIA": str(tmp_path), "P2PCDN_STATS_TOKEN": "owner"}
    site: Server = run(
        lambda: Gunicorn(APPS[app], workers=1, worker_class=worker_class, threads=2, env=env)
    )

    def totals() -> dict[str, int]:
        answer = httpx.get(f"{site.url}/p2pcdn/stats", headers={"Authorization": "Bearer owner"})
        return answer.json()["totals"]  # type: ignore[no-any-return]

    def film(**headers: str) -> httpx.Response:
        # What is compressed does not go by the kernel.
        headers = {"Accept-Encoding": "identity", **headers}
        return httpx.get(f"{site.url}/media/film.mp4", headers=headers, timeout=30)

    whole = film()
    assert len(whole.content) == SIZE
    found = totals()
    assert (found["origin_counted"], found["origin_whole"], found["origin_aborted"]) == (SIZE, 1, 0)
    part = film(Range="bytes=0-999")
    assert (part.status_code, len(part.content)) == (206, 1000)
    found = totals()
    assert (found["origin_counted"], found["origin_requests"]) == (SIZE + 1000, 2)
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as leaving:
        leaving.sendall(b"GET /media/film.mp4 HTTP/1.1\r\nHost: a\r\n\r\n")
        received = len(leaving.recv(1000))
    end = time.monotonic() + 30
    while (found := totals())["origin_requests"] < 3:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert found["origin_aborted"] == 1
    assert received <= found["origin_counted"] - SIZE < SIZE
