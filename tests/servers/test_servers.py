"""The real servers that other tests stand on: each starts, answers, and is gone afterwards."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import redis
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.servers.nginx import Nginx
from tests.servers.process import ROOT, Server, ServerError
from tests.servers.proxy import Proxy
from tests.servers.python import Gunicorn, Uvicorn, Werkzeug
from tests.servers.redis import Redis

pytestmark = pytest.mark.server

Run = Callable[[Callable[[], Any]], Any]
PLAIN = {"SITE_PLAIN": "1"}
ASGI = "tests.sites.asgi_app:plain"


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Gunicorn("tests.sites.flask_app:plain()", workers=2), id="gunicorn"),
        pytest.param(lambda: Werkzeug("tests.sites.flask_app:plain"), id="werkzeug"),
        pytest.param(lambda: Uvicorn(ASGI, arguments=["--factory"], workers=2), id="uvicorn"),
        pytest.param(
            lambda: Gunicorn("tests.sites.django_site.wsgi:application", workers=1, env=PLAIN),
            id="django-wsgi",
        ),
        pytest.param(
            lambda: Uvicorn("tests.sites.django_site.asgi:application", env=PLAIN),
            id="django-asgi",
        ),
    ],
)
def test_a_site_serves_pages_and_media(make: Callable[[], Server], run: Run) -> None:
    server: Server = run(make)
    assert "<video" in httpx.get(server.url + "/watch/one").text
    assert httpx.get(server.url + "/media/one.mp4").content[4:8] == b"ftyp"
    assert httpx.get(server.url + "/nowhere").status_code == 404
    server.stop()
    with pytest.raises(httpx.TransportError):
        httpx.get(server.url)
    server.start()
    assert httpx.get(server.url).status_code == 200


@pytest.mark.parametrize("websockets", [True, False])
def test_nginx_serves_a_prefix_and_upgrades_only_when_told(websockets: bool, run: Run) -> None:
    site = run(lambda: Uvicorn(ASGI, arguments=["--factory", "--root-path", "/videos"]))
    nginx = run(lambda: Nginx(site.url, prefix="/videos", websockets=websockets))
    proxy = run(lambda: Proxy(nginx.url))
    assert 'src="/videos/media/one.mp4"' in httpx.get(proxy.url + "/watch/one").text
    assert httpx.get(proxy.url + "/media/one.mp4").status_code == 200
    address = proxy.url.replace("http", "ws") + "/echo"
    if websockets:
        with connect(address) as channel:
            channel.send("there")
            assert channel.recv(timeout=5) == "there"
            channel.send(b"x" * 100_000)
            assert channel.recv(timeout=5) == b"x" * 100_000
        assert proxy.requests("/echo")[0].upgraded
    else:
        with pytest.raises(InvalidStatus):
            connect(address)


def test_open_websockets_are_cut_by_the_proxy(run: Run) -> None:
    site = run(lambda: Uvicorn(ASGI, arguments=["--factory"]))
    proxy = run(lambda: Proxy(site.url))
    with connect(proxy.url.replace("http", "ws") + "/echo") as channel:
        channel.send("there")
        assert channel.recv(timeout=5) == "there"
        proxy.cut_now()
        with pytest.raises(Exception, match=r"closed|reset|close frame"):
            channel.recv(timeout=5)
    assert httpx.get(proxy.url).status_code == 200


def test_redis_answers(run: Run) -> None:
    server = run(Redis)
    with contextlib.closing(redis.Redis.from_url(server.url)) as client:
        assert client.set("a", "1") and client.get("a") == b"1"


def test_a_server_that_cannot_start_shows_its_log() -> None:
    with (
        pytest.raises(ServerError, match="no_such_module"),
        Uvicorn("tests.sites.no_such_module:app"),
    ):
        pass


def test_servers_end_with_a_test_run_that_is_killed() -> None:
    script = (
        "import time\n"
        "from tests.servers.python import Uvicorn\n"
        f"server = Uvicorn({ASGI!r}, arguments=['--factory']).start()\n"
        "print(server.port, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert httpx.get(f"http://127.0.0.1:{port}").status_code == 200
        process.send_signal(signal.SIGKILL)
        process.wait()
        end = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) != 0:
                    break
            assert time.monotonic() < end, "the server lives on"
            time.sleep(0.05)
