"""Made-up visitors, who speak to the coordinator as the loader does."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

from p2pcdn.doctor.assets import Loader
from p2pcdn.doctor.visitor import Answer, Unreachable, origin_of, visit
from p2pcdn.doctor.websocket import ClientSocket

__all__ = ["People", "messages_of"]


class People:
    """Makes visitors of one site.

    Attributes:
        base: The coordinator's address, with a slash at its end.
        key: PeerServer's API key.
        fetch: The headers of what a page's script fetches.
    """

    def __init__(self, loader: Loader, timeout_s: float) -> None:
        self.base = loader.coordinator
        self.key = str(loader.settings.get("key", "peerjs"))
        # Browsers send Sec-Fetch-Site with what a script fetches, but not all of them with a
        # WebSocket: there the site must recognise its own origin.
        self._origin = {"Origin": origin_of(self.base)}
        self.fetch = {**self._origin, "Sec-Fetch-Site": "same-origin"}
        self._timeout_s = timeout_s

    def person(self) -> dict[str, str]:
        return {"id": f"doctor{secrets.token_hex(8)}", "token": secrets.token_hex(16)}

    def post(
        self,
        person: dict[str, str],
        *messages: dict[str, Any],
        leave: bool = False,
        connected: Callable[[], object] = lambda: None,
    ) -> Answer:
        body: dict[str, Any] = {**person, "key": self.key, "messages": list(messages)}
        if leave:
            body["leave"] = True
        return visit(
            f"{self.base}mailbox",
            method="POST",
            headers={**self.fetch, "Content-Type": "text/plain;charset=UTF-8"},
            body=json.dumps(body).encode(),
            timeout_s=self._timeout_s,
            connected=connected,
        )

    def leave(self, *people: dict[str, str]) -> None:
        for person in people:
            with contextlib.suppress(Unreachable):
                self.post(person, leave=True)

    def arrives(self, person: dict[str, str], payload: object) -> bool:
        """Whether a message with this payload comes into somebody's mailbox."""
        end = time.monotonic() + self._timeout_s
        while time.monotonic() < end:
            if any(message.get("payload") == payload for message in messages_of(self.post(person))):
                return True
            time.sleep(0.1)
        return False

    @contextlib.contextmanager
    def socket(self) -> Iterator[tuple[ClientSocket, str]]:
        me = self.person()
        query = urlencode({"key": self.key, **me, "version": "doctor"})
        url = f"{self.base.replace('http', 'ws', 1)}peerjs?{query}"
        with ClientSocket(url, headers=self._origin, timeout_s=self._timeout_s) as socket:
            yield socket, me["id"]


def messages_of(answer: Answer) -> list[dict[str, Any]]:
    said = answer.json()
    found = said.get("messages") if isinstance(said, dict) else None
    return [m for m in found if isinstance(m, dict)] if isinstance(found, list) else []
