"""A rewritten page is not the page that the app's ETag names: ours carries a suffix.

It goes on on the way out and comes off on the way in, so that the app can still answer 304.
"""

from __future__ import annotations

import functools
import hashlib
import re
from typing import Any

from p2pcdn.page.headers import Headers
from p2pcdn.page.inject import BEGIN, RESCUE
from p2pcdn.page.options import PageOptions

__all__ = ["confirms", "inbound_environ", "inbound_headers", "strip_etag_suffix", "tag_etag"]

_SUFFIX_BEGINS = "-p2p"
_ENTITY_TAG = re.compile(rb'(?:W/)?"[^"]*"')
_ANY_SUFFIX = re.compile(rb'-p2p[0-9a-f]{8}(?=")')


@functools.lru_cache(maxsize=64)
def _suffix_of(loader_url: str, noscript_url: str, always: bool) -> bytes:
    injected = f"{loader_url}\0{noscript_url}\0{always}\0{RESCUE}{BEGIN}"
    return b"-p2p" + hashlib.sha256(injected.encode()).hexdigest()[:8].encode()


def _suffix(options: PageOptions) -> bytes:
    return _suffix_of(options.loader_url, options.noscript_url, options.always_inject)


def _opaque(etag: bytes) -> bytes:
    return etag.strip().removeprefix(b"W/")


def tag_etag(etag: bytes, options: PageOptions) -> bytes:
    """The ETag with our suffix; one that is malformed, or has it already, as it is."""
    tag = etag.strip()
    if not _ENTITY_TAG.fullmatch(tag) or tag.endswith(_suffix(options) + b'"'):
        return etag
    return tag[:-1] + _suffix(options) + b'"'


def strip_etag_suffix(if_none_match: bytes, options: PageOptions | None = None) -> bytes:
    """An inbound If-None-Match or If-Match with our suffixes removed.

    With `options` only the present loader's suffix goes: a page with an older loader then does
    not match, and the visitor gets it anew. Without, every suffix of ours goes.
    """
    if options is None:
        return _ANY_SUFFIX.sub(b"", if_none_match)
    return if_none_match.replace(_suffix(options) + b'"', b'"')


def confirms(held: bytes, etag: bytes, options: PageOptions) -> bool:
    """Whether a 304 with the app's `etag` confirms a page of ours that `held`, the visitor's
    If-None-Match, names. Compared weakly (RFC 9110, 8.8.3.2)."""
    if _suffix(options) not in held:
        return False
    asked = {_opaque(tag) for tag in _ENTITY_TAG.findall(held)}
    return _opaque(tag_etag(etag, options)) in asked


def inbound_headers(headers: Headers, options: PageOptions | None = None) -> Headers:
    """ASGI: the request's headers for the app; the very same list where nothing is ours.

    Pass `options`, so that pages with an older loader are renewed (see `strip_etag_suffix`).
    """
    for name, value in headers:
        if name in (b"if-none-match", b"if-match") and _ANY_SUFFIX.search(value):
            break
    else:
        return headers
    return [
        (n, strip_etag_suffix(v, options)) if n in (b"if-none-match", b"if-match") else (n, v)
        for n, v in headers
    ]


def inbound_environ(environ: dict[str, Any], options: PageOptions | None = None) -> dict[str, Any]:
    """WSGI: the environ for the app; the very same dict where nothing is ours.

    Pass `options`, so that pages with an older loader are renewed (see `strip_etag_suffix`).
    """
    changed: dict[str, Any] = {}
    for name in ("HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH"):
        value = environ.get(name)
        if value and _SUFFIX_BEGINS in value:
            raw = value.encode("latin-1")
            stripped = strip_etag_suffix(raw, options)
            if stripped != raw:
                changed[name] = stripped.decode("latin-1")
    return {**environ, **changed} if changed else environ
