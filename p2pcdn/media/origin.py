"""Asking the site itself for a media file, as a visitor without a name would.

The sub-request never leaves the process. It carries no cookie, no authorization and a
documentation address (RFC 5737) as client, so that an app which trusts its own network gives
nothing more than it gives to anybody. `p2pcdn.internal` marks it for our own middleware.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from p2pcdn.media.answer import Headers, OriginAnswer, OriginBusy, OriginError
from p2pcdn.media.threaded import Emit, open_in_thread

__all__ = [
    "INTERNAL",
    "ASGIOrigin",
    "Origin",
    "OriginAnswer",
    "OriginBusy",
    "OriginError",
    "WSGIOrigin",
    "anonymous_environ",
    "anonymous_scope",
    "file_behind",
]

INTERNAL = "p2pcdn.internal"
_CLIENT = "192.0.2.1"
_HEADERS = (("accept", "*/*"), ("accept-encoding", "identity"), ("user-agent", "p2pcdn"))
_CHUNK_BYTES = 64 * 1024
_LEAVE_S = 1.0
_CANCEL_S = 30.0
_leaving: set[asyncio.Task[None]] = set()


class Origin(Protocol):
    """The site, asked without a network."""

    async def open(
        self, target: str, *, prefix: str = "", host: str = "localhost", scheme: str = "http"
    ) -> OriginAnswer:
        """Send an anonymous GET and return when the header is there.

        Args:
            target: Absolute percent-encoded path below `prefix`, with its query.
            prefix: `SCRIPT_NAME` / `root_path`.
            host: The `Host` field, with a port where it is not the scheme's own.
            scheme: `http` or `https`.

        Raises:
            OriginError: The app raised, or answered nothing that is HTTP.
            OriginBusy: Too many sub-requests are under way.
        """
        ...


# --- WSGI ------------------------------------------------------------------------------------


class WSGIOrigin:
    """A WSGI app, run in a thread of its own for each sub-request (PEP 3333)."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app

    async def open(
        self, target: str, *, prefix: str = "", host: str = "localhost", scheme: str = "http"
    ) -> OriginAnswer:
        environ = anonymous_environ(target, prefix=prefix, host=host, scheme=scheme)
        return await open_in_thread(lambda emit: self._produce(environ, emit))

    def _produce(self, environ: dict[str, Any], emit: Emit) -> None:
        # A class for each request: apps may call it, or ask `isinstance`.
        probe: type[_FileProbe] = type("FileWrapper", (_FileProbe,), {"made": []})
        environ["wsgi.file_wrapper"] = probe
        head: list[tuple[int, Headers]] = []

        def start_response(
            status: str, headers: Iterable[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], None]:
            if emit.head_sent and exc_info is not None:
                raise exc_info[1].with_traceback(exc_info[2])
            head[:] = [(int(status[:3]), [(str(n), str(v)) for n, v in headers])]
            return write

        def send_head(path: Path | None) -> None:
            if not head:
                raise OriginError("the app answered without calling start_response")
            emit.head(head[0][0], head[0][1], path)

        def write(data: bytes) -> None:
            if not emit.head_sent:
                send_head(None)
            emit.chunk(data)

        result = self._app(environ, start_response)
        try:
            chunks = iter(result)
            if head and not emit.head_sent:
                send_head(_path_of(probe.made, head[0][1]))
            for chunk in chunks:
                if not emit.head_sent:  # a generator app starts its response only here
                    send_head(_path_of(probe.made, head[0][1]) if head else None)
                emit.chunk(chunk)
            if not emit.head_sent:
                send_head(None)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()


class _FileProbe:
    """`wsgi.file_wrapper` that notes which file it was given."""

    made: list[Path | None]

    def __init__(self, filelike: Any, blksize: int = _CHUNK_BYTES) -> None:
        self.filelike = filelike
        self.blksize = blksize
        self.made.append(file_behind(filelike))
        # Only where there is one: PEP 3333 lets a file-like object have none.
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> _FileProbe:
        return self

    def __next__(self) -> bytes:
        data: bytes = self.filelike.read(self.blksize)
        if data:
            return data
        raise StopIteration


