"""The server's side of the WebSocket protocol (RFC 6455), bytes in, events out. Pure.

No extension is ever negotiated: permessage-deflate would cost about 100 KiB for each peer,
for messages of half a kilobyte.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["Close", "Decoder", "Event", "Ping", "Pong", "ProtocolError", "encode", "encode_text"]

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
_CONTINUATION: Final = 0x0

_MAX_CONTROL_BYTES: Final = 125  # section 5.5
_MAX_FRAGMENTS: Final = 1024


@dataclass(frozen=True, slots=True)
class Ping:
    payload: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    payload: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The other end closes; 1005 stands for a close frame without a code (section 7.1.5)."""

    code: int
    reason: str


Event = str | Ping | Pong | Close
"""What a client's frames say; a `str` is a whole message. PeerServer reads binary frames as
text, and so do we."""


class ProtocolError(Exception):
    """The client broke the protocol: close with `code` (section 7.4.1)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason
        self.events: list[Event] = []


class Decoder:
    """Reassembles a client's frames.

    Args:
        max_message_bytes: Largest message, fragments together; more is error 1009.
    """

    __slots__ = ("_buffer", "_fragments", "_kind", "_max", "_size", "closed")

    def __init__(self, max_message_bytes: int) -> None:
        # Thousands of these wait for the next message with nothing in hand: no empty containers.
        self._buffer: bytes | None = None
        self._fragments: list[bytes] | None = None
        self._kind = 0  # opcode of the message whose fragments are being collected
        self._size = 0
        self._max = max_message_bytes
        self.closed = False  # a close frame came: whatever follows it is not read (5.5.1)

    def one(self, data: bytes) -> str | None:
        """The text, where `data` is exactly one whole text frame and nothing else is pending: so
        nearly all of them come. None: `feed` it."""
        size = len(data)
        if size < 8 or data[0] != 0x81 or self._buffer is not None or self._kind or self.closed:
            return None
        length = data[1]
        if length == 0xFE:
            length = data[2] << 8 | data[3]
            start = 8
        elif 0x80 <= length < 0xFE:
            length -= 0x80
            start = 6
        else:
            return None
        if size != start + length or length > self._max:
            return None
        try:
            return str(_unmask(data[start:], data[start - 4 : start]), "utf-8")
        except UnicodeDecodeError:
            return None

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes as they came from the network; return what they complete.

        Raises:
            ProtocolError: Nothing more can be read from this connection. Events of the
                frames before the broken one are in its `events` attribute.
        """
        events: list[Event] = []
        if self.closed:
            return events
        if self._buffer is not None:
            data = self._buffer + data
            self._buffer = None
        position, end = 0, len(data)
        try:
            while position < end and not self.closed:
                # Nearly every frame is a whole text of less than 64 KiB: those without detours.
                if (
                    data[position] == 0x81
                    and not self._kind
                    and end - position > 8
                    and (length := data[position + 1] - 0x80) >= 0
                    and length < 127
                ):
                    start = position + 6
                    if length == 126:
                        length = data[position + 2] << 8 | data[position + 3]
                        start += 2
                    stop = start + length
                    if stop <= end and length <= self._max:
                        payload = _unmask(data[start:stop], data[start - 4 : start])
                        events.append(_utf8(payload))
                        position = stop
                        continue
                taken = self._frame(data, position, events)
                if not taken:
                    break
                position += taken
        except ProtocolError as error:
            self.closed = True
            error.events = events
            raise
        if position < end and not self.closed:
            self._buffer = data[position:]
        return events

    def _frame(self, view: bytes, start: int, events: list[Event]) -> int:
        """Read one frame at `start`; return its length, or 0 when it is not all there."""
        available = len(view) - start
        if available < 2:
            return 0
        first, second = view[start], view[start + 1]
        length = second & 0x7F
        header = 2
        if first & 0x70:
            raise ProtocolError(1002, "reserved bits are set, no extension was agreed")
        if not second & 0x80:
            raise ProtocolError(1002, "frames of a client must be masked")
        opcode = first & 0x0F
        final = bool(first & 0x80)
        if opcode >= 8:
            if not final:
                raise ProtocolError(1002, "a control frame must not be fragmented")
            if length > _MAX_CONTROL_BYTES:
                raise ProtocolError(1002, "a control frame carries at most 125 bytes")
            if opcode > PONG:
                raise ProtocolError(1002, f"unknown opcode {opcode}")
        elif opcode > BINARY:
            raise ProtocolError(1002, f"unknown opcode {opcode}")
        elif (opcode == _CONTINUATION) != bool(self._kind):
            raise ProtocolError(1002, "a continuation without a start, or a start inside one")
        if length == 126:
            if available < 4:
                return 0
            length = int.from_bytes(view[start + 2 : start + 4], "big")
            header = 4
        elif length == 127:
            if available < 10:
                return 0
            length = int.from_bytes(view[start + 2 : start + 10], "big")
            header = 10
        # Refused by the header alone, before the bytes are waited for.
        if opcode < 8 and self._size + length > self._max:
            raise ProtocolError(1009, f"a message has at most {self._max} bytes")
        end = header + 4 + length
        if available < end:
            return 0
        body = start + header + 4
        payload = _unmask(view[body : body + length], view[body - 4 : body])
        if opcode == TEXT and final:
            events.append(_utf8(payload))
        elif opcode >= 8:
            self._control(opcode, payload, events)
        else:
            self._fragment(opcode, payload, final, events)
        return end

    def _fragment(self, opcode: int, payload: bytes, final: bool, events: list[Event]) -> None:
        if opcode:
            self._kind = opcode
        if self._fragments is None:
            self._fragments = []
        self._fragments.append(payload)
        self._size += len(payload)
        if final:
            whole = b"".join(self._fragments)
            text = _utf8(whole) if self._kind == TEXT else whole.decode("utf-8", "replace")
            self._fragments = None
            self._kind = self._size = 0
            events.append(text)
        elif len(self._fragments) > _MAX_FRAGMENTS:
            # Empty fragments add no bytes, but each costs memory.
            raise ProtocolError(1009, f"a message has at most {_MAX_FRAGMENTS} fragments")

    def _control(self, opcode: int, payload: bytes, events: list[Event]) -> None:
        if opcode == PING:
            events.append(Ping(payload))
        elif opcode == PONG:
            events.append(Pong(payload))
        else:
            events.append(_closing(payload))
            self.closed = True


