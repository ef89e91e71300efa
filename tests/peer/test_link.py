"""One link, without a network: what a peer may do to us, and what ends it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcdn.peer import wire
from p2pcdn.peer.bits import Bits
from p2pcdn.peer.link import Link, PeerFlight
from p2pcdn.peer.uploader import HIGH_WATER, Uploader
from p2pcdn.peer.wire import Message, Reason

KEY = "ab" * 16
SEGMENT = 65_536
SIZE = 3 * SEGMENT + 1000


class FakeChannel:
    """What was sent, and how much of it still waits."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.bufferedAmount = 0
        self.readyState = "open"

    def send(self, data: bytes) -> None:
        self.frames.append(data)

    def said(self, type: type[Message]) -> list[Message]:
        messages = [wire.decode(frame) for frame in self.frames]
        return [message for message in messages if isinstance(message, type)]


class FakeContent:
    number, key, size, segment_bytes = 5, KEY, SIZE, SEGMENT

    def __init__(self) -> None:
        self.held = Bits(4)
        self.pokes = self.reads = 0
        self.whole: list[PeerFlight] = []
        self.sent = 0

    def hold(self, *segments: int) -> None:
        for segment in segments:
            self.held.put(segment, True)

    def read(self, segment: int) -> bytes | None:
        self.reads += 1
        length = min(SEGMENT, SIZE - segment * SEGMENT)
        return bytes([segment]) * length if segment in self.held else None

    def uploaded(self, count: int) -> None:
        self.sent += count

    def claims(self) -> tuple[wire.Run, ...]:
        return ()

    def poke(self) -> None:
        self.pokes += 1

    def arrived(self, flight: PeerFlight) -> None:
        self.whole.append(flight)


class World:
    """A link with everything around it; time passes only by `pass_`."""

    cap_kib = 0

    def __init__(self, limit: int | None = None) -> None:
        self.time = 100.0
        self.content = FakeContent()
        self.contents = {KEY: self.content}
        self.heard: list[str] = []
        self.hostile: bool | None = None
        self.channel = FakeChannel()
        self.uploader = Uploader(limit, self.now)
        self.link = Link("them", self.channel, self)
        self.uploader.outlets.append(self.link)

    def now(self) -> float:
        return self.time

    def serve(self) -> None:
        pass

    def heard_of(self, key: str, ids: Iterable[str]) -> None:
        self.heard += ids

    def ended(self, link: Link, hostile: bool) -> None:
        self.hostile = hostile

    def hear(self, *messages: Message) -> None:
        for message in messages:
            self.link.hear(wire.encode(message))

    def joined(self, held: bytes = b"\xf0") -> World:
        self.hear(wire.Hello(True, 0), wire.Join(1, KEY, 4, held))
        return self

    def pass_(self, seconds: float) -> None:
        """Time goes by, with the ticks of a real peer and its partner's answers to PINGs."""
        for _ in range(round(seconds / 0.25)):
            self.time += 0.25
            self.link.tick()
            if self.link.over:
                return
            pings = self.channel.said(wire.Ping)
            if pings and isinstance(pings[-1], wire.Ping):
                self.hear(wire.Pong(pings[-1].token))


def test_a_link_begins_with_what_we_are_and_hold() -> None:
    world = World()
    first = [wire.decode(frame) for frame in world.channel.frames]
    assert first[0] == wire.Hello(True, 0)
    assert first[1] == wire.Join(5, KEY, 4, b"\0")


def test_a_whole_segment_arrives_in_pieces_and_is_handed_over_once() -> None:
    world = World().joined()
    flight = world.link.request(world.content, 1, SEGMENT)
    (request,) = world.channel.said(wire.Request)
    assert isinstance(request, wire.Request) and request.c == 5
    for at in range(0, SEGMENT, wire.MAX_DATA):
        world.hear(wire.Data(request.rid, at, b"z" * wire.MAX_DATA))
    assert world.content.whole == [flight] and bytes(flight.data) == b"z" * SEGMENT
    assert world.link.queued == 0 and not world.link.over


