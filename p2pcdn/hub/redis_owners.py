"""Requests that came to this node (mailbox, REST), whichever node has their peer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from p2pcdn.coordinator import Limits
from p2pcdn.coordinator import messages as m
from p2pcdn.coordinator.events import Action, Call, Connect, Event, Post, Reply
from p2pcdn.coordinator.federated import FederatedCoordinator
from p2pcdn.hub.redis_ids import Ids
from p2pcdn.hub.redis_link import Link
from p2pcdn.hub.redis_lists import Lists
from p2pcdn.hub.redis_questions import NoAnswer, Questions

__all__ = ["Owners"]


class Owners:
    """Lets the node that has a peer handle its request.

    Args:
        local: Lets the coordinator here handle an event.
        performed: Does what a coordinator said.
        told: Tells the other nodes what changed here.
    """

    def __init__(
        self,
        limits: Limits,
        core: FederatedCoordinator,
        link: Link,
        questions: Questions,
        ids: Ids,
        lists: Lists,
        *,
        local: Callable[[Event], None],
        performed: Callable[[list[Action]], None],
        told: Callable[[], object],
    ) -> None:
        self._limits = limits
        self._core = core
        self._link = link
        self._questions = questions
        self._ids = ids
        self._lists = lists
        self._local = local
        self._performed = performed
        self._told = told

    def sensible(self, event: Connect | Post) -> bool:
        """Worth a question to Redis; what is not, the coordinator here turns away."""
        return event.key == self._limits.key and m.valid_id(event.id) and m.valid_token(event.token)

    def post(self, event: Post) -> None:
        """A mailbox peer's request; an unknown peer becomes this node's."""

        def unknown(event: Post) -> None:
            def claimed(free: bool) -> None:
                if free:
                    self._local(event)
                else:
                    wait_s = self._limits.wait_slow_s
                    self._performed([Reply(event.ticket, [m.ID_TAKEN], wait_s)])

            if event.leave:
                self._local(event)
            else:
                self._ids.claim(event.id, event.token, claimed)

        def given_up(reply: Any) -> None:
            # A node that fell silent may have passed on what the request says.
            unknown(event._replace(again=event.again or reply is NoAnswer.SILENCE))

        if not self._link.node or self._core.has(event.id) or not self.sensible(event):
            self._local(event)
        else:
            self._ask_owner(event, lambda: unknown(event), given_up)

    def call(self, event: Call) -> None:
        """A REST request in a peer's name."""
        if not self._link.node or self._core.has(event.id) or not m.valid_id(event.id):
            self._local(event)
        else:
            self._ask_owner(event, lambda: self._local(event), lambda _: self._local(event))

    def questioned(self, node: str, ticket: int, question: list[Any]) -> None:
        """Another node asks: for an id, or that a peer's request be handled here."""
        kind, *fields = question
        if kind == "claim":
            id, proof = fields
            free, waiting, actions = self._core.give_up(id, proof, time.monotonic())
            self._performed(actions)
            self._told()
            self._questions.answer(node, ticket, [free, waiting])
            return
        mine = self._questions.take_ticket(node, ticket) if self._core.has(fields[0]) else None
        if mine is None:
            self._questions.answer(node, ticket, None)  # it has just gone
        elif kind == "post":
            self._lists.informed(Post(mine, *fields), self._local)
        else:
            self._lists.informed(Call(mine, *fields), self._local)

    def _ask_owner(
        self, event: Post | Call, unknown: Callable[[], None], given_up: Callable[[Any], None]
    ) -> None:
        """Without an owner: `unknown`; one that does not answer, or has just lost the peer:
        `given_up`."""

        def found(value: Any) -> None:
            if isinstance(value, Exception) or not value:
                unknown()
                return
            node = value.decode().partition("|")[0]
            if node == self._link.node:
                self._local(event)
                return
            kind = "post" if isinstance(event, Post) else "call"
            self._questions.ask(node, [kind, *event[1:]], answered)

        def answered(reply: Any) -> None:
            if reply is None or isinstance(reply, NoAnswer):
                given_up(reply)
            else:
                self._performed([Reply(event.ticket, *reply)])

        self._link.call("where", event.id, done=found)
