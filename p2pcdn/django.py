"""Django's habit: `MIDDLEWARE = ["p2pcdn.django.P2PCDNMiddleware", ...]`, sync and async.

Settings stand in `P2PCDN = {"HUD": True, ...}`. The middleware belongs outside (before)
`GZipMiddleware`, which would compress the very byte ranges that players ask for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import quote

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.exceptions import DisallowedHost, MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.functional import SimpleLazyObject
from starlette.requests import HTTPConnection
from starlette.types import Scope

from p2pcdn.config import Config
from p2pcdn.media.django_origin import DjangoOrigin
from p2pcdn.media.handed import HandedFile
from p2pcdn.media.known import Carried
from p2pcdn.media.ranges import RangePlan, content_length, plan_range, seek_ahead
from p2pcdn.media.types import media_type_of
from p2pcdn.middleware import django_secret
from p2pcdn.page.transform import (
    PageTransform,
    environ_headers,
    inbound_environ,
    keeps_all,
    plan,
)
from p2pcdn.runtime import PATH_SAFE, Background, Kind, Site, held, hold, kind_of
from p2pcdn.sockets.takeover import can_take_over, ending, take_over
from p2pcdn.wsgi_bridge import MAX_BODY_BYTES, Answer, every_header, run

__all__ = ["P2PCDNMiddleware"]

log = logging.getLogger("p2pcdn.django")

_CHUNK_BYTES = 64 * 1024


class P2PCDNMiddleware:
    """p2pcdn as a Django middleware class."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.config = Config.load(
            framework=getattr(settings, "P2PCDN", {}), framework_name="settings.P2PCDN"
        )
        if not self.config.enabled:
            raise MiddlewareNotUsed("P2PCDN is not enabled")
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)
        origin = DjangoOrigin(get_response, self.is_async)
        self.site = Site(self.config, origin, secret=django_secret)
        _warn_of_order(settings.MIDDLEWARE)

    def __call__(self, request: HttpRequest) -> Any:
        if self.is_async:
            return self._acall(request)
        environ = getattr(request, "environ", {})
        self.site.holds_sockets(can_take_over(environ))
        if self.site.owns(request.path_info):
            if request.META.get("HTTP_UPGRADE") and self._take_over(request, environ):
                return StreamingHttpResponse(ending())
            body = _body(request)
            if body is None:
                return _too_large()
            return _response(Background.here().run(run(self.site, _scope(request), body)))
        sent = self._inbound(request)
        response = self.get_response(request)
        hold(self._leaving(request, sent, response))
        return response

    def _take_over(self, request: HttpRequest, environ: dict[str, Any]) -> bool:
        below = request.path_info.removeprefix(self.config.coordinator_path)
        if below not in ("/peerjs", "/tracker"):
            return False
        hub, loop = self.site.parts.hub, Background.here().loop
        return take_over(environ, HTTPConnection(_scope(request)), hub, self.config, loop)

    async def _acall(self, request: HttpRequest) -> Any:
        # Django hands no WebSocket to its middleware under ASGI: `P2PCDN(application)` around
        # the whole ASGI application has them.
        self.site.holds_sockets(False)
        if self.site.owns(request.path_info):
            body = _body(request)
            if body is None:
                return _too_large()
            return _response(await run(self.site, _scope(request), body))
        sent = self._inbound(request)
        answer: Awaitable[Any] = self.get_response(request)
        response = await answer
        await held(self._leaving(request, sent, response))
        return response

    def _inbound(self, request: HttpRequest) -> dict[str, Any]:
        """Take our suffix off the ETags that the app compares; what the visitor sent."""
        sent: dict[str, Any] = request.META
        options = self.site.page_options(_prefix(request))
        if options is not None:
            request.META = inbound_environ(sent, options)
        return sent

    def _leaving(self, request: HttpRequest, sent: dict[str, Any], response: Any) -> Carried | None:
        """Change the response where it is ours to change; what it has to wait for."""
        if request.method not in ("GET", "HEAD"):
            return None
        content_type = response.headers.get("Content-Type", "")
        kind = kind_of(content_type)
        if kind is Kind.PAGE or response.status_code == 304:
            return self._page(request, sent, response)
        if kind is not Kind.OTHER and request.method == "GET":
            media = media_type_of(request.path_info, content_type)
            if media is not None:
                self._media(request, response, media)
        return None

    # --- a page ------------------------------------------------------------------------

    def _page(self, request: HttpRequest, sent: dict[str, Any], response: Any) -> Carried | None:
        server_prefix = _prefix(request)
        options = self.site.page_options(server_prefix)
        if options is None:
            return None
        headers = list(response.items())
        if (
            request.method == "GET"
            and not response.streaming
            and keeps_all(headers, response.content, options)
        ):
            return None
        page = plan(
            method=request.method or "GET",
            page_url=f"{request.scheme}://{_host(request)}{options.prefix}{_target(request)}",
            request_headers=environ_headers(sent),
            status=response.status_code,
            headers=headers,
            options=options,
        )
        if page is None:
            return None
        changed, carried = page.headers, None
        if response.streaming:
            source = response.streaming_content
            rewrite = self._astream if response.is_async else self._stream
            response.streaming_content = rewrite(page, request, source)
        elif not page.bodyless:
            changed, response.content = page.whole(response.content)
            carried = self._note_seen(request, page)
        _set_headers(response, changed)
        return carried

    def _stream(self, page: PageTransform, request: HttpRequest, source: Any) -> Iterator[bytes]:
        for piece in source:
            out = page.feed(piece)
            hold(self._note_seen(request, page))
            yield out
        out = page.close()
        hold(self._note_seen(request, page))
        yield out

    async def _astream(
        self, page: PageTransform, request: HttpRequest, source: Any
    ) -> AsyncIterator[bytes]:
        async for piece in source:
            out = page.feed(piece)
            await held(self._note_seen(request, page))
            yield out
        out = page.close()
        await held(self._note_seen(request, page))
        yield out

    def _note_seen(self, request: HttpRequest, page: PageTransform) -> Carried | None:
        media = page.fresh_media()
        if not media:
            return None
        loop: asyncio.AbstractEventLoop | None = None
        if self.is_async:
            loop = asyncio.get_running_loop()
        elif request.META.get("wsgi.multithread"):
            loop = Background.here().loop
        return self.site.seen(
            _prefix(request),
            media,
            host=_host(request),
            scheme=request.scheme or "http",
            loop=loop,
        )

    # --- a media file ------------------------------------------------------------------

    def _media(self, request: HttpRequest, response: Any, content_type: str) -> None:
        target = _target(request)
        status: int = response.status_code
        self.site.library.served(target, content_type, status)
        part: RangePlan | None = None
        wanted = request.META.get("HTTP_RANGE")
        if wanted is not None and status == 200:
            part = plan_range(
                method="GET",
                range_header=wanted,
                if_range=request.META.get("HTTP_IF_RANGE"),
                status=status,
                headers=list(response.items()),
            )
        if not response.streaming:
            content = response.content
            if part is not None:
                content = part.slice(content)
                response.content = content
                response.status_code = part.status
                _set_headers(
                    response, [(n.encode("latin-1"), v.encode("latin-1")) for n, v in part.headers]
                )
            self._count(target, len(content), len(content), response.status_code, part)
            return
        sent = _Sent()
        file = getattr(response, "file_to_stream", None)
        declared = content_length(str(response.headers.get("Content-Length", ""))) or 0
        if part is not None:
            declared = part.stop - part.start
            self._slice(request, response, part, file, sent)
        elif file is not None and hasattr(request, "scope"):
            # Django would read the whole file into memory to serve it asynchronously.
            response.streaming_content = _aread(file, None, sent)
        elif file is not None and hasattr(file, "tell"):
            response.file_to_stream = sent.file = HandedFile(file)
        elif response.is_async:
            response.streaming_content = sent.acount(response.streaming_content)
        else:
            response.streaming_content = sent.count(response.streaming_content)
        status = response.status_code

        sent.ended = lambda: self._count(target, sent.total, declared, status, part)
        # First of the closers: the file still tells its position then.
        response._resource_closers.insert(0, sent.end)

    def _slice(
        self, request: HttpRequest, response: Any, part: RangePlan, file: Any, sent: _Sent
    ) -> None:
        if file is not None and seek_ahead(file, part.start):
            length = part.stop - part.start
            response.streaming_content = (
                _aread(file, length, sent)
                if hasattr(request, "scope")
                else _read(file, length, sent)
            )
        elif response.is_async:
            response.streaming_content = sent.acount(_asliced(response.streaming_content, part))
        else:
            response.streaming_content = sent.count(_sliced(response.streaming_content, part))
        response.status_code = part.status
        _set_headers(
            response, [(n.encode("latin-1"), v.encode("latin-1")) for n, v in part.headers]
        )

    def _count(
        self, target: str, sent: int, declared: int, status: int, part: RangePlan | None
    ) -> None:
        self.site.recorder.origin(
            target,
            sent=sent,
            whole=status == 200 and part is None,
            aborted=sent < declared,
            status=status,
        )


