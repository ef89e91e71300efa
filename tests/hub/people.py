"""Peers that talk through hubs, as sockets and as mailboxes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from p2pcdn.config import Config
from p2pcdn.coordinator import Ranker
from p2pcdn.hub import Hub, MailboxRequest, Session, open_hub

CONTENT = "0123456789abcdef" * 2
SECRET = b"the site's secret"


def make_hub(
    folder: Path, *, elected: bool = True, ranker: Ranker | None = None, **settings: Any
) -> Hub:
    config = Config(data_dir=str(folder), **settings)
    return open_hub(config, secret=SECRET, site="site", elected=elected, ranker=ranker)


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    """Wait for a condition."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never happened: {what}") from None


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


class Person:
    """A peer and everything that it was sent."""

    def __init__(self, hub: Hub, id: str, token: str = "t") -> None:
        self.hub = hub
        self.id = id
        self.token = token
        self.inbox: list[Any] = []
        self.closed: int | None = None
        self.session: Session | None = None

    async def connect(self, *, address: str = "127.0.0.1", key: str = "peerjs") -> Person:
        self.session = await self.hub.attach(
            id=self.id, token=self.token, key=key, address=address, loader=True,
            deliver=self._deliver, close=self._close,
        )  # fmt: skip
        return self

    def _deliver(self, texts: str | list[str]) -> None:
        assert self.closed is None, "sent to a closed socket"
        for text in [texts] if isinstance(texts, str) else texts:
            self.inbox.append(json.loads(text))

    def _close(self, code: int, reason: str) -> None:
        self.closed = code

    def hang_up(self) -> None:
        assert self.session is not None
        self.session.detach()

    async def post(
        self, *messages: Any, leave: bool = False, hub: Hub | None = None, **more: Any
    ) -> float:
        reply = await (hub or self.hub).mailbox(
            MailboxRequest(
                id=self.id,
                token=self.token,
                key="peerjs",
                address="127.0.0.1",
                messages=list(messages),
                leave=leave,
                **more,
            )
        )
        self.inbox += [json.loads(text) for text in reply.messages]
        return reply.wait

    def say(self, type: str, payload: Any = None, **rest: Any) -> None:
        assert self.session is not None
        self.session.receive(json.dumps({"type": type, "payload": payload, **rest}))

    def announcement(
        self, have: list[list[int]], content: str = CONTENT, **more: Any
    ) -> dict[str, Any]:
        token, _ = self.hub.issue_token(content, self.id)
        payload = {"content": content, "token": token, "segments": 10, "have": have, **more}
        return {"type": "ANNOUNCE", "payload": payload}

    def question(self, content: str = CONTENT) -> dict[str, Any]:
        token, _ = self.hub.issue_token(content, self.id)
        payload = {"rid": 1, "content": content, "token": token, "limit": 16}
        return {"type": "SOURCES", "payload": payload}

    def announce(self, have: list[list[int]], content: str = CONTENT, **more: Any) -> None:
        self.say(**self.announcement(have, content, **more))

    async def sources(self, content: str = CONTENT) -> list[str]:
        before = len(self.of("SOURCES"))
        self.say(**self.question(content))
        await until(lambda: len(self.of("SOURCES")) > before, "an answer to SOURCES")
        return [peer["id"] for peer in self.of("SOURCES")[-1]["payload"]["peers"]]

    async def finds(self, *ids: str) -> None:
        """Ask until the list of sources is exactly `ids`.

        As the loader does, it asks again where no answer comes: one that was in the hands of a
        process that died is lost.
        """
        async with asyncio.timeout(15):
            while True:
                before = len(self.of("SOURCES"))
                self.say(**self.question())
                for _ in range(20):
                    await asyncio.sleep(0.02)
                    answers = self.of("SOURCES")[before:]
                    if answers:
                        break
                else:
                    continue
                found = [peer["id"] for peer in answers[-1]["payload"]["peers"]]
                if sorted(found) == sorted(ids):
                    return

    def of(self, type: str) -> list[Any]:
        return [message for message in self.inbox if message["type"] == type]

    async def gets(self, type: str, count: int = 1) -> Any:
        await until(lambda: len(self.of(type)) >= count, f"{self.id} gets {type}: {self.inbox}")
        return self.of(type)[count - 1]
