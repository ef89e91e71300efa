"""Messages from one node's peers to another's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from p2pcdn.coordinator import Limits
from p2pcdn.coordinator.events import Action
from p2pcdn.coordinator.federated import FederatedCoordinator, Forward
from p2pcdn.coordinator.tracker_federated import Signal
from p2pcdn.hub.redis_link import Link
from p2pcdn.hub.redis_waiting import Waiting

__all__ = ["Relay", "frame_of"]


class Relay:
    """Hands messages over, each at most once, or leaves them in Redis for an absent peer.

    Args:
        performed: Does what the coordinator here says about a message that cannot be brought.
    """

    def __init__(
        self,
        limits: Limits,
        core: FederatedCoordinator,
        link: Link,
        performed: Callable[[list[Action]], None],
    ) -> None:
        self._limits = limits
        self._core = core
        self._link = link
        self._performed = performed
        self._waiting = Waiting(limits)

    def send(self, forward: Forward, hops: int) -> None:
        """Bring a message to a peer wherever it is."""
        src, dst, text, keep = forward
        frame = frame_of(src, dst, text, hops)

        def done(answer: Any) -> None:
            if answer == 1 or answer == 3:
                return
            if answer == 2 and self._waiting.put(src, dst, frame, time.monotonic()):
                return
            if answer == 2:
                self._link.call("unqueue", dst, frame)
            # Full, or it may have been lost: nobody says it again but its sender.
            self._performed(self._core.expired(src, dst))

        self._link.call(
            "relay", dst, frame,
            self._limits.absent_messages if keep else 0,
            int(1000 * self._limits.expire_timeout_s) + 2000,
            done=done,
        )  # fmt: skip

    def missed(self, src: str, dst: str, text: str, hops: int) -> None:
        """A message came for a peer that is not here: it has just gone."""
        if not hops and src and self._link.node:
            # Our own word of that precedes this question.
            self.send(Forward(src, dst, text, False), 1)

    def signal(self, signal: Signal) -> None:
        """Bring a WebTorrent client's offer or answer to the node that has its swarm."""
        body = json.dumps(signal.body, separators=(",", ":")).encode()
        self._link.call("tell", signal.node, f"t\t{self._link.node}\n".encode() + body)

    def tick(self, now: float) -> None:
        """Take back what waited too long: who sent it is told, once."""
        for dst, frames in self._waiting.expire(now):
            self._take_back(dst, frames)

    def _take_back(self, dst: str, frames: list[tuple[str, bytes]]) -> None:
        def taken(gone: Any) -> None:
            if isinstance(gone, Exception) or gone:
                for src in dict.fromkeys(src for src, _ in frames):
                    self._performed(self._core.expired(src, dst))

        self._link.call("unqueue", dst, *(frame for _, frame in frames), done=taken)


def frame_of(src: str, dst: str, text: str, hops: int) -> bytes:
    """A message as it goes from node to node."""
    return f"d\t{hops}\t{src}\t{dst}\n{text}".encode("utf-8", "surrogatepass")
