"""nginx in front of servers that know no WebSockets: the sockets that p2pcdn takes over work
through it, under a path prefix, and where nginx refuses upgrades peers find the mailbox."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from p2pcdn.peer.client import Client, Identity
from tests.hub.people import until
from tests.servers.nginx import Nginx
from tests.servers.process import Server
from tests.servers.python import Gunicorn, Werkzeug

pytestmark = pytest.mark.server

FLASK = "tests.sites.flask_app:wrapped()"
DJANGO = "tests.sites.django_site.wsgi:application"
PREFIX = "/videos"
Run = Callable[[Any], Any]

# gunicorn wants to see the whole path and is told the prefix; the others never see it.
_TOLD = {"SCRIPT_NAME": PREFIX}
_SET = {"P2PCDN_PUBLIC_PREFIX": PREFIX}
SITES: dict[str, Callable[[], tuple[Server, str, bool]]] = {
    "sync": lambda: (Gunicorn(FLASK, workers=2), "", False),
    "sync-prefix": lambda: (Gunicorn(FLASK, workers=2, env=_TOLD), PREFIX, False),
    "gthread-prefix": lambda: (
        Gunicorn(FLASK, workers=2, worker_class="gthread", threads=2, env=_SET), PREFIX, True
    ),
    "django-prefix": lambda: (Gunicorn(DJANGO, workers=2, env=_SET), PREFIX, True),
    "werkzeug-prefix": lambda: (Werkzeug(FLASK, env=_SET), PREFIX, True),
}  # fmt: skip


def stand(run: Run, name: str, *, websockets: bool = True) -> tuple[Server, Nginx]:
    site, prefix, strip = SITES[name]()
    run(lambda: site)
    nginx = run(lambda: Nginx(site.url, prefix=prefix, strip=strip, websockets=websockets))
    return site, nginx


async def peer(nginx: Nginx, id: str) -> ClientConnection:
    base = nginx.url.replace("http", "ws", 1)
    socket = await connect(
        f"{base}/peerjs/peerjs?key=peerjs&id={id}&token=t-{id}&version=1", origin=_page_of(nginx)
    )
    assert json.loads(await socket.recv())["type"] == "OPEN"
    return socket


def _page_of(nginx: Nginx) -> Any:
    """The Origin that a browser names on the site's own pages."""
    return f"http://127.0.0.1:{nginx.port}"


@pytest.mark.parametrize("name", [pytest.param("sync", marks=pytest.mark.slow), *list(SITES)[1:]])
def test_peers_talk_through_nginx_and_hold_no_server_worker(name: str, run: Run) -> None:
    site, nginx = stand(run, name)

    async def talk() -> None:
        sockets = [await peer(nginx, f"peer{number}") for number in range(10)]
        first, last = sockets[0], sockets[-1]
        for number in range(60):
            offer = {"type": "OFFER", "dst": "peer9", "payload": {"n": number, "sdp": "x" * 3000}}
            await first.send(json.dumps(offer))
        got = [json.loads(await last.recv()) for _ in range(60)]
        assert [message["payload"]["n"] for message in got] == list(range(60))
        assert {message["src"] for message in got} == {"peer0"}
        async with httpx.AsyncClient(timeout=20) as http:
            # More sockets than server workers and threads, and the site still answers.
            for _ in range(4):
                assert (await http.get(f"{nginx.url}/")).status_code == 200
        await first.close()
        assert first.close_code == 1000
        # nginx tells of a visitor who is gone: the id is free at once.
        await (await peer(nginx, "peer0")).close()
        for socket in sockets[1:]:
            await socket.close()

    asyncio.run(asyncio.wait_for(talk(), 60))
    log = site.log()
    assert "Traceback" not in log and "[ERROR]" not in log, log
    assert "upstream prematurely closed" not in nginx.log(), nginx.log()


@pytest.mark.parametrize("name", ["sync-prefix", "werkzeug-prefix"])
def test_a_page_of_another_site_is_turned_away_behind_nginx_too(name: str, run: Run) -> None:
    _, nginx = stand(run, name)

    async def ride() -> None:
        base = nginx.url.replace("http", "ws", 1)
        url = f"{base}/peerjs/peerjs?key=peerjs&id=rider&token=t&version=1"
        async with connect(url, origin="https://elsewhere.example") as socket:  # type: ignore[arg-type]
            assert json.loads(await socket.recv())["type"] == "ERROR"

    asyncio.run(asyncio.wait_for(ride(), 30))


class Visitor:
    """p2pcdn's own client, that finds out by itself what the way allows."""

    def __init__(self, http: httpx.AsyncClient, site: Server, id: str) -> None:
        self.heard: list[Any] = []
        self.opened = 0
        base = httpx.URL(f"{site.url}/peerjs/")
        self.client = Client(
            base, Identity(id, f"t-{id}"), http, opened=self._opened, heard=self.heard.append
        )

    def _opened(self) -> None:
        self.opened += 1


@contextlib.asynccontextmanager
async def visitors(nginx: Nginx, *ids: str) -> AsyncIterator[list[Visitor]]:
    async with httpx.AsyncClient(timeout=20, headers={"Origin": _page_of(nginx)}) as http:
        people = [Visitor(http, nginx, id) for id in ids]
        for person in people:
            person.client.start()
        try:
            await until(lambda: all(person.opened for person in people), "everybody is let in", 30)
            yield people
        finally:
            for person in people:
                await person.client.close()


@pytest.mark.parametrize(
    "name",
    ["sync-prefix", "werkzeug-prefix", pytest.param("gthread-prefix", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("websockets", [True, False], ids=["upgrades", "no-upgrades"])
def test_peers_find_each_other_whatever_nginx_lets_through(
    name: str, websockets: bool, run: Run
) -> None:
    _, nginx = stand(run, name, websockets=websockets)

    async def talk() -> None:
        async with visitors(nginx, "anna", "bert") as (anna, bert):
            expected = "websocket" if websockets else "mailbox"
            assert {anna.client.transport, bert.client.transport} == {expected}
            for n in range(20):
                anna.client.send({"type": "CANDIDATE", "dst": "bert", "payload": n})
            await until(lambda: len(bert.heard) >= 20, "bert hears anna", 30)
            bert.client.send({"type": "ANSWER", "dst": "anna", "payload": "yes"})
            await until(lambda: bool(anna.heard), "anna hears bert", 30)
        assert [message["payload"] for message in bert.heard] == list(range(20))
        assert {message["src"] for message in bert.heard} == {"anna"}
        assert anna.heard[0]["src"] == "bert"

    asyncio.run(asyncio.wait_for(talk(), 90))


@pytest.mark.parametrize("name", ["sync-prefix", "werkzeug-prefix"])
def test_a_socket_that_nginx_does_not_pass_on_is_refused_as_http(name: str, run: Run) -> None:
    """An answer that a browser takes for a failed socket at once, rather than a silence."""
    _, nginx = stand(run, name, websockets=False)

    async def ask() -> None:
        with pytest.raises(InvalidStatus) as refused:
            await peer(nginx, "nobody")
        assert 400 <= refused.value.response.status_code < 500

    asyncio.run(asyncio.wait_for(ask(), 30))
