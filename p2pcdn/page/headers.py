"""Headers as both protocols have them: bytes for ASGI, latin-1 text for WSGI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["AnyHeaders", "Headers", "bytes_headers", "environ_headers", "to_str_headers"]

Headers = list[tuple[bytes, bytes]]
"""Order and case are kept; names compare without case."""

AnyHeaders = Sequence[tuple[bytes, bytes]] | Sequence[tuple[str, str]]


def environ_headers(environ: Mapping[str, Any]) -> Headers:
    """WSGI: those request headers that `plan` asks about."""
    return [
        (name, str(environ[key]).encode("latin-1", "replace"))
        for key, name in (
            ("HTTP_HX_REQUEST", b"hx-request"),
            ("HTTP_TURBO_FRAME", b"turbo-frame"),
            ("HTTP_IF_NONE_MATCH", b"if-none-match"),
        )
        if key in environ
    ]


def to_str_headers(headers: Headers) -> list[tuple[str, str]]:
    """WSGI: headers for `start_response`."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def bytes_headers(headers: AnyHeaders | Mapping[str, str]) -> Headers:
    """Headers of either kind as bytes, in a list of their own."""
    pairs: list[Any] = list(headers.items() if isinstance(headers, Mapping) else headers)
    if pairs and isinstance(pairs[0][0], bytes):
        return pairs
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