class _Sent:
    """How many bytes of a response's body have left."""

    def __init__(self) -> None:
        self._total = 0
        self.file: HandedFile | None = None
        """Counts instead: the server may hand it to the kernel."""
        self.ended: Callable[[], None] | None = None

    def end(self) -> None:
        """No more will leave; heard once. Under ASGI Django closes no response whose visitor
        left, so the body itself tells as well."""
        ended, self.ended = self.ended, None
        if ended is not None:
            ended()

    @property
    def total(self) -> int:
        return self._total if self.file is None else self.file.sent

    def add(self, size: int) -> None:
        self._total += size

    def count(self, source: Any) -> Iterator[bytes]:
        for piece in source:
            if piece:
                yield piece
                self.add(len(piece))

    async def acount(self, source: Any) -> AsyncIterator[bytes]:
        try:
            async for piece in source:
                if piece:
                    yield piece
                    self.add(len(piece))
        finally:
            self.end()


def _read(file: Any, left: int, sent: _Sent) -> Iterator[bytes]:
    while left > 0 and (piece := file.read(min(left, _CHUNK_BYTES))):
        left -= len(piece)
        yield piece
        sent.add(len(piece))


async def _aread(file: Any, left: int | None, sent: _Sent) -> AsyncIterator[bytes]:
    try:
        while left is None or left > 0:
            size = _CHUNK_BYTES if left is None else min(left, _CHUNK_BYTES)
            piece = await asyncio.to_thread(file.read, size)
            if not piece:
                return
            if left is not None:
                left -= len(piece)
            yield piece
            sent.add(len(piece))
    finally:
        sent.end()


