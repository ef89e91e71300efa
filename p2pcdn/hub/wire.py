"""Frames between the server workers of one machine, over a Unix socket.

A frame is `u8 kind, u32 number, u32 length, body`, big-endian; `number` is the link or
ticket. Both ends are the same version of the same code (the socket's name says so) of the
same user (checked by the kernel's credentials).
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable
from typing import Any, cast

from p2pcdn.coordinator.events import (
    Action,
    Call,
    Close,
    Connect,
    Disconnect,
    Event,
    List,
    Post,
    Reply,
    Restore,
    Send,
    Text,
    Track,
)

__all__ = ["COUNTS", "HELLO", "VERSION", "Connection", "decode", "encode"]

VERSION = 4

_HEAD = struct.Struct(">BII")
_MOST_BODY = 16 * 1024 * 1024
_MOST_UNSENT = 64 * 1024 * 1024

HELLO = 0
COUNTS = 1
_KINDS: dict[int, type[Any]] = {
    2: Text,
    3: Send,
    4: Connect,
    5: Restore,
    6: Disconnect,
    7: Post,
    8: Call,
    9: List,
    10: Close,
    11: Reply,
    12: Track,
}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_dumps = json.JSONEncoder(separators=(",", ":")).encode


def encode(item: Event | Action) -> bytes:
    """An event or action as a frame. Its first field is the number."""
    kind = type(item)
    fields = cast("tuple[Any, ...]", item)
    if kind is Text or kind is Send:
        body = fields[1].encode("utf-8", "surrogatepass")
    else:
        body = _dumps(fields[1:]).encode()
    return cast(bytes, _HEAD.pack(_NUMBERS[kind], fields[0] & 0xFFFFFFFF, len(body)) + body)


def decode(kind: int, number: int, body: bytes) -> Event | Action:
    """The event or action in a frame.

    Raises:
        ValueError, TypeError, KeyError: It is none.
    """
    made = _KINDS[kind]
    if made is Text or made is Send:
        item: Event | Action = made(number, body.decode("utf-8", "surrogatepass"))
    else:
        item = made(number, *json.loads(body))
    return item


class Connection(asyncio.Protocol):
    """One end of the Unix socket. What one turn of the loop sends leaves in one write.

    Args:
        take: Called with the frames (kind, number, body) of each read.
        lost: Called once when the connection is gone.
    """

    def __init__(
        self,
        take: Callable[[Connection, list[tuple[int, int, bytes]]], None],
        lost: Callable[[Connection], None],
    ) -> None:
        self._take = take
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._in = bytearray()
        self.node = 0
        self.links: set[int] = set()

    @property
    def open(self) -> bool:
        """Whether it can still be written to."""
        return self._transport is not None

    def send(self, frame: bytes) -> None:
        """Send a frame soon."""
        if self._transport is None:
            return
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(frame)

    def send_json(self, kind: int, body: object) -> None:
        """Send a frame that is neither event nor action."""
        data = _dumps(body).encode()
        self.send(_HEAD.pack(kind, 0, len(data)) + data)

    def close(self) -> None:
        """Send what waits and close."""
        if self._transport is not None:
            self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        transport = self._transport
        if transport is None or not self._out:
            return
        transport.write(b"".join(self._out))
        self._out.clear()
        if transport.get_write_buffer_size() > _MOST_UNSENT:
            # The other process hangs: it will come back and be told everything anew.
            transport.abort()

    # --- asyncio.Protocol ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        buffer = self._in
        buffer += data
        frames = []
        at, end = 0, len(buffer)
        while end - at >= _HEAD.size:
            kind, number, length = _HEAD.unpack_from(buffer, at)
            if length > _MOST_BODY:
                self.abort()
                return
            stop = at + _HEAD.size + length
            if stop > end:
                break
            frames.append((kind, number, bytes(buffer[at + _HEAD.size : stop])))
            at = stop
        del buffer[:at]
        if frames:
            self._take(self, frames)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._transport = None
        self._lost(self)
