"""Whose an id is: claimed in Redis for a client that comes here, and given up to another node."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from p2pcdn.coordinator import Limits
from p2pcdn.coordinator.federated import FederatedCoordinator, proof_of
from p2pcdn.hub.redis_link import Link
from p2pcdn.hub.redis_questions import NoAnswer, Questions

__all__ = ["Ids"]

Message = tuple[str, str, str]


class Ids:
    """The ids that are being claimed, and what comes for them meanwhile.

    Args:
        arrived: Takes the frames that waited in Redis for an id that is this node's now.
        deliver: Takes each (src, dst, text) that came from other nodes while it was claimed.
        frame: Makes a frame for an id of a text.
    """

    def __init__(
        self,
        limits: Limits,
        core: FederatedCoordinator,
        link: Link,
        questions: Questions,
        *,
        arrived: Callable[[Iterable[bytes]], None],
        deliver: Callable[[str, str, str], None],
        frame: Callable[[str, str], bytes],
    ) -> None:
        self._limits = limits
        self._core = core
        self._link = link
        self._questions = questions
        self._arrived = arrived
        self._deliver = deliver
        self._frame = frame
        self._arriving: dict[str, list[Message]] = {}
        self._unsettled: set[str] = set()
        """Ids that were claimed for a peer that the coordinator here has not seen yet."""

    def unsettled(self, id: str) -> bool:
        """Whether an id was claimed for a peer that the coordinator here has yet to see."""
        return id in self._unsettled

    def awaits(self, src: str, dst: str, text: str) -> bool:
        """Keep what came for an id that is just being claimed; False: it is not."""
        arriving = self._arriving.get(dst)
        if arriving is None:
            return False
        if len(arriving) < self._limits.absent_messages:
            arriving.append((src, dst, text))
        return True

    def settled(self, id: str) -> None:
        """The coordinator here has decided about a client whose id was claimed."""
        if id in self._unsettled:
            self._unsettled.discard(id)
            if not self._core.has(id):
                self._link.call("release", self._link.node, id)

    def lost(self) -> None:
        """Redis is away."""
        self._unsettled.clear()

    def claim(self, id: str, token: str, done: Callable[[bool], None]) -> None:
        """Make an id this node's; `done(False)`: it is another client's."""
        link, proof = self._link, proof_of(token)
        self._arriving.setdefault(id, [])

        def finish(free: bool, waiting: Iterable[bytes] = ()) -> None:
            arrived = self._arriving.pop(id, [])
            if free and link.node:
                self._unsettled.add(id)
            done(free)
            self._arrived(waiting)
            for message in arrived:
                self._deliver(*message)

        def claimed(answer: Any) -> None:
            if isinstance(answer, Exception):
                finish(True)  # without Redis this node is alone
            elif answer[0]:
                finish(True, answer[1])
            else:
                value = answer[1]
                node, _, holder = value.decode().partition("|")
                self._questions.ask(
                    node,
                    ["claim", id, proof],
                    lambda reply: contested(reply, value, holder == proof),
                )

        def contested(reply: Any, value: bytes, same: bool) -> None:
            free, waiting = (same, []) if isinstance(reply, NoAnswer) else reply
            if not free:
                finish(False)
                return

            def forced(answer: Any) -> None:
                if isinstance(answer, Exception) or not answer[0]:
                    finish(isinstance(answer, Exception))
                else:
                    finish(True, [self._frame(id, text) for text in waiting] + answer[1])

            # What the owner gave up is released, or will be: ours stands either way.
            link.call("claim", link.node, id, proof, value, done=forced)

        link.call("claim", link.node, id, proof, "", done=claimed)