def _sliced(source: Any, part: RangePlan) -> Iterator[bytes]:
    for piece in source:
        yield part.slice(piece)
        if part.done:
            return


async def _asliced(source: Any, part: RangePlan) -> AsyncIterator[bytes]:
    async for piece in source:
        yield part.slice(piece)
        if part.done:
            return


def _set_headers(response: Any, headers: list[tuple[bytes, bytes]]) -> None:
    kept = {name.lower() for name, _ in headers}
    for name in [name for name, _ in response.items() if name.lower().encode() not in kept]:
        del response.headers[name]
    for raw_name, value in headers:
        response.headers[raw_name.decode("latin-1")] = value.decode("latin-1")


def _prefix(request: HttpRequest) -> str:
    return str(request.path[: len(request.path) - len(request.path_info)]).rstrip("/")


def _host(request: HttpRequest) -> str:
    try:
        return str(request.get_host())
    except DisallowedHost:
        return "localhost"  # Django answers such a request with an error page of its own


def _target(request: HttpRequest) -> str:
    path = quote(request.path_info, safe=PATH_SAFE)
    query = request.META.get("QUERY_STRING", "")
    return f"{path}?{query}" if query else path


def _body(request: HttpRequest) -> bytes | None:
    length = str(request.META.get("CONTENT_LENGTH") or "0")
    if not length.isdecimal() or len(length) > 9 or int(length) > MAX_BODY_BYTES:
        return None
    return bytes(request.read(int(length))) if int(length) else b""


def _scope(request: HttpRequest) -> Scope:
    path = request.path
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": path,
        "raw_path": path.encode(),
        "root_path": _prefix(request),
        "query_string": request.META.get("QUERY_STRING", "").encode("latin-1"),
        "headers": every_header(request.META),
        "client": (request.META.get("REMOTE_ADDR") or "", 0),
        "server": (request.META.get("SERVER_NAME", ""), int(request.META.get("SERVER_PORT") or 0)),
        "state": {},
        # For `may_stream`, which asks for it: the session is a question to the database.
        "user": SimpleLazyObject(lambda: _user(request)),
    }


def _user(request: HttpRequest) -> Any:
    """Who asks, also where this middleware stands outside of those that would say so."""
    if not hasattr(request, "user"):
        from django.contrib.auth import get_user
        from django.contrib.sessions.middleware import SessionMiddleware

        if not hasattr(request, "session"):
            SessionMiddleware(lambda _: HttpResponse()).process_request(request)
        return get_user(request)
    return request.user


def _response(answer: Answer) -> HttpResponse:
    response = HttpResponse(answer.body, status=answer.status)
    del response.headers["Content-Type"]
    for name, value in answer.headers:
        response.headers[name] = value
    return response


def _too_large() -> HttpResponse:
    return HttpResponse(
        f"at most {MAX_BODY_BYTES} bytes are taken here\n", status=413, content_type="text/plain"
    )


def _warn_of_order(middleware: list[str]) -> None:
    ours = f"{P2PCDNMiddleware.__module__}.{P2PCDNMiddleware.__qualname__}"
    gzip = "django.middleware.gzip.GZipMiddleware"
    if (
        ours in middleware
        and gzip in middleware
        and middleware.index(gzip) < middleware.index(ours)
    ):
        log.warning(
            "%s stands after GZipMiddleware, which then compresses byte ranges of videos: "
            "put it before GZipMiddleware in MIDDLEWARE",
            ours,
        )
