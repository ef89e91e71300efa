"""Real browsers and Python peers in one swarm."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from p2pcdn.peer import Peer
from tests.browser.eyes import Watch, warm
from tests.peer.conftest import Beside
from tests.peer.hostile import PASSED_OVER, HostilePeer
from tests.servers.proxy import Proxy
from tests.sites import media

pytestmark = [pytest.mark.browser, pytest.mark.server]


@pytest.mark.parametrize("kind", ["chromium", "firefox"])
def test_a_visitors_video_comes_from_a_python_seeder_and_hardly_from_the_origin(
    kind: str,
    origin: Proxy,
    watch: Callable[..., Watch],
    beside: Callable[[Peer], Beside],
) -> None:
    warm(origin, "watch/long", "long.mp4")
    seeder = beside(Peer(f"{origin.url}/watch/long"))
    seeder.seed("/media/long.mp4")
    seeder.until(lambda: seeder.peer.stats().transport == "websocket")
    origin.reset()
    visitor = watch(origin, kind).open("watch/long").shared().play(4).end()
    visitor.no_error()
    visitor.delivered("long.mp4", whole=kind == "chromium")
    size = (media.folder() / "long.mp4").stat().st_size
    sent = origin.sent(r"/media/long\.mp4")
    print(f"{kind}: the origin sent {sent} of {size} bytes")
    # The first frames, and what is urgent while the link is young.
    assert sent <= size // 3, f"the origin sent {sent} of {size} bytes"
    assert seeder.peer.stats().uploaded >= size - sent and visitor.received >= size - sent


def test_a_python_peer_fetches_from_a_visitors_page(
    origin: Proxy, watch: Callable[..., Watch], beside: Callable[[Peer], Beside]
) -> None:
    watch(origin).open("watch/one").shared().play(4).end()
    origin.reset()
    peer = beside(Peer(f"{origin.url}/watch/one"))
    data = peer.do(peer.peer.fetch("/media/one.mp4"))
    assert data == (media.folder() / "one.mp4").read_bytes()
    (stats,) = peer.peer.stats().contents
    assert stats.from_peers > len(data) // 2, stats


@pytest.mark.parametrize(
    "attack",
    [
        "wrong bytes",
        "right bytes of another segment",
        "giant frames",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "one wrong bit",
                "too long",
                "truncated",
                "replayed",
                "silence",
                "slow drip",
                "cut header",
                "lying HAVE",
                "lying CLAIM",
                "flood",
                "HAVE flood",
                "data that nobody asked for",
                "noise",
                "invented peers",
            )
        ),
    ],
)
def test_a_visitor_who_meets_a_hostile_peer_sees_the_right_video_to_its_end(
    attack: str,
    origin: Proxy,
    watch: Callable[..., Watch],
    beside: Callable[[Peer], Beside],
) -> None:
    liar = HostilePeer(attack, f"{origin.url}/watch/one")
    running = beside(liar)
    running.seed("/media/one.mp4")
    running.until(lambda: liar.stats().transport == "websocket")
    visitor = watch(origin).open("watch/one").shared().play(2).end()
    visitor.no_error()
    visitor.delivered("one.mp4")
    assert visitor.stalls == []
    running.until(lambda: liar.attacks > 0)
    if attack not in PASSED_OVER:
        running.until(lambda: liar.dropped > 0)
