"""A WebSocket from the client's side (RFC 6455), blocking, for a handful of short messages."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import time
import zlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from p2pcdn.doctor.visitor import Unreachable, connect, origin_of
from p2pcdn.errors import P2PCDNError

__all__ = ["ClientSocket", "Refused", "Silent"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MOST_BYTES = 1 << 20


class Refused(P2PCDNError):
    """The server, or something in front of it, answered with plain HTTP.

    Attributes:
        status: What it answered.
        server: Who says that it answered (`Server`).
    """

    def __init__(self, status: int, server: str) -> None:
        super().__init__(f"it answers {status} instead of 101")
        self.status = status
        self.server = server


class Silent(P2PCDNError):
    """What was waited for did not come in time."""


class ClientSocket:
    """An open WebSocket that speaks JSON.

    Raises:
        Refused: No WebSocket, but an HTTP answer.
        Unreachable: No connection, or one that broke.
        Silent: No answer in time.
    """

    def __init__(self, url: str, *, headers: Mapping[str, str], timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._socket = connect(url, timeout_s=timeout_s)
        self._unread = b""
        self._inflate: Any = None
        try:
            self._shake_hands(url, headers)
        except BaseException:
            self._socket.close()
            raise

    def _shake_hands(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        key = base64.b64encode(os.urandom(16))
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        fields = {
            "Host": origin_of(url.replace("ws", "http", 1)).partition("://")[2],
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key.decode(),
            # As browsers offer it: what is in front must not trip over it.
            "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
            **headers,
        }
        lines = [f"GET {target} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items())]
        self._send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        deadline = time.monotonic() + self._timeout_s
        while b"\r\n\r\n" not in self._unread:
            if len(self._unread) > 64 * 1024:
                raise Unreachable("it answers the handshake with something endless")
            self._read(deadline)
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        status, answered = _head(head)
        if status != 101:
            raise Refused(status, answered.get("server", ""))
        expected = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
        if answered.get("sec-websocket-accept") != expected:
            raise Unreachable("it accepts the handshake wrongly (Sec-WebSocket-Accept)")
        if answered.get("sec-websocket-extensions", "").startswith("permessage-deflate"):
            self._inflate = zlib.decompressobj(-15)

    @property
    def compressed(self) -> bool:
        """Whether the server took up permessage-deflate (RFC 7692)."""
        return self._inflate is not None

    def say(self, message: Mapping[str, Any]) -> None:
        """Send a JSON message."""
        payload = json.dumps(message).encode()
        self._frame(0x1, payload)

    def hear(self, type: str) -> dict[str, Any]:
        """The next message of this type; `ERROR` and `ID-TAKEN` are returned as well.

        Raises:
            Silent: It did not come in time.
            Unreachable: The socket was closed instead.
        """
        deadline = time.monotonic() + self._timeout_s
        while True:
            opcode, payload = self._next(deadline)
            if opcode == 0x9:
                self._frame(0xA, payload)
            elif opcode == 0x8:
                code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
                raise Unreachable(f"it was closed with code {code}")
            elif opcode == 0x1:
                message = _object(payload)
                if message.get("type") in (type, "ERROR", "ID-TAKEN"):
                    return message

    def close(self) -> None:
        with contextlib.suppress(P2PCDNError):
            self._frame(0x8, (1000).to_bytes(2, "big"))
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- bytes ----------------------------------------------------------------------------

    def _frame(self, opcode: int, payload: bytes) -> None:
        mask = os.urandom(4)
        length = len(payload)
        if length < 126:
            head = bytes((0x80 | opcode, 0x80 | length))
        else:
            head = bytes((0x80 | opcode, 0x80 | 126)) + length.to_bytes(2, "big")
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self._send(head + mask + masked)

    def _next(self, deadline: float) -> tuple[int, bytes]:
        """The next frame. Our coordinator sends each message as one."""
        head = self._exactly(2, deadline)
        length = head[1] & 0x7F
        if length >= 126:
            length = int.from_bytes(self._exactly(2 if length == 126 else 8, deadline), "big")
        if head[1] & 0x80 or length > _MOST_BYTES:
            raise Unreachable("it sends frames that a server must not send")
        payload = self._exactly(length, deadline)
        if head[0] & 0x40:
            payload = self._inflated(payload)
        return head[0] & 0x0F, payload

    def _inflated(self, payload: bytes) -> bytes:
        if self._inflate is None:
            raise Unreachable("it sends compressed frames that nobody asked for")
        try:
            data = self._inflate.decompress(payload + b"\0\0\xff\xff", _MOST_BYTES)
        except zlib.error as error:
            raise Unreachable("it sends frames that are compressed wrongly") from error
        return bytes(data)

    def _exactly(self, count: int, deadline: float) -> bytes:
        while len(self._unread) < count:
            self._read(deadline)
        data, self._unread = self._unread[:count], self._unread[count:]
        return data

    def _read(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise Silent("no answer in time")
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(64 * 1024)
        except TimeoutError:
            raise Silent("no answer in time") from None
        except OSError as error:
            raise Unreachable(f"the connection broke ({error})") from error
        if not data:
            raise Unreachable("the connection was closed")
        self._unread += data

    def _send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(data)
        except OSError as error:
            raise Unreachable(f"the connection broke ({error})") from error


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdecimal():
        raise Unreachable("it does not speak HTTP")
    fields = (line.partition(":") for line in lines)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in fields}


def _object(payload: bytes) -> dict[str, Any]:
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
