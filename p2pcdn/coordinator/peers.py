"""A peer as the coordinator knows it, its mailbox, and the rates of its address."""

from __future__ import annotations

import functools
import ipaddress
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from p2pcdn.coordinator.limits import Bucket, Limits
from p2pcdn.coordinator.quality import Quality

if TYPE_CHECKING:
    from p2pcdn.coordinator.contents import Announcement
    from p2pcdn.coordinator.ranking import Area

__all__ = ["Addresses", "Mailbox", "Mailboxes", "Peer", "network_of"]

Network = tuple[str, str, str]


class Mailbox:
    """What waits for a peer that has no socket. Its bounds are kept by `Mailboxes`."""

    __slots__ = ("bytes", "fast_until", "held", "held_bytes", "messages", "serial")

    def __init__(self) -> None:
        self.messages: deque[str] = deque()
        self.bytes = 0
        self.fast_until = 0.0
        self.serial: int | None = None
        """Of its last request that was handled,"""
        self.held: list[str] = []
        """and what that was answered: should the answer get lost, the request comes again."""
        self.held_bytes = 0


class Mailboxes:
    """The bounds over all mailboxes together."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.bytes = 0

    def put(self, mailbox: Mailbox, text: str) -> bool:
        """Add a message; False where the mailbox, or all of them together, are full."""
        limits, size = self._limits, len(text)
        if (
            len(mailbox.messages) >= limits.mailbox_messages
            or mailbox.bytes + size > limits.mailbox_bytes
            or self.bytes + size > limits.mailbox_total_bytes
        ):
            return False
        mailbox.messages.append(text)
        mailbox.bytes += size
        self.bytes += size
        return True

    def take(self, mailbox: Mailbox) -> list[str]:
        """Empty a mailbox."""
        messages = list(mailbox.messages)
        self.bytes -= mailbox.bytes
        mailbox.messages.clear()
        mailbox.bytes = 0
        return messages

    def hold(self, mailbox: Mailbox, answers: list[str]) -> None:
        """Keep an answer until the next request shows that it arrived; not where it is too big."""
        self.drop(mailbox)
        size = sum(map(len, answers))
        limits = self._limits
        if size <= 2 * limits.mailbox_bytes and self.bytes + size <= limits.mailbox_total_bytes:
            mailbox.held, mailbox.held_bytes = answers, size
            self.bytes += size

    def drop(self, mailbox: Mailbox) -> None:
        """The answer that was kept is not needed any more."""
        self.bytes -= mailbox.held_bytes
        mailbox.held, mailbox.held_bytes = [], 0


class Peer:
    """Someone with an id: on a socket (`link`) or on a mailbox."""

    __slots__ = (
        "address",
        "announced",
        "area",
        "bucket",
        "due",
        "forgotten",
        "id",
        "link",
        "loader",
        "mailbox",
        "network",
        "quality",
        "quoted",
        "refused",
        "relayed",
        "seen",
        "since",
        "streams",
        "token",
    )

    def __init__(
        self, id: str, token: str, address: str, *, loader: bool, limits: Limits, now: float
    ) -> None:
        self.id = id
        self.token = token
        self.address = address
        self.network = network_of(address)
        self.area: Area | None = None
        self.loader = loader
        self.link: int | None = None
        self.mailbox: Mailbox | None = None
        self.seen = now
        self.since = now
        self.due = float("inf")
        self.forgotten = False
        """Dropped from the tables for its silence: to be told when it speaks again."""
        self.announced: dict[str, Announcement] = {}
        self.streams: set[tuple[str, str]] = set()
        self.quoted = ""
        """Its id as JSON, from its first message for another peer on."""
        self.bucket = Bucket(limits.message_burst, now)
        self.relayed = Bucket(limits.relay_burst, now)
        self.refused = 0
        self.quality: Quality | None = None
        """Made with its first link: most peers of a site have none."""

    @property
    def measured(self) -> tuple[float | None, float | None, int] | None:
        """Round trip, rate and blame, see `Candidate`; None: it has no links."""
        quality = self.quality
        return None if quality is None else (quality.rtt_s, quality.rate, quality.blame)

    def meet(self, other: str) -> None:
        """This peer and `other` agreed to open a link."""
        if self.quality is None:
            self.quality = Quality()
        self.quality.meet(other)


@functools.lru_cache(maxsize=4096)
def network_of(address: str) -> Network | None:
    """The address and its two wider prefixes, or None where it says nothing.

    IPv4: the address, /24, /16. IPv6 (RFC 6177: a site has a /48 to /64): /64, /48, /32.
    Loopback and private addresses are a proxy's, or the same for everybody.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    if ip.version == 6 and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if not ip.is_global:
        return None
    if ip.version == 4:
        parts = str(ip).split(".")
        return str(ip), ".".join(parts[:3]), ".".join(parts[:2])
    hexes = ip.exploded.split(":")
    return ":".join(hexes[:4]), ":".join(hexes[:3]), ":".join(hexes[:2])


class Addresses:
    """Rates per client address, in a table of bounded size.

    An IPv6 client owns a /64, so that is its address here. Private addresses have no limit:
    behind a proxy that hides the visitors they would all share one.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buckets: OrderedDict[str, tuple[Bucket, Bucket]] = OrderedDict()
        self._peers: dict[str, int] = {}

    def may_connect(self, network: Network | None, *, now: float) -> bool:
        """Count a new connection; False where there are too many."""
        if network is None:
            return True
        limits = self._limits
        if self._peers.get(network[0], 0) >= limits.peers_per_address:
            return False
        return self._of(network[0], now)[0].take(
            1, rate=limits.address_connect_rate, burst=limits.address_connect_burst, now=now
        )

    def may_speak(self, network: Network | None, count: int, *, now: float) -> bool:
        """Count `count` messages; False where there are too many."""
        if network is None:
            return True
        return self._of(network[0], now)[1].take(
            count,
            rate=self._limits.address_message_rate,
            burst=self._limits.address_message_burst,
            now=now,
        )

    def joined(self, network: Network | None) -> None:
        """A peer of this address was registered."""
        if network is not None:
            self._peers[network[0]] = self._peers.get(network[0], 0) + 1

    def left(self, network: Network | None) -> None:
        """A peer of this address was removed."""
        if network is not None:
            count = self._peers.get(network[0], 0) - 1
            if count > 0:
                self._peers[network[0]] = count
            else:
                self._peers.pop(network[0], None)

    def _of(self, address: str, now: float) -> tuple[Bucket, Bucket]:
        buckets = self._buckets.get(address)
        if buckets is None:
            if len(self._buckets) >= self._limits.addresses:
                self._buckets.popitem(last=False)
            buckets = self._buckets[address] = (
                Bucket(self._limits.address_connect_burst, now),
                Bucket(self._limits.address_message_burst, now),
            )
        else:
            self._buckets.move_to_end(address)
        return buckets