def _path_of(made: list[Path | None], headers: Headers) -> Path | None:
    """The file, if the app wrapped exactly one; then X-Sendfile (Apache, lighttpd)."""
    if len(made) == 1:
        return made[0]
    for name, value in headers:
        if name.lower() == "x-sendfile" and value.startswith("/"):
            return Path(value)
    return None


def anonymous_environ(target: str, *, prefix: str, host: str, scheme: str) -> dict[str, Any]:
    """The environ of an anonymous GET (PEP 3333)."""
    raw, _, query = target.partition("?")
    name, port = _host_and_port(host, scheme)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": prefix.encode("utf-8").decode("latin-1"),
        "PATH_INFO": unquote_to_bytes(raw).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": name,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": _CLIENT,
        "HTTP_HOST": host,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        INTERNAL: True,
    }
    for field, value in _HEADERS:
        environ["HTTP_" + field.upper().replace("-", "_")] = value
    return environ


# --- ASGI ------------------------------------------------------------------------------------


class ASGIOrigin:
    """An ASGI app, run as a task of the calling loop for each sub-request.

    `state` is the server's lifespan state; adapters set it from a real request's scope.
    """

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app
        self.state: Mapping[str, Any] | None = None

    async def open(
        self, target: str, *, prefix: str = "", host: str = "localhost", scheme: str = "http"
    ) -> OriginAnswer:
        django = _django_origin(self._app, target)
        if django is not None:
            return await django.open(target, prefix=prefix, host=host, scheme=scheme)
        scope = anonymous_scope(target, prefix=prefix, host=host, scheme=scheme)
        if self.state is not None:
            scope["state"] = dict(self.state)
        with contextlib.suppress(OriginError):
            return await _ASGIRun(self._app, scope, pathsend=True).open()
        # Some middlewares refuse a message that they do not know: then without the extension.
        return await _ASGIRun(self._app, scope, pathsend=False).open()


class _ASGIRun:
    """One sub-request; the app waits in `send` until its last message was taken."""

    def __init__(self, app: Callable[..., Any], scope: dict[str, Any], *, pathsend: bool) -> None:
        self._app = app
        self._scope = dict(scope)
        self._scope["extensions"] = {"http.response.pathsend": {}} if pathsend else {}
        self._messages: asyncio.Queue[MutableMapping[str, Any] | None] = asyncio.Queue(1)
        self._left = asyncio.Event()
        self._asked = False
        self._task: asyncio.Task[None] | None = None
        self._error: Exception | None = None
        self._first = b""
        self._more = True

    async def open(self) -> OriginAnswer:
        # An empty context: what a middleware bound for the visitor whose request led here
        # (a user, a trace) is no business of an anonymous one.
        self._task = asyncio.get_running_loop().create_task(
            self._run(), context=contextvars.Context()
        )
        try:
            return await self._head()
        except BaseException:
            await self.aclose()
            raise

    async def _head(self) -> OriginAnswer:
        start = await self._next()
        while start is not None and start["type"] != "http.response.start":
            start = await self._next()
        first = await self._next() if start is not None else None
        if start is None or first is None:
            raise OriginError(f"the app gave no complete answer ({self._error!r})")
        path: Path | None = None
        if first["type"] == "http.response.pathsend":
            path = Path(first["path"])
            self._more = False
        elif first["type"] == "http.response.body":
            self._first = first.get("body", b"")
            self._more = first.get("more_body", False)
        else:
            raise OriginError(f"the app sent {first['type']}")
        try:
            status = int(start["status"])
            headers = [
                (bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
                for name, value in start.get("headers", ())
            ]
        except (TypeError, ValueError) as error:
            raise OriginError(f"the app's answer is not HTTP ({error})") from error
        if path is None:
            path = _path_of([], headers)
        return OriginAnswer(status, headers, path, self._chunks, self.aclose)

    async def _chunks(self) -> AsyncIterator[bytes]:
        if self._first:
            yield self._first
        while self._more:
            message = await self._next()
            if message is None:
                raise OriginError(f"the app's answer ended early ({self._error!r})")
            if message["type"] == "http.response.body":
                self._more = message.get("more_body", False)
                if message.get("body"):
                    yield message["body"]

    async def _next(self) -> MutableMapping[str, Any] | None:
        return await self._messages.get()

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except Exception as error:
            self._error = error
        # The reader may have stopped: a put here must never wait for ever.
        if not self._left.is_set():
            await self._messages.put(None)

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if self._left.is_set():
            # What servers do since version 2.4 of the HTTP specification: the app closes its
            # files and returns. A cancellation could hit it while a thread opens one.
            raise OSError("the reader of this sub-request has left")
        await self._messages.put(message)

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def aclose(self) -> None:
        self._left.set()
        while not self._messages.empty():
            self._messages.get_nowait()  # wakes an app that waits in `send`
        task = self._task
        if task is None or task.done():
            return
        await asyncio.wait({task}, timeout=_LEAVE_S)
        if not task.done():
            # Background work after its answer, or an app that heeds no disconnect.
            _leaving.add(task)
            task.add_done_callback(_leaving.discard)
            asyncio.get_running_loop().call_later(_CANCEL_S, task.cancel)


def anonymous_scope(target: str, *, prefix: str, host: str, scheme: str) -> dict[str, Any]:
    """The scope of an anonymous GET (ASGI HTTP specification: `path` includes `root_path`)."""
    raw, _, query = target.partition("?")
    name, port = _host_and_port(host, scheme)
    path = unquote_to_bytes(raw).decode("utf-8", "replace")
    headers = [(b"host", host.encode("latin-1", "replace"))]
    headers += [(field.encode(), value.encode()) for field, value in _HEADERS]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": scheme,
        "path": prefix + path,
        "raw_path": prefix.encode("utf-8") + raw.encode("ascii", "replace"),
        "root_path": prefix,
        "query_string": query.encode("ascii", "replace"),
        "headers": headers,
        "client": (_CLIENT, 0),
        "server": (name, port),
        INTERNAL: True,
    }


