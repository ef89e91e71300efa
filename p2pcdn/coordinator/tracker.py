"""The WebTorrent tracker: members of a torrent's swarm get each other's WebRTC offers. Pure.

Its protocol is JSON over a WebSocket; the reference is npm `bittorrent-tracker`. An info hash
and a peer id are 20 bytes, written as 20 characters of one byte each. Described in
docs/coordinator.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import Any

from p2pcdn.coordinator import messages as m
from p2pcdn.coordinator.events import Action, Close, Send, Track
from p2pcdn.coordinator.limits import Bucket, Limits
from p2pcdn.coordinator.peers import Addresses, Network, network_of
from p2pcdn.coordinator.torrents import Counts, Member, Torrents
from p2pcdn.coordinator.tracker_messages import (
    Announce,
    Problem,
    Scrape,
    failure,
    read,
)

__all__ = ["Tracker", "relayed_answer", "relayed_offer"]

_FORGIVEN = 3
_SILENT_INTERVALS = 3


class _Socket:
    """One WebSocket: a page may be several peers of several torrents on it."""

    __slots__ = ("bucket", "link", "members", "network", "refused", "relayed", "seen")

    def __init__(self, link: int, network: Network | None, limits: Limits, now: float) -> None:
        self.link = link
        self.network = network
        self.members: dict[tuple[str, str], Member] = {}
        self.bucket = Bucket(limits.message_burst, now)
        self.relayed = Bucket(limits.relay_burst, now)
        self.refused = 0
        self.seen = now


class Tracker:
    """Sockets, and the torrents that they announced.

    Nothing that a client says closes its socket, but a message beyond all size, a flood, and
    a long silence.

    Args:
        limits: Bounds, shared with the coordinator's.
        addresses: Rates by address, likewise.
        random: Chooses who gets an offer.
    """

    def __init__(self, limits: Limits, addresses: Addresses, random: Random) -> None:
        self._limits = limits
        self._addresses = addresses
        self._torrents = Torrents(limits, random)
        # By the time of the last message, so that a tick looks at the front only.
        self._sockets: OrderedDict[int, _Socket] = OrderedDict()
        self.relayed = 0
        self._handlers: dict[type[Any], Callable[[_Socket, Any, float, list[Action]], None]] = {
            Announce: self._announce,
            Scrape: self._scrape,
            Problem: self._problem,
        }

    def counts(self) -> dict[str, int]:
        """How many of everything, for statistics."""
        return {
            "tracker_sockets": len(self._sockets),
            "torrents": len(self._torrents),
            "tracker_relayed": self.relayed,
        }

    def connect(self, event: Track, now: float) -> list[Action]:
        """A socket was opened, or is known already to another coordinator."""
        network = network_of(event.address)
        if event.members is None and (
            len(self._sockets) >= self._limits.concurrent
            or not self._addresses.may_connect(network, now=now)
        ):
            text = failure("the tracker has as many connections as it takes; try again later")
            return [Send(event.link, text), Close(event.link, 1013, "try again later")]
        self._addresses.joined(network)
        socket = self._sockets[event.link] = _Socket(event.link, network, self._limits, now)
        for torrent, peer, complete in event.members or ():
            self._join(socket, torrent, peer, complete=complete, now=now)
        return []

    def hear(self, link: int, text: str, now: float) -> list[Action]:
        """One frame; unknown sockets say nothing."""
        socket = self._sockets.get(link)
        if socket is None:
            return []
        socket.seen = now
        self._sockets.move_to_end(link)
        limits = self._limits
        if len(text) > limits.message_bytes:
            self.disconnect(link)
            return [Close(link, 1009, "message too big")]
        actions: list[Action] = []
        message = read(text, limits)
        allowed = socket.bucket.take(
            message.cost, rate=limits.message_rate, burst=limits.message_burst, now=now
        ) and self._addresses.may_speak(socket.network, 1, now=now)
        if allowed:
            self._handlers[type(message)](socket, message, now, actions)
        else:
            socket.refused += 1
        if socket.refused > limits.refusals:
            self.disconnect(link)
            actions.append(Close(link, 1008, "too many messages"))
        return actions

    def disconnect(self, link: int) -> None:
        """A socket is gone, and with it all its members."""
        socket = self._sockets.pop(link, None)
        if socket is not None:
            self._addresses.left(socket.network)
            for member in list(socket.members.values()):
                self._leave(socket, member)

    def tick(self, now: float) -> list[Action]:
        """Drop the sockets that have let several announcements go by."""
        actions: list[Action] = []
        silence = _SILENT_INTERVALS * self._limits.tracker_interval_s
        while self._sockets:
            socket = next(iter(self._sockets.values()))
            if now - socket.seen < silence:
                break
            self.disconnect(socket.link)
            actions.append(Close(socket.link, 1001, "silent"))
        return actions

    # --- messages ------------------------------------------------------------------------

    def _announce(
        self, socket: _Socket, message: Announce, now: float, actions: list[Action]
    ) -> None:
        socket.refused = max(0, socket.refused - _FORGIVEN)
        torrent, peer = message.info_hash, message.peer_id
        member = socket.members.get((torrent, peer))
        if message.event == "stopped":
            if member is not None:
                self._leave(socket, member)
        else:
            if member is None:
                member = self._join(socket, torrent, peer, complete=message.left == 0, now=now)
                if member is None:
                    reason = "this connection, or the tracker, follows as many torrents as it may"
                    actions.append(Send(socket.link, failure(reason, info_hash=torrent)))
                    return
            member.seen = now
            if not member.complete and (message.event == "completed" or message.left == 0):
                self._torrents.completed(member, counted=message.event == "completed")
                self._changed(torrent)
        if message.answer is not None:
            # As the reference does: an answer itself is not answered.
            self._relay_answer(socket, message, now, actions)
            return
        counts = self._counts(torrent, now)
        reply = {
            "complete": counts.complete,
            "incomplete": counts.incomplete,
            "action": "announce",
            "interval": int(self._limits.tracker_interval_s),
            "info_hash": torrent,
        }
        actions.append(Send(socket.link, _text(reply)))
        if member is not None and message.event != "stopped":
            self._relay_offers(socket, member, message, now, actions)

    def _relay_offers(
        self, socket: _Socket, member: Member, message: Announce, now: float, actions: list[Action]
    ) -> None:
        most = len(message.offers)
        others = self._torrents.others(member.torrent, member.peer_id, most=most)
        for other, offer in zip(others, message.offers, strict=False):
            text = self._relayed(socket, relayed_offer(message, offer), now)
            if text is not None:
                actions.append(Send(other.link, text))

    def _relay_answer(
        self, socket: _Socket, message: Announce, now: float, actions: list[Action]
    ) -> None:
        # A peer id is no secret, so any socket may claim it: all that do get the answer, and
        # only the one that made the offer knows what to do with it.
        for other in self._torrents.named(message.info_hash, message.to_peer_id):
            text = self._relayed(socket, relayed_answer(message), now)
            if text is not None:
                actions.append(Send(other.link, text))

    def _relayed(self, socket: _Socket, message: dict[str, Any], now: float) -> str | None:
        """What `socket` says to another, as text; None where it may not."""
        limits = self._limits
        text = m.encode(message)
        # Escapes make it up to three times as long as the UTF-8 it came as.
        if (
            text is None
            or len(text) > 3 * limits.message_bytes
            or not socket.relayed.take(
                len(text), rate=limits.relay_rate, burst=limits.relay_burst, now=now
            )
        ):
            socket.refused += 1
            return None
        self.relayed += 1
        return text

    def _scrape(self, socket: _Socket, message: Scrape, now: float, actions: list[Action]) -> None:
        files = {}
        for torrent in message.info_hashes:
            counts = self._counts(torrent, now)
            files[torrent] = {
                "complete": counts.complete,
                "incomplete": counts.incomplete,
                "downloaded": counts.downloaded,
            }
        flags = {"min_request_interval": int(self._limits.tracker_interval_s)}
        actions.append(
            Send(socket.link, _text({"action": "scrape", "files": files, "flags": flags}))
        )

    def _problem(
        self, socket: _Socket, message: Problem, now: float, actions: list[Action]
    ) -> None:
        socket.refused += 1
        text = failure(message.reason, action=message.action, info_hash=message.info_hash)
        actions.append(Send(socket.link, text))

    # --- members -------------------------------------------------------------------------

    def _join(
        self, socket: _Socket, torrent: str, peer: str, *, complete: bool, now: float
    ) -> Member | None:
        if len(socket.members) >= self._limits.torrents_per_socket:
            return None
        member = Member(socket.link, torrent, peer, complete=complete, now=now)
        kept, displaced = self._torrents.join(member)
        if displaced is not None:
            owner = self._sockets[displaced.link]
            del owner.members[displaced.torrent, displaced.peer_id]
        if not kept:
            return None
        socket.members[torrent, peer] = member
        self._changed(torrent)
        return member

    def _leave(self, socket: _Socket, member: Member) -> None:
        del socket.members[member.torrent, member.peer_id]
        self._torrents.leave(member)
        self._changed(member.torrent)

    # --- where others have members, too --------------------------------------------------

    def _counts(self, torrent: str, now: float) -> Counts:
        return self._torrents.counts(torrent)

    def _changed(self, torrent: str) -> None:
        """The members of a torrent changed."""


def relayed_offer(message: Announce, offer: tuple[dict[str, Any], str]) -> dict[str, Any]:
    """One of a message's offers, as another member gets it."""
    return {
        "action": "announce",
        "offer": offer[0],
        "offer_id": offer[1],
        "peer_id": message.peer_id,
        "info_hash": message.info_hash,
    }


def relayed_answer(message: Announce) -> dict[str, Any]:
    """A message's answer, as the member gets it that made the offer."""
    return {
        "action": "announce",
        "answer": message.answer,
        "offer_id": message.offer_id,
        "peer_id": message.peer_id,
        "info_hash": message.info_hash,
    }


def _text(message: dict[str, Any]) -> str:
    text = m.encode(message)
    assert text is not None  # made of our own values
    return text
