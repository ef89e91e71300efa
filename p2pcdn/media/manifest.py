"""The manifest of a content, and what stands in its place while there is none."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import xxhash

__all__ = [
    "MAX_SEGMENTS",
    "Manifest",
    "Pending",
    "Refusal",
    "content_key",
    "segment_bytes_for",
]

DIGEST_BYTES = 32
MAX_SEGMENTS = 32_768
"""However small `segment_bytes` is set, a manifest's hashes stay below 1 MiB."""

_SMALLEST_SEGMENT = 64 * 1024
_LARGEST_SEGMENT = 4 * 1024 * 1024
_USUAL_SEGMENTS = 1024


def segment_bytes_for(size: int, wanted: int | None = None) -> int:
    """The segment length in bytes for a content of `size` bytes: a power of two.

    Args:
        size: Bytes of the content.
        wanted: The `segment_bytes` setting; it is doubled only until `MAX_SEGMENTS` suffice.

    Returns:
        By default the smallest from 64 KiB to 4 MiB that makes at most 1,024 segments.
    """
    length = _SMALLEST_SEGMENT if wanted is None else wanted
    if wanted is None:
        while length < _LARGEST_SEGMENT and length * _USUAL_SEGMENTS < size:
            length *= 2
    while length * MAX_SEGMENTS < size:
        length *= 2
    return length


def content_key(path: str, hashes: bytes) -> str:
    """The content key: xxh3-128 of the canonical path and the version of the bytes.

    Args:
        path: Canonical URL path, without query: signed query strings share a swarm.
        hashes: All segments' SHA-256 digests, one after the other.

    Returns:
        32 hexadecimal digits.
    """
    version = hashlib.sha256(hashes).digest()
    return xxhash.xxh3_128_hexdigest(path.encode("utf-8") + b"\0" + version)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a loader must know of a content to share it.

    Args:
        key: The content key.
        url: Canonical percent-encoded path below the site's prefix, without query.
        size: Bytes of the content.
        type: Media type, e.g. `video/mp4`.
        segment_bytes: Length of every segment but the last.
        hashes: The segments' SHA-256 digests, 32 bytes each, in order.
    """

    key: str
    url: str
    size: int
    type: str
    segment_bytes: int
    hashes: bytes

    def to_json(self, *, prefix: str = "") -> dict[str, Any]:
        """The members that docs/architecture.md names, without the admission token."""
        return {
            "key": self.key,
            "url": prefix + self.url,
            "size": self.size,
            "type": self.type,
            "segment_bytes": self.segment_bytes,
            "hashes": base64.b64encode(self.hashes).decode("ascii"),
        }


@dataclass(frozen=True, slots=True)
class Pending:
    """No manifest yet; it is worth asking again after `retry_after_s` seconds."""

    retry_after_s: float
    reason: str = "pending"


@dataclass(frozen=True, slots=True)
class Refusal:
    """This content is not shared: the loader plays it direct.

    Args:
        code: A word for programs, e.g. `unknown`, `protected`, `too-large`.
        message: What is wrong and what to do, for the site's owner.
    """

    code: str
    message: str

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return _STATUS.get(self.code, 403)


_STATUS = {
    "bad-url": 400,
    "outside": 403,
    "not-media": 403,
    "protected": 403,
    "too-large": 403,
    "unknown": 404,
    "gone": 404,
    "empty": 404,
    "broken": 404,
    "rate": 429,
}
