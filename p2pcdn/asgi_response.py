"""What the ASGI adapter does with one response: rewrite a page, cut and count a media file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from urllib.parse import quote

from starlette.types import Message, Scope, Send

from p2pcdn.media.ranges import RangePlan, content_length, plan_range
from p2pcdn.media.types import media_type_of
from p2pcdn.page.transform import PageOptions, PageTransform, keeps_all, plan
from p2pcdn.runtime import PATH_SAFE, Kind, Site, held, kind_of

__all__ = ["Response"]

_BODY = "http.response.body"
_BODIES = frozenset({_BODY, "http.response.pathsend", "http.response.zerocopysend"})
_FILE_CHUNK_BYTES = 64 * 1024


def _root_of_app(scope: Scope) -> str:
    """The prefix that an app set itself, as `FastAPI(root_path=...)` does, before it answered.

    `root_path` alone would not do: Starlette's `Mount` puts its own path there, too, and keeps
    what was there before.
    """
    root: str = scope.get("app_root_path", scope.get("root_path", ""))
    return root


class Response:
    """The `send` of a response that may be a page or a media file."""

    # Most responses need none of these: the class holds what they begin with.
    _start: Message | None = None
    _options: PageOptions | None = None
    """It calls itself a page, and what is to be done waits for its body."""
    _page: PageTransform | None = None
    _range: RangePlan | None = None
    _cut = False
    """The last byte of the range has gone out."""
    sent = -1
    """Bytes of a media response so far; -1: it is no media."""

    def __init__(self, site: Site, scope: Scope, root: str, path: str, send: Send) -> None:
        self._site = site
        self._scope = scope
        self._root = root or _root_of_app(scope)
        self._path = path
        self._forward = send

    def __call__(self, message: Message) -> Awaitable[None]:
        # No coroutine of its own: what passes untouched costs a call, not a frame that waits.
        if message["type"] == "http.response.start":
            if type(message.get("headers")) is not list:  # the specification allows more
                message = {**message, "headers": list(message.get("headers", ()))}
            for name, value in message["headers"]:
                if len(name) == 12 and name.lower() == b"content-type":
                    kind = kind_of(value)
                    if kind is Kind.PAGE:
                        return self._page_start(message)
                    if kind is not Kind.OTHER and self._scope["method"] == "GET":
                        media = media_type_of(self._path, value.decode("latin-1"))
                        if media is not None:
                            message = self._plan_media(message, media)
                    break
            if message["status"] == 304:
                return self._page_start(message)
            return self._forward(message)
        if self._options is not None:
            return self._page_begins(message)
        if self._page is not None:
            return self._page_body(message)
        if self.sent >= 0:
            return self._media_body(message)
        return self._forward(message)

    # --- a page ------------------------------------------------------------------------

    async def _page_start(self, message: Message) -> None:
        options = self._site.page_options(self._root)
        if options is None:
            await self._forward(message)
            return
        self._start = message
        if any(name == b"content-length" for name, _ in message["headers"]):
            self._options = options  # its body is there: more can be told with it
        else:
            await self._plan(options)

    async def _plan(self, options: PageOptions) -> None:
        """Decide about the page; the start of one that is none of ours leaves now."""
        start = self._start
        assert start is not None
        scope = self._scope
        self._page = plan(
            method=scope["method"],
            page_url=f"{self._site_url()}{options.prefix}{self._target()}",
            request_headers=scope["headers"],
            status=start["status"],
            headers=[(bytes(name), bytes(value)) for name, value in start["headers"]],
            options=options,
        )
        if self._page is None:
            await self._send_start(None)
        elif any(name.lower() == b"etag" for name, _ in start["headers"]):
            self._site.tags_pages = True

    async def _page_begins(self, message: Message) -> None:
        options, start = self._options, self._start
        assert options is not None and start is not None
        kind = message["type"]
        if kind in _BODIES:
            self._options = None
            if (
                kind == _BODY
                and not message.get("more_body")
                and type(body := message.get("body")) is bytes
                and self._scope["method"] == "GET"
                and keeps_all([(bytes(n), bytes(v)) for n, v in start["headers"]], body, options)
            ):
                await self._send_start(None)
            else:
                await self._plan(options)
        if self._page is not None:
            await self._page_body(message)
        else:
            # The page itself, or what its headers do not wait for: a push, a test client's debug
            # information.
            await self._forward(message)

    def _host(self) -> str:
        for name, value in self._scope["headers"]:
            if name == b"host":
                return str(value.decode("latin-1"))
        return "localhost"

    def _site_url(self) -> str:
        return f"{self._scope.get('scheme', 'http')}://{self._host()}"

    async def _page_body(self, message: Message) -> None:
        page = self._page
        assert page is not None
        kind = message["type"]
        if kind == "http.response.pathsend":
            await self._page_file(page, message["path"])
            return
        if kind == "http.response.zerocopysend":  # a body that nobody here can read
            if self._start is None and (last := page.close()):
                await self._forward({"type": _BODY, "body": last, "more_body": True})
            self._page = None
            await self._send_start(None)
            await self._forward(message)
            return
        if kind != _BODY:
            # Trailers, a push, a test client's debug information: no part of the body, and
            # none of them has to wait until the headers are known.
            await self._forward(message)
            return
        body = bytes(message.get("body", b""))  # some apps send a memoryview
        more = message.get("more_body", False)
        if more or page.is_long(body):
            await self._send_start(page.headers)
            for part in page.slices(body):
                await self._feed(page, part)
            if more:
                return
            body = b""
        if self._start is None:
            out = page.feed(body) + page.close()
        else:
            headers, out = page.whole(body)
            await self._send_start(headers)
        if media := page.fresh_media():
            await self._note_seen(media)
        await self._forward({**message, "body": out})

    async def _page_file(self, page: PageTransform, path: str) -> None:
        await self._send_start(page.headers)
        with open(path, "rb") as file:
            while chunk := file.read(_FILE_CHUNK_BYTES):
                await self._feed(page, chunk)
        out = page.close()
        if media := page.fresh_media():
            await self._note_seen(media)
        await self._forward({"type": _BODY, "body": out, "more_body": False})

    async def _feed(self, page: PageTransform, data: bytes) -> None:
        """Pass on what is certain of the page so far; more of it comes."""
        if out := page.feed(data):
            if media := page.fresh_media():
                await self._note_seen(media)
            await self._forward({"type": _BODY, "body": out, "more_body": True})

    async def _send_start(self, headers: list[tuple[bytes, bytes]] | None) -> None:
        start, self._start = self._start, None
        if start is not None:
            await self._forward(start if headers is None else {**start, "headers": headers})

    async def _note_seen(self, media: list[str]) -> None:
        carried = self._site.seen(
            self._root,
            media,
            host=self._host(),
            scheme=self._scope.get("scheme", "http"),
            loop=asyncio.get_running_loop(),
        )
        await held(carried)

    # --- a media file ------------------------------------------------------------------

    def _plan_media(self, message: Message, content_type: str) -> Message:
        self.sent = 0
        self._start = message
        status: int = message["status"]
        headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in message["headers"]]
        self._site.library.served(self._target(), content_type, status)
        asked = {n: v for n, v in self._scope["headers"] if n in (b"range", b"if-range")}
        if status != 200 or b"range" not in asked:
            return message
        if "http.response.zerocopysend" in (self._scope.get("extensions") or ()):
            return message  # the body may be one that nobody here could cut
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
        if kind == _BODY:
            body = message.get("body", b"")
            more = message.get("more_body", False)
            if part is not None:
                if self._cut:
                    return  # the visitor has it all; what the app still reads is for nobody
                body = part.slice(body)
                self._cut = part.done
                if self._cut or not more or body:
                    more = more and not self._cut
                    await self._forward({**message, "body": body, "more_body": more})
            else:
                await self._forward(message)
            self.sent += len(body)
        elif kind == "http.response.pathsend" and part is not None:
            await self._send_slice(message["path"], part)
        else:
            await self._forward(message)
            if kind == "http.response.pathsend":
                self.sent = self._declared()

    async def _send_slice(self, path: str, part: RangePlan) -> None:
        with open(path, "rb") as file:
            file.seek(part.start)
            left = part.stop - part.start
            while left and (chunk := file.read(min(left, _FILE_CHUNK_BYTES))):
                left -= len(chunk)
                self.sent += len(chunk)
                await self._forward({"type": _BODY, "body": chunk, "more_body": left > 0})
            if left or part.stop == part.start:
                await self._forward({"type": _BODY, "body": b"", "more_body": False})

    def _declared(self) -> int:
        assert self._start is not None
        for name, value in self._start["headers"]:
            if name.lower() == b"content-length":
                return content_length(value.decode("latin-1")) or 0
        return 0

    def ended(self) -> None:
        """The app returned, or was cancelled because the visitor left: count what was sent."""
        start = self._start
        if start is None:
            return
        part = self._range
        declared = self._declared() if part is None else part.stop - part.start
        self._site.recorder.origin(
            self._target(),
            sent=self.sent,
            whole=start["status"] == 200 and part is None,
            aborted=self.sent < declared,
            status=start["status"] if part is None else part.status,
        )

    def _target(self) -> str:
        path = quote(self._path, safe=PATH_SAFE)
        query = self._scope.get("query_string", b"").decode("latin-1")
        return f"{path}?{query}" if query else path
