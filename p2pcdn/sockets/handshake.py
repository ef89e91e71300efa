"""The opening handshake of a WebSocket (RFC 6455, section 4.2). Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping

__all__ = ["Refused", "accept", "refusal", "wants_websocket"]

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Refused(Exception):
    """The request is no handshake that can be accepted; `status` is the HTTP answer."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def wants_websocket(headers: Mapping[str, str]) -> bool:
    """Whether a request (lower-case header names) asks to become a WebSocket."""
    connection = {part.strip() for part in headers.get("connection", "").lower().split(",")}
    return headers.get("upgrade", "").strip().lower() == "websocket" and "upgrade" in connection


def accept(method: str, headers: Mapping[str, str]) -> bytes:
    """The 101 answer. Extensions and subprotocols that were offered are declined.

    Raises:
        Refused: What is wrong with the request.
    """
    if method != "GET":
        raise Refused("405 Method Not Allowed", "a WebSocket is asked for with GET")
    if not wants_websocket(headers):
        raise Refused("426 Upgrade Required", "this address is a WebSocket")
    if headers.get("sec-websocket-version", "").strip() != "13":
        raise Refused("426 Upgrade Required", "the WebSocket version is 13")
    key = headers.get("sec-websocket-key", "").strip()
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            raise ValueError
    except (binascii.Error, ValueError):
        raise Refused("400 Bad Request", "Sec-WebSocket-Key is not 16 bytes of base64") from None
    answer = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\n"
        "Upgrade: websocket\r\n"
        "Connection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {answer}\r\n\r\n"
    ).encode()


def refusal(error: Refused) -> bytes:
    """The HTTP answer to a handshake that is not accepted."""
    body = f"{error.reason}\n".encode()
    return (
        f"HTTP/1.1 {error.status}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Sec-WebSocket-Version: 13\r\n"
        "Connection: close\r\n\r\n"
    ).encode() + body
