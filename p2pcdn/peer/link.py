"""The protocol over one open data channel (TypeScript twin: js/src/swarm/link.ts).

No network in here: the channel, the clock and the contents come from outside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from p2pcdn.peer import wire
from p2pcdn.peer.bits import Bits
from p2pcdn.peer.uploader import Order
from p2pcdn.peer.wire import Message, Reason, Run, WireError

__all__ = ["Channel", "Claim", "Host", "Link", "PeerFlight", "Remote", "Shared"]

_MAX_ORDERS = 256
_MAX_ORDERED_BYTES = 16 * 1024 * 1024
# A presentation's segments are a content each.
_MAX_JOINS = 512
_MAX_JOINED_SEGMENTS = 1 << 23
_MAX_UNSENT_BYTES = 1 << 20
"""A peer that makes us answer and does not read the answers is dropped."""
_CALM_PER_S = 300.0
_BURST = 3000.0
"""Messages a second, and in one go, before a peer counts as flooding."""
_CLAIM_S = 5.0
_PING_S = 4.0
_DEAD_S = 16.0
_SILENT_S = 4.0
_LATE_S = 4.0
_STRIKES = 3.0


class Channel(Protocol):
    """What a link needs of an RTCDataChannel."""

    @property
    def bufferedAmount(self) -> int: ...
    @property
    def readyState(self) -> str: ...
    def send(self, data: bytes) -> None: ...


class Shared(Protocol):
    """A content of ours, as links see it."""

    number: int
    key: str
    size: int
    segment_bytes: int
    held: Bits

    def read(self, segment: int) -> bytes | None: ...
    def uploaded(self, count: int) -> None: ...
    def claims(self) -> tuple[Run, ...]:
        """Segments that we fetch from the origin right now."""

    def poke(self) -> None:
        """Something about a peer of this content changed: reconsider."""

    def arrived(self, flight: PeerFlight) -> None:
        """A whole segment is here, not verified."""


class Host(Protocol):
    """What a link needs of the peer around it."""

    @property
    def contents(self) -> Mapping[str, Shared]: ...
    @property
    def cap_kib(self) -> int: ...
    def now(self) -> float: ...
    def serve(self) -> None:
        """There are orders."""

    def heard_of(self, key: str, ids: Iterable[str]) -> None:
        """The peer names others that have a content."""

    def ended(self, link: Link, hostile: bool) -> None:
        """It broke the protocol, or the connection is lost."""


@dataclass(slots=True)
class Claim:
    """A peer's word that it fetches a segment from the origin."""

    since: float
    until: float
    """How long it is believed unless it is renewed; that does not change `since`."""


@dataclass(slots=True)
class Remote:
    """A peer's side of one content."""

    key: str
    has: Bits
    claims: dict[int, Claim] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class PeerFlight:
    """A segment on its way from a peer."""

    link: Link
    content: Shared
    segment: int
    length: int
    since: float
    due: float
    """When it should be here, by what is known of the peer."""
    data: bytearray = field(default_factory=bytearray)


