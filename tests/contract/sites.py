"""One made-up site, served as a WSGI app, an ASGI app and a Django handler.

A site is a function from a `Request` to a `Reply`; the contract tests run the same cases
through every adapter and look at what reaches the visitor.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from p2pcdn import P2PCDN


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]


@dataclass
class Reply:
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: Iterable[bytes] = ()
    closed: Callable[[], None] = lambda: None


@dataclass
class Seen:
    """What the visitor got."""

    status: int
    headers: dict[str, str]
    pieces: list[bytes]

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


App = Callable[[Request], Reply]


class _Body:
    def __init__(self, reply: Reply) -> None:
        self._pieces = iter(reply.body)
        self.close = reply.closed

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces


class WSGISite:
    name = "wsgi"
    closes_what_failed = True

    def __init__(self, app: App, **options: Any) -> None:
        def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
            headers = {
                k[5:].replace("_", "-").lower(): v
                for k, v in environ.items()
                if k.startswith("HTTP_")
            }
            target = quote(environ["PATH_INFO"].encode("latin-1"))
            if environ.get("QUERY_STRING"):
                target += "?" + environ["QUERY_STRING"]
            reply = app(Request(environ["REQUEST_METHOD"], target, headers))
            start_response(f"{reply.status} Whatever", reply.headers)
            return _Body(reply)

        self.middleware = P2PCDN(wsgi, **options)

    @property
    def ours(self) -> Any:
        """Our middleware, which may not be the outermost thing."""
        return self.middleware

    def close(self) -> None:
        """Nothing is left behind."""

    def get(
        self,
        path: str,
        headers: dict[str, str] | None = None,
        *,
        method: str = "GET",
        prefix: str = "",
        body: bytes = b"",
        leave_after: int | None = None,
    ) -> Seen:
        path, _, query = path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": prefix.encode().decode("latin-1"),
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "site.test",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "site.test",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.version": (1, 0),
        }
        for name, value in (headers or {}).items():
            environ["HTTP_" + name.upper().replace("-", "_")] = value
        started: list[Any] = []
        pieces: list[bytes] = []

        def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
            assert not started or exc_info, "start_response called twice"
            started[:] = [status, headers]
            return pieces.append

        result = self.middleware(environ, start_response)
        try:
            for count, piece in enumerate(result, 1):
                if piece:
                    assert started, "a body before the response's start"
                pieces.append(piece)
                if count == leave_after:
                    break
        finally:
            if hasattr(result, "close"):
                result.close()
        return Seen(int(started[0][:3]), {k.lower(): v for k, v in started[1]}, pieces)


class ASGISite:
    name = "asgi"
    closes_what_failed = True

    def __init__(self, app: App, **options: Any) -> None:
        async def asgi(scope: Any, receive: Any, send: Any) -> None:
            headers = {k.decode(): v.decode() for k, v in scope["headers"]}
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            target = quote(path)
            if scope["query_string"]:
                target += "?" + scope["query_string"].decode()
            reply = app(Request(scope["method"], target, headers))
            try:
                await send(
                    {
                        "type": "http.response.start",
                        "status": reply.status,
                        "headers": [(k.encode(), v.encode()) for k, v in reply.headers],
                    }
                )
                pieces = list(reply.body) if isinstance(reply.body, (list, tuple)) else reply.body
                if isinstance(pieces, list) and len(pieces) <= 1:
                    body = pieces[0] if pieces else b""
                    await send({"type": "http.response.body", "body": body})
                else:
                    for piece in pieces:
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                    await send({"type": "http.response.body", "body": b""})
            finally:
                reply.closed()

        self.middleware = P2PCDN(asgi, **options)

    @property
    def ours(self) -> Any:
        """Our middleware, which may not be the outermost thing."""
        return self.middleware

    def close(self) -> None:
        """Nothing is left behind."""

    def get(
        self,
        path: str,
        headers: dict[str, str] | None = None,
        *,
        method: str = "GET",
        prefix: str = "",
        body: bytes = b"",
        leave_after: int | None = None,
    ) -> Seen:
        path, _, query = path.partition("?")
        raw = {"host": "site.test", "content-length": str(len(body)), **(headers or {})}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": prefix + path,
            "raw_path": (prefix + path).encode(),
            "root_path": prefix,
            "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode()) for k, v in raw.items()],
            "client": ("127.0.0.1", 1234),
            "server": ("site.test", 80),
        }
        messages: list[Any] = []
        bodies = 0

        asked = False

        async def receive() -> Any:
            nonlocal asked
            if asked:
                await asyncio.Event().wait()  # the visitor stays to the end
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal bodies
            messages.append(message)
            if message["type"] == "http.response.body":
                bodies += 1
                if bodies == leave_after:
                    raise ConnectionResetError("the visitor left")

        async def run() -> None:
            try:
                await self.middleware(scope, receive, send)
            except ConnectionResetError:
                assert leave_after is not None

        asyncio.run(run())
        start = next(m for m in messages if m["type"] == "http.response.start")
        return Seen(
            start["status"],
            {k.decode().lower(): v.decode() for k, v in start["headers"]},
            [m.get("body", b"") for m in messages if m["type"] == "http.response.body"],
        )
