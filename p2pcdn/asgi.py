"""The ASGI adapter: a thin shell around `page`, `media` and the mounted app."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from p2pcdn.config import Config
from p2pcdn.media.origin import ASGIOrigin
from p2pcdn.media.ranges import RangePlan, plan_range
from p2pcdn.media.types import is_media_type
from p2pcdn.page.transform import (
    PageTransform,
    inbound_headers,
    is_candidate_type,
    plan,
)
from p2pcdn.runtime import INTERNAL, PATH_SAFE, Site, local_path

__all__ = ["ASGIMiddleware"]

_FILE_CHUNK_BYTES = 64 * 1024


class ASGIMiddleware:
    """`P2PCDN(app)` for an ASGI app. Lifespan and foreign WebSockets pass untouched."""

    def __init__(
        self,
        app: ASGIApp,
        config: Config,
        *,
        secret: Callable[[], str | bytes | None] = lambda: None,
    ) -> None:
        self.app = app
        self.config = config
        self._origin = ASGIOrigin(app)
        self.site = Site(config, self._origin, secret=secret)
        self.site.holds_sockets(True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind not in ("http", "websocket") or not self.config.enabled or INTERNAL in scope:
            await self.app(scope, receive, send)
            return
        if self._origin.state is None and "state" in scope:
            self._origin.state = scope["state"]  # what the app's lifespan made for its requests
        path = local_path(scope)
        if self.site.owns(path):
            await self.site.web(scope, receive, send)
            return
        if kind == "websocket" or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        response = _Response(self.site, scope, path, send)
        try:
            await self.app(self._inbound(scope), receive, response)
        finally:
            response.ended()

    def _inbound(self, scope: Scope) -> Scope:
        """The scope for the app: our suffix is off the ETags that it compares."""
        options = self.site.page_options(scope.get("root_path", ""))
        if options is None:
            return scope
        headers = inbound_headers(scope["headers"], options)
        return scope if headers is scope["headers"] else {**scope, "headers": headers}


class _Response:
    """The `send` that the app sees: decides at the response's start, then steps aside."""

    __slots__ = ("_forward", "_page", "_path", "_range", "_scope", "_sent", "_site", "_start")

    def __init__(self, site: Site, scope: Scope, path: str, send: Send) -> None:
        self._site = site
        self._scope = scope
        self._path = path
        self._forward = send
        self._start: Message | None = None
        self._page: PageTransform | None = None
        self._range: RangePlan | None = None
        self._sent = -1  # bytes of a media response so far; -1: not media

    async def __call__(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            content_type = b""
            for name, value in message["headers"]:
                if name.lower() == b"content-type":
                    content_type = value
                    break
            if is_candidate_type(content_type) or message["status"] == 304:
                if self._plan_page(message):
                    return
            elif is_media_type(content_type) and self._scope["method"] == "GET":
                message = self._plan_media(message, content_type)
            await self._forward(message)
        elif self._page is not None:
            await self._page_body(message)
        elif self._sent >= 0:
            await self._media_body(message)
        else:
            await self._forward(message)

    # --- a page ------------------------------------------------------------------------

    def _plan_page(self, message: Message) -> bool:
        scope = self._scope
        server_prefix = scope.get("root_path", "")
        options = self._site.page_options(server_prefix)
        if options is None:
            return False
        self._page = plan(
            method=scope["method"],
            page_url=f"{self._site_url()}{options.prefix}{self._target()}",
            request_headers=scope["headers"],
            status=message["status"],
            headers=[(bytes(name), bytes(value)) for name, value in message["headers"]],
            options=options,
        )
        if self._page is None:
            return False
        self._start = message
        return True

    def _host(self) -> str:
        host = next((v for n, v in self._scope["headers"] if n == b"host"), b"localhost")
        return str(host.decode("latin-1"))

    def _site_url(self) -> str:
        return f"{self._scope.get('scheme', 'http')}://{self._host()}"

    async def _page_body(self, message: Message) -> None:
        page = self._page
        assert page is not None
        kind = message["type"]
        if kind == "http.response.pathsend":
            await self._page_file(page, message["path"])
            return
        if kind != "http.response.body":
            # Trailers, early hints, zero-copy sends: not a body that could be rewritten. A
            # start that still waits goes first, as the app meant it.
            await self._send_start(None)
            await self._forward(message)
            return
        body = message.get("body", b"")
        if message.get("more_body", False):
            await self._send_start(page.headers)
            if out := page.feed(body):
                await self._forward({"type": kind, "body": out, "more_body": True})
            return
        if self._start is None:
            out = page.feed(body) + page.close()
        else:
            headers, out = page.whole(body)
            await self._send_start(headers)
        self._note_seen(page)
        await self._forward({**message, "body": out})

    async def _page_file(self, page: PageTransform, path: str) -> None:
        await self._send_start(page.headers)
        with open(path, "rb") as file:
            while chunk := file.read(_FILE_CHUNK_BYTES):
                if out := page.feed(chunk):
                    await self._forward(
                        {"type": "http.response.body", "body": out, "more_body": True}
                    )
        out = page.close()
        self._note_seen(page)
        await self._forward({"type": "http.response.body", "body": out, "more_body": False})

    async def _send_start(self, headers: list[tuple[bytes, bytes]] | None) -> None:
        start, self._start = self._start, None
        if start is not None:
            await self._forward(start if headers is None else {**start, "headers": headers})

    def _note_seen(self, page: PageTransform) -> None:
        if page.media:
            self._site.seen(
                self._scope.get("root_path", ""),
                page.media,
                host=self._host(),
                scheme=self._scope.get("scheme", "http"),
                loop=asyncio.get_running_loop(),
            )

    # --- a media file ------------------------------------------------------------------

    def _plan_media(self, message: Message, content_type: bytes) -> Message:
        self._sent = 0
        self._start = message
        status: int = message["status"]
        headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in message["headers"]]
        self._site.library.served(self._target(), content_type.decode("latin-1"), status)
        asked = {n: v for n, v in self._scope["headers"] if n in (b"range", b"if-range")}
        if status != 200 or b"range" not in asked:
            return message
        self._range = plan_range(
            method="GET",
            range_header=asked[b"range"].decode("latin-1"),
            if_range=asked[b"if-range"].decode("latin-1") if b"if-range" in asked else None,
            status=status,
            headers=headers,
        )
        if self._range is None:
            return message
        return {
            **message,
            "status": self._range.status,
            "headers": [(n.encode("latin-1"), v.encode("latin-1")) for n, v in self._range.headers],
        }

    async def _media_body(self, message: Message) -> None:
        kind = message["type"]
        part = self._range
        if kind == "http.response.body":
            body = message.get("body", b"")
            more = message.get("more_body", False)
            if part is not None:
                body = part.slice(body)
                message = {**message, "body": body}
                if not more or body:
                    await self._forward(message)
            else:
                await self._forward(message)
            self._sent += len(body)
        elif kind == "http.response.pathsend" and part is not None:
            await self._send_slice(message["path"], part)
        else:
            await self._forward(message)
            if kind == "http.response.pathsend":
                self._sent = self._declared()

    async def _send_slice(self, path: str, part: RangePlan) -> None:
        with open(path, "rb") as file:
            file.seek(part.start)
            left = part.stop - part.start
            while left and (chunk := file.read(min(left, _FILE_CHUNK_BYTES))):
                left -= len(chunk)
                self._sent += len(chunk)
                await self._forward(
                    {"type": "http.response.body", "body": chunk, "more_body": left > 0}
                )
            if left or part.stop == part.start:
                await self._forward({"type": "http.response.body", "body": b"", "more_body": False})

    def _declared(self) -> int:
        assert self._start is not None
        for name, value in self._start["headers"]:
            if name.lower() == b"content-length" and value.isdigit():
                return int(value)
        return 0

    def ended(self) -> None:
        """The app returned, or was cancelled because the visitor left: count what was sent."""
        start = self._start
        if self._sent < 0 or start is None:
            return
        declared = self._declared() if self._range is None else self._sent
        self._site.recorder.origin(
            self._target(),
            sent=self._sent,
            whole=start["status"] == 200 and self._range is None,
            aborted=bool(declared) and self._sent < declared,
            status=start["status"],
        )

    def _target(self) -> str:
        path = quote(self._path, safe=PATH_SAFE)
        query = self._scope.get("query_string", b"").decode("latin-1")
        return f"{path}?{query}" if query else path
