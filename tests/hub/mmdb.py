"""Writes a small MaxMind file (https://maxmind.github.io/MaxMind-DB/), for IPv4."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

_EMPTY = -1


def write(path: Path, records: dict[str, Any], *, kind: str = "Test") -> Path:
    """A database with a record for each of these networks."""
    nodes: list[list[int]] = [[_EMPTY, _EMPTY]]
    data = b""
    offsets: list[tuple[list[int], int, int]] = []
    for text, record in records.items():
        network = ipaddress.IPv4Network(text)
        at = 0
        for depth in range(network.prefixlen):
            bit = int(network.network_address) >> (31 - depth) & 1
            if depth == network.prefixlen - 1:
                offsets.append((nodes[at], bit, len(data)))
                data += _encode(record)
            else:
                if nodes[at][bit] == _EMPTY:
                    nodes.append([_EMPTY, _EMPTY])
                    nodes[at][bit] = len(nodes) - 1
                at = nodes[at][bit]
    count = len(nodes)
    for node, bit, offset in offsets:
        node[bit] = count + 16 + offset
    tree = b"".join(
        (count if side == _EMPTY else side).to_bytes(3, "big") for node in nodes for side in node
    )
    about = {
        "node_count": count, "record_size": 24, "ip_version": 4, "database_type": kind,
        "languages": [], "binary_format_major_version": 2, "binary_format_minor_version": 0,
        "build_epoch": 1_700_000_000, "description": {"en": "a test"},
    }  # fmt: skip
    path.write_bytes(tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + _encode(about))
    return path


_UINT16, _UINT32, _UINT64 = 5, 6, 9
# The format names the width of each of its own numbers.
_WIDTHS = {"node_count": _UINT32, "build_epoch": _UINT64, "autonomous_system_number": _UINT32}


def _encode(value: Any, type: int = _UINT32) -> bytes:
    if isinstance(value, str):
        return _head(2, len(value.encode())) + value.encode()
    if isinstance(value, int):
        body = value.to_bytes((value.bit_length() + 7) // 8, "big")
        return _head(type, len(body)) + body
    if isinstance(value, dict):
        items = b"".join(
            _encode(key) + _encode(item, _WIDTHS.get(key, _UINT16)) for key, item in value.items()
        )
        return _head(7, len(value)) + items
    return _head(11, len(value)) + b"".join(map(_encode, value))


def _head(type: int, size: int) -> bytes:
    assert size < 29
    return bytes([type << 5 | size]) if type < 8 else bytes([size, type - 7])
