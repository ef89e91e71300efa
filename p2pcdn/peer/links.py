"""Connections to peers over WebRTC (TypeScript twin: js/src/swarm/links.ts)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceCandidate,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from aiortc.sdp import candidate_from_sdp

from p2pcdn.peer import PeerError
from p2pcdn.peer.link import Host, Link
from p2pcdn.peer.uploader import HIGH_WATER
from p2pcdn.peer.wire import is_peer_id

__all__ = ["Links", "LinksHost", "rtc_configuration"]

log = logging.getLogger("p2pcdn.peer")

_CONNECT_S = 12.0
"""A connection that is not open by then will not be."""
_LOST_S = 5.0
_IDLE_S = 30.0
"""A link that serves no content of ours nor of theirs."""
_FULL_S = 10.0
"""One that has no place for us may have one later."""
_MAX_REMEMBERED = 512
_MAX_EARLY = 64
_MAX_SDP_CHARS = 32_768
_HIDDEN_BYTES = 2 << 20
"""What a peer may make us hold of a message that it never ends."""


class LinksHost(Host, Protocol):
    """What the connections need of the peer around them."""

    def signal(self, message: dict[str, Any]) -> None: ...
    def opened(self, link: Link) -> None: ...
    def drained(self) -> None:
        """A channel has drained."""


def rtc_configuration(
    ice: Iterable[Mapping[str, Any]], *, relay_only: bool = False
) -> RTCConfiguration:
    """aiortc's configuration from a list of RTCIceServer dictionaries.

    Raises:
        PeerError: A server is none.
    """
    try:
        servers = [RTCIceServer(s["urls"], s.get("username"), s.get("credential")) for s in ice]
    except (KeyError, TypeError) as error:
        raise PeerError("the site's ice_servers are none that can be used") from error
    policy = RTCIceTransportPolicy.RELAY if relay_only else RTCIceTransportPolicy.ALL
    return RTCConfiguration(iceServers=servers, iceTransportPolicy=policy)


@dataclass(slots=True, eq=False)
class _Entry:
    id: str
    connection_id: str
    pc: Any
    offered: bool
    since: float
    link: Link | None = None
    early: list[RTCIceCandidate] | None = field(default_factory=list)
    """Candidates that came before the description."""
    lost_at: float = float("inf")


class Links:
    """Makes, accepts and ends connections.

    Args:
        me: Our peer id.
        configuration: For the RTCPeerConnections made from now on; may be replaced.
        most: Links that we ask for; half as many again are accepted.
        host: The peer around.
    """

    def __init__(
        self, me: str, configuration: RTCConfiguration, most: int, host: LinksHost
    ) -> None:
        self._me, self._most, self._host = me, most, host
        self.configuration = configuration
        self._entries: dict[str, _Entry] = {}
        self._shunned: OrderedDict[str, float] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __iter__(self) -> Iterator[Link]:
        """The open links."""
        return iter([e.link for e in self._entries.values() if e.link is not None])

    @property
    def connecting(self) -> int:
        """Connections in the making that may still be."""
        now = self._host.now()
        return sum(e.link is None and now - e.since < 3 for e in self._entries.values())

    @property
    def free(self) -> int:
        return self._most - len(self._entries)

    def offer(self, ids: Iterable[str]) -> None:
        """Connect to some of these peers, best first, as far as there is room."""
        for id in ids:
            if self.free <= 0 or self._closed:
                return
            if id != self._me and id not in self._entries and is_peer_id(id) and not self.shuns(id):
                self._entries[id] = entry = self._enter(id, _connection_id(), offered=True)
                self._go(self._call(entry), id)

    def heard(self, type: str, src: str, payload: object) -> None:
        """A message of another loader, over the coordinator. Anything may stand in it."""
        if self._closed or not isinstance(payload, dict) or payload.get("p2pcdn") != 1:
            return
        connection_id = payload.get("connectionId")
        if not isinstance(connection_id, str) or not is_peer_id(src):
            return
        if type == "OFFER":
            if sdp := _description(payload.get("sdp"), "offer"):
                self._offered(src, connection_id[:64], sdp)
            return
        entry = self._entries.get(src)
        if entry is None or entry.connection_id != connection_id:
            return
        if type == "ANSWER" and entry.offered:
            if sdp := _description(payload.get("sdp"), "answer"):
                self._go(self._answered(entry, sdp), src)
            elif payload.get("sdp") is None:  # all its places are taken
                self.drop(src, _FULL_S)
        elif type == "CANDIDATE":
            candidate = _candidate(payload.get("candidate"))
            if candidate is None:
                return
            if entry.early is None:
                self._go(self._add(entry, candidate), None)
            elif len(entry.early) < _MAX_EARLY:
                entry.early.append(candidate)

    def drop(self, id: str, shun_s: float) -> None:
        """End a connection and keep away from the peer for a while."""
        if shun_s > 0:
            self._shunned.pop(id, None)
            self._shunned[id] = self._host.now() + shun_s
            if len(self._shunned) > _MAX_REMEMBERED:
                self._shunned.popitem(last=False)
        entry = self._entries.pop(id, None)
        if entry is None:
            return
        if entry.link is not None:
            entry.link.end(hostile=False)
        self._go(entry.pc.close(), None)

    def shuns(self, id: str) -> bool:
        return self._shunned.get(id, 0.0) > self._host.now()

    def tick(self) -> None:
        """Called now and then: ends what is of no use."""
        now = self._host.now()
        for entry in list(self._entries.values()):
            link = entry.link
            if link is not None:
                link.tick()
            if link is None and now - entry.since > _CONNECT_S:
                self.drop(entry.id, 60)
            elif now - entry.lost_at > _LOST_S:
                self.drop(entry.id, 15)
            elif _hidden_bytes(entry.pc) > _HIDDEN_BYTES:
                self.drop(entry.id, 120)
            elif link is not None and now - link.opened_at > _IDLE_S and not self._common(link):
                self.drop(entry.id, 30)
        for id in [id for id, until in self._shunned.items() if until < now]:
            del self._shunned[id]

    async def close(self) -> None:
        """End all connections and wait for their sockets to be gone."""
        self._closed = True
        for id in list(self._entries):
            self.drop(id, 0)
        while self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
            for task in list(self._tasks):
                task.cancel()

    def _common(self, link: Link) -> bool:
        return any(remote.key in self._host.contents for remote in link.remotes.values())

    # --- signalling --------------------------------------------------------------------------

    async def _call(self, entry: _Entry) -> None:
        await entry.pc.setLocalDescription(await entry.pc.createOffer())
        self._describe(entry, "OFFER")

    def _offered(self, src: str, connection_id: str, sdp: RTCSessionDescription) -> None:
        if self.shuns(src) or src == self._me:
            return
        entry = self._entries.get(src)
        # When two offers cross, the one of the smaller id stands.
        if entry is not None and entry.offered and entry.link is None and self._me < src:
            return
        if entry is None and self.free <= -self._most // 2 and not self._make_room():
            payload = {"p2pcdn": 1, "connectionId": connection_id}
            self._host.signal({"type": "ANSWER", "dst": src, "payload": payload})
            return
        self.drop(src, 0)
        self._entries[src] = entry = self._enter(src, connection_id, offered=False)
        self._go(self._accept(entry, sdp), src)

    async def _accept(self, entry: _Entry, sdp: RTCSessionDescription) -> None:
        await entry.pc.setRemoteDescription(sdp)
        self._flush(entry)
        await entry.pc.setLocalDescription(await entry.pc.createAnswer())
        self._describe(entry, "ANSWER")

    async def _answered(self, entry: _Entry, sdp: RTCSessionDescription) -> None:
        await entry.pc.setRemoteDescription(sdp)
        self._flush(entry)

    def _flush(self, entry: _Entry) -> None:
        early, entry.early = entry.early or [], None
        for candidate in early:
            # Looking up a browser's mDNS name takes time that an answer need not wait for.
            self._go(self._add(entry, candidate), None)

    async def _add(self, entry: _Entry, candidate: RTCIceCandidate) -> None:
        # A name that does not resolve, an address family that is not here: others will do.
        with contextlib.suppress(Exception):
            await entry.pc.addIceCandidate(candidate)

    def _describe(self, entry: _Entry, type: str) -> None:
        description = entry.pc.localDescription
        if self._entries.get(entry.id) is not entry or description is None:
            return
        # All candidates are in it: aiortc gathers before it describes.
        sdp = {"type": description.type, "sdp": description.sdp}
        payload = {"p2pcdn": 1, "connectionId": entry.connection_id, "sdp": sdp}
        self._host.signal({"type": type, "dst": entry.id, "payload": payload})

    def _go(self, work: Awaitable[None], id: str | None) -> None:
        """Do it in the background; where it fails, the connection to `id` ends."""
        entry = self._entries.get(id) if id is not None else None

        async def run() -> None:
            try:
                await work
            except Exception as error:
                log.debug("connection to %s: %r", id, error)
                if entry is not None and self._entries.get(entry.id) is entry:
                    self.drop(entry.id, 60 if entry.offered else 5)

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- connections -------------------------------------------------------------------------

    def _make_room(self) -> bool:
        """Where all places are taken: end the link that gives and takes the least."""
        now = self._host.now()
        idle = [
            link
            for link in self
            if now - link.opened_at > _IDLE_S and not link.queued and not link.orders
        ]
        if not idle:
            return False
        self.drop(min(idle, key=lambda link: link.received + link.sent).id, _IDLE_S)
        return True

    def _enter(self, id: str, connection_id: str, *, offered: bool) -> _Entry:
        pc = RTCPeerConnection(self.configuration)
        entry = _Entry(id, connection_id, pc, offered, self._host.now())
        channel: RTCDataChannel = pc.createDataChannel("p2pcdn", negotiated=True, id=0)
        channel.bufferedAmountLowThreshold = HIGH_WATER // 2

        def current() -> bool:
            return self._entries.get(id) is entry

        def state() -> None:
            if not current():
                return
            if pc.connectionState in ("failed", "closed"):
                self.drop(id, 20)
            else:
                lost = pc.connectionState == "disconnected"
                entry.lost_at = self._host.now() if lost else float("inf")

        def opened() -> None:
            if current() and entry.link is None:
                entry.link = Link(id, channel, _Ended(self._host, lambda h: ended(h)))
                self._host.opened(entry.link)

        def ended(hostile: bool) -> None:
            if current():
                self.drop(id, 120 if hostile else 5)

        def heard(data: object) -> None:
            if entry.link is not None:
                entry.link.hear(data)

        def closed() -> None:
            if current():
                self.drop(id, 2)

        pc.on("connectionstatechange", state)
        channel.on("open", opened)
        channel.on("message", heard)
        channel.on("close", closed)
        channel.on("bufferedamountlow", self._host.drained)
        return entry


class _Ended:
    """The host, as one link sees it: its end is also the connection's."""

    def __init__(self, host: LinksHost, ended: Callable[[bool], None]) -> None:
        self._host, self._ended = host, ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def ended(self, link: Link, hostile: bool) -> None:
        self._host.ended(link, hostile)
        self._ended(hostile)


