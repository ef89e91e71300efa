"""What the origin says of a content (TypeScript twin: js/src/swarm/manifest.ts)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import httpx

from p2pcdn.peer.wire import MAX_SEGMENTS

__all__ = ["Later", "Manifest", "Refused", "ask_manifest", "parse_manifest"]

_KEY = re.compile(r"[0-9a-f]{32}")
_MAX_SEGMENT_BYTES = 1 << 26
_MAX_BODY_BYTES = 16 * 1024 * 1024
_DIGEST = 32


@dataclass(frozen=True, slots=True)
class Manifest:
    """Size, segment length and SHA-256 list of a content, and what its swarm needs."""

    key: str
    size: int
    type: str
    segment_bytes: int
    hashes: bytes
    token: str
    expires: float
    """Unix time at which the token expires."""
    ice: tuple[Mapping[str, Any], ...] | None = None
    """The ICE servers with credentials that run out, as RTCIceServer dictionaries; None: those
    that the loader names."""

    @property
    def segments(self) -> int:
        return -(-self.size // self.segment_bytes)

    def length(self, segment: int) -> int:
        """Bytes of a segment."""
        return min(self.segment_bytes, self.size - segment * self.segment_bytes)

    def digest(self, segment: int) -> bytes:
        """SHA-256 of a segment."""
        return self.hashes[segment * _DIGEST : (segment + 1) * _DIGEST]

    def fits(self, segment: int, data: bytes) -> bool:
        """Whether `data` is this segment."""
        return hashlib.sha256(data).digest() == self.digest(segment)


@dataclass(frozen=True, slots=True)
class Later:
    """No manifest now: the content is being hashed, or the site is in trouble."""

    after_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The site does not share this content."""

    code: str
    message: str


async def ask_manifest(
    http: httpx.AsyncClient, mount_url: httpx.URL, target: str, peer: str
) -> Manifest | Later | Refused:
    """Ask `GET {mount}/manifest`. Never raises for what the site does.

    Args:
        http: To ask with.
        mount_url: The mount, with a slash at its end.
        target: Absolute path of the content as visitors see it, with its query.
        peer: Our peer id.
    """
    url = mount_url.join("manifest").copy_with(params={"url": target, "peer": peer})
    try:
        async with http.stream("GET", url) as response:
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > _MAX_BODY_BYTES:
                    return Later(60.0, "its manifest is too long")
        status = response.status_code
        answer: Any = json.loads(bytes(body))
    except (httpx.HTTPError, ValueError, RecursionError) as error:
        return Later(5.0, f"the site does not answer as p2pcdn does: {error or type(error)}")
    if not isinstance(answer, dict):
        answer = {}
    if status == 200:
        manifest = parse_manifest(answer)
        return manifest or Refused("malformed", "the site's manifest makes no sense")
    if status == 202:
        after = answer.get("retry_after")
        return Later(min(60.0, max(0.1, after)) if _number(after) else 1.0, "it is being hashed")
    if status in (408, 425, 429) or status >= 500:
        return Later(5.0, f"the site answered {status}")
    message = str(answer.get("message", f"the site answered {status}"))[:300]
    return Refused(str(answer.get("error", status))[:40], message)


def parse_manifest(body: Mapping[str, Any]) -> Manifest | None:
    """The manifest in a JSON object; None where anything in it cannot be."""
    key, size, segment_bytes = body.get("key"), body.get("size"), body.get("segment_bytes")
    hashes, token, expires = body.get("hashes"), body.get("token"), body.get("expires")
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        return None
    if type(size) is not int or type(segment_bytes) is not int:
        return None
    if not 0 < size < 1 << 53 or not 0 < segment_bytes <= _MAX_SEGMENT_BYTES:
        return None
    if not isinstance(hashes, str) or not isinstance(token, str):
        return None
    try:
        digests = base64.b64decode(hashes, validate=True)
    except (binascii.Error, ValueError):
        return None
    segments = -(-size // segment_bytes)
    if segments > MAX_SEGMENTS or len(digests) != segments * _DIGEST:
        return None
    type_, ice = body.get("type"), body.get("ice")
    return Manifest(
        key,
        size,
        type_ if isinstance(type_, str) else "application/octet-stream",
        segment_bytes,
        digests,
        token,
        float(expires) if _number(expires) else float("inf"),
        tuple(filter(_is_server, ice)) if isinstance(ice, list) else None,
    )


def _is_server(value: object) -> bool:
    urls = value.get("urls") if isinstance(value, dict) else None
    return all(isinstance(url, str) for url in (urls if isinstance(urls, list) else [urls]))


def _number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
