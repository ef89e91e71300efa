"""What a peer counted, for the site's statistics (TypeScript twin: js/src/report.ts).

Visitors' pages say how much they got from peers, and are believed as far as peers say that they
sent it: a seeder that kept silent would make its site's savings look like a lie.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from p2pcdn.peer.peer import PeerStats

__all__ = ["Reporter", "link_name"]

_EVERY_S = 10.0
_MAX_CONTENTS = 32
_MAX_LINKS = 64


def link_name(a: str, b: str) -> str:
    """Both ends of a link come to the same name, and nobody learns an id from it (FNV-1a)."""
    hash = 0x811C9DC5
    for char in ",".join(sorted((a, b))):
        hash = ((hash ^ ord(char)) * 0x01000193) & 0xFFFFFFFF
    return f"{hash:x}"


class Reporter:
    """Sends `POST {mount}/report` while something changes, and a last one."""

    def __init__(
        self, http: httpx.AsyncClient, url: httpx.URL, stats: Callable[[], PeerStats]
    ) -> None:
        self._http, self._url, self._stats = http, url, stats
        self._view = secrets.token_hex(12)
        self._seq = 0
        self._sent_at = time.monotonic()
        self._due_at = self._sent_at + _EVERY_S
        self._told: object = []

    def due(self, now: float) -> bool:
        """Whether it is time again; asking sets the next time."""
        if now < self._due_at:
            return False
        self._due_at = now + _EVERY_S
        return True

    async def send(self, *, final: bool = False) -> None:
        """Report, unless nothing changed. What is lost is in the next one."""
        stats = self._stats()
        contents = [_line(content) for content in stats.contents[:_MAX_CONTENTS]]
        if contents == self._told and not (final and self._seq):
            return
        self._told = contents
        now = time.monotonic()
        idle_s = round(now - self._sent_at, 1) if self._seq else 0
        self._seq += 1
        self._sent_at = now
        body = {
            "view": self._view,
            "seq": self._seq,
            "idle_s": idle_s,
            "final": final,
            "direct": {},
            "transport": stats.transport,
            "links": [
                [link_name(stats.id, link.id), link.received + link.sent]
                for link in stats.links[:_MAX_LINKS]
            ],
            "contents": contents,
        }
        try:
            await self._http.post(self._url, content=json.dumps(body), timeout=5)
        except httpx.HTTPError:
            return


def _line(content: Any) -> dict[str, Any]:
    line = dataclasses.asdict(content)
    line["url"] = content.url.partition("?")[0]  # a signature stays here
    return line
