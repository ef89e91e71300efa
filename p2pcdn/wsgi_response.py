"""What the WSGI adapter does with one response: rewrite a page, cut and count a media file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote

from p2pcdn.media.handed import HandedFile
from p2pcdn.media.ranges import RangePlan, content_length, plan_range, seek_ahead
from p2pcdn.media.types import media_type_of
from p2pcdn.page.transform import (
    WHOLE_BODY_BYTES,
    PageOptions,
    PageTransform,
    environ_headers,
    keeps_all,
    plan,
    to_str_headers,
)
from p2pcdn.runtime import PATH_SAFE, Background, Kind, Site, hold, kind_of

__all__ = ["Environ", "Response", "StartResponse", "StrHeaders", "prefix"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
StrHeaders = list[tuple[str, str]]


class Response:
    """A response that may be a page, a media file, or one that nobody has begun yet."""

    # Most responses need none of these: the class holds what they begin with.
    _head: tuple[str, StrHeaders, Any] | None = None
    _options: PageOptions | None = None
    """It calls itself a page, and what is to be done waits for its body."""
    _page: PageTransform | None = None
    _range: RangePlan | None = None
    _media_status = 0
    written: list[bytes] | None = None
    _write: Callable[[bytes], object] | None = None
    untouched = False
    """Decided: the app's own iterable goes to the server."""

    def __init__(self, site: Site, environ: Environ, start_response: StartResponse) -> None:
        self._site = site
        self._environ = environ
        self._start_response = start_response

    # --- the response's start ------------------------------------------------------------

    def start(self, status: str, headers: StrHeaders, exc_info: Any = None) -> Callable[..., Any]:
        if self.untouched:  # the app's own iterable may be with the server already
            return self._pass_on(status, headers, exc_info)
        write = None
        for name, value in headers:
            if len(name) == 12 and name.lower() == "content-type":
                kind = kind_of(value)
                if kind is Kind.PAGE:
                    write = self._start_page(status, headers, exc_info)
                elif kind is not Kind.OTHER and self._environ["REQUEST_METHOD"] == "GET":
                    media = media_type_of(self._environ.get("PATH_INFO", ""), value)
                    if media is not None:
                        return self._start_media(status, headers, exc_info, media)  # type: ignore[no-any-return]
                break
        else:
            if status[:3] == "304":
                write = self._start_page(status, headers, exc_info)
        if write is not None:
            return write  # type: ignore[no-any-return]
        if self._page is not None or self._options is not None:
            # The app changed its mind (exc_info).
            self._page = self._options = self._head = None
        self._media_status = 0
        self._range = None
        self.untouched = True
        return self._pass_on(status, headers, exc_info)

    def _pass_on(self, status: str, headers: StrHeaders, exc_info: Any) -> Callable[..., Any]:
        if exc_info is None:
            return self._start_response(status, headers)  # type: ignore[no-any-return]
        return self._start_response(status, headers, exc_info)  # type: ignore[no-any-return]

    def _start_page(self, status: str, headers: StrHeaders, exc_info: Any) -> Any:
        options = self._site.page_options(prefix(self._environ))
        if options is None:
            return None
        if self._page is None:
            self._options = options
        else:  # its body has begun
            page = self._plan(status, headers, options)
            if page is None:
                return None
            self._page = page
        self.untouched = False
        self._head = (status, headers, exc_info)
        return self._write_page

    def _plan(self, status: str, headers: StrHeaders, options: PageOptions) -> PageTransform | None:
        environ = self._environ
        return plan(
            method=environ["REQUEST_METHOD"],
            page_url=f"{_site_url(environ)}{options.prefix}{_target(environ)}",
            request_headers=environ_headers(environ),
            status=int(status[:3]),
            headers=headers,
            options=options,
        )

    def _write_page(self, data: bytes) -> None:
        """PEP 3333's imperative `write`: what it is given comes before the iterable."""
        options, self._options = self._options, None
        if options is not None:
            self._decide(options, None)
        if self._write is not None:
            self._write(data)
            return
        if self.written is None:
            self.written = []
        self.written.append(data)

    def _start_media(
        self, status: str, headers: StrHeaders, exc_info: Any, content_type: str
    ) -> Any:
        environ = self._environ
        code = int(status[:3])
        self._site.library.served(_target(environ), content_type, code)
        self.untouched = False
        self._media_status = code
        self._range = None
        wanted = environ.get("HTTP_RANGE")
        if wanted is not None and code == 200:
            self._range = plan_range(
                method="GET",
                range_header=wanted,
                if_range=environ.get("HTTP_IF_RANGE"),
                status=code,
                headers=headers,
            )
        if self._range is None:
            self._head = (status, headers, exc_info)
            return self._pass_on(status, headers, exc_info)
        code = self._range.status
        status = "206 Partial Content" if code == 206 else "416 Range Not Satisfiable"
        self._head = (status, self._range.headers, exc_info)
        write = self._pass_on(status, self._range.headers, exc_info)
        part = self._range
        return lambda data: write(part.slice(data))

    # --- the response's body -------------------------------------------------------------

    def body(self, result: Iterable[bytes]) -> Iterable[bytes]:
        if self._media_status:
            return self._media(result)
        options, self._options = self._options, None
        if options is not None:
            self._decide(options, result)
            if self.untouched:
                return result
        if self._page is not None:
            return _Body(self._page_body(result), result)
        return _Body(self._late(result), result)

    def _decide(self, options: PageOptions, result: Iterable[bytes] | None) -> None:
        """Plan a page, or let its head go as it was.

        Args:
            options: The site's.
            result: The body, if it is there.
        """
        assert self._head is not None
        status, headers, exc_info = self._head
        if not (
            type(result) is list
            and len(result) == 1
            and type(result[0]) is bytes
            and self._environ["REQUEST_METHOD"] == "GET"
            and keeps_all(headers, result[0], options)
        ):
            self._page = self._plan(status, headers, options)
            if self._page is not None:
                return
        self._head = None
        self.untouched = True
        self._write = self._pass_on(status, headers, exc_info)

    def _late(self, result: Iterable[bytes]) -> Iterator[bytes]:
        """A generator app calls `start_response` only when its first piece is asked for."""
        pieces = iter(result)
        first = next(pieces, b"")
        rest = _Joined(first, pieces)
        if self._media_status or self._options is not None or self._page is not None:
            yield from self.body(rest)
        else:  # untouched, or an app that never starts its response: the server tells it
            yield from rest

    def _page_body(self, result: Iterable[bytes]) -> Iterator[bytes]:
        page = self._page
        assert page is not None and self._head is not None
        declared = _length(self._head[1])
        complete = isinstance(result, (list, tuple)) and len(result) <= 1
        gather = complete or (declared is not None and declared <= WHOLE_BODY_BYTES)
        gathered: list[bytes] = []
        size = 0
        pieces = _chained(self, result)
        for piece in pieces:
            if page is not self._page:
                # The app called start_response again with exc_info before anything was
                # sent: what it said first is void (PEP 3333).
                gathered.clear()
                if self._page is None:
                    yield piece
                    yield from pieces
                    return
                page = self._page
            piece = bytes(piece)  # some apps yield a memoryview or a bytearray
            if gather:
                gathered.append(piece)
                size += len(piece)
                if size <= WHOLE_BODY_BYTES or (complete and not page.is_long(piece)):
                    continue
                # It is long, or the declared length was wrong: it streams after all.
                gather = False
                piece = b"".join(gathered)
            self._send_head(page.headers)
            for part in page.slices(piece):
                if out := page.feed(part):
                    self._note_seen(page)
                    yield out
        if gather:
            headers, out = page.whole(b"".join(gathered))
            self._send_head(headers)
        else:
            self._send_head(page.headers)
            out = page.close()
        if out:
            self._note_seen(page)
            yield out

    def _note_seen(self, page: PageTransform) -> None:
        media = page.fresh_media()
        if not media:
            return
        environ = self._environ
        carried = self._site.seen(
            prefix(environ),
            media,
            host=_host(environ),
            scheme=environ["wsgi.url_scheme"],
            # An app that is served one request at a time may count on that.
            loop=Background.here().loop if environ.get("wsgi.multithread") else None,
        )
        hold(carried)

    def _send_head(self, headers: list[tuple[bytes, bytes]]) -> None:
        head, self._head = self._head, None
        if head is not None:
            self._pass_on(head[0], to_str_headers(headers), head[2])

    def _media(self, result: Iterable[bytes]) -> Iterable[bytes]:
        part = self._range
        if part is not None:
            return _Body(self._sliced(result, part), result)
        wrapper = self._environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(result, wrapper):
            # The server may hand the file to the kernel (sendfile) only when it gets its own
            # wrapper back, so that one is left as it is and read off when it is closed.
            file = getattr(result, "filelike", None)
            close = getattr(result, "close", None)
            if file is not None and hasattr(file, "tell") and close is not None:
                handed = HandedFile(file)

                def closing() -> None:
                    sent = handed.sent
                    close()
                    self._count(sent)

                with contextlib.suppress(AttributeError, TypeError):
                    result.filelike = handed  # type: ignore[attr-defined]
                    result.close = closing  # type: ignore[attr-defined]
                    return result
            self._count(_length(self._head[1]) or 0 if self._head else 0)
            return result
        return _Body(self._counted(result), result)

    def _counted(self, result: Iterable[bytes]) -> Iterator[bytes]:
        sent = 0
        try:
            for piece in result:
                yield piece
                sent += len(piece)
        finally:
            self._count(sent)

    def _sliced(self, result: Iterable[bytes], part: RangePlan) -> Iterator[bytes]:
        sent = 0
        try:
            file = getattr(result, "filelike", None)
            pieces: Iterable[bytes] = result
            if file is not None and seek_ahead(file, part.start):
                pieces = _read(file, part.stop - part.start)
            else:
                # An app that says after all that it failed (exc_info) is heard in full.
                pieces = (part.slice(p) if self._range is part else p for p in result)
            for out in pieces:
                if out:
                    yield out
                    sent += len(out)
                if sent >= part.stop - part.start and self._range is part:
                    break
        finally:
            self._count(sent)

    def _count(self, sent: int) -> None:
        declared = (_length(self._head[1]) if self._head else None) or 0
        self._site.recorder.origin(
            _target(self._environ),
            sent=sent,
            whole=self._media_status == 200 and self._range is None,
            aborted=sent < declared,
            status=self._media_status if self._range is None else self._range.status,
        )


