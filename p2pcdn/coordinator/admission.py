"""Who may join a swarm: tokens that the manifest hands out, and the Origin of a page."""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
import struct
import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

__all__ = ["Admission", "Verdict", "origin_allowed"]

_TAG_BYTES = 16
_LIFETIME_S = 3600.0


class Verdict(enum.Enum):
    """What a token turned out to be; the values are the reasons in `REFUSED`."""

    GOOD = "good"
    BAD = "token"
    EXPIRED = "expired"


class Admission:
    """Issues and checks admission tokens.

    A token is base64url of the expiry (u64, unix seconds) and a truncated HMAC-SHA-256
    (RFC 2104) over site, content key, peer id and expiry. It is worth nothing for another
    site, content, peer or time, and needs no memory on the server.
    """

    def __init__(
        self,
        secret: bytes,
        site: str,
        *,
        lifetime_s: float = _LIFETIME_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # A key of its own: the site's secret also signs other things.
        self._key = hmac.digest(secret, b"p2pcdn admission 1", hashlib.sha256)
        self._site = site.encode()
        self._lifetime_s = lifetime_s
        self._clock = clock

    def issue(self, content: str, peer: str) -> tuple[str, int]:
        """A token for `peer` in the swarm of `content`, and its expiry in unix seconds."""
        expires = int(self._clock() + self._lifetime_s)
        raw = struct.pack(">Q", expires) + self._tag(content, peer, expires)
        return base64.urlsafe_b64encode(raw).decode(), expires

    def check(self, token: object, content: str, peer: str) -> Verdict:
        """Whether `token` admits `peer` to the swarm of `content` now."""
        if not isinstance(token, str) or len(token) != 32:  # 24 bytes in base64
            return Verdict.BAD
        try:
            raw = base64.b64decode(token, b"-_", validate=True)
        except (binascii.Error, ValueError):
            return Verdict.BAD
        if len(raw) != 8 + _TAG_BYTES:
            return Verdict.BAD
        (expires,) = struct.unpack_from(">Q", raw)
        if not hmac.compare_digest(raw[8:], self._tag(content, peer, expires)):
            return Verdict.BAD
        return Verdict.GOOD if self._clock() < expires else Verdict.EXPIRED

    def _tag(self, content: str, peer: str, expires: int) -> bytes:
        parts = (self._site, content.encode(), peer.encode("utf-8", "surrogatepass"))
        # Length-prefixed, so that no two different triples give the same bytes.
        message = b"".join(struct.pack(">I", len(part)) + part for part in parts)
        return hmac.digest(self._key, message + struct.pack(">Q", expires), "sha256")[:_TAG_BYTES]


_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def origin_allowed(
    origin: str | None,
    *,
    hosts: Iterable[str | None],
    allowed: Iterable[str] = (),
    same_origin: bool = False,
) -> bool:
    """Whether a page of `origin` may use the coordinator (RFC 6454; RFC 6455, 10.2).

    Args:
        origin: The `Origin` header; None for programs other than browsers, which are let in.
        hosts: What the request says its own host is: `Host`, and `X-Forwarded-Host` where a
            proxy replaced it. A page of another site can set neither.
        allowed: Origins from the settings (`https://example.org`); `*` for all.
        same_origin: The browser itself said `Sec-Fetch-Site: same-origin`.
    """
    if origin is None or same_origin:
        return True
    allowed = tuple(allowed)
    if "*" in allowed:
        return True
    parts = _split(origin)
    if parts is None:
        return False
    if any(_split(other) == parts for other in allowed):
        return True
    scheme, name, port = parts
    for host in hosts:
        # The scheme is unknown behind a proxy that ends TLS: a host without a port stands
        # for the default port of whichever scheme the page has.
        other = _split(f"{scheme}://{host}") if host else None
        if other is not None and other[1:] == (name, port):
            return True
    return False


def _split(origin: str) -> tuple[str, str, int] | None:
    try:
        url = urlsplit(origin)
        port = url.port or _PORTS[url.scheme]
    except (ValueError, KeyError):
        return None
    if not url.hostname or url.path or url.query or url.fragment or "@" in url.netloc:
        return None
    return url.scheme, url.hostname, port
