"""The binary messages between peers (docs/architecture.md, "Wire between peers").

TypeScript twin: js/src/swarm/wire.ts. Both pass tests/vectors/wire.json. The codec knows
lengths and ranges of single fields; whether a segment exists is for the link to judge.
"""

from __future__ import annotations

import enum
import re
import struct
from dataclasses import dataclass
from typing import TypeAlias

from p2pcdn.errors import P2PCDNError

__all__ = [
    "MAX_DATA",
    "MAX_MESSAGE",
    "MAX_SEGMENTS",
    "VERSION",
    "Cancel",
    "Claim",
    "Data",
    "Have",
    "Hello",
    "Join",
    "Leave",
    "Message",
    "Peers",
    "Ping",
    "Pong",
    "Reason",
    "Reject",
    "Request",
    "Run",
    "Type",
    "Unhave",
    "WireError",
    "decode",
    "encode",
    "is_peer_id",
]

VERSION = 1
MAX_DATA = 16_384
"""Largest payload of one DATA message: no browser's message limit is met."""
MAX_MESSAGE = 65_536
"""Largest message of any type."""
MAX_SEGMENTS = 262_144
"""Most segments a content may have on the wire (its bitfield is 32 KiB then)."""

Run: TypeAlias = tuple[int, int]
"""A run of segments: first, count."""


class WireError(P2PCDNError):
    """A message that no honest peer sends; the link ends."""


class Type(enum.IntEnum):
    """First byte of a message."""

    HELLO = 1
    JOIN = 2
    HAVE = 3
    REQUEST = 4
    DATA = 5
    REJECT = 6
    CANCEL = 7
    LEAVE = 8
    PEERS = 9
    PING = 10
    PONG = 11
    UNHAVE = 12
    CLAIM = 13


class Reason(enum.IntEnum):
    """Why a REQUEST was rejected. Later versions may know more."""

    BUSY = 1
    NOT_HELD = 2
    UNKNOWN_CONTENT = 3
    UPLOAD_OFF = 4


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a link. `cap_kib`: upload cap in KiB/s, 0 for none."""

    upload: bool
    cap_kib: int
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Join:
    """The sender is in a swarm. `c` is its own number for the content, `held` a bitfield."""

    c: int
    key: str
    segments: int
    held: bytes


@dataclass(frozen=True, slots=True)
class Have:
    """New in the sender's store."""

    c: int
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Unhave:
    """Evicted from the sender's store."""

    c: int
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """Being fetched from the origin by the sender now."""

    c: int
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """Asks for `length` bytes of a segment from `offset` on."""

    c: int
    rid: int
    segment: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes that were requested; `offset` is within the segment."""

    rid: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Reject:
    """The request will not be answered. `reason`: a `Reason`, or one of a later version."""

    rid: int
    reason: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """The request need not be answered any more."""

    rid: int


@dataclass(frozen=True, slots=True)
class Leave:
    """The sender has left a swarm."""

    c: int


@dataclass(frozen=True, slots=True)
class Peers:
    """Other peers of a swarm."""

    c: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a `Pong` with the same token."""

    token: int


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers a `Ping`."""

    token: int


Message: TypeAlias = (
    Hello
    | Join
    | Have
    | Unhave
    | Claim
    | Request
    | Data
    | Reject
    | Cancel
    | Leave
    | Peers
    | Ping
    | Pong
)

_ID = re.compile(r"[A-Za-z0-9]+(?:[ _-][A-Za-z0-9]+)*")
_KEY_BYTES = 16
_RUNS: dict[int, type[Have] | type[Unhave] | type[Claim]] = {
    Type.HAVE: Have,
    Type.UNHAVE: Unhave,
    Type.CLAIM: Claim,
}

_HELLO = struct.Struct(">BBI")
_JOIN = struct.Struct(f">H{_KEY_BYTES}sI")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_RUN = struct.Struct(">II")
_REQUEST = struct.Struct(">HIIII")
_DATA = struct.Struct(">II")
_REJECT = struct.Struct(">IB")


def is_peer_id(id: str) -> bool:
    """Whether a peer may be called so: PeerServer's id rule, at most 64 characters."""
    return len(id) <= 64 and _ID.fullmatch(id) is not None


def encode(message: Message) -> bytes:
    """The bytes of a message.

    Raises:
        WireError: A field is out of its range.
    """
    try:
        return _encode(message)
    except (struct.error, ValueError, UnicodeEncodeError) as error:
        raise WireError(f"{type(message).__name__} cannot be written: {error}") from error


