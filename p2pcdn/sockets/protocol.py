"""One WebSocket on an asyncio transport, between the network and a coordinator session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from p2pcdn.sockets.frames import (
    CLOSE,
    PING,
    PONG,
    Close,
    Decoder,
    Event,
    Ping,
    ProtocolError,
    encode,
    encode_text,
)
from p2pcdn.sockets.reactor import Wire

__all__ = ["Receiver", "WebSocketProtocol"]

log = logging.getLogger("p2pcdn.sockets")

_MAX_UNSENT_BYTES = 1 << 20
_CLOSING_S = 5.0


_OWN_READ_BYTES = 4 * 1024


class Receiver(Protocol):
    """Who is on the other side of a socket: a coordinator session."""

    def receive(self, text: str) -> None: ...
    def receive_all(self, texts: list[str]) -> None: ...
    def detach(self) -> None: ...


class WebSocketProtocol(asyncio.BufferedProtocol):
    """Frames in and out for one peer.

    What one read brings is handed over together; what the coordinator delivers is written at
    once, several messages in one write. A peer that does not read what it is sent
    is dropped, never waited for.

    Args:
        opened: Called once with this protocol when the socket is ready; returns the receiver,
            or None when it closed the socket itself.
        max_message_bytes: Largest message that is taken.
        preface: Bytes to send first (the 101 answer, where nobody sent it yet).
        unread: Bytes that arrived behind the handshake.
        register: Holds this protocol as long as it is connected.
    """

    __slots__ = (
        "_buffer",
        "_decoder",
        "_opened",
        "_preface",
        "_receiver",
        "_register",
        "_transport",
        "_unread",
    )

    def __init__(
        self,
        opened: Callable[[WebSocketProtocol], Receiver | None],
        *,
        max_message_bytes: int,
        preface: bytes = b"",
        unread: bytes = b"",
        register: set[WebSocketProtocol] | None = None,
    ) -> None:
        self._opened: Callable[[WebSocketProtocol], Receiver | None] | None = opened
        self._register = register
        self._decoder = Decoder(max_message_bytes)
        self._preface = preface
        self._unread = unread
        self._receiver: Receiver | None = None
        self._transport: asyncio.Transport | None = None
        # In a reactor all sockets read into one; where there is none, each into its own.
        self._buffer: memoryview | None = None

    # --- asyncio ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if isinstance(transport, Wire):
            self._buffer = transport.view
        if self._register is not None:
            self._register.add(self)
        # Not kept: it holds the whole handshake.
        opened, self._opened = self._opened, None
        assert opened is not None
        self._receiver = opened(self)
        self._write(b"")
        if self._unread and self._receiver is not None:
            unread, self._unread = self._unread, b""
            self._read(unread)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._buffer is None:
            self._buffer = memoryview(bytearray(_OWN_READ_BYTES))
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert self._buffer is not None
        data = self._buffer[:nbytes].tobytes()
        text = self._decoder.one(data)
        if text is None:
            self._read(data)
        elif self._receiver is not None:
            self._receiver.receive_all([text])

    def _read(self, data: bytes) -> None:
        try:
            events = self._decoder.feed(data)
        except ProtocolError as error:
            self._take(error.events)
            self.close(error.code, error.reason)
            return
        if events:
            self._take(events)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._register is not None:
            self._register.discard(self)
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.detach()

    # --- for the coordinator ------------------------------------------------------------

    def deliver(self, messages: str | Sequence[str]) -> None:
        """Send text messages, all of them in one write."""
        transport = self._transport
        if transport is None or self._decoder.closed:  # it said good-bye, or was told
            return
        if isinstance(messages, str):
            data = encode_text(messages)
        elif len(messages) == 1:
            data = encode_text(messages[0])
        else:
            data = b"".join([encode_text(message) for message in messages])
        if self._preface:
            self._write(data)
        else:
            transport.write(data)
        if transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            log.info("a peer does not read what it is sent: dropped")
            transport.abort()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Say good-bye and close; a peer that does not answer is cut off after 5 s."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._decoder.closed = True
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.detach()
        body = code.to_bytes(2, "big") + reason.encode()[:120] if code != 1005 else b""
        self._write(encode(CLOSE, body))
        transport.close()
        asyncio.get_running_loop().call_later(_CLOSING_S, transport.abort)

    def _write(self, data: bytes) -> None:
        """Send `data`; the first of it leaves together with the preface."""
        preface, self._preface = self._preface, b""
        if self._transport is not None and (preface or data):
            self._transport.write(preface + data)

    def abort(self) -> None:
        """Cut off."""
        if self._transport is not None:
            self._transport.abort()

    # --- frames -------------------------------------------------------------------------

    def _take(self, events: list[Event]) -> None:
        texts: list[str] = []
        for event in events:
            if type(event) is str:
                texts.append(event)
            else:
                if texts:
                    self._hand_over(texts)
                    texts = []
                if isinstance(event, Ping):
                    if self._transport is not None:
                        self._transport.write(encode(PONG, event.payload))
                elif isinstance(event, Close):
                    self.close(event.code)
        if texts:
            self._hand_over(texts)

    def _hand_over(self, texts: list[str]) -> None:
        if self._receiver is not None:
            self._receiver.receive_all(texts)

    def ping(self) -> None:
        """Ask for a sign of life."""
        if self._transport is not None:
            self._transport.write(encode(PING, b""))
