"""Python peers where visitors must not learn each other's address: through a real coturn."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from p2pcdn.peer import Peer
from p2pcdn.peer.manifest import parse_manifest
from tests.peer.test_origin import GOOD
from tests.peer.test_swarm import ONE, clip, true
from tests.peer.test_swarm import run as story_of
from tests.servers.coturn import Coturn
from tests.servers.proxy import Proxy


@pytest.mark.server
def test_credentials_come_with_each_manifest_and_make_a_link_through_turn(
    site: Callable[..., Proxy], run: Callable[..., Any]
) -> None:
    coturn: Coturn = run(lambda: Coturn("a shared secret"))
    origin = site(
        "starlette-uvicorn",
        ice_servers=json.dumps([{"urls": coturn.turn}]),
        turn_secret="a shared secret",
        relay_only="1",
    )

    def name(peer: Peer) -> Any:
        (server,) = peer._links.configuration.iceServers
        return server.username

    async def story() -> None:
        async with Peer(f"{origin.url}/watch/one", recheck_s=0.3) as seeder:
            assert not seeder._links.configuration.iceServers, "nothing that lasts"
            await (await seeder.seed(ONE)).wait()
            first = name(seeder)
            assert first.endswith(":" + seeder.id)
            await true(lambda: name(seeder) != first)
            async with Peer(f"{origin.url}/watch/one") as visitor:
                visitor._searches.ask(await visitor.open(ONE))
                await true(lambda: len(visitor.stats().links) == 1)
                (entry,) = visitor._links._entries.values()
                sdp = entry.pc.localDescription.sdp
                assert " typ relay " in sdp and " typ host " not in sdp
                assert await visitor.fetch(ONE) == clip()
                (stats,) = visitor.stats().contents
                assert stats.from_peers == len(clip())

    story_of(story())


@pytest.mark.parametrize(
    "said, taken",
    [
        ([{"urls": "turn:a", "username": "1:b", "credential": "c"}], 1),
        ([{"urls": ["stun:a"]}, {}, "stun:b", None, {"urls": 7}, {"urls": [7]}], 1),
        ([], 0),
        ("stun:a", None),
        (None, None),
    ],
    ids=str,
)
def test_of_a_manifests_servers_those_are_taken_that_are_some(said: Any, taken: Any) -> None:
    found = parse_manifest({**GOOD, "ice": said})
    assert found is not None
    assert (None if found.ice is None else len(found.ice)) == taken