def _encode(message: Message) -> bytes:
    match message:
        case Data(rid, offset, data):
            return b"\x05" + _DATA.pack(rid, offset) + data
        case Request(c, rid, segment, offset, length):
            return b"\x04" + _REQUEST.pack(c, rid, segment, offset, length)
        case Hello(upload, cap_kib, version):
            return b"\x01" + _HELLO.pack(version, int(upload), cap_kib)
        case Join(c, key, segments, held):
            _need(len(key) == 2 * _KEY_BYTES, "a content key of another length")
            return b"\x02" + _JOIN.pack(c, bytes.fromhex(key), segments) + held
        case Have(c, runs):
            return b"\x03" + _pack_runs(c, runs)
        case Unhave(c, runs):
            return b"\x0c" + _pack_runs(c, runs)
        case Claim(c, runs):
            return b"\x0d" + _pack_runs(c, runs)
        case Reject(rid, reason):
            return b"\x06" + _REJECT.pack(rid, reason)
        case Cancel(rid):
            return b"\x07" + _U32.pack(rid)
        case Leave(c):
            return b"\x08" + _U16.pack(c)
        case Peers(c, ids):
            return b"\x09" + _U16.pack(c) + b"".join(bytes([len(id)]) + id.encode() for id in ids)
        case Ping(token):
            return b"\x0a" + _U32.pack(token)
        case Pong(token):
            return b"\x0b" + _U32.pack(token)


def _pack_runs(c: int, runs: tuple[Run, ...]) -> bytes:
    return _U16.pack(c) + b"".join(_RUN.pack(first, count) for first, count in runs)


def decode(frame: bytes) -> Message | None:
    """Read one message. An unknown type gives None (a later version may send it).

    Raises:
        WireError: It is malformed: short, too long, out of range, trailing bytes.
    """
    if not 1 <= len(frame) <= MAX_MESSAGE:
        raise WireError(f"a message of {len(frame)} bytes")
    try:
        return _decode(frame)
    except (struct.error, ValueError) as error:
        raise WireError(
            f"malformed message of type {frame[0]}, {len(frame)} bytes: {error}"
        ) from error


def _need(fine: bool, what: str) -> None:
    if not fine:
        raise ValueError(what)


def _decode(frame: bytes) -> Message | None:
    # `unpack` of the whole body also refuses bytes too few or too many.
    body = memoryview(frame)[1:]
    match frame[0]:
        case Type.DATA:
            rid, offset = _DATA.unpack_from(body)
            data = bytes(body[_DATA.size :])
            _need(0 < len(data) <= MAX_DATA, "1 to 16,384 bytes of data")
            return Data(rid, offset, data)
        case Type.REQUEST:
            c, rid, segment, offset, length = _REQUEST.unpack(body)
            _need(length > 0, "a request for nothing")
            return Request(c, rid, segment, offset, length)
        case Type.HELLO:
            version, flags, cap_kib = _HELLO.unpack(body)
            return Hello(flags & 1 == 1, cap_kib, version)
        case Type.JOIN:
            return _join(body)
        case Type.HAVE | Type.UNHAVE | Type.CLAIM:
            (c,) = _U16.unpack_from(body)
            runs = tuple(_RUN.iter_unpack(body[_U16.size :]))
            for first, count in runs:
                _need(count > 0 and first + count <= MAX_SEGMENTS, "a run out of range")
            return _RUNS[frame[0]](c, runs)
        case Type.REJECT:
            rid, reason = _REJECT.unpack(body)
            _need(reason > 0, "reason 0")
            return Reject(rid, reason)
        case Type.CANCEL:
            return Cancel(*_U32.unpack(body))
        case Type.LEAVE:
            return Leave(*_U16.unpack(body))
        case Type.PEERS:
            return _peers(body)
        case Type.PING:
            return Ping(*_U32.unpack(body))
        case Type.PONG:
            return Pong(*_U32.unpack(body))
    return None


def _join(body: memoryview) -> Join:
    c, key, segments = _JOIN.unpack_from(body)
    held = bytes(body[_JOIN.size :])
    _need(0 < segments <= MAX_SEGMENTS, "a content of no or too many segments")
    _need(len(held) == (segments + 7) // 8, "a bitfield of another length")
    # Spare bits are zero, so that one set of segments has one encoding.
    _need(not held[-1] & (0xFF >> (segments % 8 or 8)), "a spare bit is set")
    return Join(c, key.hex(), segments, held)


def _peers(body: memoryview) -> Peers:
    (c,) = _U16.unpack_from(body)
    ids = []
    at = _U16.size
    while at < len(body):
        end = at + 1 + body[at]
        _need(end <= len(body), "a cut id")
        id = bytes(body[at + 1 : end]).decode("ascii")
        _need(is_peer_id(id), "no peer id")
        ids.append(id)
        at = end
    return Peers(c, tuple(ids))
