"""Every bound of the coordinator in one place, and the token bucket that counts rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p2pcdn.config import Config

__all__ = ["Bucket", "Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds and timeouts. Times in seconds, sizes in bytes, rates per second.

    With the defaults the worst that hostile clients can make the coordinator hold is about
    100 MB at 5,000 peers; honest ones need about 2 KB each.
    """

    key: str = "peerjs"
    concurrent: int = 5000
    message_bytes: int = 64 * 1024

    alive_timeout_s: float = 90.0
    """A silent socket is closed."""
    silence_timeout_s: float = 5.0
    """A silent source or streamer is forgotten by every table."""
    mailbox_timeout_s: float = 15.0
    """A mailbox peer that does not ask is forgotten."""
    stale_timeout_s: float = 15.0
    """An id whose socket was silent for so long (three PeerJS heartbeats) may be taken over."""
    expire_timeout_s: float = 5.0
    """A message for an absent peer is kept."""

    absent_messages: int = 64
    absent_bytes: int = 256 * 1024
    absent_per_sender: int = 128
    absent_total_bytes: int = 16 * 1024 * 1024

    mailbox_messages: int = 256
    mailbox_bytes: int = 256 * 1024
    mailbox_total_bytes: int = 32 * 1024 * 1024
    post_messages: int = 256
    wait_fast_s: float = 0.15
    wait_slow_s: float = 2.0
    wait_most_s: float = 4.0
    polls_per_s: float = 50.0
    """Idle mailboxes wait longer, up to `wait_most_s`, where together they would ask more often:
    a request costs a WSGI server about a millisecond, whatever is behind it."""
    fast_for_s: float = 3.0
    """How long a mailbox stays fast after the last sign of a connection being made."""

    contents_per_peer: int = 32
    contents: int = 100_000
    segments: int = 1 << 22
    runs: int = 512
    listed: int = 64
    sampled: int = 96
    """Most candidates that are looked at for one list, whatever the size of the swarm."""

    streams_per_peer: int = 16
    streams: int = 10_000
    streamers: int = 1024

    tracker_interval_s: float = 60.0
    """How often a WebTorrent client announces itself; one silent for three of these is dropped."""
    tracker_offers: int = 20
    torrents_per_socket: int = 64
    scraped: int = 64

    message_rate: float = 100.0
    message_burst: float = 400.0
    relay_rate: float = 256 * 1024.0
    relay_burst: float = 1024 * 1024.0
    refusals: int = 1000
    """Refused messages, less three for each good one, after which a socket is closed."""

    addresses: int = 10_000
    address_connect_rate: float = 20.0
    address_connect_burst: float = 300.0
    address_message_rate: float = 2000.0
    address_message_burst: float = 10_000.0
    peers_per_address: int = 1250

    @classmethod
    def of(cls, config: Config) -> Limits:
        """The limits that a site's settings ask for."""
        return cls(
            key=config.peerjs_key,
            concurrent=config.concurrent_limit,
            message_bytes=config.max_message_bytes,
            alive_timeout_s=config.alive_timeout,
            expire_timeout_s=config.expire_timeout,
            silence_timeout_s=config.silence_timeout,
            mailbox_timeout_s=max(15.0, 3 * config.silence_timeout),
            # Two polls fit into the silence that is allowed, so one may be lost.
            wait_slow_s=min(2.0, config.silence_timeout / 2.5),
            wait_most_s=min(4.0, config.silence_timeout * 0.8),
            mailbox_bytes=4 * config.max_message_bytes,
            absent_bytes=4 * config.max_message_bytes,
            peers_per_address=max(64, config.concurrent_limit // 4),
        )


class Bucket:
    """A token bucket: `burst` at once, `rate` a second in the long run."""

    __slots__ = ("_at", "_level")

    def __init__(self, burst: float, now: float) -> None:
        self._level = burst
        self._at = now

    def take(self, amount: float, *, rate: float, burst: float, now: float) -> bool:
        """Take `amount`; False (and nothing taken) where there is not enough."""
        level = self._level
        if now > self._at:
            level += (now - self._at) * rate
            if level > burst:
                level = burst
        self._at = now
        if level < amount:
            self._level = level
            return False
        self._level = level - amount
        return True
