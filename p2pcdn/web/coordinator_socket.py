"""A coordinator's WebSocket where the ASGI server holds it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable

from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from p2pcdn.config import Config
from p2pcdn.coordinator.messages import ID_TAKEN, error
from p2pcdn.hub import Hub
from p2pcdn.hub.gate import Guarded
from p2pcdn.sockets import uvicorn
from p2pcdn.sockets.protocol import Receiver, WebSocketProtocol
from p2pcdn.sockets.reactor import Reactor
from p2pcdn.web.access import client_address

__all__ = ["FOREIGN", "LOADER", "Outbox", "Socket", "register"]

log = logging.getLogger("p2pcdn.coordinator")

_MOST_UNSENT_BYTES = 1 << 20
_CLOSING_S = 5.0
LOADER = "p2pcdn"
FOREIGN = error(
    "Pages of another site may not use this coordinator. Its owner can name them in "
    "allowed_origins."
)


class Socket:
    """The ASGI endpoint of `WS .../peerjs?key=&id=&token=&version=`.

    Where uvicorn lets go of the connection it becomes a socket of our own. Elsewhere an idle
    peer costs one suspended coroutine; a writer runs only while something waits.
    """

    foreign = FOREIGN
    """What a page of another site is told."""

    def __init__(
        self, hub: Hub, config: Config, allowed: Callable[[HTTPConnection, Config], bool]
    ) -> None:
        self.hub = hub
        self._config = config
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification, WebSocket."""
        connection = HTTPConnection(scope)
        await receive()  # websocket.connect
        await self.hub.start()
        held = uvicorn.holder(receive)
        await send({"type": "websocket.accept"})
        if not self._allowed(connection, self._config):
            await send({"type": "websocket.send", "text": self.foreign})
            await send({"type": "websocket.close", "code": 1008, "reason": "origin"})
            return
        reactor = Reactor.here() if held is not None else None
        raw = uvicorn.detach(held) if reactor is not None else None
        if reactor is not None and raw is not None:
            protocol = WebSocketProtocol(
                lambda made: self.attach(connection, made),
                max_message_bytes=self._config.max_message_bytes,
            )
            reactor.adopt(raw, protocol)
            return
        outbox = Outbox(send)
        session = self.attach(connection, outbox)
        most = self._config.max_message_bytes
        try:
            while True:
                message = await receive()
                if message["type"] != "websocket.receive":
                    return
                text = message.get("text")
                if text is None:
                    # PeerServer reads binary frames as text.
                    text = (message.get("bytes") or b"").decode("utf-8", "replace")
                if not text.isascii() and len(text.encode("utf-8", "replace")) > most:
                    session.detach()
                    outbox.close(1009, "message too big")
                else:
                    session.receive_all([text])
        except asyncio.CancelledError:
            if not outbox.cut_off:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
        finally:
            session.detach()
            await outbox.end()

    def attach(self, connection: HTTPConnection, outbox: Outbox | WebSocketProtocol) -> Receiver:
        """The session of a socket that was let in; the hub is started."""
        return register(connection, self.hub, deliver=outbox.deliver, close=outbox.close)


def register(
    connection: HTTPConnection,
    hub: Hub,
    *,
    deliver: Callable[[str | list[str]], None],
    close: Callable[[int, str], None],
) -> Receiver:
    """The session of a `WS .../peerjs?key=&id=&token=&version=`; see `Hub.attach`."""
    query = connection.query_params
    id, token, gate = query.get("id", ""), query.get("token", ""), hub.gate
    if gate.reserved(id, token):
        deliver(ID_TAKEN)
        close(1008, "refused")
        return _Nobody()
    session = hub.attach_now(
        id=id,
        token=token,
        key=query.get("key", ""),
        deliver=deliver,
        close=close,
        address=client_address(connection),
        loader=query.get("version", "").startswith(LOADER),
    )
    if gate.open:
        return session
    return Guarded(
        session, deliver, lambda stream, role: gate.may(connection, id, token, stream, role)
    )


class _Nobody:
    """Who was turned away, and says something all the same."""

    def receive(self, text: str) -> None:
        """It is not heard."""

    def receive_all(self, texts: list[str]) -> None:
        """Likewise."""

    def detach(self) -> None:
        """It is gone."""


class Outbox:
    """What waits to be sent to one peer: bounded, in order, one writer at a time."""

    __slots__ = ("_bytes", "_closing", "_main", "_send", "_texts", "_timer", "_writer", "cut_off")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._texts: deque[str] = deque()
        self._bytes = 0
        self._closing: tuple[int, str] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._main = asyncio.current_task()
        self.cut_off = False

    def deliver(self, texts: str | list[str]) -> None:
        """Send, soon. A peer that does not read what it is sent is cut off."""
        if self.cut_off or self._closing is not None:
            return
        for text in [texts] if isinstance(texts, str) else texts:
            self._texts.append(text)
            self._bytes += len(text)
        if self._bytes > _MOST_UNSENT_BYTES:
            log.info("a peer does not read what it is sent: dropped")
            self._cut()
        elif self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write())

    def close(self, code: int, reason: str) -> None:
        """Close when all has been sent; after 5 s in any case."""
        if self._closing is None and not self.cut_off:
            self._closing = (code, reason)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_CLOSING_S, self._cut)
            if self._writer is None:
                self._writer = loop.create_task(self._write())

    async def end(self) -> None:
        """The socket is gone: leave nothing running."""
        self.cut_off = True
        if self._timer is not None:
            self._timer.cancel()
        if self._writer is not None:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer

    async def _write(self) -> None:
        try:
            while self._texts:
                text = self._texts.popleft()
                self._bytes -= len(text)
                await self._send({"type": "websocket.send", "text": text})
            if self._closing is not None:
                code, reason = self._closing
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception:
            # Servers differ in what they raise when the client has gone; `receive` tells.
            self._texts.clear()
        finally:
            self._writer = None

    def _cut(self) -> None:
        if not self.cut_off:
            self.cut_off = True
            self._texts.clear()
            if self._main is not None:
                self._main.cancel()