BAD: dict[str, list[Message]] = {
    "a gap": [wire.Data(2, 16, b"x")],
    "a replay": [wire.Data(2, 0, b"x"), wire.Data(2, 0, b"x")],
    "more than was asked for": [
        *(wire.Data(2, at, b"x" * 16384) for at in range(0, SEGMENT, 16384)),
        wire.Data(2, SEGMENT, b"x"),
    ],
    "data of another request": [wire.Data(3, 0, b"x")],
    "a JOIN of another size": [wire.Join(2, KEY, 5, b"\0")],
    "a HAVE beyond the content": [wire.Have(1, ((4, 1),))],
    "a REQUEST for a segment that is none": [wire.Request(1, 1, 4, 0, 1)],
    "a REQUEST beyond its segment": [wire.Request(1, 1, 0, SEGMENT - 1, 2)],
    "a REQUEST beyond the short last segment": [wire.Request(1, 1, 3, 0, 1001)],
    "version 0": [wire.Hello(True, 0, 0)],
    "a flood of PINGs": [wire.Ping(1)] * 3200,
    "a flood of JOINs": [wire.Join(1, KEY, 4, b"\0")] * 800,
    "a flood of ids": [wire.Peers(1, ("nobody",) * 1000)] * 4,
    "too many contents": [wire.Join(c, f"{c:032x}", 8, b"\0") for c in range(600)],
}


@pytest.mark.parametrize("what", BAD)
def test_what_no_honest_peer_sends_ends_the_link(what: str) -> None:
    world = World().joined()
    world.content.hold(0, 1, 2, 3)
    world.link.request(world.content, 1, SEGMENT)
    world.hear(*BAD[what])
    assert world.hostile is True and world.link.over
    assert not world.link.flights and not world.link.orders


@pytest.mark.parametrize("frame", ["text", b"", b"\x05" + b"\xff" * 70_000, b"\x04\0", None])
def test_what_is_no_message_ends_the_link(frame: object) -> None:
    world = World()
    world.link.hear(frame)
    assert world.hostile is True


@given(st.lists(st.binary(max_size=60), max_size=30))
def test_nothing_that_is_heard_raises_or_asks_for_more_than_the_limits(frames: list[bytes]) -> None:
    world = World().joined()
    world.content.hold(0, 2)
    for frame in frames:
        world.link.hear(frame)
    assert len(world.link.remotes) <= 512 and len(world.link.orders) <= 256


def test_a_peer_that_asks_and_never_reads_is_dropped() -> None:
    world = World().joined()
    world.channel.bufferedAmount = (1 << 20) + 1
    world.hear(wire.Ping(1))
    assert world.hostile is True


def test_what_we_do_not_have_is_refused_in_words() -> None:
    world = World().joined()
    world.content.hold(0)
    world.hear(wire.Request(1, 7, 1, 0, 10), wire.Request(9, 8, 0, 0, 10))
    assert world.channel.said(wire.Reject) == [
        wire.Reject(7, Reason.NOT_HELD),
        wire.Reject(8, Reason.UNKNOWN_CONTENT),
    ]
    assert not world.link.over


def test_a_greedy_peer_hears_that_we_are_busy() -> None:
    world = World().joined()
    world.content.hold(0)
    world.hear(*(wire.Request(1, rid, 0, 0, SEGMENT) for rid in range(300)))
    assert len(world.link.orders) == 256
    assert world.channel.said(wire.Reject)[0] == wire.Reject(256, Reason.BUSY)


def test_a_cancelled_request_is_not_answered() -> None:
    world = World().joined()
    world.content.hold(0, 1)
    world.hear(wire.Request(1, 1, 0, 0, 9), wire.Request(1, 2, 1, 0, 9), wire.Cancel(1))
    assert [order.rid for order in world.link.orders] == [2]


def test_data_that_was_under_way_when_we_cancelled_is_forgiven_but_no_more() -> None:
    world = World().joined()
    flight = world.link.request(world.content, 0, SEGMENT)
    world.link.cancel(flight)
    for at in range(0, SEGMENT, 16384):
        world.hear(wire.Data(2, at, b"x" * 16384))
    assert not world.link.over
    world.hear(wire.Data(2, 0, b"x"))
    assert world.hostile is True


def test_a_silent_peer_is_given_up_and_in_the_end_dropped() -> None:
    world = World().joined()
    for strike in (1, 2, 3):
        world.link.request(world.content, 0, SEGMENT)
        assert world.link.room(SEGMENT) > 0
        world.pass_(4.5)
        assert not world.link.flights
        assert world.link.room(SEGMENT) == 0, "it is left alone for a while"
        assert world.link.over is (strike == 3)
        world.pass_(1.25)
    assert world.hostile is True


def test_a_peer_that_vanished_is_missed_without_blame() -> None:
    world = World().joined()
    for _ in range(80):
        world.time += 0.25
        world.link.tick()
    assert world.hostile is False and world.link.over