class _Body:
    """What goes to the server for an app's own iterable, which is closed with it.

    Not left to the generator: one that was never begun runs none of its code when it is closed,
    and a server need not begin it (HEAD, a visitor who left).
    """

    __slots__ = ("_pieces", "_result")

    def __init__(self, pieces: Iterator[bytes], result: object) -> None:
        self._pieces = pieces
        self._result = result

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        result, self._result = self._result, None
        try:
            _close(self._pieces)
        finally:
            _close(result)


class _Joined:
    """An iterator whose first piece was taken already; closes nothing by itself."""

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self._first: bytes | None = first
        self._rest = rest

    def __iter__(self) -> Iterator[bytes]:
        first, self._first = self._first, None
        if first is not None:
            yield first
        yield from self._rest


def _chained(response: Response, result: Iterable[bytes]) -> Iterator[bytes]:
    """What the app gave to `write`, each time before the next piece of its iterable."""
    for piece in result:
        while response.written:
            yield response.written.pop(0)
        yield piece
    while response.written:
        yield response.written.pop(0)


def _close(result: object) -> None:
    close = getattr(result, "close", None)
    if close is not None:
        close()


def _length(headers: StrHeaders) -> int | None:
    for name, value in headers:
        if name.lower() == "content-length":
            return content_length(value)
    return None


def _read(file: Any, left: int) -> Iterator[bytes]:
    while left > 0 and (chunk := file.read(min(left, 64 * 1024))):
        left -= len(chunk)
        yield chunk


def prefix(environ: Environ) -> str:
    """SCRIPT_NAME as text; PEP 3333 has its bytes in latin-1."""
    name: str = environ.get("SCRIPT_NAME", "")
    return name if name.isascii() else name.encode("latin-1").decode("utf-8", "replace")


def _host(environ: Environ) -> str:
    return environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"


def _site_url(environ: Environ) -> str:
    return f"{environ['wsgi.url_scheme']}://{_host(environ)}"


def _target(environ: Environ) -> str:
    raw = environ.get("PATH_INFO", "").encode("latin-1")
    query = environ.get("QUERY_STRING", "")
    path = quote(raw, safe=PATH_SAFE)
    return f"{path}?{query}" if query else path
