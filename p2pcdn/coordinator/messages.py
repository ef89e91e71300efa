"""Reading and writing the coordinator's messages (TypeScript twin: js/src/coordinator/).

Whatever a client sends becomes one of the values below or None; nothing here raises.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn, TypeGuard

from p2pcdn.coordinator import holdings
from p2pcdn.coordinator.limits import Limits
from p2pcdn.coordinator.quality import Measure, read_links

__all__ = [
    "ID_TAKEN",
    "INVALID_KEY",
    "LIMIT",
    "MISSING",
    "NETWORKS",
    "OPEN",
    "REANNOUNCE",
    "ROLES",
    "UNKNOWN",
    "Announce",
    "SourcesRequest",
    "StreamRequest",
    "encode",
    "error",
    "expire",
    "parse",
    "read_announce",
    "read_content",
    "read_network",
    "read_sources",
    "read_stream",
    "valid_id",
    "valid_token",
]

_ID = re.compile(r"[!-~](?:[ -~]{0,126}[!-~])?")
_CONTENT = re.compile(r"[0-9a-f]{32}")
NETWORKS = ("ethernet", "wifi", "cellular", "slow", "unknown")
_STREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:/ -]{0,127}")
ROLES = ("main", "secondary")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


def parse(text: str) -> dict[str, Any] | None:
    """The JSON object in `text`, or None."""
    try:
        message = _decode(text)
    except (ValueError, RecursionError):
        return None
    return message if type(message) is dict else None


def encode(message: dict[str, Any]) -> str | None:
    """`message` as one line of ASCII JSON, or None where JSON cannot hold it."""
    try:
        return _encode(message)
    except (ValueError, RecursionError):
        return None


def error(text: str, *, type: str = "ERROR") -> str:
    """PeerServer's `ERROR` (or `ID-TAKEN`) message."""
    return _encode({"type": type, "payload": {"msg": text}})


# PeerServer's own words; clients show them.
OPEN = _encode({"type": "OPEN"})
REANNOUNCE = _encode({"type": "REANNOUNCE"})
ID_TAKEN = error("ID is taken", type="ID-TAKEN")
MISSING = error("No id, token, or key supplied to websocket server")
INVALID_KEY = error("Invalid key provided")
LIMIT = error("Server has reached its concurrent user limit")
UNKNOWN = error("Unknown id, or another token than the peer's")


def expire(*, src: str, dst: str) -> str:
    """Tells `dst` that its messages to `src` were not collected."""
    return _encode({"type": "EXPIRE", "src": src, "dst": dst})


def valid_id(id: object) -> bool:
    """PeerJS's own rule is narrower; other clients of PeerServer use dots, colons, slashes."""
    return isinstance(id, str) and _ID.fullmatch(id) is not None


def valid_token(token: object) -> bool:
    """The client's own secret, 1 to 256 characters."""
    return isinstance(token, str) and 0 < len(token) <= 256


@dataclass(frozen=True, slots=True)
class Announce:
    """`ANNOUNCE`: who holds what of a content. `have` and `lost` are cells, see `holdings`."""

    content: str
    token: object
    segments: int
    have: int
    lost: int
    upload: bool | None
    busy: float | None
    line: str | None = None
    """The kind of network that it is on, one of `NETWORKS`."""
    links: tuple[tuple[str, Measure], ...] = ()
    """What it measured of peers that it is linked to."""


@dataclass(frozen=True, slots=True)
class SourcesRequest:
    """`SOURCES`: asks for peers that hold a content. `want` None: everything."""

    rid: str | int | None
    content: str
    token: object
    limit: int
    want: tuple[tuple[int, int], ...] | None


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """`STREAM-ANNOUNCE`, `STREAM-WITHDRAW` and `STREAMERS`."""

    rid: str | int | None
    stream: str
    role: str
    limit: int


def read_content(payload: object) -> str | None:
    """The content key of a payload."""
    content = payload.get("content") if isinstance(payload, dict) else None
    return content if isinstance(content, str) and _CONTENT.fullmatch(content) else None


def read_announce(payload: object, limits: Limits) -> Announce | None:
    """`ANNOUNCE`'s payload, or None where anything in it is wrong."""
    content = read_content(payload)
    if content is None or not isinstance(payload, dict):
        return None
    segments = payload.get("segments")
    if type(segments) is not int or not 0 < segments <= limits.segments:
        return None
    have = _runs(payload.get("have", []), segments, limits)
    lost = _runs(payload.get("lost", []), segments, limits)
    if have is None or lost is None:
        return None
    info = payload.get("info")
    info = info if isinstance(info, dict) else {}
    upload, busy, line = info.get("upload"), info.get("busy"), info.get("network")
    return Announce(
        content,
        payload.get("token"),
        segments,
        holdings.cells(have, segments),
        holdings.cells(lost, segments, touching=True),
        None if upload is None else bool(upload),
        float(min(1, max(0, busy))) if _is_number(busy) else None,
        read_network(line),
        tuple(read_links(info.get("links"))),
    )


def read_sources(payload: object, limits: Limits) -> SourcesRequest | None:
    """`SOURCES`'s payload, or None."""
    content = read_content(payload)
    if content is None or not isinstance(payload, dict):
        return None
    want = payload.get("want")
    runs = None if want is None else _runs(want, limits.segments, limits)
    if want is not None and runs is None:
        return None
    return SourcesRequest(
        read_rid(payload), content, payload.get("token"), _limit(payload, limits), runs
    )


def read_stream(payload: object, limits: Limits) -> StreamRequest | None:
    """The payload of a stream message, or None."""
    if not isinstance(payload, dict):
        return None
    stream, role = payload.get("stream"), payload.get("role", "main")
    if not isinstance(stream, str) or not _STREAM.fullmatch(stream) or role not in ROLES:
        return None
    return StreamRequest(read_rid(payload), stream, role, _limit(payload, limits))


def read_network(value: object) -> str | None:
    """The kind of network in `info`; other words of browsers' (`wimax`, `mixed`) are unknown."""
    if not isinstance(value, str):
        return None
    return value if value in NETWORKS else "unknown"


def read_rid(payload: object) -> str | int | None:
    """The request id that an answer repeats; anything strange counts as none."""
    rid = payload.get("rid") if isinstance(payload, dict) else None
    if isinstance(rid, str):
        return rid if len(rid) <= 64 else None
    return rid if type(rid) is int and abs(rid) < 1 << 53 else None


def _limit(payload: dict[str, Any], limits: Limits) -> int:
    limit = payload.get("limit", 16)
    if not _is_number(limit):
        return 16
    return int(min(limits.listed, max(0, limit)))


def _is_number(value: object) -> TypeGuard[int | float]:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _runs(value: object, segments: int, limits: Limits) -> tuple[tuple[int, int], ...] | None:
    if not isinstance(value, list) or len(value) > limits.runs:
        return None
    runs = []
    for run in value:
        if not isinstance(run, list) or len(run) != 2:
            return None
        first, count = run
        if type(first) is not int or type(count) is not int:
            return None
        if first < 0 or count < 1 or first + count > segments:
            return None
        runs.append((first, count))
    return tuple(runs)
