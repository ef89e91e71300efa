"""Swarms of the WebTorrent tracker: who is a member of which torrent."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from p2pcdn.coordinator.limits import Limits

__all__ = ["Counts", "Member", "Torrents"]

_MOST_SAME = 4


class Counts(NamedTuple):
    """What a scrape tells of a torrent."""

    complete: int
    incomplete: int
    downloaded: int


class Member:
    """One peer of one torrent on one socket (`link`)."""

    __slots__ = ("complete", "index", "link", "peer_id", "seen", "torrent")

    def __init__(
        self, link: int, torrent: str, peer_id: str, *, complete: bool, now: float
    ) -> None:
        self.link = link
        self.torrent = torrent
        self.peer_id = peer_id
        self.complete = complete
        self.seen = now
        self.index = 0


class _Swarm:
    __slots__ = ("by_id", "complete", "downloaded", "members")

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.by_id: dict[str, list[Member]] = {}
        self.complete = 0
        self.downloaded = 0


class Torrents:
    """The swarms by info hash. Choosing costs the same in a swarm of ten and of ten thousand."""

    def __init__(self, limits: Limits, random: Random) -> None:
        self._limits = limits
        self._random = random
        self._swarms: dict[str, _Swarm] = {}

    def __len__(self) -> int:
        return len(self._swarms)

    def join(self, member: Member) -> tuple[bool, Member | None]:
        """Add `member`.

        Returns:
            Whether there was room, and who had to go for it: a client that comes back after
            its network has changed has its old socket still standing for a while, and of the
            sockets with one peer id the one that was silent for longest makes room.
        """
        swarm = self._swarms.get(member.torrent)
        if swarm is None:
            if len(self._swarms) >= self._limits.contents:
                return False, None
            swarm = self._swarms[member.torrent] = _Swarm()
        displaced = None
        same = swarm.by_id.get(member.peer_id, [])
        if len(same) >= _MOST_SAME:
            displaced = min(same, key=lambda other: other.seen)
            self._remove(swarm, displaced)
        member.index = len(swarm.members)
        swarm.members.append(member)
        swarm.by_id.setdefault(member.peer_id, []).append(member)
        swarm.complete += member.complete
        return True, displaced

    def leave(self, member: Member) -> None:
        """Remove `member`, and the swarm with its last one."""
        swarm = self._swarms[member.torrent]
        self._remove(swarm, member)
        if not swarm.members:
            del self._swarms[member.torrent]

    def completed(self, member: Member, *, counted: bool) -> None:
        """`member` has everything now; `counted`: it says that it has just got it."""
        swarm = self._swarms[member.torrent]
        if not member.complete:
            member.complete = True
            swarm.complete += 1
            swarm.downloaded += counted

    def counts(self, torrent: str) -> Counts:
        """The size of a swarm; of one that is not there, too."""
        swarm = self._swarms.get(torrent)
        if swarm is None:
            return Counts(0, 0, 0)
        return Counts(swarm.complete, len(swarm.members) - swarm.complete, swarm.downloaded)

    def others(self, torrent: str, peer_id: str, *, most: int) -> list[Member]:
        """Random members of a torrent, none of them the peer itself."""
        swarm = self._swarms.get(torrent)
        if swarm is None:
            return []
        count = min(len(swarm.members), most + _MOST_SAME)
        chosen = self._random.sample(swarm.members, count)
        return [other for other in chosen if other.peer_id != peer_id][:most]

    def size(self, torrent: str) -> int:
        """How many members a torrent has."""
        swarm = self._swarms.get(torrent)
        return 0 if swarm is None else len(swarm.members)

    def all(self) -> list[str]:
        """The info hashes of all torrents that have members."""
        return list(self._swarms)

    def named(self, torrent: str, peer_id: str) -> Sequence[Member]:
        """The members with a peer id."""
        swarm = self._swarms.get(torrent)
        return () if swarm is None else swarm.by_id.get(peer_id, ())

    def _remove(self, swarm: _Swarm, member: Member) -> None:
        last = swarm.members.pop()
        if last is not member:
            swarm.members[member.index] = last
            last.index = member.index
        same = swarm.by_id[member.peer_id]
        same.remove(member)
        if not same:
            del swarm.by_id[member.peer_id]
        swarm.complete -= member.complete
