"""The other nodes, as the heartbeat tells of them: who is dead, and what all count together."""

from __future__ import annotations

import contextlib
import json
import logging
from typing import Any

from p2pcdn.hub.redis_link import Link

__all__ = ["Others"]

log = logging.getLogger("p2pcdn.hub")

_TABLES = ("contents", "streams", "torrents")
"""Counted in Redis, because the same ones are on several nodes."""


class Others:
    """What was last heard of the other nodes."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._counts: dict[str, int] = {}
        self.beats = 0

    def beaten(self, answer: Any) -> None:
        """Take the answer to a heartbeat; see the script `beat`."""
        _, dead, sizes, counts, _ = answer
        for node in dead:
            log.info("server worker %s is gone", node.decode())
            self._link.call("reap", node)
        found: dict[str, int] = {}
        me = self._link.node.encode()
        for node, text in zip(counts[::2], counts[1::2], strict=True):
            if node != me and node not in dead:
                with contextlib.suppress(ValueError, TypeError):
                    for name, count in json.loads(text).items():
                        found[name] = found.get(name, 0) + int(count)
        found.update(zip(_TABLES, sizes, strict=True))
        self._counts = found
        self.beats += 1

    def together(self, mine: dict[str, int]) -> dict[str, int]:
        """This node's counts and the others'."""
        counts = {name: count + self._counts.get(name, 0) for name, count in mine.items()}
        for name in _TABLES:
            counts[name] = max(mine[name], self._counts.get(name, 0))
        return counts

    def lost(self) -> None:
        """Redis is away: this node is alone."""
        self._counts = {}
