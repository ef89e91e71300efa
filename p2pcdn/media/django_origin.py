"""Asking a Django site for a media file from inside its middleware.

The response object still knows the file that it will send (`file_to_stream`), which neither
the WSGI nor the ASGI side of Django tells under ASGI.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import mimetypes
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.exceptions import SuspiciousFileOperation
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.urls import set_script_prefix
from django.utils._os import safe_join

from p2pcdn.media.answer import Headers, OriginAnswer, OriginError
from p2pcdn.media.origin import anonymous_environ, anonymous_scope, file_behind
from p2pcdn.media.threaded import Emit, open_in_thread

__all__ = ["DjangoOrigin", "static_file"]


class DjangoOrigin:
    """The rest of a Django site's middleware chain.

    Args:
        get_response: What Django gave to the middleware.
        is_async: Whether it is a coroutine function.
    """

    def __init__(self, get_response: Callable[[Any], Any], is_async: bool) -> None:
        self._get_response = get_response
        self._is_async = is_async

    async def open(
        self, target: str, *, prefix: str = "", host: str = "localhost", scheme: str = "http"
    ) -> OriginAnswer:
        """See `p2pcdn.media.origin.Origin.open`.

        A static file that no route of the site serves is answered from where it lies: the
        development server sends those before any middleware is asked, a web server in front
        sends them from `STATIC_ROOT`. `MEDIA_ROOT` is not taken for public in this way: name
        it in `media_roots`.
        """
        answer = await self._ask(target, prefix=prefix, host=host, scheme=scheme)
        if answer.status != 404:
            return answer
        static = await sync_to_async(static_file, thread_sensitive=False)(target, prefix)
        if static is None:
            return answer
        await answer.aclose()
        return _static_answer(static)

    async def _ask(self, target: str, *, prefix: str, host: str, scheme: str) -> OriginAnswer:
        if self._is_async:
            scope = anonymous_scope(target, prefix=prefix, host=host, scheme=scheme)
            return await _AsyncRun(self._get_response, ASGIRequest(scope, io.BytesIO())).open()
        environ = anonymous_environ(target, prefix=prefix, host=host, scheme=scheme)
        return await open_in_thread(lambda emit: self._produce(environ, emit))

    def _produce(self, environ: dict[str, Any], emit: Emit) -> None:
        request = WSGIRequest(environ)
        set_script_prefix(request.META["SCRIPT_NAME"] or "/")
        response = self._get_response(request)
        try:
            emit.head(response.status_code, _headers(response), _path(response))
            if getattr(response, "is_async", False):
                raise OriginError("the response streams asynchronously under WSGI")
            for chunk in response:
                emit.chunk(bytes(chunk))
        finally:
            response.close()


def static_file(target: str, prefix: str) -> Path | None:
    """The file of `django.contrib.staticfiles` behind a URL, if there is one. Blocks."""
    if not apps.is_installed("django.contrib.staticfiles") or not settings.STATIC_URL:
        return None
    base = urlsplit(settings.STATIC_URL)
    path = unquote(urlsplit(target).path)
    below = "/" + base.path.removeprefix(prefix).lstrip("/")
    if base.netloc or below == "/" or not path.startswith(below):
        return None
    name = path.removeprefix(below).lstrip("/")
    try:
        if settings.DEBUG:
            found = finders.find(name)
        else:
            found = safe_join(settings.STATIC_ROOT, name) if settings.STATIC_ROOT else None
    except SuspiciousFileOperation:
        return None
    return Path(found) if isinstance(found, str) and os.path.isfile(found) else None


def _static_answer(path: Path) -> OriginAnswer:
    async def chunks() -> AsyncIterator[bytes]:
        with open(path, "rb") as file:
            while chunk := await sync_to_async(file.read, thread_sensitive=False)(64 * 1024):
                yield chunk

    async def close() -> None:
        return None

    content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return OriginAnswer(200, [("Content-Type", content_type)], path, chunks, close)


class _AsyncRun:
    """A response made on the event loop, in a context of its own."""

    def __init__(self, get_response: Callable[[Any], Awaitable[Any]], request: Any) -> None:
        self._get_response = get_response
        self._request = request
        self._response: Any = None

    async def open(self) -> OriginAnswer:
        task = asyncio.get_running_loop().create_task(
            self._respond(), context=contextvars.Context()
        )
        try:
            self._response = await task
        except asyncio.CancelledError:
            task.cancel()
            raise
        except Exception as error:
            raise OriginError(f"the app raised {type(error).__name__}: {error}") from error
        response = self._response
        return OriginAnswer(
            response.status_code, _headers(response), _path(response), self._chunks, self._close
        )

    async def _respond(self) -> Any:
        async with ThreadSensitiveContext():
            set_script_prefix(self._request.META["SCRIPT_NAME"] or "/")
            return await self._get_response(self._request)

    async def _chunks(self) -> AsyncIterator[bytes]:
        response = self._response
        try:
            if not response.streaming:
                yield response.content
            elif response.is_async:
                async for chunk in response.streaming_content:
                    yield bytes(chunk)
            else:
                # Django would read a synchronous stream to its end before the first chunk.
                pieces = iter(response.streaming_content)
                while (chunk := await sync_to_async(_next, thread_sensitive=False)(pieces)) != b"":
                    yield chunk
        except Exception as error:
            raise OriginError(f"the app raised {type(error).__name__}: {error}") from error

    async def _close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await sync_to_async(response.close, thread_sensitive=True)()


def _next(pieces: Iterator[bytes]) -> bytes:
    for piece in pieces:
        if piece:
            return bytes(piece)
    return b""


def _headers(response: Any) -> Headers:
    headers = [(str(name), str(value)) for name, value in response.items()]
    headers += [("Set-Cookie", cookie.OutputString()) for cookie in response.cookies.values()]
    return headers


def _path(response: Any) -> Path | None:
    file = getattr(response, "file_to_stream", None)
    return None if file is None else file_behind(file)