def _closing(payload: bytes) -> Close:
    if not payload:
        return Close(1005, "")
    if len(payload) == 1:
        raise ProtocolError(1002, "a close frame has no body or at least a code")
    code = int.from_bytes(payload[:2], "big")
    # Section 7.4: 1004-1006 and 1015 are never on the wire, 3000-4999 are free to use.
    if not (code in _CLOSE_CODES or 3000 <= code <= 4999):
        raise ProtocolError(1002, f"{code} is no close code")
    return Close(code, _utf8(payload[2:]))


_CLOSE_CODES: Final = frozenset({*range(1000, 1004), *range(1007, 1015)})


def _utf8(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise ProtocolError(1007, "a text must be UTF-8") from None


# 1, 2**32, 2**64, ...: the sum of the first n, times a mask, is the mask n times.
_ONES: Final = [0]
for _ in range(256):
    _ONES.append(_ONES[-1] << 32 | 1)


def _masked(data: bytes, mask: bytes) -> bytes:
    """XOR with the repeated mask (section 5.3), as one operation on two long integers."""
    length = len(data)
    words = (length + 3) >> 2
    if words <= 256:
        repeated = int.from_bytes(mask, "little") * _ONES[words]
    else:
        repeated = int.from_bytes(mask * words, "little")
    mixed = int.from_bytes(data, "little") ^ repeated
    if length & 3:
        mixed &= (1 << (length << 3)) - 1
    return mixed.to_bytes(length, "little")


_unmask: Callable[[bytes, bytes], bytes] = _masked
with contextlib.suppress(ImportError):
    # In C, where the package happens to be installed (it comes with the extra `cli`).
    from websockets.speedups import apply_mask as _unmask

_SHORT: Final = struct.Struct(">BB").pack
_MEDIUM: Final = struct.Struct(">BBH").pack


def encode_text(text: str) -> bytes:
    """`text` as one frame."""
    payload = text.encode()
    length = len(payload)
    if length < 126:
        return _SHORT(0x81, length) + payload
    if length < 65536:
        return _MEDIUM(0x81, 126, length) + payload
    return encode(TEXT, payload)


def encode(opcode: int, payload: bytes) -> bytes:
    """One unfragmented, unmasked frame, as a server sends it (section 5.1)."""
    length = len(payload)
    if length < 126:
        return bytes((0x80 | opcode, length)) + payload
    if length < 65536:
        return bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big") + payload
