"""Who streams what: main streamers (the source) and secondary ones (relays)."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from p2pcdn.coordinator.limits import Limits
from p2pcdn.coordinator.peers import Peer

__all__ = ["MayStream", "Streams"]

MayStream = Callable[[str, str, str], bool]
"""Whether a peer id may announce itself for a stream in a role (`main`, `secondary`)."""


class Streams:
    """Lists of streamers by stream and role."""

    def __init__(self, limits: Limits, random: Random, may: MayStream | None = None) -> None:
        self._limits = limits
        self._random = random
        self._may = may
        self._lists: dict[tuple[str, str], dict[str, Peer]] = {}
        # Where several coordinators are one, see `p2pcdn.coordinator.federated`.
        self.changed: Callable[[str, str, str], None] | None = None
        self.far: Callable[[str, str, float], list[str]] | None = None

    def __len__(self) -> int:
        return len(self._lists)

    def announce(self, peer: Peer, stream: str, role: str) -> bool:
        """Note `peer` as streamer; False where it may not, or a bound is reached."""
        limits, name = self._limits, (stream, role)
        if name in peer.streams:
            return True
        if self._may is not None and not self._may(peer.id, stream, role):
            return False
        streamers = self._lists.get(name)
        if len(peer.streams) >= limits.streams_per_peer or (
            len(self._lists) >= limits.streams
            if streamers is None
            else len(streamers) >= limits.streamers
        ):
            return False
        self._lists.setdefault(name, {})[peer.id] = peer
        peer.streams.add(name)
        if self.changed is not None:
            self.changed(stream, role, peer.id)
        return True

    def withdraw(self, peer: Peer, stream: str, role: str) -> None:
        """`peer` is no streamer any more."""
        name = (stream, role)
        if name in peer.streams:
            peer.streams.remove(name)
            streamers = self._lists[name]
            del streamers[peer.id]
            if not streamers:
                del self._lists[name]
            if self.changed is not None:
                self.changed(stream, role, peer.id)

    def forget(self, peer: Peer) -> None:
        """`peer` is gone."""
        for stream, role in list(peer.streams):
            self.withdraw(peer, stream, role)

    def streamers(self, stream: str, role: str, *, limit: int, now: float) -> list[str]:
        """Ids of those who stream, in random order."""
        silence = self._limits.silence_timeout_s
        ids = [
            id
            for id, peer in self._lists.get((stream, role), {}).items()
            if now - peer.seen < silence
        ]
        if self.far is not None:
            ids = list(dict.fromkeys(ids + self.far(stream, role, now)))
        return self._random.sample(ids, min(limit, len(ids)))
