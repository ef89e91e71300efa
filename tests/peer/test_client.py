"""The Python peer's way to the coordinator where answers get lost on it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from p2pcdn.peer.client import Client, Identity
from tests.hub.people import until
from tests.servers.proxy import Proxy
from tests.web.coordinator_site import serve

pytestmark = pytest.mark.server


class Visitor:
    def __init__(self, url: str, id: str, http: httpx.AsyncClient) -> None:
        self.heard: list[Any] = []
        self.opened = 0
        identity = Identity(id, f"t-{id}")
        self.client = Client(
            httpx.URL(f"{url}/peerjs/"), identity, http,
            opened=self._opened, heard=self.heard.append, socket=False,
        )  # fmt: skip

    def _opened(self) -> None:
        self.opened += 1


def test_no_message_is_lost_or_said_twice_though_answers_break_off(
    tmp_path: Path,
) -> None:
    async def talk(url: str, proxy: Proxy) -> None:
        async with httpx.AsyncClient(timeout=20) as http:
            anna, bert = Visitor(proxy.url, "anna", http), Visitor(url, "bert", http)
            for person in (anna, bert):
                person.client.start()
            await until(lambda: bool(anna.opened and bert.opened), "both are let in", 30)
            for n in range(30):
                if n in (5, 15, 25):  # the request arrives, its answer does not
                    proxy.cut(r"/peerjs/mailbox", 1, times=1)
                anna.client.send({"type": "CANDIDATE", "dst": "bert", "payload": n})
                bert.client.send({"type": "CANDIDATE", "dst": "anna", "payload": n})
                await asyncio.sleep(0.05)
            for one, other in ((anna, "bert"), (bert, "anna")):
                one.client.send({"type": "CANDIDATE", "dst": other, "payload": "end"})

            def ended(person: Visitor) -> bool:
                return bool(person.heard) and person.heard[-1]["payload"] == "end"

            await until(lambda: ended(anna) and ended(bert), "all arrives", 60)
            for person in (anna, bert):
                assert [message["payload"] for message in person.heard] == [*range(30), "end"]
                await person.client.close()

    with serve(tmp_path, ws="own") as port:
        url = f"http://127.0.0.1:{port}"
        with Proxy(url) as proxy:
            asyncio.run(asyncio.wait_for(talk(url, proxy), 150))
            assert sum(not exchange.complete for exchange in proxy.exchanges) >= 3
