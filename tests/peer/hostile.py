"""Peers that break the protocol on purpose, built on the real one.

    async with HostilePeer("wrong bytes", url) as peer:
        await (await peer.seed("/media/one.mp4")).wait()

`peer.attacks` counts what it did: a test in which nothing was attacked proves nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from p2pcdn.peer import Content, Peer, wire
from p2pcdn.peer.bits import Bits
from p2pcdn.peer.link import Link
from p2pcdn.peer.uploader import Order, Uploader

__all__ = ["ANSWERS", "ATTACKS", "PASSED_OVER", "HostilePeer"]


def _data(order: Order, offset: int, data: bytes) -> bytes:
    return wire.encode(wire.Data(order.rid, offset, data))


def _wrong_bytes(peer: HostilePeer, order: Order, offset: int, data: bytes) -> list[bytes]:
    peer.attacks += 1
    return [_data(order, offset, bytes(b ^ 0x5A for b in data))]


def _one_wrong_bit(peer: HostilePeer, order: Order, offset: int, data: bytes) -> list[bytes]:
    if offset:
        return [_data(order, offset, data)]
    peer.attacks += 1
    return [_data(order, offset, bytes([data[0] ^ 1]) + data[1:])]


def _another_segment(peer: HostilePeer, order: Order, offset: int, data: bytes) -> list[bytes]:
    content = order.content
    assert isinstance(content, Content)
    other = content.read((order.segment + 1) % max(1, content.held.size - 1)) or data
    peer.attacks += 1
    return [_data(order, offset, (other * 2)[offset : offset + len(data)])]


def _too_long(peer: HostilePeer, order: Order, offset: int, data: bytes) -> list[bytes]:
    if order.sent < order.length:
        return [_data(order, offset, data)]
    peer.attacks += 1
    return [_data(order, offset, data), _data(order, offset + len(data), b"\0" * 1000)]


def _truncated(peer: HostilePeer, order: Order, offset: int, data: bytes) -> list[bytes]:
    peer.attacks += 1
    return [_data(order, offset, data[: max(1, len(data) // 2)])]


def _replayed(peer: HostilePeer, order: Order, offset: int, data: bytes) -> list[bytes]:
    peer.attacks += 1
    return [_data(order, offset, data)] * 2


def _silence(peer: HostilePeer, order: Order, offset: int, data: bytes) -> list[bytes]:
    peer.attacks += 1
    return []


def _slow_drip(peer: HostilePeer, order: Order, offset: int, data: bytes) -> list[bytes]:
    peer.attacks += 1
    if order.sent > len(data):  # only the first piece of a segment, and of that a byte
        return []
    return [_data(order, offset, data[:1])]


def _cut_header(peer: HostilePeer, order: Order, offset: int, data: bytes) -> list[bytes]:
    peer.attacks += 1
    return [_data(order, offset, data)[:7]]


def _not_held(peer: HostilePeer, order: Order, offset: int, data: bytes) -> list[bytes]:
    peer.attacks += 1
    order.sent = order.length
    return [wire.encode(wire.Reject(order.rid, wire.Reason.NOT_HELD))]


Answer = Callable[["HostilePeer", Order, int, bytes], list[bytes]]
ANSWERS: dict[str, Answer] = {
    "wrong bytes": _wrong_bytes,
    "one wrong bit": _one_wrong_bit,
    "right bytes of another segment": _another_segment,
    "too long": _too_long,
    "truncated": _truncated,
    "replayed": _replayed,
    "silence": _silence,
    "slow drip": _slow_drip,
    "cut header": _cut_header,
    "lying HAVE": _not_held,
}
"""What becomes of every DATA message."""


def _flood(link: Link) -> list[bytes]:
    # What costs the other side most; a flood of PINGs is bound by our own speed.
    return [wire.encode(wire.Join(9, "f" * 32, 80_000, b"\xff" * 10_000))] * 150


def _have_flood(link: Link) -> list[bytes]:
    runs = tuple((0, 1) for _ in range(4000))
    return [wire.encode(wire.Have(0, runs))] * 40


def _unasked(link: Link) -> list[bytes]:
    return [wire.encode(wire.Data(7, 0, b"\xff" * 16384))] * 200


def _giant(link: Link) -> list[bytes]:
    return [b"\x05" + b"\xff" * 200_000] * 4


def _noise(link: Link) -> list[bytes]:
    chance = random.Random(1)
    return [chance.randbytes(chance.randrange(1, 300)) for _ in range(50)]


def _everybody(link: Link) -> list[bytes]:
    ids = tuple(f"nobody{number}" for number in range(500))
    return [wire.encode(wire.Peers(0, ids))] * 20


def _claims(link: Link) -> list[bytes]:
    remote = next(iter(link.remotes.values()))
    return [wire.encode(wire.Claim(0, ((0, remote.has.size),))), wire.encode(wire.Have(0, ()))]


OPENERS: dict[str, Callable[[Link], list[bytes]]] = {
    "flood": _flood,
    "HAVE flood": _have_flood,
    "data that nobody asked for": _unasked,
    "giant frames": _giant,
    "noise": _noise,
    "invented peers": _everybody,
    "lying CLAIM": _claims,
}
"""What is sent as soon as a link is open."""
_AGAIN_S = {"flood": 0.0, "HAVE flood": 0.0, "lying CLAIM": 2.0}
"""And again, each time after a pause."""

ATTACKS = (*ANSWERS, *OPENERS)
PASSED_OVER = ("silence", "slow drip", "lying HAVE", "lying CLAIM", "invented peers")
"""Who is merely slow or useless is not asked again, but need not be dropped."""


class _HostileUploader(Uploader):
    def __init__(self, peer: HostilePeer, limit: int | None) -> None:
        super().__init__(limit, peer.now)
        self._peer = peer

    def frames(self, order: Order, offset: int, data: bytes) -> list[bytes]:
        answer = ANSWERS.get(self._peer.attack)
        if answer is None:
            return super().frames(order, offset, data)
        return answer(self._peer, order, offset, data)


class HostilePeer(Peer):
    """A `Peer` with one of `ATTACKS`. It takes part honestly in all the rest, so that it is
    asked at all."""

    def __init__(self, attack: str, site_url: str, **options: Any) -> None:
        assert attack in ATTACKS, attack
        self.attack = attack
        self.attacks = 0
        self.dropped = 0
        """How often a link of it was ended by the other side."""
        super().__init__(site_url, **options)

    def _make_uploader(self, limit: int | None) -> Uploader:
        return _HostileUploader(self, limit)

    async def seed(self, url: str) -> Content:
        if self.attack not in ("lying HAVE", "lying CLAIM"):
            return await super().seed(url)
        content = await self.open(url)
        if self.attack == "lying HAVE":
            content.held = _Everything(content.held.size)
            content.read = lambda segment: bytes(content.manifest.length(segment))  # type: ignore[method-assign]
        content.full = True  # there is nothing to wait for
        for link in self._links:
            link.join(content)
        self._searches.announce(content, range(content.held.size))
        return content

    def opened(self, link: Link) -> None:
        super().opened(link)
        if opener := OPENERS.get(self.attack):
            self._go(self._open_with(link, opener))

    async def _open_with(self, link: Link, opener: Callable[[Link], list[bytes]]) -> None:
        # After the other side's HELLO and JOIN, so that there is something to be lost.
        while not link.remotes and not link.over:
            await asyncio.sleep(0.01)
        while not link.over:
            for frame in opener(link):
                while link.backlog() > 1 << 16 and not link.over:
                    await asyncio.sleep(0.01)
                self.attacks += link.send(frame)
            if self.attack not in _AGAIN_S:
                return
            await asyncio.sleep(_AGAIN_S[self.attack])

    def ended(self, link: Link, hostile: bool) -> None:
        super().ended(link, hostile)
        if not self._closing:
            self.dropped += 1


class _Everything(Bits):
    """Claims to hold all of it."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        for segment in range(size):
            self.put(segment, True)