def test_a_busy_peer_is_asked_again_later_and_one_without_upload_never() -> None:
    world = World().joined()
    world.link.request(world.content, 0, SEGMENT)
    world.hear(wire.Reject(2, Reason.BUSY))
    assert world.link.room(SEGMENT) == 0 and not world.link.flights
    world.pass_(1)
    assert world.link.room(SEGMENT) > 0
    world.link.request(world.content, 0, SEGMENT)
    (*_, last) = world.channel.said(wire.Request)
    assert isinstance(last, wire.Request)
    world.hear(wire.Reject(last.rid, Reason.UPLOAD_OFF))
    world.pass_(5)
    assert world.link.room(SEGMENT) == 0


def test_many_who_hear_at_once_that_a_peer_is_busy_wait_no_longer_than_one() -> None:
    world = World().joined()
    for wait in (0.5, 1.0):
        for segment in range(3):
            world.link.request(world.content, segment, SEGMENT)
        world.hear(*(wire.Reject(rid, Reason.BUSY) for rid in list(world.link.flights)))
        world.pass_(wait - 0.25)
        assert world.link.room(SEGMENT) == 0
        world.pass_(0.5)
        assert world.link.room(SEGMENT) > 0


def test_who_announces_what_is_not_there_is_not_believed_again() -> None:
    world = World().joined()
    world.link.request(world.content, 0, SEGMENT)
    world.hear(wire.Reject(2, Reason.NOT_HELD))
    remote = world.link.remote(KEY)
    assert remote is not None and 0 not in remote.has and 1 in remote.has


def test_news_of_a_peer_is_taken_in() -> None:
    world = World().joined(b"\0")
    world.hear(wire.Claim(1, ((0, 2),)), wire.Have(1, ((1, 1),)), wire.Peers(1, ("abc",)))
    remote = world.link.remote(KEY)
    assert remote is not None
    assert set(remote.has) == {1} and set(remote.claims) == {0} and world.heard == ["abc"]
    world.pass_(5.5)
    assert not remote.claims, "a claim is not believed for ever"
    world.hear(wire.Unhave(1, ((1, 1),)), wire.Leave(1))
    assert not set(remote.has) and world.link.remote(KEY) is None


# --- the uploader ------------------------------------------------------------------------


def _run_pump(world: World) -> None:
    import asyncio

    async def pump() -> None:
        world.uploader.pump()
        world.uploader._timer and world.uploader._timer.cancel()

    asyncio.run(pump())


def test_upload_keeps_to_its_limit() -> None:
    limit = 100_000
    world = World(limit).joined()
    world.content.hold(0, 1, 2)
    world.hear(*(wire.Request(1, rid, rid % 3, 0, SEGMENT) for rid in range(60)))
    for _ in range(200):
        world.time += 0.05
        _run_pump(world)
    assert 0.9 * limit * 10 < world.content.sent <= 1.1 * limit * 10
    assert world.content.sent == world.link.sent == world.uploader.sent_bytes


def test_a_full_channel_is_left_to_drain() -> None:
    world = World().joined()
    world.content.hold(0)
    world.hear(wire.Request(1, 1, 0, 0, SEGMENT))
    world.channel.bufferedAmount = HIGH_WATER
    _run_pump(world)
    assert not world.channel.said(wire.Data)
    world.channel.bufferedAmount = 0
    _run_pump(world)
    data = world.channel.said(wire.Data)
    assert [m.offset for m in data if isinstance(m, wire.Data)] == [0, 16384, 32768, 49152]


def test_what_is_served_in_turns_is_read_once_however_many_take_turns() -> None:
    world = World().joined()
    world.content.hold(*range(4))
    links = [world.link, *(Link(f"them{n}", FakeChannel(), world) for n in range(8))]
    world.uploader.outlets[:] = links
    for number, link in enumerate(links):
        link.hear(wire.encode(wire.Join(1, KEY, 4, b"\0")))
        link.hear(wire.encode(wire.Request(1, 1, number % 3, 100, SEGMENT - 100)))
    _run_pump(world)
    assert world.content.reads == len(links)
    for number, link in enumerate(links):
        assert isinstance(link._channel, FakeChannel) and not link.orders
        pieces = [m for m in link._channel.said(wire.Data) if isinstance(m, wire.Data)]
        assert [m.offset for m in pieces] == [100, 16484, 32868, 49252]
        assert b"".join(m.data for m in pieces) == bytes([number % 3]) * (SEGMENT - 100)


def test_what_was_evicted_meanwhile_is_refused_not_made_up() -> None:
    world = World().joined()
    world.content.hold(0)
    world.hear(wire.Request(1, 1, 0, 0, SEGMENT))
    world.content.held.put(0, False)
    _run_pump(world)
    assert world.channel.said(wire.Reject) == [wire.Reject(1, Reason.NOT_HELD)]
    assert not world.link.orders