def _hidden_bytes(pc: Any) -> int:
    """Bytes of unfinished messages. aiortc takes whatever a peer sends beyond the window it
    announced, so the window's debt is what a hostile peer makes us hold."""
    window = getattr(pc.sctp, "_advertised_rwnd", 0) if pc.sctp is not None else 0
    return -window if isinstance(window, int) else 0


def _description(value: object, type: str) -> RTCSessionDescription | None:
    if not isinstance(value, dict) or value.get("type") != type:
        return None
    sdp = value.get("sdp")
    if not isinstance(sdp, str) or len(sdp) > _MAX_SDP_CHARS:
        return None
    return RTCSessionDescription(sdp, type)


def _candidate(value: object) -> RTCIceCandidate | None:
    if not isinstance(value, dict):
        return None
    text, mid, index = value.get("candidate"), value.get("sdpMid"), value.get("sdpMLineIndex")
    if not isinstance(text, str) or not text.startswith("candidate:") or len(text) > 512:
        return None
    try:
        candidate = candidate_from_sdp(text.removeprefix("candidate:"))
    except (ValueError, AssertionError, IndexError):
        return None
    candidate.sdpMid = mid if isinstance(mid, str) else None
    candidate.sdpMLineIndex = index if type(index) is int else None
    if candidate.sdpMid is None and candidate.sdpMLineIndex is None:
        candidate.sdpMLineIndex = 0
    return candidate


def _connection_id() -> str:
    return f"{random.getrandbits(52):x}"
