"""Whom the other nodes have, asked of Redis when a peer asks for a list."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

from p2pcdn.coordinator import Limits
from p2pcdn.coordinator import messages as m
from p2pcdn.coordinator.events import Call, Post, Text
from p2pcdn.coordinator.federated import FederatedCoordinator, tables_of
from p2pcdn.hub.redis_link import Link

__all__ = ["Lists", "index_of"]

_LOOKED_UP = 32
_MOST_LOOKING = 2000
_QUESTION = re.compile(r'"(?:SOURCES|STREAM[A-Z-]*|announce|scrape)"')
_INDEX = {"c": "contents", "s": "streams", "w": "torrents"}
_Asks = TypeVar("_Asks", Text, Post, Call)


def index_of(table: str) -> str:
    """The index in Redis that counts tables of this kind."""
    return _INDEX[table[0]]


class Lists:
    """Makes an event wait until the coordinator here knows what its answer is made of."""

    def __init__(self, limits: Limits, core: FederatedCoordinator, link: Link) -> None:
        self._limits = limits
        self._core = core
        self._link = link
        self._looking: dict[str, list[Callable[[], None]]] = {}

    def asks(self, texts: list[str]) -> bool:
        """Whether one of these frames may ask for a list."""
        return any(_QUESTION.search(text) for text in texts)

    def informed(self, event: _Asks, then: Callable[[_Asks], None]) -> None:
        """Do `then` with the event when it is known whom the others have, where it asks that."""
        now = time.monotonic()
        tables = self._tables(event) if self._link.node else set()
        missing = {table for table in tables if not self._core.fresh(table, now)}
        if not missing or len(self._looking) >= _MOST_LOOKING:
            then(event)
            return
        left = len(missing)

        def looked() -> None:
            nonlocal left
            left -= 1
            if not left:
                then(event)

        for table in missing:
            waiting = self._looking.get(table)
            if waiting is None:
                self._looking[table] = [looked]
                self._look(table)
            else:
                waiting.append(looked)

    def _look(self, table: str) -> None:
        def found(answer: Any) -> None:
            if not isinstance(answer, Exception):
                texts = [item.decode() for item in answer]
                pairs = zip(texts[::2], texts[1::2], strict=True)
                self._core.elsewhere(table, pairs, time.monotonic())
            for looked in self._looking.pop(table, []):
                looked()

        self._link.call("look", self._link.node, table, index_of(table), _LOOKED_UP, done=found)

    def _tables(self, event: Text | Post | Call) -> set[str]:
        messages: list[Any] = []
        if isinstance(event, Text):
            text = event.text
            if len(text) <= self._limits.message_bytes and _QUESTION.search(text):
                if self._core.tracks(event.link):
                    return self._core.swarms_of(text)
                messages = [m.parse(text)]
        elif isinstance(event, Call):
            messages = [event.message]
        elif isinstance(event, Post):
            messages = event.messages[:8]
        found = (tables_of(message, self._limits) for message in messages)
        return {table for table in found if table is not None}
