"""Servers that do not let go of a connection: visitors find each other by the mailbox there."""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidMessage, InvalidStatus

from tests.hub.people import until
from tests.servers.process import Server
from tests.servers.python import Gunicorn, Waitress
from tests.sockets.test_behind_nginx import Visitor

pytestmark = pytest.mark.server

Run = Callable[[Any], Any]
_FLASK = "tests.sites.flask_app:wrapped()"


class WSGIRef(Server):
    """As mod_wsgi and uWSGI are to an app: an environ without a socket in it."""

    name = "wsgiref"

    def command(self) -> Sequence[str]:
        code = (
            "from wsgiref.simple_server import make_server;"
            "from tests.sites.flask_app import wrapped;"
            f"make_server('127.0.0.1', {self.port}, wrapped()).serve_forever()"
        )
        return [sys.executable, "-c", code]


class Secure(Gunicorn):
    """gunicorn that ends TLS itself."""

    def __init__(self) -> None:
        super().__init__(_FLASK, workers=2)
        openssl = shutil.which("openssl")
        assert openssl is not None
        key, certificate = self.folder / "key.pem", self.folder / "certificate.pem"
        subprocess.run(
            [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        self.arguments = ["--keyfile", str(key), "--certfile", str(certificate)]

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def ready(self) -> bool:
        try:
            return httpx.get(self.url, verify=False, timeout=10).status_code < 600
        except httpx.HTTPError:
            return False


SERVERS: dict[str, Callable[[], Server]] = {
    "waitress": lambda: Waitress("tests.sites.flask_app:wrapped"),
    "wsgiref": WSGIRef,
    "gunicorn-tls": Secure,
}


@pytest.mark.parametrize("name", SERVERS)
def test_visitors_meet_by_the_mailbox_and_the_loader_is_told_so(name: str, run: Run) -> None:
    site = run(SERVERS[name])

    async def talk() -> None:
        headers = {"Origin": site.url}
        async with httpx.AsyncClient(timeout=30, verify=False, headers=headers) as http:
            page = (await http.get(f"{site.url}/watch/one")).text
            found = re.search(r'src="(/p2pcdn/loader\.js[^"]*)"', page)
            assert found is not None, page
            loader = (await http.get(site.url + found[1])).text
            assert re.search(r'"socket": ?false', loader), loader[:400]
            # Who tries all the same gets an answer at once, and goes on with the mailbox.
            insecure = ssl.create_default_context()
            insecure.check_hostname, insecure.verify_mode = False, ssl.CERT_NONE
            with pytest.raises((InvalidStatus, InvalidMessage)):
                await connect(
                    site.url.replace("http", "ws", 1) + "/peerjs/peerjs?key=peerjs&id=x&token=t",
                    ssl=insecure if site.url.startswith("https") else None,
                )
            people = [Visitor(http, site, id) for id in ("anna", "bert")]
            anna, bert = people
            for person in people:
                person.client.start()
            await until(lambda: all(p.opened for p in people), "both are let in", 60)
            assert {person.client.transport for person in people} == {"mailbox"}
            for n in range(10):
                anna.client.send({"type": "CANDIDATE", "dst": "bert", "payload": n})
            await until(lambda: len(bert.heard) >= 10, "bert hears anna", 60)
            assert [message["payload"] for message in bert.heard] == list(range(10))
            for person in people:
                await person.client.close()

    asyncio.run(asyncio.wait_for(talk(), 150))
    assert "Traceback" not in site.log(), site.log()
