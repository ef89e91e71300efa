"""Who may announce itself as a streamer, and whose ids are kept for their owners.

Asked by the process that holds the visitor's request, when the visitor announces itself and not
before: the coordinator, wherever it runs, knows no requests.
"""

from __future__ import annotations

import asyncio
import hmac
import importlib
import inspect
import json
import logging
from collections.abc import Callable
from typing import Any, Protocol

from p2pcdn.config import Config
from p2pcdn.coordinator import messages as m

__all__ = ["Gate", "Guarded", "names", "refused"]

log = logging.getLogger("p2pcdn.coordinator")

_MOST_QUEUED = 64
_MOST_KNOWN = 64


def refused(payload: object) -> str:
    """What a visitor is told who may not stream."""
    stream = payload.get("stream") if isinstance(payload, dict) else None
    told = stream if isinstance(stream, str) and len(stream) <= 128 else None
    return json.dumps({"type": "REFUSED", "payload": {"stream": told, "reason": "streamer"}})


class Gate:
    """The site's rule; without `streamers` and `may_stream` everybody may.

    Args:
        config: The settings.
    """

    def __init__(self, config: Config) -> None:
        self._tokens = dict(config.streamers or ())
        # Looked up at its first use: it may stand in a module that imports the site.
        self._may: Any = config.may_stream
        self._warned = False
        self.open = config.streamers is None and self._may is None
        """Whether there is no rule."""

    def reserved(self, id: str, token: str) -> bool:
        """Whether an id is kept for somebody who has another token."""
        kept = self._tokens.get(id)
        return kept is not None and not _same(kept, token)

    async def may(self, connection: Any, id: str, token: str, stream: str, role: str) -> bool:
        """Whether a visitor may announce itself.

        Args:
            connection: Its request, a Starlette `HTTPConnection`.
            id: Its peer id.
            token: With which its socket or mailbox was opened.
            stream: What it wants to stream.
            role: `main` or `secondary`.
        """
        kept = self._tokens.get(id)
        if self.open or (kept is not None and _same(kept, token)):
            return True
        if self._may is None:
            return False
        try:
            may = self._may = _function(self._may)
            if inspect.iscoroutinefunction(may):
                return bool(await may(connection, peer=id, stream=stream, role=role))
            # It may look into a database: not on the event loop.
            return bool(
                await asyncio.get_running_loop().run_in_executor(
                    None, lambda: may(connection, peer=id, stream=stream, role=role)
                )
            )
        except Exception:
            if not self._warned:
                self._warned = True
                log.exception("may_stream failed (said once): nobody streams")
            return False


class Session(Protocol):
    """What is guarded: a coordinator session."""

    def receive(self, text: str) -> None: ...
    def receive_all(self, texts: list[str]) -> None: ...
    def detach(self) -> None: ...


class Guarded:
    """A socket's session behind a gate; what it says stays in order.

    Args:
        session: Gets what may pass.
        deliver: Tells the visitor what may not.
        may: Whether it may stream (stream, role).
    """

    def __init__(
        self,
        session: Session,
        deliver: Callable[[str], None],
        may: Callable[[str, str], Any],
    ) -> None:
        self._session = session
        self._deliver = deliver
        self._may = may
        self._known: dict[tuple[str, str], bool] = {}
        self._queue: list[str] | None = None
        self._asking: asyncio.Task[None] | None = None

    def receive(self, text: str) -> None:
        """See `Session`."""
        self.receive_all([text])

    def receive_all(self, texts: list[str]) -> None:
        """See `Session`."""
        if self._queue is not None:
            self._queue += texts[: _MOST_QUEUED - len(self._queue)]
        elif any(map(_suspicious, texts)):
            self._queue = list(texts)
            self._asking = asyncio.get_running_loop().create_task(self._one_by_one())
        else:
            self._session.receive_all(texts)

    def detach(self) -> None:
        """See `Session`."""
        self._queue = []
        self._session.detach()

    async def _one_by_one(self) -> None:
        while self._queue:
            text = self._queue.pop(0)
            message = m.parse(text) if _suspicious(text) else None
            if message is None or message.get("type") != "STREAM-ANNOUNCE":
                self._session.receive(text)
                continue
            payload = message.get("payload")
            if await self._allowed(payload):
                self._session.receive(text)
            else:
                self._deliver(refused(payload))
        self._queue = self._asking = None

    async def _allowed(self, payload: object) -> bool:
        name = names(payload)
        if name is None:
            return True  # the coordinator says what is wrong with it
        known = self._known.get(name)
        if known is None:
            known = bool(await self._may(*name))
            if len(self._known) < _MOST_KNOWN:
                self._known[name] = known
        return known


def names(payload: object) -> tuple[str, str] | None:
    """The stream and role of an announcement; None where there are none."""
    if not isinstance(payload, dict):
        return None
    stream, role = payload.get("stream"), payload.get("role", "main")
    return (stream, role) if isinstance(stream, str) and isinstance(role, str) else None


def _suspicious(text: str) -> bool:
    # (Or its type stands there in escapes.)
    return "STREAM-ANNOUNCE" in text or "\\u" in text


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(
        a.encode("utf-8", "surrogatepass"), b.encode("utf-8", "surrogatepass")
    )


def _function(named: Any) -> Callable[..., Any]:
    """A function, or what `package.module.name` names."""
    if callable(named):
        return named  # type: ignore[no-any-return]
    module, _, name = str(named).rpartition(".")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
