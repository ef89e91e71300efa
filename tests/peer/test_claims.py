"""Who says that he fetches a segment is waited for, but by no word of his for ever."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable

import httpx
import pytest

from p2pcdn.peer import wire
from p2pcdn.peer.content import Content
from p2pcdn.peer.link import Link
from p2pcdn.peer.manifest import Manifest
from p2pcdn.peer.store import Store
from p2pcdn.peer.wire import Message
from tests.peer.test_link import FakeChannel

KEY = "ab" * 16
SEGMENT = 65_536
COUNT = 6
PIECE = b"x" * SEGMENT
MANIFEST = Manifest(
    KEY, COUNT * SEGMENT, "video/mp4", SEGMENT, hashlib.sha256(PIECE).digest() * COUNT, "t", 9e9
)


class Swarm:
    """A content that is wanted, an origin that takes its time, and peers who say things."""

    cap_kib = 0

    def __init__(self, origin_s: float = 0.0) -> None:
        self.time = 100.0
        self.asked: list[tuple[float, int]] = []
        """When the origin was asked, and for which segment first."""
        self.origin_s = origin_s
        self.store = Store(1 << 30)
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.all: list[Link] = []
        self.contents: dict[str, Content] = {}
        url = httpx.URL("http://site.example/a.mp4")
        self.content = self.contents[KEY] = Content(0, url, "/a.mp4", MANIFEST, self)
        self.content.seeding = True

    def now(self) -> float:
        return self.time

    def links(self) -> Iterable[Link]:
        return self.all

    def expecting(self, content: Content) -> bool:
        return False

    def blame(self, content: Content, id: str) -> None:
        raise AssertionError

    def stale(self, content: Content) -> None:
        raise AssertionError

    def serve(self) -> None: ...
    def heard_of(self, key: str, ids: Iterable[str]) -> None: ...
    def ended(self, link: Link, hostile: bool) -> None: ...

    def peer(self, *said: Message) -> Link:
        link = Link("them", FakeChannel(), self)
        self.all.append(link)
        return self.hear(link, wire.Join(1, KEY, COUNT, b"\0"), *said)

    def hear(self, link: Link, *said: Message) -> Link:
        for message in said:
            link.hear(wire.encode(message))
        return link

    def _answer(self, request: httpx.Request) -> httpx.Response:
        low, high = request.headers["range"].removeprefix("bytes=").split("-")
        size = int(high) + 1 - int(low)
        self.asked.append((self.time - 100.0, int(low) // SEGMENT))
        self.time += self.origin_s * size / SEGMENT
        headers = {"Content-Range": f"bytes {low}-{high}/{COUNT * SEGMENT}"}
        return httpx.Response(206, headers=headers, stream=httpx.ByteStream(b"x" * size))

    async def pass_(self, seconds: float, each: Callable[[], object] = lambda: None) -> None:
        for _ in range(round(seconds / 0.25)):
            self.time += 0.25
            each()
            for link in self.all:
                link.tick()
                self.hear(link, wire.Pong(0))
            self.content.tick()
            for _ in range(30):
                await asyncio.sleep(0)


ALL = wire.Claim(1, ((0, COUNT),))


def test_a_claim_that_is_renewed_and_never_kept_is_soon_believed_no_more() -> None:
    async def story() -> None:
        swarm = Swarm()
        liar = swarm.peer(ALL)
        await swarm.pass_(1.5, lambda: swarm.hear(liar, ALL, wire.Have(1, ())))
        assert not swarm.asked, "who has only just said it may well do it"
        await swarm.pass_(4.5, lambda: swarm.hear(liar, ALL, wire.Have(1, ())))
        assert swarm.content.complete
        assert len({at for at, _ in swarm.asked}) <= 2, "it was waited for once, not per segment"

    asyncio.run(story())


def test_new_liars_do_not_make_a_segment_wait_anew() -> None:
    async def story() -> None:
        swarm = Swarm()

        def another() -> None:
            swarm.peer(ALL)

        await swarm.pass_(25, another)
        assert swarm.content.complete

    asyncio.run(story())


def test_who_takes_a_segment_back_and_claims_it_again_gains_nothing() -> None:
    async def story() -> None:
        swarm = Swarm()
        liar = swarm.peer(ALL)
        one = ((5, 1),)
        again = (wire.Have(1, one), wire.Unhave(1, one), wire.Claim(1, one))
        await swarm.pass_(25, lambda: swarm.hear(liar, *again))
        assert swarm.content.complete

    asyncio.run(story())


def test_the_claims_of_who_uploads_nothing_are_not_waited_for() -> None:
    async def story() -> None:
        swarm = Swarm()
        swarm.peer(ALL, wire.Hello(False, 0))
        await swarm.pass_(0.5)
        assert swarm.content.complete

    asyncio.run(story())


@pytest.mark.parametrize("segment_s", [0.25, 1.0])
def test_who_fetches_from_a_slow_origin_and_shares_it_is_waited_for(segment_s: float) -> None:
    async def story() -> None:
        swarm = Swarm(segment_s)
        honest = swarm.peer(ALL)
        began = swarm.time
        kept = 0

        def deliver() -> None:
            nonlocal kept
            if (swarm.time - began) / segment_s >= kept + 1 and kept < COUNT:
                swarm.hear(honest, wire.Have(1, ((kept, 1),)))
                kept += 1
            if kept < COUNT:
                swarm.hear(honest, wire.Claim(1, ((kept, COUNT - kept),)))
            for rid, flight in list(honest.flights.items()):
                pieces = range(0, flight.length, wire.MAX_DATA)
                swarm.hear(honest, *(wire.Data(rid, at, PIECE[: wire.MAX_DATA]) for at in pieces))

        await swarm.pass_(COUNT * segment_s + 1, deliver)
        assert swarm.content.complete and not swarm.asked

    asyncio.run(story())


def test_a_peer_in_doubt_is_believed_again_when_it_delivers() -> None:
    async def story() -> None:
        swarm = Swarm()
        late = swarm.peer(wire.Claim(1, ((0, 1),)), wire.Have(1, ((1, 5),)))
        late.doubted = True
        swarm.content.poke()
        await asyncio.sleep(0)
        (rid, *_) = late.flights
        pieces = range(0, SEGMENT, wire.MAX_DATA)
        swarm.hear(late, *(wire.Data(rid, at, PIECE[: wire.MAX_DATA]) for at in pieces))
        assert not late.doubted

    asyncio.run(story())