def _django_origin(app: Any, target: str) -> Origin | None:
    """Django's ASGI handler sends files piecewise; its own request cycle names the file."""
    module = sys.modules.get("django.core.handlers.asgi")
    if module is None or not isinstance(app, module.ASGIHandler):
        return None
    from p2pcdn.media.django_origin import DjangoOrigin

    handles = getattr(app, "_should_handle", None)
    if handles is None:
        return DjangoOrigin(app.get_response_async, is_async=True)
    # ASGIStaticFilesHandler, of the development server: its asynchronous half reads the whole
    # file into memory and forgets its name.
    if handles(unquote_to_bytes(target.partition("?")[0]).decode("utf-8", "replace")):
        return DjangoOrigin(app.get_response, is_async=False)
    return _django_origin(app.application, target)


def _host_and_port(host: str, scheme: str) -> tuple[str, int]:
    name, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdigit() and len(port) <= 5:
        return name, int(port)
    return host, 443 if scheme == "https" else 80


# --- the file behind an answer ---------------------------------------------------------------

_PLAIN_FILES = (io.BufferedReader, io.BufferedRandom, io.FileIO)
_READERS = frozenset({"read", "readinto", "__iter__", "__next__", "chunks"})
# Their wrappers hand every call on to `.file`; a wrapper of anybody else may decrypt.
_PLAIN_WRAPPERS = ("django", "tempfile")


def file_behind(filelike: Any) -> Path | None:
    """The path of the regular file whose bytes, all of them, reading `filelike` would give."""
    try:
        for _ in range(5):
            if type(filelike) in _PLAIN_FILES:
                break
            if not _is_plain_wrapper(type(filelike)):
                return None
            filelike = filelike.file
        else:
            return None
        name = filelike.name
        if not isinstance(name, (str, bytes, os.PathLike)) or filelike.tell() != 0:
            return None
        path = Path(os.path.abspath(os.fsdecode(name)))
        opened, named = os.fstat(filelike.fileno()), os.stat(path)
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    same = (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)
    return path if same and stat.S_ISREG(named.st_mode) else None


def _is_plain_wrapper(kind: type) -> bool:
    readers = [owner for owner in kind.__mro__ if not _READERS.isdisjoint(vars(owner))]
    return all(owner.__module__.partition(".")[0] in _PLAIN_WRAPPERS for owner in readers or [kind])
