"""A coordinator that is one of several: it knows its own peers and asks about the others.

Still pure: what the others must be told is collected in a `Journal`, what they say comes in by
the methods here. Who carries it is `p2pcdn.hub.redis_backend`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from p2pcdn.coordinator import messages as m
from p2pcdn.coordinator.contents import Announcement, Measured
from p2pcdn.coordinator.core import Coordinator
from p2pcdn.coordinator.events import Action
from p2pcdn.coordinator.limits import Limits
from p2pcdn.coordinator.peers import Addresses, Network, Peer
from p2pcdn.coordinator.ranking import Area
from p2pcdn.coordinator.tracker_federated import (
    FederatedTracker,
    Signal,
    swarm_table,
    torrent_of,
)

__all__ = ["FederatedCoordinator", "Forward", "Journal", "proof_of", "tables_of"]

_FRESH_S = 0.2
"""A list from the others is asked for again after this time,"""
_USABLE_S = 2.0
"""and is not named from any more after that."""
_MOST_TABLES = 1024


class Forward(NamedTuple):
    """A message for a peer that is not here. `keep`: worth keeping for one that is absent."""

    src: str
    dst: str
    text: str
    keep: bool


@dataclass(slots=True)
class Journal:
    """What changed since it was last taken.

    `peers`: ids that were registered or removed. `entries`: (table, id) that were announced,
    changed or withdrawn; a table is `c:<content>`, `s:<role>:<stream>`, or `w:<info hash>` of the
    WebTorrent tracker's swarms, which has no ids.
    """

    forwards: list[Forward] = field(default_factory=list)
    peers: set[str] = field(default_factory=set)
    entries: set[tuple[str, str]] = field(default_factory=set)
    signals: list[Signal] = field(default_factory=list)


class _Far:
    """A peer of another coordinator."""

    __slots__ = ("area", "id", "measured", "network", "seen", "since")

    def __init__(
        self,
        id: str,
        since: float,
        network: Network | None = None,
        area: Area | None = None,
        measured: Measured | None = None,
    ) -> None:
        self.id = id
        self.network = network
        self.area = area
        self.measured = measured
        self.since = since
        self.seen = float("inf")  # its own coordinator forgets it when it is silent


class FederatedCoordinator(Coordinator):
    """See the module. `hide` makes of a network what others may be told of it, comparable."""

    def __init__(self, *args: Any, salt: bytes, **options: Any) -> None:
        super().__init__(*args, **options)
        self._salt = salt
        self._journal = Journal()
        self._far: OrderedDict[str, tuple[float, list[Announcement]]] = OrderedDict()
        self._contents.changed = lambda content, id: self._changed(f"c:{content}", id)
        self._streams.changed = lambda stream, role, id: self._changed(f"s:{role}:{stream}", id)
        self._contents.far = lambda content, now: self._known(f"c:{content}", now)
        self._streams.far = lambda stream, role, now: [
            entry.peer.id for entry in self._known(f"s:{role}:{stream}", now)
        ]
        self._contents.hide = self._hide
        self._speech.forward = lambda *forward: self._journal.forwards.append(Forward(*forward))

    # --- out -----------------------------------------------------------------------------

    def take_journal(self) -> Journal | None:
        """What happened since the last call; None: nothing."""
        journal = self._journal
        if not (journal.forwards or journal.peers or journal.entries or journal.signals):
            return None
        self._journal = Journal()
        return journal

    def has(self, id: str) -> bool:
        """Whether a peer is here."""
        return id in self._peers

    def proof(self, id: str) -> str | None:
        """The `proof_of` the token of a peer that is here."""
        peer = self._peers.get(id)
        return None if peer is None else proof_of(peer.token)

    def ids(self) -> list[str]:
        """All peers that are here."""
        return list(self._peers)

    def entries(self) -> list[tuple[str, str]]:
        """All (table, id) of peers that are here."""
        found = []
        for peer in self._peers.values():
            found += [(f"c:{content}", peer.id) for content in peer.announced]
            found += [(f"s:{role}:{stream}", peer.id) for stream, role in peer.streams]
        found += [(swarm_table(torrent), "") for torrent in self._swarms.torrents()]
        return found

    def entry(self, table: str, id: str, now: float) -> str | None:
        """What the others are told about a peer in a table; None: it is not in it."""
        torrent = torrent_of(table)
        if torrent is not None:
            return self._swarms.entry(torrent)
        peer = self._peers.get(id)
        if peer is None:
            return None
        kind, _, name = table.partition(":")
        if kind == "s":
            role, _, stream = name.partition(":")
            return "" if (stream, role) in peer.streams else None
        entry = peer.announced.get(name)
        if entry is None or not entry.upload:
            return None
        told: list[Any] = [
            entry.segments,
            format(entry.have, "x"),
            round(entry.busy, 2),
            int(now - peer.since),
            self._hide(peer.network),
            peer.area,
            peer.measured,
        ]
        if entry.line != "unknown":
            told.append(entry.line)
        return json.dumps(told, separators=(",", ":"))

    # --- in ------------------------------------------------------------------------------

    def fresh(self, table: str, now: float) -> bool:
        """Whether `elsewhere` told about the table a moment ago."""
        torrent = torrent_of(table)
        if torrent is not None:
            return self._swarms.fresh(torrent, now)
        known = self._far.get(table)
        return known is not None and now - known[0] < _FRESH_S

    def elsewhere(self, table: str, found: Iterable[tuple[str, str]], now: float) -> None:
        """Some of the peers (id, `entry`) that others have in a table; of a swarm which others
        (node, `entry`) have members."""
        torrent = torrent_of(table)
        if torrent is not None:
            self._swarms.elsewhere(torrent, found, now)
            return
        old = self._far.pop(table, None)
        named = {} if old is None else {entry.peer.id: entry for entry in old[1]}
        entries = []
        for id, value in found:
            if id in self._peers:
                continue
            entry = _entry(table, id, value, now)
            if entry is None:
                continue
            before = named.get(id)
            if before is not None:
                entry.named, entry.named_at = before.named, before.named_at
            entries.append(entry)
        self._far[table] = now, entries
        if len(self._far) > _MOST_TABLES:
            self._far.popitem(last=False)

    def deliver(self, src: str, dst: str, text: str, now: float) -> tuple[bool, list[Action]]:
        """A message that another coordinator's peer sent to one that is here.

        Returns:
            Whether `dst` is here, and what is to be done.
        """
        peer = self._peers.get(dst)
        if peer is None:
            return False, []
        actions: list[Action] = []
        if peer.mailbox is not None:
            peer.mailbox.fast_until = now + self._limits.fast_for_s
        # (Parsed, because a payload may hold the same words.)
        if '"ANSWER"' in text and (m.parse(text) or {}).get("type") == "ANSWER":
            peer.meet(src)
        if not self._speech.deliver(peer, text, actions):
            self._journal.forwards.append(Forward(dst, src, m.expire(src=dst, dst=src), False))
        return True, actions

    def keep(self, forward: Forward, now: float) -> list[Action]:
        """There is nobody to hand this to: keep it for a peer that comes here."""
        src, dst, text, keep = forward
        if not keep or self._absent.put(src=src, dst=dst, text=text, now=now):
            return []
        return self.expired(src, dst)

    def expired(self, src: str, dst: str) -> list[Action]:
        """Nobody collected what `src` said to `dst`."""
        actions: list[Action] = []
        peer = self._peers.get(src)
        if peer is not None:
            self._expired += 1
            self._speech.deliver(peer, m.expire(src=dst, dst=src), actions)
        return actions

    def give_up(self, id: str, proof: str, now: float) -> tuple[bool, list[str], list[Action]]:
        """Another coordinator has a client that wants this id.

        Returns:
            Whether it may have it; what waited for the peer; what is to be done.
        """
        peer = self._peers.get(id)
        if peer is None:
            return True, [], []
        same = hmac.compare_digest(proof_of(peer.token), proof)
        if not same and now - peer.seen < self._limits.stale_timeout_s:
            return False, [], []
        waiting = self._mailboxes.take(peer.mailbox) if same and peer.mailbox is not None else []
        actions: list[Action] = []
        self._remove(peer, actions, close="replaced" if same else "id taken over", code=1000)
        return True, waiting, actions

    def evict(self, id: str) -> list[Action]:
        """Another coordinator has this id now."""
        actions: list[Action] = []
        peer = self._peers.get(id)
        if peer is not None:
            self._remove(peer, actions, close="replaced", code=1000)
        return actions

    # --- the WebTorrent tracker ----------------------------------------------------------

    def tracks(self, link: int) -> bool:
        """Whether a socket is the tracker's."""
        return self._swarms.tracks(link)

    def swarms_of(self, text: str) -> set[str]:
        """The tables that the answer to a frame of the tracker's is made from."""
        return {swarm_table(torrent) for torrent in self._swarms.swarms_of(text)}

    def signalled(self, node: str, body: dict[str, Any]) -> list[Action]:
        """A `Signal` of another coordinator, `node`."""
        return self._swarms.signalled(node, body)

    # --- hooks ---------------------------------------------------------------------------

    def _new_tracker(
        self, limits: Limits, addresses: Addresses, random: Random
    ) -> FederatedTracker:
        self._swarms = FederatedTracker(limits, addresses, random)
        self._swarms.changed = lambda torrent: self._changed(swarm_table(torrent), "")
        self._swarms.signal = lambda signal: self._journal.signals.append(signal)
        return self._swarms

    def _register(self, id: str, token: str, address: str, loader: bool, now: float) -> Peer:
        self._journal.peers.add(id)
        return super()._register(id, token, address, loader, now)

    def _remove(
        self, peer: Peer, actions: list[Action], *, close: str = "", code: int = 1008
    ) -> None:
        super()._remove(peer, actions, close=close, code=code)
        self._journal.peers.add(peer.id)

    def _changed(self, table: str, id: str) -> None:
        self._journal.entries.add((table, id))

    def _known(self, table: str, now: float) -> list[Announcement]:
        known = self._far.get(table)
        if known is None or now - known[0] > _USABLE_S:
            return []
        return [entry for entry in known[1] if entry.peer.id not in self._peers]

    def _hide(self, network: Network | None) -> Network | None:
        if network is None:
            return None
        one, near, wide = (
            hashlib.blake2b(part.encode(), key=self._salt, digest_size=6).hexdigest()
            for part in network
        )
        return one, near, wide


