"""Two machines (a folder of its own each) and one real Redis: a visitor's requests may reach
either of them, and nothing is lost to the visitor by that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from p2pcdn.doctor import Finding, Report, Status, examine
from tests.servers.nginx import Nginx
from tests.servers.process import Server
from tests.servers.python import Gunicorn, Uvicorn
from tests.servers.redis import Redis

pytestmark = pytest.mark.server

Run = Callable[[Any], Any]
HASH = "".join(map(chr, range(200, 220)))


def machines(run: Run, *, secrets: tuple[str, str] = ("same", "same")) -> tuple[Server, Server]:
    redis = run(Redis)
    one, other = ({"P2PCDN_REDIS_URL": redis.url, "P2PCDN_SECRET": secret} for secret in secrets)
    return (
        run(lambda: Gunicorn("tests.sites.flask_app:wrapped()", workers=2, env=one)),
        run(lambda: Uvicorn("tests.sites.asgi_app:starlette", arguments=["--factory"], env=other)),
    )


class Balanced(Nginx):
    """nginx that sends each connection to the next machine."""

    def __init__(self, sites: tuple[Server, ...], **server: Any) -> None:
        super().__init__("http://machines", strip=False, **server)
        self.sites = sites

    def command(self) -> list[str]:
        made = super().command()
        config = self.folder / "nginx.conf"
        servers = " ".join(f"server 127.0.0.1:{site.port};" for site in self.sites)
        text = config.read_text()
        config.write_text(text.replace("server {", f"upstream machines {{ {servers} }} server {{"))
        return made


def test_a_video_that_a_page_of_one_machine_shows_is_shared_by_the_other(run: Run) -> None:
    for shown, asked in ((0, 1), (1, 0)):
        pair = machines(run)
        page = httpx.get(f"{pair[shown].url}/watch/one", timeout=20)
        assert "data-src" in page.text
        # At once: what the loader does when the page's head has arrived.
        found = httpx.get(
            f"{pair[asked].url}/p2pcdn/manifest",
            params={"url": "/media/one.mp4", "peer": "me"},
            timeout=20,
        )
        assert found.status_code in (200, 202), found.text
        unknown = httpx.get(
            f"{pair[asked].url}/p2pcdn/manifest",
            params={"url": "/media/two.mp4", "peer": "me"},
            timeout=20,
        )
        assert unknown.status_code == 404, "only what a page has shown"


def test_pages_of_both_machines_are_in_one_swarm_of_the_webtorrent_tracker(run: Run) -> None:
    one, other = machines(run)

    async def talk() -> None:
        def announce(name: str, **rest: Any) -> str:
            peer = name.ljust(20, "-")
            return json.dumps({"action": "announce", "info_hash": HASH, "peer_id": peer, **rest})

        async with (
            connect(f"ws://127.0.0.1:{one.port}/peerjs/tracker") as anna,
            connect(f"ws://127.0.0.1:{other.port}/peerjs/tracker") as bert,
        ):
            await anna.send(announce("anna", event="started", numwant=0, offers=[]))
            assert json.loads(await anna.recv())["action"] == "announce"
            offers = [{"offer": {"type": "offer", "sdp": "O"}, "offer_id": "o" * 20}]
            hearing = asyncio.ensure_future(anna.recv())
            while not hearing.done():
                await bert.send(announce("bert", numwant=1, offers=offers))
                said = json.loads(await bert.recv())
                await asyncio.wait({hearing}, timeout=0.2)
            offer = json.loads(hearing.result())
            assert (offer["peer_id"], offer["offer"]["sdp"]) == ("bert".ljust(20, "-"), "O")
            assert said["incomplete"] == 2
            answer = {"type": "answer", "sdp": "A"}
            to = {"to_peer_id": offer["peer_id"], "offer_id": offer["offer_id"]}
            await anna.send(announce("anna", answer=answer, **to))
            while "answer" not in said:
                said = json.loads(await bert.recv())
            assert (said["answer"], said["peer_id"]) == (answer, "anna".ljust(20, "-"))

    asyncio.run(asyncio.wait_for(talk(), 60))


def find(report: Report, code: str) -> Finding:
    found = [finding for finding in report.findings if finding.code == code]
    assert found, f"no {code}:\n{report.as_text()}"
    return found[0]


def test_the_doctor_finds_machines_that_sign_with_different_secrets(run: Run) -> None:
    pair = machines(run, secrets=("one", "another"))
    for site in pair:  # each has shown it
        httpx.get(f"{site.url}/watch/one", timeout=20)
    nginx = run(lambda: Balanced(pair))
    finding = find(examine(f"{nginx.url}/watch/one", timeout_s=8), "secret")
    assert finding.status is Status.PROBLEM
    assert "P2PCDN_SECRET" in finding.remedy


def test_the_doctor_has_nothing_to_say_of_machines_that_are_set_up_as_the_manual_says(
    run: Run,
) -> None:
    nginx = run(lambda: Balanced(machines(run)))
    report = examine(f"{nginx.url}/watch/one", timeout_s=8)
    problems = [finding for finding in report.findings if finding.status is Status.PROBLEM]
    assert not problems, report.as_text()
    for code in ("secret", "workers", "mailbox"):
        assert find(report, code).status is Status.OK
