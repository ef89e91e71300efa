"""The mounted ASGI app, asked by a server that speaks WSGI."""

from __future__ import annotations

import http
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.types import Message, Scope

from p2pcdn.runtime import Background, Site

__all__ = ["MAX_BODY_BYTES", "Answer", "answer", "every_header", "run", "scope_of"]

log = logging.getLogger("p2pcdn")

MAX_BODY_BYTES = 256 * 1024
"""No endpoint of ours takes a larger request body."""


class Answer:
    """A complete response of the mounted app (its endpoints are small, none streams)."""

    def __init__(self) -> None:
        self.status = 500
        self.headers: list[tuple[str, str]] = []
        self.body = b""


async def run(site: Site, scope: Scope, body: bytes) -> Answer:
    """Drive the mounted app through one request."""
    result = Answer()
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            result.status = message["status"]
            result.headers = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in message["headers"]
            ]
        elif message["type"] == "http.response.body":
            result.body += message.get("body", b"")

    await site.web(scope, receive, send)
    return result


def answer(
    site: Site, environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """Answer a WSGI request for one of the mounted endpoints."""
    length = environ.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or len(length) > 9 or int(length) > MAX_BODY_BYTES:
        return _plain(start_response, 413, f"at most {MAX_BODY_BYTES} bytes are taken here\n")
    body = environ["wsgi.input"].read(int(length)) if int(length) else b""
    try:
        result = Background.here().run(run(site, scope_of(environ), body))
    except Exception:
        # The visitor's loader takes any error for "play direct"; the site must not fall over.
        log.exception("%s failed", environ.get("PATH_INFO"))
        return _plain(start_response, 500, "p2pcdn failed here; the site's log says why\n")
    start_response(_status_line(result.status), result.headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [result.body]


def _plain(start_response: Callable[..., Any], status: int, text: str) -> list[bytes]:
    body = text.encode()
    start_response(
        _status_line(status),
        [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))],
    )
    return [body]


def _status_line(status: int) -> str:
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Status"


def scope_of(environ: dict[str, Any]) -> Scope:
    """The same request as an ASGI HTTP scope."""
    root = environ.get("SCRIPT_NAME", "").rstrip("/")
    path = environ.get("PATH_INFO", "")
    raw = (root + path).encode("latin-1")
    port = environ.get("REMOTE_PORT", "0")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": environ.get("SERVER_PROTOCOL", "HTTP/1.1").rpartition("/")[2],
        "method": environ["REQUEST_METHOD"],
        "scheme": environ.get("wsgi.url_scheme", "http"),
        "path": raw.decode("utf-8", "replace"),
        "raw_path": raw,
        "root_path": root.encode("latin-1").decode("utf-8", "replace"),
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "headers": every_header(environ),
        "client": (environ.get("REMOTE_ADDR") or "", int(port) if str(port).isdigit() else 0),
        "server": (environ.get("SERVER_NAME", ""), int(environ.get("SERVER_PORT") or 0)),
        "state": {},
        "wsgi.environ": environ,
    }


def every_header(environ: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """The request's headers as ASGI names them, from a WSGI environ or Django's META."""
    return [
        (
            name.removeprefix("HTTP_").replace("_", "-").lower().encode("latin-1"),
            str(value).encode("latin-1", "replace"),
        )
        for name, value in environ.items()
        if name.startswith("HTTP_") or (name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value)
    ]
