"""A tracker that is one of several: its swarms have members elsewhere, too. Pure.

Others are told how many members of a torrent are here, not who they are; offers go to the
coordinator that has members, which chooses among them, and answers back to where the offer came
from.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from p2pcdn.coordinator.events import Action, Send
from p2pcdn.coordinator.torrents import Counts, Member
from p2pcdn.coordinator.tracker import Tracker, _Socket, relayed_answer, relayed_offer
from p2pcdn.coordinator.tracker_messages import Announce, Scrape, read

__all__ = ["FederatedTracker", "Signal", "swarm_table", "torrent_of"]

_FRESH_S = 0.2
_USABLE_S = 2.0
_MOST_SWARMS = 4096
_MOST_OFFERED = 20_000
_TABLE = "w:"


class Signal(NamedTuple):
    """Something for a coordinator that has members of a torrent: offers or an answer, as JSON."""

    node: str
    body: dict[str, Any]


def swarm_table(torrent: str) -> str:
    """The name of a torrent's table (an info hash is 20 characters of one byte each)."""
    return _TABLE + torrent.encode("latin-1").hex()


def torrent_of(table: str) -> str | None:
    """The info hash that a table is about; None: it is no swarm's."""
    if not table.startswith(_TABLE):
        return None
    return bytes.fromhex(table.removeprefix(_TABLE)).decode("latin-1")


class FederatedTracker(Tracker):
    """See the module, and `Tracker` for the arguments."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._random = args[2]
        self.changed: Callable[[str], None] = lambda torrent: None
        """Called with the torrent whose members here changed."""
        self.signal: Callable[[Signal], None] = lambda signal: None
        """Called with what another coordinator is to be told."""
        self._far: OrderedDict[str, tuple[float, list[tuple[str, Counts]]]] = OrderedDict()
        self._offered: OrderedDict[tuple[str, str], str] = OrderedDict()
        """Which coordinator's member made an offer: (torrent, peer id) -> node."""

    # --- out -----------------------------------------------------------------------------

    def tracks(self, link: int) -> bool:
        """Whether a socket is the tracker's."""
        return link in self._sockets

    def swarms_of(self, text: str) -> set[str]:
        """The torrents that the answer to a frame counts, or that its offers go to."""
        message = read(text, self._limits)
        if isinstance(message, Announce):
            return set() if message.answer is not None else {message.info_hash}
        return set(message.info_hashes) if isinstance(message, Scrape) else set()

    def entry(self, torrent: str) -> str | None:
        """What others are told of a torrent; None: it has no members here."""
        if not self._torrents.size(torrent):
            return None
        return ",".join(map(str, self._torrents.counts(torrent)))

    def torrents(self) -> list[str]:
        """The torrents that have members here."""
        return self._torrents.all()

    # --- in ------------------------------------------------------------------------------

    def fresh(self, torrent: str, now: float) -> bool:
        """Whether `elsewhere` told about a torrent a moment ago."""
        known = self._far.get(torrent)
        return known is not None and now - known[0] < _FRESH_S

    def elsewhere(self, torrent: str, found: Iterable[tuple[str, str]], now: float) -> None:
        """Which other coordinators (node, `entry`) have members of a torrent."""
        self._far.pop(torrent, None)
        self._far[torrent] = now, [(node, _counts(text)) for node, text in found]
        if len(self._far) > _MOST_SWARMS:
            self._far.popitem(last=False)

    def signalled(self, node: str, body: dict[str, Any]) -> list[Action]:
        """What another coordinator's member offers to members here, or answers to one."""
        actions: list[Action] = []
        texts: list[str] = body["texts"]
        torrent: str = body["info_hash"]
        peer: str = body["peer_id"]
        to: str | None = body.get("to_peer_id")
        if to is not None:
            for other in self._torrents.named(torrent, to):
                actions += [Send(other.link, text) for text in texts]
            return actions
        self._offered.pop((torrent, peer), None)
        self._offered[torrent, peer] = node
        if len(self._offered) > _MOST_OFFERED:
            self._offered.popitem(last=False)
        others = self._torrents.others(torrent, peer, most=len(texts))
        return [Send(other.link, text) for other, text in zip(others, texts, strict=False)]

    # --- hooks ---------------------------------------------------------------------------

    def _changed(self, torrent: str) -> None:
        self.changed(torrent)

    def _known(self, torrent: str, now: float) -> list[tuple[str, Counts]]:
        known = self._far.get(torrent)
        return [] if known is None or now - known[0] > _USABLE_S else known[1]

    def _counts(self, torrent: str, now: float) -> Counts:
        everywhere = [self._torrents.counts(torrent)]
        everywhere += [counts for _, counts in self._known(torrent, now)]
        return Counts(*map(sum, zip(*everywhere, strict=True)))

    def _relay_offers(
        self, socket: _Socket, member: Member, message: Announce, now: float, actions: list[Action]
    ) -> None:
        places = {
            node: counts.complete + counts.incomplete
            for node, counts in self._known(member.torrent, now)
        }
        # Everybody is as likely to get an offer, wherever it is.
        places[""] = max(0, self._torrents.size(member.torrent) - 1)
        here: list[tuple[dict[str, Any], str]] = []
        far: dict[str, list[str]] = {}
        for offer in message.offers:
            total = sum(places.values())
            if total <= 0:
                break
            at = self._random.randrange(total)
            for node in places:
                at -= places[node]
                if at < 0:
                    break
            places[node] -= 1
            if not node:
                here.append(offer)
                continue
            text = self._relayed(socket, relayed_offer(message, offer), now)
            if text is not None:
                far.setdefault(node, []).append(text)
        super()._relay_offers(socket, member, message.only(here), now, actions)
        names = {"info_hash": message.info_hash, "peer_id": message.peer_id}
        for node, texts in far.items():
            self.signal(Signal(node, {**names, "texts": texts}))

    def _relay_answer(
        self, socket: _Socket, message: Announce, now: float, actions: list[Action]
    ) -> None:
        super()._relay_answer(socket, message, now, actions)
        node = self._offered.get((message.info_hash, message.to_peer_id))
        if node is None:
            return
        text = self._relayed(socket, relayed_answer(message), now)
        if text is not None:
            names = {"info_hash": message.info_hash, "peer_id": message.peer_id}
            body = {**names, "to_peer_id": message.to_peer_id, "texts": [text]}
            self.signal(Signal(node, body))


def _counts(text: str) -> Counts:
    try:
        complete, incomplete, downloaded = map(int, text.split(","))
    except ValueError:  # another version's
        return Counts(0, 0, 0)
    return Counts(complete, incomplete, downloaded)
