"""Real WebSockets on servers that have none: gunicorn and werkzeug hand over the connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.servers.python import Gunicorn, Werkzeug

pytestmark = pytest.mark.server

FLASK = "tests.sites.flask_app:wrapped()"
DJANGO = "tests.sites.django_site.wsgi:application"
Run = Callable[[Any], Any]

SERVERS = {
    "gunicorn-sync": lambda: Gunicorn(FLASK, workers=1),
    "gunicorn-gthread": lambda: Gunicorn(FLASK, workers=2, worker_class="gthread", threads=2),
    "django-gunicorn": lambda: Gunicorn(DJANGO, workers=2),
    "werkzeug": lambda: Werkzeug(FLASK),
}


@pytest.fixture(params=SERVERS, ids=str)
def server(request: pytest.FixtureRequest, run: Run) -> Any:
    return run(SERVERS[request.param])


def address(server: Any, id: str) -> str:
    return f"ws://127.0.0.1:{server.port}/peerjs/peerjs?key=peerjs&id={id}&token=t-{id}&version=1"


async def peer(server: Any, id: str) -> ClientConnection:
    socket = await connect(address(server, id))
    assert json.loads(await socket.recv())["type"] == "OPEN"
    return socket


def test_peers_talk_and_no_server_worker_is_held(server: Any) -> None:
    async def talk() -> None:
        sockets = [await peer(server, f"peer{number}") for number in range(12)]
        async with httpx.AsyncClient() as client:
            # More sockets than there are workers and threads, and the site still answers.
            page = await client.get(f"http://127.0.0.1:{server.port}/", timeout=20)
            assert page.status_code == 200
        for number in range(50):
            offer = {"type": "OFFER", "dst": "peer11", "payload": {"n": number}}
            await sockets[0].send(json.dumps(offer))
        got = [json.loads(await sockets[11].recv()) for _ in range(50)]
        assert [message["payload"]["n"] for message in got] == list(range(50))
        assert {message["src"] for message in got} == {"peer0"}
        for socket in sockets:
            await socket.close()
        assert sockets[0].close_code == 1000

    asyncio.run(talk())


def test_webtorrent_clients_find_the_tracker(server: Any) -> None:
    async def talk() -> None:
        async with connect(f"ws://127.0.0.1:{server.port}/peerjs/tracker") as socket:
            announce = {"action": "announce", "info_hash": "h" * 20, "peer_id": "p" * 20}
            await socket.send(json.dumps({**announce, "numwant": 0, "offers": []}))
            assert json.loads(await socket.recv())["action"] == "announce"

    asyncio.run(talk())


def test_a_site_of_another_origin_is_turned_away(server: Any) -> None:
    async def ride() -> None:
        socket = await connect(address(server, "rider"), origin="https://elsewhere.example")  # type: ignore[arg-type]
        assert json.loads(await socket.recv())["type"] == "ERROR"
        with pytest.raises(ConnectionClosed):
            await socket.recv()

    asyncio.run(ride())


def test_rubbish_ends_one_socket_and_no_other(server: Any) -> None:
    async def rubbish() -> None:
        good, other = await peer(server, "good"), await peer(server, "other")
        bad = await peer(server, "bad")
        for text in ("{", "[]", "null", '{"type": 1}', "\x00", '{"type":"OFFER","dst":{}}'):
            await bad.send(text)
        bad.transport.write(b"\xff\xff\xff\xff")  # no frame at all
        with pytest.raises(ConnectionClosed):
            while True:
                await bad.recv()
        await other.send(json.dumps({"type": "OFFER", "dst": "good", "payload": 1}))
        assert json.loads(await good.recv())["src"] == "other"
        await good.close()
        await other.close()

    asyncio.run(rubbish())


def test_the_server_s_log_has_no_error_for_it(server: Any) -> None:
    async def visit() -> None:
        socket = await peer(server, "quiet")
        await socket.close()
        async with httpx.AsyncClient() as client:
            await client.get(f"http://127.0.0.1:{server.port}/", timeout=20)

    asyncio.run(visit())
    log = server.log()
    assert "Traceback" not in log and "[ERROR]" not in log, log


def test_a_request_that_is_no_handshake_is_answered_as_http(server: Any) -> None:
    url = f"http://127.0.0.1:{server.port}/peerjs/peerjs"
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "8"}
    assert httpx.get(url, headers=headers, timeout=20).status_code in (400, 404, 405, 426)
    assert httpx.get(url, timeout=20).status_code in (400, 404, 426)
