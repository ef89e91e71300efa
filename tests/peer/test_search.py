"""What a peer tells the coordinator of itself."""

from __future__ import annotations

from typing import Any, cast

import pytest

from p2pcdn.peer import Peer, PeerError
from p2pcdn.peer.bits import Bits
from p2pcdn.peer.content import Content
from p2pcdn.peer.search import Searches


class Film:
    key = "f" * 32
    held = Bits(4)

    class manifest:
        token = "t"
        expires = 0.0

    def __init__(self) -> None:
        self.gained: set[int] = set()
        self.lost: set[int] = set()


def test_the_coordinator_is_told_on_what_network_a_peer_is() -> None:
    said: list[Any] = []
    searches = Searches(
        said.append, busy=lambda: 0.123, now=lambda: 1.0, recheck_s=30.0, network="ethernet"
    )
    searches.announce(cast(Content, Film()), {0})
    (message,) = said
    assert message["payload"]["info"] == {"upload": True, "busy": 0.12, "network": "ethernet"}


def test_a_network_of_no_known_kind_is_refused() -> None:
    with pytest.raises(PeerError, match="'fibre' is no kind of network: ethernet, wifi"):
        Peer("http://127.0.0.1:9/", network="fibre")
