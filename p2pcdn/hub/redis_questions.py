"""What nodes ask one another, through Redis: a question has a ticket, and an answer or none."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from typing import Any

from p2pcdn.coordinator.events import Action, Reply
from p2pcdn.hub.engine import ANSWER_S
from p2pcdn.hub.redis_link import Link

__all__ = ["MOST_ASKED", "NoAnswer", "Questions"]

_ASK_S = 1.5
_FAR_TICKET = 1 << 32
MOST_ASKED = 2000
"""Questions that are open at a time."""


class NoAnswer(Enum):
    """Why there is none."""

    UNHEARD = 0
    """Nobody got the question,"""
    SILENCE = 1
    """or somebody may have got it, and done what it asked for."""


class Questions:
    """This node's open questions, and the other nodes' that are being answered here."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._tickets = itertools.count()
        self._asked: OrderedDict[int, tuple[float, Callable[[Any], None]]] = OrderedDict()
        self._far: dict[int, tuple[str, int]] = {}

    # --- out -----------------------------------------------------------------------------

    def ask(self, node: str, question: list[Any], done: Callable[[Any], None]) -> None:
        """Ask another node; `done` gets its answer, or a `NoAnswer`."""
        if len(self._asked) >= MOST_ASKED:
            done(NoAnswer.UNHEARD)
            return
        ticket = next(self._tickets)
        self._asked[ticket] = time.monotonic() + _ASK_S, done
        head = f"q\t{self._link.node}\t{ticket}\n".encode()

        def told(answer: Any) -> None:
            if answer != 1:
                asked = self._asked.pop(ticket, None)
                if asked is not None:
                    unsure = isinstance(answer, Exception)
                    asked[1](NoAnswer.SILENCE if unsure else NoAnswer.UNHEARD)

        self._link.call("tell", node, head + json.dumps(question).encode(), done=told)

    def answered(self, ticket: int, answer: Any) -> None:
        """An answer came."""
        asked = self._asked.pop(ticket, None)
        if asked is not None:
            asked[1](answer)

    def tick(self, now: float) -> None:
        """Give up what was asked too long ago."""
        while self._asked and next(iter(self._asked.values()))[0] < now:
            _, (_, done) = self._asked.popitem(last=False)
            done(NoAnswer.SILENCE)

    def lost(self) -> None:
        """Redis is away: nobody will answer."""
        self._far.clear()
        asked, self._asked = self._asked, OrderedDict()
        for _, done in asked.values():
            done(NoAnswer.SILENCE)

    # --- in ------------------------------------------------------------------------------

    def answer(self, node: str, ticket: int, answer: Any) -> None:
        """Tell the node that asked."""
        self._link.call("tell", node, f"r\t{ticket}\n".encode() + json.dumps(answer).encode())

    def take_ticket(self, node: str, ticket: int) -> int | None:
        """A ticket of this process's for another node's question; None: there are too many.

        What is replied to it goes to that node, see `divert`.
        """
        if len(self._far) >= MOST_ASKED:
            return None
        mine = _FAR_TICKET + next(self._tickets)
        self._far[mine] = node, ticket
        asyncio.get_running_loop().call_later(ANSWER_S, lambda: self._far.pop(mine, None))
        return mine

    def divert(self, actions: list[Action]) -> list[Action]:
        """Send the replies that other nodes wait for; what is left is for this process."""
        if not self._far:
            return actions
        here: list[Action] = []
        for action in actions:
            far = self._far.pop(action.ticket, None) if isinstance(action, Reply) else None
            if far is None:
                here.append(action)
            else:
                assert isinstance(action, Reply)
                self.answer(*far, [action.messages, action.wait])
        return here
