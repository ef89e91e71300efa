"""A coordinator to talk to, with a clock in hand."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from p2pcdn.coordinator import Admission, Coordinator, Limits
from p2pcdn.coordinator.events import (
    Call,
    Close,
    Connect,
    Disconnect,
    Event,
    Post,
    Reply,
    Report,
    Send,
    Text,
    Tick,
)

CONTENT = "0123456789abcdef" * 2


class World:
    """A coordinator with a clock in hand, and what every client got from it."""

    def __init__(self, **limits: Any) -> None:
        self.now = 1000.0
        self.wall = 1_700_000_000.0
        self.limits = Limits(**limits)
        self.admission = Admission(b"secret", "site", clock=lambda: self.wall)
        self.core = Coordinator(self.limits, self.admission, random=Random(1))
        self.inbox: dict[int, list[Any]] = {}
        self.closed: dict[int, int] = {}
        self.replies: list[Reply] = []
        self.reports: list[Report] = []
        self.link_of: dict[str, int] = {}

    def handle(self, event: Event) -> None:
        for action in self.core.handle(event, self.now):
            if isinstance(action, Send):
                assert action.link not in self.closed, "sent to a closed socket"
                self.inbox.setdefault(action.link, []).append(json.loads(action.text))
            elif isinstance(action, Close):
                self.closed[action.link] = action.code
            elif isinstance(action, Reply):
                self.replies.append(action)
            else:
                self.reports.append(action)

    def connect(
        self,
        id: str,
        token: str = "t",
        *,
        link: int | None = None,
        key: str = "peerjs",
        address: str = "127.0.0.1",
    ) -> int:
        link = link if link is not None else len(self.inbox) + 1000
        self.inbox[link] = []
        self.handle(Connect(link, id, token, key, address, False))
        self.link_of[id] = link
        return link

    def drop(self, id: str) -> None:
        self.handle(Disconnect(self.link_of[id]))

    def say(self, id: str, type: str, payload: Any = None, **rest: Any) -> list[Any]:
        """Send a message; returns what came back to the sender."""
        message = {"type": type, **rest}
        if payload is not None:
            message["payload"] = payload
        return self.raw(id, json.dumps(message))

    def raw(self, id: str, text: str) -> list[Any]:
        link = self.link_of[id]
        before = len(self.inbox[link])
        self.handle(Text(link, text))
        return self.inbox[link][before:]

    def got(self, id: str) -> list[Any]:
        """What a socket peer received since the last look."""
        link = self.link_of[id]
        messages, self.inbox[link] = self.inbox[link], []
        return messages

    def post(
        self, id: str, *messages: Any, token: str = "t", key: str = "peerjs", leave: bool = False
    ) -> list[Any]:
        self.handle(Post(7, id, token, key, "127.0.0.1", list(messages), leave))
        reply = self.replies[-1]
        self.wait = reply.wait
        return [json.loads(text) for text in reply.messages]

    def call(self, id: str, token: str, type: str, payload: Any) -> list[Any]:
        message = {"type": type, "payload": payload}
        self.handle(Call(8, id, token, "127.0.0.1", message))
        return [json.loads(text) for text in self.replies[-1].messages]

    def announce(
        self,
        id: str,
        have: list[list[int]],
        *,
        content: str = CONTENT,
        segments: int = 10,
        **more: Any,
    ) -> list[Any]:
        token, _ = self.admission.issue(content, id)
        return self.say(
            id,
            "ANNOUNCE",
            {"content": content, "token": token, "segments": segments, "have": have, **more},
        )

    def sources(self, id: str, *, content: str = CONTENT, limit: int = 16, **more: Any) -> Any:
        token, _ = self.admission.issue(content, id)
        payload = {"rid": 1, "content": content, "token": token, "limit": limit, **more}
        (answer,) = self.say(id, "SOURCES", payload)
        assert answer["type"] == "SOURCES" and answer["payload"]["rid"] == 1
        return answer["payload"]["peers"]

    def ids(self, id: str, **more: Any) -> list[str]:
        return [peer["id"] for peer in self.sources(id, **more)]

    def later(self, seconds: float, *, heartbeats: tuple[str, ...] = ()) -> None:
        """Let time pass in steps of a quarter second, some peers sending heartbeats."""
        for _ in range(round(seconds / 0.25)):
            self.now += 0.25
            self.wall += 0.25
            for id in heartbeats:
                self.say(id, "HEARTBEAT")
            self.handle(Tick())
