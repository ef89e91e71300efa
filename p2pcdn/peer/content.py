"""One content: what is held of it, what is on its way, and who is asked for the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import httpx

from p2pcdn.peer import PeerError, origin, wire
from p2pcdn.peer.bits import Bits, runs_of
from p2pcdn.peer.link import Link, PeerFlight, Remote
from p2pcdn.peer.manifest import Manifest
from p2pcdn.peer.origin import ContentChanged, OriginError
from p2pcdn.peer.store import Store
from p2pcdn.peer.wire import Message, Run

__all__ = ["Content", "ContentStats", "Env"]

log = logging.getLogger("p2pcdn.peer")

_LOOKED_AT = 256
"""Missing segments that one decision is about."""
_LONE_RUN = 4 * 1024 * 1024
_SHARED_RUN = 512 * 1024
"""Bytes of one request to the origin, alone and among peers who may fetch the next."""
_RECLAIM_S = 2.0
_PATIENCE_S = 2.0
_SLOWNESS = 2.0
"""A claimed segment is waited for so many times as long as the origin takes, and so much longer."""
_GUESSED_PACE = 1 / 100_000
"""Seconds per byte of an origin that was not asked yet."""
_GATHER_S = 0.03
_ENOUGH = 4
"""After so many failures in a row without progress a reader is told."""
_MAX_RUNS = 4096


class Env(Protocol):
    """What a content needs of the peer around it."""

    store: Store
    http: httpx.AsyncClient

    def now(self) -> float: ...
    def links(self) -> Iterable[Link]: ...
    def expecting(self, content: Content) -> bool:
        """Peers may turn up any moment."""

    def blame(self, content: Content, id: str) -> None:
        """This peer sent wrong bytes."""

    def stale(self, content: Content) -> None:
        """The origin's bytes are no longer the manifest's."""


@dataclass(frozen=True, slots=True)
class ContentStats:
    """Counters of one content, in bytes where nothing else is said."""

    url: str
    key: str
    size: int
    segments: int
    """How many it has."""
    held: int
    """How many of them are here."""
    peers: int
    """Open links to peers of this content."""
    from_peers: int
    from_origin: int
    from_cache: int
    uploaded: int
    rejected: int
    """Bytes from peers that were wrong."""


class Content:
    """A content that this peer takes part in. Made by `Peer.open`, `seed` and `fetch`."""

    def __init__(
        self, number: int, url: httpx.URL, target: str, manifest: Manifest, env: Env
    ) -> None:
        self.number, self.url, self.target, self.manifest = number, url, target, manifest
        self.key, self.size, self.type = manifest.key, manifest.size, manifest.type
        self.segment_bytes = manifest.segment_bytes
        self.held = Bits(manifest.segments)
        self.opened_at = env.now()
        self.seeding = False
        """All of it is wanted, as far as there is place."""
        self.full = False
        """There is no place for more of it."""
        self.closed = False
        self.gained: set[int] = set()
        self.lost: set[int] = set()
        """News for the coordinator since it was last told."""
        self.trouble: str | None = None
        """Why the origin gives nothing, while it does not."""
        self._env = env
        self._flights: dict[int, PeerFlight] = {}
        self._fetching: set[int] = set()
        self._origin: asyncio.Task[None] | None = None
        self._retry_at = 0.0
        self._pace = _GUESSED_PACE
        """Seconds per byte that the origin took last."""
        self._claimed: dict[int, tuple[float, int]] = {}
        """Missing segment -> since when others are to bring it, and the bytes that they were to
        fetch up to its end. The clock runs whoever claims it next."""
        self._failures = 0
        self._final = False
        self._windows: dict[object, range] = {}
        self._low = 0
        self._claimed_at = 0.0
        self._poked = False
        self._have: set[int] = set()
        self._unhave: set[int] = set()
        self._telling = False
        self._changed = asyncio.Event()
        self._counts = dict.fromkeys(("peers", "origin", "cache", "uploaded", "rejected"), 0)
        env.store.in_use.add(self.key)
        for segment in env.store.held(self.key, self._length):
            self.held.put(segment, True)
            self._counts["cache"] += manifest.length(segment)

    # --- for callers -------------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """Whether all of it is here."""
        return self.held.full

    @property
    def settled(self) -> bool:
        """Whether all of it is here, or as much as the store takes."""
        return self.complete or self.full

    @property
    def streaming(self) -> bool:
        """Whether somebody reads it now."""
        return bool(self._windows)

    @property
    def failing(self) -> bool:
        """Whether the origin gives nothing and no peer is sending: it may take long."""
        return (self._final or self._failures >= _ENOUGH) and not self._flights

    async def wait(self) -> None:
        """Wait until it is `settled`.

        Raises:
            PeerError: Neither peers nor the origin give it, or the origin's file changed.
        """
        while not self.settled:
            self._raise_if_hopeless(range(self.held.size))
            await self._change()

    async def stream(self) -> AsyncIterator[bytes]:
        """All of it in order, piece by piece, verified.

        Raises:
            PeerError: Neither peers nor the origin give it, or the origin's file changed.
        """
        window = object()
        # What is read ahead must fit beside what was just read.
        ahead = max(2, min(256, self._env.store.limit_bytes // 2 // self.segment_bytes))
        try:
            for segment in range(self.held.size):
                self._windows[window] = range(segment, min(self.held.size, segment + ahead))
                self.poke()
                while (data := self.read(segment)) is None:
                    self._raise_if_hopeless(range(segment, segment + 1))
                    await self._change()
                yield data
        finally:
            self._windows.pop(window, None)

    def stats(self) -> ContentStats:
        """The counters now."""
        counts = self._counts
        return ContentStats(
            self.target,
            self.key,
            self.size,
            self.held.size,
            self.held.count,
            sum(1 for _ in self._joined()),
            counts["peers"],
            counts["origin"],
            counts["cache"],
            counts["uploaded"],
            counts["rejected"],
        )

    # --- for links and the uploader ----------------------------------------------------------

    def read(self, segment: int) -> bytes | None:
        """A segment's bytes, where it is held."""
        if segment not in self.held:
            return None
        return self._env.store.get(self.key, segment, self.manifest.digest(segment))

    def uploaded(self, count: int) -> None:
        self._counts["uploaded"] += count

    def claims(self) -> tuple[Run, ...]:
        return runs_of(self._fetching)

    def poke(self) -> None:
        """Decide anew, once, when what is going on now is done."""
        if not self._poked and not self.closed:
            self._poked = True
            asyncio.get_running_loop().call_soon(self._pump)

    def arrived(self, flight: PeerFlight) -> None:
        """A segment came from a peer. One source for all of it: it alone is to blame."""
        self._flights.pop(flight.segment, None)
        data = bytes(flight.data)
        if self.closed:
            return
        if self.manifest.fits(flight.segment, data):
            self._counts["peers"] += len(data)
            flight.link.doubted = False
            self._hold(flight.segment, data)
        else:
            self._counts["rejected"] += len(data)
            self._env.blame(self, flight.link.id)
        self.poke()

    def evicted(self, segment: int) -> None:
        """The store has it no more."""
        self.held.put(segment, False)
        self._low = min(self._low, segment)
        self.gained.discard(segment)
        self.lost.add(segment)
        self._have.discard(segment)
        self._unhave.add(segment)
        self._gather()

    # --- time --------------------------------------------------------------------------------

    def tick(self) -> None:
        """Called several times a second."""
        now = self._env.now()
        if self._fetching and now - self._claimed_at > _RECLAIM_S:
            self._claim()
        if self._windows or (self.seeding and not self.settled):
            self.poke()

    async def close(self, *, forget: bool = False) -> None:
        """Leave the swarm. `forget`: its segments are of no use any more."""
        if self.closed:
            return
        self.closed = True
        for link in self._env.links():
            for flight in [f for f in link.flights.values() if f.content is self]:
                link.cancel(flight)
            link.say(wire.Leave(self.number))
        self._env.store.in_use.discard(self.key)
        if forget:
            self._env.store.drop(self.key)
        self._announce_change()
        if self._origin is not None and self._origin is not asyncio.current_task():
            self._origin.cancel()
            await asyncio.wait({self._origin})

    # --- decisions ---------------------------------------------------------------------------

    def _pump(self) -> None:
        self._poked = False
        if self.closed:
            return
        self._flights = {s: f for s, f in self._flights.items() if not f.link.over and _live(f)}
        joined = [(link, remote) for link in self._joined() if (remote := link.remote(self.key))]
        self._leave_to(joined)
        alone = []
        for segment in self._missing():
            length = self.manifest.length(segment)
            holders = [link for link, remote in joined if segment in remote.has and link.uploads]
            ready = [link for link in holders if link.room(self.segment_bytes) > 0]
            if ready:
                best = min(ready, key=lambda k: (k.queued + length) / k.rate + (k.rtt or 0.1))
                self._flights[segment] = best.request(self, segment, length)
            elif any(link.flights for link in holders):
                continue  # soon
            elif self._coming(segment, joined):
                continue  # somebody brings it into the swarm
            else:
                alone.append(segment)
        if alone and self._origin is None and self._env.now() >= self._retry_at:
            if self._env.expecting(self):
                return
            limit = _SHARED_RUN if joined else _LONE_RUN
            most = max(1, limit // self.segment_bytes)
            count = 1
            while count < most and alone[0] + count in alone:
                count += 1
            self._origin = asyncio.get_running_loop().create_task(self._fetch(alone[0], count))

    def _coming(self, segment: int, joined: list[tuple[Link, Remote]]) -> bool:
        """Whether somebody who claims a segment may still be waited for.

        A claim costs its maker nothing, so none is believed for much longer than the origin
        would take, and of who broke one no other before something came from him.
        """
        now = self._env.now()
        makers = [
            (link, remote)
            for link, remote in joined
            if segment in remote.claims and link.uploads and not link.doubted
        ]
        if not makers:
            return False
        if segment not in self._claimed:
            ahead = min(sum(s < segment for s in remote.claims) for _, remote in makers)
            size = min(ahead * self.segment_bytes, _LONE_RUN) + self.manifest.length(segment)
            self._claimed[segment] = now, size
        since, size = self._claimed[segment]
        patience = _PATIENCE_S + _SLOWNESS * self._pace * size
        for link, remote in makers:
            link.doubted = now - remote.claims[segment].since > patience
        return now - since <= patience

    def _leave_to(self, joined: list[tuple[Link, Remote]]) -> None:
        """What the origin was to send later and a peer has by now: not from the origin."""
        for segment in sorted(self._fetching)[1:]:
            if any(
                segment in remote.has and link.uploads and link.room(self.segment_bytes) > 0
                for link, remote in joined
            ):
                self._fetching.discard(segment)

    def _missing(self) -> Iterator[int]:
        """Wanted segments that nobody was asked for yet, first things first."""
        looked_at = 0
        seen: set[int] = set()
        while self._low < self.held.size and self._low in self.held:
            self._low += 1
        ranges = list(self._windows.values())
        if self.seeding and not self.full:
            ranges.append(range(self._low, self.held.size))
        for wanted in ranges:
            for segment in wanted:
                if segment in self.held or segment in seen:
                    continue
                seen.add(segment)
                looked_at += 1
                if looked_at > _LOOKED_AT:
                    return
                if segment not in self._flights and segment not in self._fetching:
                    yield segment

    async def _fetch(self, first: int, count: int) -> None:
        self._fetching = set(range(first, first + count))
        self._claim()
        began, got = self._env.now(), 0
        try:
            async for segment, data in origin.segments(
                self._env.http, self.url, self.manifest, first, count
            ):
                self._fetching.discard(segment)
                self._counts["origin"] += len(data)
                got += len(data)
                self._pace = (self._env.now() - began) / got
                self._failures, self.trouble, self._final = 0, None, False
                # An origin without ranges sends on; what nobody wants yet would be lost.
                while segment >= first + count and self._ahead_of_readers(segment):
                    await asyncio.sleep(0.02)
                if segment not in self.held and self._wants(segment):
                    self._hold(segment, data)
                if not self._fetching and (segment < first + count - 1 or self._settled_here()):
                    break
        except ContentChanged as error:
            log.info("%s", error)
            self.trouble = str(error)
            self._env.stale(self)
        except OriginError as error:
            self._failures += 1
            self._final = error.final
            self.trouble = str(error)
            wait = 30.0 if error.final else min(30.0, 0.25 * 2.0**self._failures)
            self._retry_at = self._env.now() + wait
            self._announce_change()
        finally:
            self._fetching = set()
            self._origin = None
        self.poke()

    def _settled_here(self) -> bool:
        """Whether what an origin without ranges goes on to send is of no use."""
        return next(self._missing(), None) is None

    def _wants(self, segment: int) -> bool:
        return self.seeding or any(segment in window for window in self._windows.values())

    def _ahead_of_readers(self, segment: int) -> bool:
        readers = not self.closed and not self.seeding and self._windows
        return bool(readers) and all(segment >= window.stop for window in self._windows.values())

    def _hold(self, segment: int, data: bytes) -> None:
        needed = any(segment in window for window in self._windows.values())
        if not self._env.store.put(self.key, segment, data, evict=needed):
            self.full = True
            self._announce_change()
            return
        self.held.put(segment, True)
        self._claimed.pop(segment, None)
        self.lost.discard(segment)
        self.gained.add(segment)
        self._unhave.discard(segment)
        self._have.add(segment)
        other = self._flights.pop(segment, None)
        if other is not None:
            other.link.cancel(other)
        self._gather()
        self._announce_change()

    def _raise_if_hopeless(self, segments: range) -> None:
        if self.closed:
            raise ContentChanged(self.trouble or f"{self.url} is not shared any more")
        if self.failing and not self._offered(segments):
            raise PeerError(f"neither peers nor the origin have it: {self.trouble}")

    def _offered(self, segments: range) -> bool:
        for link in self._joined():
            remote = link.remote(self.key)
            if remote and any(s in remote.has for s in segments if s not in self.held):
                return True
        return False

    # --- what others hear --------------------------------------------------------------------

    def _joined(self) -> Iterator[Link]:
        return (link for link in self._env.links() if link.remote(self.key) is not None)

    def _claim(self) -> None:
        self._claimed_at = self._env.now()
        if runs := self.claims():
            for link in self._joined():
                link.say(wire.Claim(self.number, runs))

    def _gather(self) -> None:
        if not self._telling:
            self._telling = True
            asyncio.get_running_loop().call_later(_GATHER_S, self._tell)

    def _tell(self) -> None:
        self._telling = False
        have, unhave = runs_of(self._have), runs_of(self._unhave)
        self._have.clear()
        self._unhave.clear()
        if self.closed:
            return
        news: list[Message] = []
        if have:
            news.append(wire.Have(self.number, have[:_MAX_RUNS]))
        if unhave:
            news.append(wire.Unhave(self.number, unhave[:_MAX_RUNS]))
        for link in self._env.links():
            for message in news:
                link.say(message)

    # --- waiting -----------------------------------------------------------------------------

    def _announce_change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _change(self) -> None:
        await self._changed.wait()

    def _length(self, segment: int) -> int | None:
        return self.manifest.length(segment) if segment < self.manifest.segments else None


def _live(flight: PeerFlight) -> bool:
    return any(other is flight for other in flight.link.flights.values())