class Link:
    """One peer: what it holds, what it was asked for, what it wants."""

    def __init__(self, id: str, channel: Channel, host: Host) -> None:
        self.id = id
        self.remotes: dict[int, Remote] = {}
        self.flights: dict[int, PeerFlight] = {}
        self.orders: deque[Order] = deque()
        self.rtt: float | None = None
        self.rate = 500_000.0
        """Bytes per second it was seen to deliver; a guess until then."""
        self.received = 0
        self.sent = 0
        self.uploads = True
        self.strikes = 0.0
        self.doubted = False
        """It did not keep a claim, and has delivered nothing since: its claims are just words."""
        self.over = False
        self.opened_at = self._heard_at = self._budget_at = host.now()
        self._channel = channel
        self._host = host
        self._rid = 0
        self._busy_until = 0.0
        self._busy_for = 0.25
        self._data_at = 0.0
        self._pings: dict[int, float] = {}
        self._pinged_at = float("-inf")
        self._budget = _BURST
        self._forgiven = 0
        self._mark_at = 0.0
        self._mark_bytes = 0
        self.say(wire.Hello(True, host.cap_kib))
        for content in host.contents.values():
            self.join(content)
        self.tick()

    # --- talking -----------------------------------------------------------------------------

    def backlog(self) -> int:
        return self._channel.bufferedAmount

    def send(self, frame: bytes) -> bool:
        """Hand a frame to the channel; False where it is not open."""
        if self.over or self._channel.readyState != "open":
            return False
        try:
            self._channel.send(frame)
        except Exception:  # whatever the stack below finds: this channel is of no use
            self.end(hostile=False)
            return False
        return True

    def say(self, message: Message) -> None:
        self.send(wire.encode(message))

    def join(self, content: Shared) -> None:
        """Tell the peer that we are in a swarm."""
        held = content.held
        self.say(wire.Join(content.number, content.key, held.size, bytes(held)))
        if runs := content.claims():
            self.say(wire.Claim(content.number, runs))

    def remote(self, key: str) -> Remote | None:
        """The peer's side of a content, when it is in that swarm."""
        return next((remote for remote in self.remotes.values() if remote.key == key), None)

    # --- asking ------------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        """Bytes asked for that have not come."""
        return sum(f.length - len(f.data) for f in self.flights.values())

    def room(self, segment_bytes: int) -> float:
        """How many bytes more may be asked for: what keeps the pipe full for half a second."""
        if self.over or not self.uploads or self._busy_until > self._host.now():
            return 0.0
        pipe = self.rate * ((self.rtt or 0.1) + 0.5)
        return max(2 * segment_bytes, 131_072, min(4_194_304, pipe)) - self.queued

    def request(self, content: Shared, segment: int, length: int) -> PeerFlight:
        """Ask for a whole segment."""
        now = self._host.now()
        due = now + (self.rtt or 0.1) + (self.queued + length) / self.rate
        if not self.flights:
            self._mark(now + (self.rtt or 0.0))
        self._rid = (self._rid + 1) & 0xFFFFFFFF
        flight = PeerFlight(self, content, segment, length, now, due)
        self.flights[self._rid] = flight
        self.say(wire.Request(content.number, self._rid, segment, 0, length))
        return flight

    def cancel(self, flight: PeerFlight) -> None:
        """Take a request back; what is under way already is forgiven."""
        for rid, other in list(self.flights.items()):
            if other is flight:
                del self.flights[rid]
                self._forgiven += flight.length - len(flight.data)
                self.say(wire.Cancel(rid))

    # --- hearing -----------------------------------------------------------------------------

    def hear(self, data: object) -> None:
        """One frame from the channel. Whatever it is, nothing is raised."""
        if self.over:
            return
        try:
            if not isinstance(data, bytes):
                raise WireError("not binary")
            self._heard_at = self._host.now()
            message = wire.decode(data)
            if not isinstance(message, wire.Data):
                self._spend(_cost(message))
            if message is not None:
                self._take(message)
            _need(self.backlog() <= _MAX_UNSENT_BYTES, "it does not read what it asked for")
        except WireError:
            self.end(hostile=True)

    def _spend(self, cost: float) -> None:
        now = self._host.now()
        fresh = (now - self._budget_at) * _CALM_PER_S
        self._budget = min(_BURST, self._budget + fresh) - cost
        self._budget_at = now
        _need(self._budget >= 0, "a flood")

    def _take(self, message: Message) -> None:
        match message:
            case wire.Data(rid, offset, data):
                self._data(rid, offset, data)
            case wire.Request():
                self._order(message)
            case wire.Hello(upload=upload, version=version):
                _need(version >= 1, "a version that never was")
                self.uploads = upload
            case wire.Join():
                self._join(message)
            case wire.Have() | wire.Unhave() | wire.Claim():
                self._runs(message)
            case wire.Reject(rid, reason):
                self._rejected(rid, reason)
            case wire.Cancel(rid):
                self.orders = deque(order for order in self.orders if order.rid != rid)
            case wire.Leave(c):
                remote = self.remotes.pop(c, None)
                if remote is not None:
                    self._poke(remote.key)
            case wire.Peers(c, ids):
                self._spend(float(len(ids)))
                if remote := self.remotes.get(c):
                    self._host.heard_of(remote.key, ids)
            case wire.Ping(token):
                self.say(wire.Pong(token))
            case wire.Pong(token):
                at = self._pings.get(token)
                if at is not None:
                    rtt = self._host.now() - at
                    self.rtt = rtt if self.rtt is None else 0.7 * self.rtt + 0.3 * rtt
                    self._pings.clear()

    def _join(self, message: wire.Join) -> None:
        own = self._host.contents.get(message.key)
        _need(own is None or own.held.size == message.segments, "another number of segments")
        known = message.c in self.remotes
        _need(known or len(self.remotes) < _MAX_JOINS, "too many contents")
        joined = sum(remote.has.size for remote in self.remotes.values())
        _need(joined + message.segments <= _MAX_JOINED_SEGMENTS, "too many segments")
        self.remotes[message.c] = Remote(message.key, Bits(message.segments, message.held))
        self._poke(message.key)

    def _runs(self, message: wire.Have | wire.Unhave | wire.Claim) -> None:
        remote = self.remotes.get(message.c)
        if remote is None:
            return
        now = self._host.now()
        for first, count in message.runs:
            _need(first + count <= remote.has.size, "a segment that is none")
            self._spend(count / 64)
            for segment in range(first, first + count):
                if isinstance(message, wire.Claim):
                    claim = remote.claims.setdefault(segment, Claim(now, now))
                    claim.until = now + _CLAIM_S
                else:
                    remote.has.put(segment, isinstance(message, wire.Have))
                    remote.claims.pop(segment, None)
        self._poke(remote.key)

    def _order(self, m: wire.Request) -> None:
        def refuse(reason: Reason) -> None:
            self.say(wire.Reject(m.rid, reason))

        remote = self.remotes.get(m.c)
        content = None if remote is None else self._host.contents.get(remote.key)
        if content is None:
            return refuse(Reason.UNKNOWN_CONTENT)
        _need(m.segment < content.held.size, "a segment that is none")
        length = min(content.segment_bytes, content.size - m.segment * content.segment_bytes)
        _need(m.offset + m.length <= length, "bytes beyond the segment")
        if m.segment not in content.held:
            return refuse(Reason.NOT_HELD)
        waiting = sum(order.length - order.sent for order in self.orders)
        if len(self.orders) >= _MAX_ORDERS or waiting + m.length > _MAX_ORDERED_BYTES:
            return refuse(Reason.BUSY)
        self.orders.append(Order(content, m.rid, m.segment, m.offset, m.length))
        return self._host.serve()

    def _rejected(self, rid: int, reason: int) -> None:
        flight = self.flights.pop(rid, None)
        if flight is None:
            return
        key = flight.content.key
        if reason == Reason.BUSY:
            now = self._host.now()
            if self._busy_until < now:  # many at once are one answer
                self._busy_for = min(4.0, self._busy_for * 2)
            self._busy_until = now + self._busy_for
        elif reason == Reason.UPLOAD_OFF:
            self.uploads = False
        elif reason == Reason.UNKNOWN_CONTENT:
            self.remotes = {c: r for c, r in self.remotes.items() if r.key != key}
        else:
            # Evicted in the meantime, or never held: someone who announces what is not there
            # would be asked for ever.
            if remote := self.remote(key):
                remote.has.put(flight.segment, False)
            self.strikes += 0.25
        flight.content.poke()

    def _data(self, rid: int, offset: int, data: bytes) -> None:
        flight = self.flights.get(rid)
        if flight is None:
            # Still under way when we cancelled; more than that nobody asked for.
            self._forgiven -= len(data)
            return _need(self._forgiven >= 0, "data that nobody asked for")
        fine = offset == len(flight.data) and offset + len(data) <= flight.length
        _need(fine, "data out of order")
        now = self._data_at = self._host.now()
        self.received += len(data)
        self._mark_bytes += len(data)
        flight.data += data
        done = len(flight.data) == flight.length
        if done:
            del self.flights[rid]
            self.strikes = max(0.0, self.strikes - 0.1)
            self._busy_for = 0.25
        elapsed = max(0.004, now - self._mark_at)
        if elapsed >= 0.25 or (done and not self.flights and self._mark_bytes >= 32_768):
            self.rate = 0.5 * self.rate + 0.5 * self._mark_bytes / elapsed
            self._mark(now)
        if done:
            flight.content.arrived(flight)
        return None

    def _mark(self, at: float) -> None:
        self._mark_at = at
        self._mark_bytes = 0

    def _poke(self, key: str) -> None:
        if own := self._host.contents.get(key):
            own.poke()

    # --- time --------------------------------------------------------------------------------

    def tick(self) -> None:
        """Called now and then: measures the round trip, gives up on what does not come."""
        if self.over:
            return
        now = self._host.now()
        if now - self._pinged_at >= _PING_S:
            self._pinged_at = now
            self._rid = (self._rid + 1) & 0xFFFFFFFF
            self._pings[self._rid] = now
            self.say(wire.Ping(self._rid))
        for remote in self.remotes.values():
            for segment in [s for s, claim in remote.claims.items() if claim.until < now]:
                del remote.claims[segment]
        late = [
            flight
            for flight in self.flights.values()
            if now - max(self._data_at, flight.since) > _SILENT_S
            or now > flight.due + max(_LATE_S, flight.due - flight.since)
        ]
        for flight in late:
            self.cancel(flight)
            flight.content.poke()
        if late:
            # One strike however much was under way: it is one and the same delay.
            self.strikes += 1
            self.rate = max(4096.0, self.rate / 2)
            self._busy_until = now + 1.0
        if self.strikes >= _STRIKES or now - self._heard_at > _DEAD_S:
            self.end(hostile=self.strikes >= _STRIKES)

    def end(self, *, hostile: bool) -> None:
        """Everything of it ends; the requests under way are for others now."""
        if self.over:
            return
        self.over = True
        self.orders.clear()
        touched = {flight.content.key for flight in self.flights.values()}
        touched.update(remote.key for remote in self.remotes.values())
        self.flights.clear()
        self._host.ended(self, hostile)
        for key in touched:
            self._poke(key)


def _need(fine: bool, what: str) -> None:
    if not fine:
        raise WireError(f"not by the protocol: {what}")


def _cost(message: wire.Message | None) -> float:
    """Of hearing a message, in small ones."""
    return min(30.0, 4.0 + len(message.held) / 64) if isinstance(message, wire.Join) else 1.0
