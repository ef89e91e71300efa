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
from tests.hub.test_redis import pair, redis
from tests.hub.test_takeover import kill, worker
from tests.servers.redis import Redis

__all__ = ["redis"]

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

    def of(self, member: str) -> list[Any]:
        return [message for message in self.inbox if member in message]

    def last(self, member: str) -> Any:
        return self.of(member)[-1]

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


@pytest.mark.server
def test_machines_that_share_a_redis_share_swarms_and_each_goes_on_alone_without_it(
    tmp_path: Path, redis: Redis
) -> None:
    async def test() -> None:
        one, other = await pair(tmp_path, redis)
        anna, bert = Viewer(one, "anna"), Viewer(other, "bert")
        anna.announce(event="started", left=0)
        await anna.gets("interval")
        async with asyncio.timeout(15):
            while not any("offer" in message for message in anna.inbox):
                bert.offer()
                await asyncio.sleep(0.1)
        last = [m for m in bert.inbox if "interval" in m][-1]
        assert (last["complete"], last["incomplete"]) == (1, 1)
        offer = await anna.gets("offer")
        assert (offer["peer_id"], offer["offer"]) == (bert.name, {"sdp": "O"})
        anna.announce(answer={"sdp": "A"}, to_peer_id=bert.name, offer_id=offer["offer_id"])
        answer = await bert.gets("answer")
        assert (answer["peer_id"], answer["answer"]) == (anna.name, {"sdp": "A"})
        # An offer never comes back to who made it, wherever its other sockets are.
        again = Viewer(one, "bert")
        again.offer()
        await again.gets("interval")
        assert not [m for m in bert.inbox if m.get("peer_id") == bert.name]

        redis.kill()
        await until(lambda: not one.healthy and not other.healthy, "the loss is noticed")
        carl = Viewer(one, "carl")
        anna.inbox.clear()
        async with asyncio.timeout(15):
            while not any("offer" in message for message in anna.inbox):
                carl.offer()
                await asyncio.sleep(0.1)
        redis.start()
        await until(lambda: one.healthy and other.healthy, "Redis is found again")
        anna.inbox.clear()
        async with asyncio.timeout(15):
            while bert.name not in [m["peer_id"] for m in anna.inbox if "offer" in m]:
                bert.offer()
                await asyncio.sleep(0.1)
        for viewer in (anna, bert, carl):
            assert viewer.closed is None
        await until(lambda: other.snapshot()["tracker_sockets"] == 4, "all are counted")
        assert other.snapshot()["torrents"] == 1
        await one.close()
        # Nobody offers anything to a machine that is gone.
        async with asyncio.timeout(15):
            while bert.last("interval")["complete"]:
                bert.announce()
                await asyncio.sleep(0.1)
        await other.close()

    run(test)


@pytest.mark.server
def test_offers_go_to_members_of_all_machines_alike(tmp_path: Path, redis: Redis) -> None:
    async def test() -> None:
        one, other = await pair(tmp_path, redis)
        near = [Viewer(one, f"near{n}") for n in range(5)]
        far = [Viewer(other, f"far{n}") for n in range(15)]
        for viewer in (*near, *far):
            viewer.announce(event="started")
            await viewer.gets("interval")
        asker = Viewer(one, "asker")
        async with asyncio.timeout(15):
            while not asker.inbox or asker.last("interval")["incomplete"] != 21:
                asker.announce()
                await asyncio.sleep(0.1)
        offers = [{"offer": {"sdp": str(n)}, "offer_id": f"{n}".ljust(20)} for n in range(10)]
        for _ in range(12):
            asker.announce(offers=offers)
            await asyncio.sleep(0.05)
        await until(
            lambda: sum(len(viewer.of("offer")) for viewer in (*near, *far)) == 120, "all arrive"
        )
        got = sum(len(viewer.of("offer")) for viewer in far)
        assert 0.6 < got / 120 < 0.9, "three in four members are on the other machine"
        assert sum(1 for viewer in far if viewer.of("offer")) > 10, "and they are chosen at random"
        await one.close()
        await other.close()

    run(test)
