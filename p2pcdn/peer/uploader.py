"""Who is served next, and how fast (TypeScript twin: js/src/swarm/uploader.ts)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from p2pcdn.peer.wire import MAX_DATA, Data, Reason, Reject, encode

__all__ = ["HIGH_WATER", "Order", "Outlet", "Uploader"]

HIGH_WATER = 131_072
"""A channel that holds more waits: a CANCEL should still find most of the work undone."""
_BURST_S = 0.25


class Stock(Protocol):
    """A content, as far as the uploader needs it."""

    def read(self, segment: int) -> bytes | None: ...
    def uploaded(self, count: int) -> None: ...


@dataclass(slots=True)
class Order:
    """One request of a peer."""

    content: Stock
    rid: int
    segment: int
    offset: int
    length: int
    sent: int = 0
    data: bytes | None = None
    """What was asked for, from its first piece on: one order of each link is begun at a time. Until
    then it stays in the store, which may have to read and hash a whole segment for every piece."""


class Outlet(Protocol):
    """A link, as far as the uploader needs it."""

    orders: deque[Order]
    sent: int

    def backlog(self) -> int:
        """Bytes given to the channel that have not left."""

    def send(self, frame: bytes) -> bool: ...


class Uploader:
    """One token bucket over all links; round robin, one message each.

    Args:
        limit: Bytes per second; None: as fast as the channels take it.
        now: Seconds, never going back.
    """

    def __init__(self, limit: int | None, now: Callable[[], float]) -> None:
        self.limit = limit
        self.sent_bytes = 0
        self.outlets: list[Outlet] = []
        self._now = now
        self._tokens = float(MAX_DATA)
        self._filled_at = now()
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def cap_kib(self) -> int:
        """The cap in KiB/s as HELLO says it; 0: none."""
        return 0 if self.limit is None else min(2**32 - 1, max(1, round(self.limit / 1024)))

    @property
    def waiting_bytes(self) -> int:
        """Bytes that peers wait for."""
        return sum(o.length - o.sent for outlet in self.outlets for o in outlet.orders)

    def frames(self, order: Order, offset: int, data: bytes) -> list[bytes]:
        """What goes onto the wire for a piece of a segment: one DATA."""
        return [encode(Data(order.rid, offset, data))]

    def pump(self) -> None:
        """Send what may be sent now; comes back by itself for the rest."""
        now = self._now()
        if self.limit is not None:
            burst = max(MAX_DATA, self.limit * _BURST_S)
            self._tokens = min(burst, self._tokens + (now - self._filled_at) * self.limit)
        self._filled_at = now
        idle = 0
        while self.outlets and idle < len(self.outlets) and self._may_send():
            outlet = self.outlets[self._next % len(self.outlets)]
            self._next += 1
            if not outlet.orders or outlet.backlog() >= HIGH_WATER:
                idle += 1
            else:
                idle = 0
                self._serve(outlet)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if any(outlet.orders for outlet in self.outlets):
            # A full channel calls again when it has drained; the timer is for the bucket.
            wait = 0.25
            if self.limit is not None and not self._may_send():
                wait = min(1.0, (MAX_DATA - self._tokens) / max(1, self.limit))
            self._timer = asyncio.get_running_loop().call_later(max(0.002, wait), self.pump)

    def stop(self) -> None:
        """Nobody is served any more."""
        if self._timer is not None:
            self._timer.cancel()
        self.outlets.clear()

    def _may_send(self) -> bool:
        return self.limit is None or self._tokens > 0

    def _serve(self, outlet: Outlet) -> None:
        order = outlet.orders[0]
        if order.data is None:
            whole = order.content.read(order.segment)
            if whole is None:  # evicted since it was asked for
                outlet.orders.popleft()
                outlet.send(encode(Reject(order.rid, Reason.NOT_HELD)))
                return
            order.data = whole[order.offset : order.offset + order.length]
        at = order.offset + order.sent
        piece = order.data[order.sent : order.sent + MAX_DATA]
        order.sent += len(piece)
        if order.sent >= order.length:
            outlet.orders.popleft()
        for frame in self.frames(order, at, piece):
            if not outlet.send(frame):
                outlet.orders.clear()
                return
        self._tokens -= len(piece)
        self.sent_bytes += len(piece)
        outlet.sent += len(piece)
        order.content.uploaded(len(piece))
