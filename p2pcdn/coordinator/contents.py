"""Which peer holds how much of which content."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from p2pcdn.coordinator import holdings
from p2pcdn.coordinator.limits import Limits
from p2pcdn.coordinator.messages import Announce, SourcesRequest
from p2pcdn.coordinator.peers import Network, Peer
from p2pcdn.coordinator.ranking import Area, Candidate, Ranker, closeness, nearness

__all__ = ["Announcement", "Contents", "Holder"]

_NAMED_HALF_LIFE_S = 5.0
_MOST_LISTED_RUNS = 16


Measured = tuple[float | None, float | None, int]
"""Round trip (s), rate (bytes/s) and blame, see `Candidate`."""


class Holder(Protocol):
    """What a list has to know about a peer."""

    id: str
    network: Network | None
    area: Area | None
    since: float
    seen: float

    @property
    def measured(self) -> Measured | None: ...


class Announcement:
    """One peer in one swarm."""

    __slots__ = (
        "busy",
        "content",
        "have",
        "index",
        "line",
        "named",
        "named_at",
        "peer",
        "segments",
        "upload",
    )

    def __init__(self, peer: Holder, content: str, segments: int) -> None:
        self.peer = peer
        self.content = content
        self.segments = segments
        self.have = 0
        self.upload = True
        self.busy = 0.0
        self.line = "unknown"
        self.named = 0.0
        self.named_at = 0.0
        self.index = 0


class Contents:
    """The swarms. A list costs the same in a swarm of ten and of ten thousand."""

    def __init__(self, limits: Limits, ranker: Ranker, random: Random) -> None:
        self._limits = limits
        self._ranker = ranker
        self._random = random
        self._swarms: dict[str, list[Announcement]] = {}
        # Where several coordinators are one, see `p2pcdn.coordinator.federated`.
        self.changed: Callable[[str, str], None] | None = None
        self.far: Callable[[str, float], list[Announcement]] | None = None
        self.hide: Callable[[Network | None], Network | None] = lambda network: network

    def __len__(self) -> int:
        return len(self._swarms)

    def announce(self, peer: Peer, message: Announce) -> bool:
        """Note what `peer` holds; False where a bound is reached."""
        entry = peer.announced.get(message.content)
        if entry is not None and entry.segments != message.segments:
            # Other segments are another content: nothing of the old bitmap means anything.
            self.withdraw(peer, message.content)
            entry = None
        if entry is None:
            entry = self._join(peer, message.content, message.segments)
            if entry is None:
                return False
        entry.have = (entry.have | message.have) & ~message.lost
        if message.upload is not None:
            entry.upload = message.upload
        if message.busy is not None:
            entry.busy = message.busy
        if message.line is not None:
            entry.line = message.line
        if self.changed is not None:
            self.changed(message.content, peer.id)
        return True

    def withdraw(self, peer: Peer, content: str) -> None:
        """`peer` leaves the swarm of `content`."""
        entry = peer.announced.pop(content, None)
        if entry is None:
            return
        swarm = self._swarms[content]
        last = swarm.pop()
        if last is not entry:
            swarm[entry.index] = last
            last.index = entry.index
        if not swarm:
            del self._swarms[content]
        if self.changed is not None:
            self.changed(content, peer.id)

    def forget(self, peer: Peer) -> None:
        """`peer` leaves every swarm."""
        for content in list(peer.announced):
            self.withdraw(peer, content)

    def sources(
        self,
        message: SourcesRequest,
        *,
        asker: str,
        network: Network | None,
        now: float,
        area: Area | None = None,
    ) -> list[dict[str, Any]]:
        """The peers that a client is told, best first: `{"id", "have"?}`."""
        swarm = self._swarms.get(message.content, [])
        far = [] if self.far is None else self.far(message.content, now)
        if not (swarm or far) or not message.limit:
            return []
        # Four to choose one from: more choice hardly gives a better list, only a slower one.
        looked_at = min(self._limits.sampled, max(32, 4 * message.limit))
        if len(swarm) > looked_at:
            swarm = self._random.sample(swarm, looked_at)
        if far:
            hidden = self.hide(network)
            swarm = swarm + far
            first_far = far[0]
        entries: dict[str, Announcement] = {}
        candidates = []
        masks: dict[int, int] = {}
        for entry in swarm:
            peer = entry.peer
            if far and entry is first_far:
                network = hidden
            if (
                peer.id == asker
                or not entry.upload
                # Between two ticks, too, a silent peer is not named.
                or now - peer.seen >= self._limits.silence_timeout_s
            ):
                continue
            want = masks.get(entry.segments)
            if want is None:
                want = masks[entry.segments] = _wanted(message, entry.segments)
            entries[peer.id] = entry
            candidates.append(
                Candidate(
                    peer.id,
                    (entry.have & want).bit_count() / want.bit_count() if want else 0.0,
                    max(closeness(network, peer.network), nearness(area, peer.area)),
                    now - peer.since,
                    entry.busy,
                    _named(entry, now),
                    *(peer.measured or (None, None, 0)),
                    entry.line,
                )
            )
        listed = []
        for candidate in self._ranker.rank(candidates, limit=message.limit, random=self._random):
            entry = entries[candidate.id]
            entry.named = _named(entry, now) + 1.0
            entry.named_at = now
            item: dict[str, Any] = {"id": candidate.id}
            have = holdings.runs(entry.have, entry.segments, most=_MOST_LISTED_RUNS)
            if have is not None:
                item["have"] = have
            listed.append(item)
        return listed

    def _join(self, peer: Peer, content: str, segments: int) -> Announcement | None:
        limits = self._limits
        if len(peer.announced) >= limits.contents_per_peer:
            return None
        swarm = self._swarms.get(content)
        if swarm is None:
            if len(self._swarms) >= limits.contents:
                return None
            swarm = self._swarms[content] = []
        entry = Announcement(peer, content, segments)
        entry.index = len(swarm)
        swarm.append(entry)
        peer.announced[content] = entry
        return entry


def _wanted(message: SourcesRequest, segments: int) -> int:
    runs = [(0, segments)] if message.want is None else message.want
    return holdings.cells(
        [(first, count) for first, count in runs if first < segments], segments, touching=True
    )


def _named(entry: Announcement, now: float) -> float:
    age = max(0.0, now - entry.named_at)
    return 0.0 if entry.named == 0.0 else entry.named * 0.5 ** (age / _NAMED_HALF_LIFE_S)
