"""STUN (RFC 8489) and TURN (RFC 8656) messages, as far as asking a server needs them. Pure."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from dataclasses import dataclass, field
from typing import Final

__all__ = [
    "ALLOCATE",
    "BINDING",
    "ERROR_CODE",
    "LIFETIME",
    "NONCE",
    "REALM",
    "REFRESH",
    "REQUESTED_TRANSPORT",
    "USERNAME",
    "Message",
    "decode",
    "error_code",
    "mapped_address",
    "transaction_id",
]

BINDING: Final = 0x0001
ALLOCATE: Final = 0x0003
REFRESH: Final = 0x0004
SUCCESS: Final = 0x0100
ERROR: Final = 0x0110

USERNAME: Final = 0x0006
MESSAGE_INTEGRITY: Final = 0x0008
ERROR_CODE: Final = 0x0009
LIFETIME: Final = 0x000D
REALM: Final = 0x0014
NONCE: Final = 0x0015
REQUESTED_TRANSPORT: Final = 0x0019
MAPPED_ADDRESS: Final = 0x0001
XOR_MAPPED_ADDRESS: Final = 0x0020

_COOKIE: Final = 0x2112A442
_HEADER_BYTES: Final = 20


def transaction_id() -> bytes:
    """12 random bytes."""
    return secrets.token_bytes(12)


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its type (method and class together), transaction and attributes."""

    type: int
    transaction: bytes
    attributes: tuple[tuple[int, bytes], ...] = field(default=())

    def get(self, kind: int) -> bytes | None:
        return next((value for name, value in self.attributes if name == kind), None)

    @property
    def succeeded(self) -> bool:
        return self.type & ERROR == SUCCESS

    @property
    def failed(self) -> bool:
        return self.type & ERROR == ERROR

    def encode(self, *, key: bytes | None = None) -> bytes:
        """The bytes; with `key` (RFC 8489, section 9.2.2) the message's integrity at its end."""
        body = b"".join(
            kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)
            for kind, value in self.attributes
        )
        if key is None:
            return self._header(len(body)) + body
        # The length counts the integrity attribute itself, which comes last (section 14.5).
        signed = self._header(len(body) + 24) + body
        digest = hmac.new(key, signed, hashlib.sha1).digest()
        return signed + MESSAGE_INTEGRITY.to_bytes(2, "big") + (20).to_bytes(2, "big") + digest

    def _header(self, length: int) -> bytes:
        return (
            self.type.to_bytes(2, "big")
            + length.to_bytes(2, "big")
            + _COOKIE.to_bytes(4, "big")
            + self.transaction
        )


def decode(data: bytes) -> Message | None:
    """The message, or None where the bytes are none (or not all of it)."""
    if len(data) < _HEADER_BYTES or data[0] & 0xC0:
        return None
    length = int.from_bytes(data[2:4], "big")
    if int.from_bytes(data[4:8], "big") != _COOKIE or len(data) < _HEADER_BYTES + length:
        return None
    attributes = []
    at, end = _HEADER_BYTES, _HEADER_BYTES + length
    while at + 4 <= end:
        kind, size = (
            int.from_bytes(data[at : at + 2], "big"),
            int.from_bytes(data[at + 2 : at + 4], "big"),
        )
        if at + 4 + size > end:
            return None
        attributes.append((kind, data[at + 4 : at + 4 + size]))
        at += 4 + size + -size % 4
    return Message(int.from_bytes(data[:2], "big"), data[8:20], tuple(attributes))


def error_code(message: Message) -> int:
    """The number in ERROR-CODE (section 14.8), 0 where there is none."""
    value = message.get(ERROR_CODE) or b""
    return (value[2] & 7) * 100 + value[3] if len(value) >= 4 else 0


def mapped_address(message: Message) -> str | None:
    """The address under which the server sees the client (section 14.2), as `host:port`."""
    value = message.get(XOR_MAPPED_ADDRESS)
    if value is not None:
        mask = _COOKIE.to_bytes(4, "big") + message.transaction
        value = (
            value[:2]
            + bytes(a ^ b for a, b in zip(value[2:4], mask, strict=False))
            + bytes(a ^ b for a, b in zip(value[4:], mask, strict=False))
        )
    else:
        value = message.get(MAPPED_ADDRESS) or b""
    if len(value) not in (8, 20):
        return None
    host = ipaddress.ip_address(value[4:])
    port = int.from_bytes(value[2:4], "big")
    return f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"
