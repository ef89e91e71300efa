"""The WebTorrent tracker's swarms are the same on every server worker."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from p2pcdn.hub import Hub
from tests.hub.people import make_hub, run, until
from tests.hub.test_contract import _both_connected, _elected, _one, _turned
from tests.hub.test_takeover import kill, worker

HASH = "".join(map(chr, range(236, 256)))


class Viewer:
    """A client of the tracker."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.name = name.ljust(20, "\x01")
        self.inbox: list[Any] = []
        self.closed: int | None = None
        self.session = hub.track(deliver=self._deliver, close=self._close, address="127.0.0.1")

    def _deliver(self, texts: str | list[str]) -> None:
        self.inbox += [json.loads(text) for text in ([texts] if isinstance(texts, str) else texts)]

    def _close(self, code: int, reason: str) -> None:
        self.closed = code

    def announce(self, **rest: Any) -> None:
        message = {"action": "announce", "info_hash": HASH, "peer_id": self.name, **rest}
        self.session.receive(json.dumps(message))

    def offer(self, sdp: str = "O") -> None:
        self.announce(offers=[{"offer": {"sdp": sdp}, "offer_id": "o" * 20}])

    async def gets(self, member: str) -> Any:
        await until(lambda: any(member in m for m in self.inbox), f"{member}: {self.inbox}")
        return next(m for m in self.inbox if member in m)


@pytest.mark.parametrize(
    "arrangement", [_one, _elected, _turned, _both_connected], ids=lambda f: f.__name__[1:]
)
def test_viewers_on_two_workers_get_each_others_offers_and_answers(
    arrangement: Any, tmp_path: Path
) -> None:
    async def test() -> None:
        async with arrangement(tmp_path) as (one, other):
            anna = Viewer(one, "anna")
            anna.announce(event="started")
            await anna.gets("interval")
            bert = Viewer(other, "bert")
            bert.offer()
            assert (await bert.gets("interval"))["incomplete"] == 2
            offer = await anna.gets("offer")
            assert (offer["offer"], offer["peer_id"]) == ({"sdp": "O"}, bert.name)
            anna.announce(answer={"sdp": "A"}, to_peer_id=bert.name, offer_id=offer["offer_id"])
            assert (await bert.gets("answer"))["peer_id"] == anna.name
            bert.session.detach()
            carl = Viewer(other, "carl")
            carl.announce()
            assert (await carl.gets("interval"))["incomplete"] == 2

    run(test)


def test_a_killed_coordinator_costs_no_swarm_a_member(tmp_path: Path) -> None:
    async def test() -> None:
        with worker(tmp_path, "dies") as elected:
            one, other = make_hub(tmp_path), make_hub(tmp_path)
            await one.start()
            await other.start()
            anna, bert = Viewer(one, "anna"), Viewer(other, "bert")
            gone = Viewer(one, "gone")
            for viewer in (anna, bert, gone):
                viewer.announce(event="started", left=0 if viewer is anna else 1)
                await viewer.gets("interval")
            gone.announce(event="stopped")
            await until(lambda: len(gone.inbox) == 2, "stopped")
            kill(elected)
            # Anna says nothing more: she is known all the same.
            async with asyncio.timeout(15):
                while not any("offer" in message for message in anna.inbox):
                    bert.offer()
                    await asyncio.sleep(0.05)
            last = [m for m in bert.inbox if "interval" in m][-1]
            assert (last["complete"], last["incomplete"]) == (1, 1)
            assert anna.closed is bert.closed is None
            await one.close()
            await other.close()

    run(test)


def test_with_redis_the_workers_of_a_machine_share_swarms_whether_it_answers_or_not(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        nobody = {"redis_url": "redis://127.0.0.1:9/0", "secret": "s"}
        one, other = make_hub(tmp_path, **nobody), make_hub(tmp_path, **nobody)
        anna, bert = Viewer(one, "anna"), Viewer(other, "bert")
        anna.announce(event="started")
        await anna.gets("interval")
        bert.offer()
        assert (await anna.gets("offer"))["peer_id"] == bert.name
        assert one.snapshot()["tracker_sockets"] == 2
        await one.close()
        await other.close()

    run(test)
