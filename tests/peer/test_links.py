"""Places for links are few: who finds none is told, and goes elsewhere."""

from __future__ import annotations

import asyncio
from typing import Any

from p2pcdn.peer.links import Links, rtc_configuration


class Host:
    """The peer around: its messages go to the other one at once."""

    contents: dict[str, Any]

    def __init__(self) -> None:
        self.contents = {}
        self.said: list[dict[str, Any]] = []

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def signal(self, message: dict[str, Any]) -> None:
        self.said.append(message)

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


async def told(host: Host, type: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while not (found := [m for m in host.said if m["type"] == type]):
            await asyncio.sleep(0.01)
    return found[-1]


def test_who_finds_no_place_at_a_peer_does_not_wait_for_it() -> None:
    async def story() -> None:
        ours, theirs = Host(), Host()
        caller = Links("caller", rtc_configuration([]), 4, ours)
        full = Links("full", rtc_configuration([]), 0, theirs)
        try:
            caller.offer(["full"])
            assert caller.connecting == 1
            offer = await told(ours, "OFFER")
            full.heard("OFFER", "caller", offer["payload"])
            answer = await told(theirs, "ANSWER")
            assert "sdp" not in answer["payload"]
            caller.heard("ANSWER", "full", answer["payload"])
            # Its place is free for another one, and it is not asked again at once.
            assert caller.free == 4 and caller.shuns("full")
        finally:
            await caller.close()
            await full.close()

    asyncio.run(story())
