"""The connection to the coordinator: a WebSocket where one can be had, else the POST mailbox.

TypeScript twin: js/src/coordinator/client.ts. Without a coordinator messages are dropped, and
all that is lost is that no new peers are found.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from p2pcdn import __version__

__all__ = ["Client", "Identity"]

log = logging.getLogger("p2pcdn.peer")

_HEARTBEAT_S = 2.0
_OPEN_S = 5.0
"""A WebSocket that is not open by then is taken for blocked by something in between."""
_BACKOFF_S = 0.5
_LONGEST_S = 30.0
_MAX_WAITING = 512
_GATHER_S = 0.01
"""Messages of one moment leave in one POST."""
_MAX_POSTED = 64
_MAX_MESSAGE = 1 << 20

Message = dict[str, Any]


class _Refused(Exception):
    """The coordinator does not want us: not a matter of the transport."""


@dataclass(frozen=True, slots=True)
class Identity:
    """`token` is our own secret: who knows it may take the id over."""

    id: str
    token: str
    key: str = "peerjs"


class Client:
    """Talks to the coordinator, connecting again as often as needed.

    Args:
        base: The coordinator's URL, with a slash at its end.
        identity: Who we are.
        http: For the mailbox.
        opened: The coordinator knows us, and nothing else of us: announce everything.
        heard: Any other message.
        socket: Whether a WebSocket is worth trying.
    """

    def __init__(
        self,
        base: httpx.URL,
        identity: Identity,
        http: httpx.AsyncClient,
        *,
        opened: Callable[[], None],
        heard: Callable[[Message], None],
        socket: bool = True,
    ) -> None:
        self.transport = "none"
        """"websocket", "mailbox" or "none"."""
        self.trouble: str | None = None
        """Why there is no connection, in the words of whatever failed last."""
        self._base, self._identity, self._http = base, identity, http
        self._opened, self._heard = opened, heard
        self._use_socket = socket
        self._socket_worked = False
        self._waiting: deque[Message] = deque(maxlen=_MAX_WAITING)
        self._news = asyncio.Event()
        self._failures = 0
        self._serial = 0
        self._batch: list[Message] | None = None
        """What the present request carries, until it is answered; `_serial` is its number."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, in a task of its own."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def send(self, message: Message) -> None:
        """Send, as soon as there is a connection."""
        self._waiting.append(message)
        self._news.set()

    async def close(self) -> None:
        """Say goodbye and end."""
        task, self._task = self._task, None
        if task is None:
            return
        mailbox = self.transport == "mailbox"
        task.cancel()
        await asyncio.wait((task,))
        # A socket's end says it by itself; a mailbox has to be told.
        if mailbox:
            with contextlib.suppress(httpx.HTTPError, ValueError):
                await self._post([], leave=True)

    async def _run(self) -> None:
        # Asked each time: what ends in the moment in which it is cancelled may not pass that on.
        while self._task is asyncio.current_task():
            first = self._use_socket and not self._socket_worked
            try:
                await (self._by_socket() if self._use_socket else self._by_mailbox())
            except (
                OSError,
                TimeoutError,
                WebSocketException,
                httpx.HTTPError,
                ValueError,
            ) as error:
                self.trouble = str(error) or type(error).__name__
            except _Refused as error:
                self.trouble, first = str(error), False
                log.warning("the coordinator refused this peer: %s", error)
            self.transport = "none"
            if first and not self._socket_worked:
                # From the WebSocket to the mailbox at once; after that with patience.
                self._use_socket = False
                continue
            wait = min(_LONGEST_S, _BACKOFF_S * 2.0**self._failures)
            self._failures = min(self._failures + 1, 10)
            await asyncio.sleep(wait * (0.5 + random.random()))

    def _tell(self, message: object) -> None:
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            return
        if message["type"] in ("OPEN", "REANNOUNCE"):
            self._opened()
        else:
            self._heard(message)

    # --- WebSocket ---------------------------------------------------------------------------

    async def _by_socket(self) -> None:
        who = self._identity
        url = self._base.join("peerjs").copy_with(
            scheme={"http": "ws", "https": "wss"}[self._base.scheme],
            params={
                "key": who.key,
                "id": who.id,
                "token": who.token,
                "version": f"p2pcdn-{__version__}",
            },
        )
        async with connect(
            str(url), compression=None, open_timeout=_OPEN_S, close_timeout=1, max_size=_MAX_MESSAGE
        ) as socket:
            async with asyncio.timeout(_OPEN_S):
                first = _parsed(await socket.recv())
            if first.get("type") != "OPEN":
                raise _Refused(str((first.get("payload") or {}).get("msg", first.get("type"))))
            self.transport, self._socket_worked = "websocket", True
            self._failures, self.trouble = 0, None
            older = list(self._waiting)
            self._waiting.clear()
            self._tell(first)
            self._waiting.extend(older)
            self._news.set()
            sender = asyncio.get_running_loop().create_task(self._speak(socket))
            try:
                async for text in socket:
                    self._tell(_parsed(text))
            finally:
                sender.cancel()
                with contextlib.suppress(asyncio.CancelledError, WebSocketException, OSError):
                    await sender
        raise OSError("the coordinator closed the connection")

    async def _speak(self, socket: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        beat = loop.time()
        while True:
            self._news.clear()
            while self._waiting:
                await socket.send(json.dumps(self._waiting.popleft()))
            if loop.time() >= beat:
                beat = loop.time() + _HEARTBEAT_S
                await socket.send('{"type":"HEARTBEAT"}')
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(beat):
                    await self._news.wait()

    # --- mailbox -----------------------------------------------------------------------------

    async def _by_mailbox(self) -> None:
        while True:
            self._news.clear()
            again = self._batch is not None
            if self._batch is None:
                count = min(_MAX_POSTED, len(self._waiting))
                self._batch = [self._waiting.popleft() for _ in range(count)]
                self._serial += 1
            # Without an answer the very same request is sent again: it may have arrived.
            answer = await self._post(self._batch, again=again)
            self._batch = None
            self.transport, self._failures, self.trouble = "mailbox", 0, None
            found = answer.get("messages")
            for message in found if isinstance(found, list) else []:
                if isinstance(message, dict) and message.get("type") in ("ERROR", "ID-TAKEN"):
                    raise _Refused(str((message.get("payload") or {}).get("msg")))
                self._tell(message)
            wait = answer.get("wait")
            if self._waiting:
                await asyncio.sleep(_GATHER_S)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    max(0.05, min(10.0, wait)) if isinstance(wait, (int, float)) else 1.0
                ):
                    await self._news.wait()
                    await asyncio.sleep(_GATHER_S)

    async def _post(
        self, messages: list[Message], *, again: bool = False, leave: bool = False
    ) -> Message:
        who = self._identity
        body: Message = {
            "id": who.id, "token": who.token, "key": who.key, "messages": messages,
            "serial": self._serial,
        }  # fmt: skip
        if again:
            body["again"] = True
        if leave:
            body["leave"] = True
        response = await self._http.post(self._base.join("mailbox"), json=body)
        response.raise_for_status()
        return _parsed(response.text)


def _parsed(text: str | bytes) -> Message:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # another peer's payload is passed on unread
        return {}
    return value if isinstance(value, dict) else {}