def proof_of(token: str) -> str:
    """What tells tokens apart without giving them away."""
    return hashlib.sha256(b"p2pcdn token " + token.encode("utf-8", "surrogatepass")).hexdigest()[
        :32
    ]


def tables_of(message: object, limits: Any) -> str | None:
    """The table that the answer to a message is made from, if it asks for a list."""
    type = message.get("type") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(type, str):
        return None
    payload = message.get("payload")
    if type == "SOURCES":
        content = m.read_content(payload)
        return None if content is None else f"c:{content}"
    if type in ("STREAMERS", "STREAM-ANNOUNCE", "STREAM-WITHDRAW"):
        stream = m.read_stream(payload, limits)
        if stream is not None and (type == "STREAMERS" or stream.rid is not None):
            return f"s:{stream.role}:{stream.stream}"
    return None


def _entry(table: str, id: str, value: str, now: float) -> Announcement | None:
    """An entry of another coordinator's; None where it cannot be read (another version's)."""
    if table.startswith("s:"):
        return Announcement(_Far(id, now), table, 1)
    try:
        segments, have, busy, uptime, network, area, measured, *more = json.loads(value)
        far = _Far(
            id,
            now - float(uptime),
            None if network is None else (network[0], network[1], network[2]),
            None if area is None else Area(int(area[0]), str(area[1])),
            None if measured is None else (measured[0], measured[1], int(measured[2])),
        )
        entry = Announcement(far, table[2:], int(segments))
        entry.have = int(have, 16)
        entry.busy = float(busy)
        entry.line = (m.read_network(more[0]) if more else None) or "unknown"
    except (ValueError, TypeError, IndexError):
        return None
    return entry
