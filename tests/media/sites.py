"""One small site with a media folder, as real frameworks serve it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2pcdn.media.django_origin import DjangoOrigin
from p2pcdn.media.origin import ASGIOrigin, Origin, WSGIOrigin

MEDIA_URL = "/media/"


@dataclass(frozen=True)
class Site:
    """A site: how to ask it, does it tell which file it sends, does it look at extensions."""

    origin: Origin
    names_file: bool
    knows_types: bool = True


def settled_clock() -> float:
    """The time a minute from now: every file that a test wrote is long finished."""
    return time.time() + 60.0


def flask_static(folder: Path) -> Site:
    from flask import Flask

    return Site(
        WSGIOrigin(Flask(__name__, static_folder=str(folder), static_url_path="/media")), True
    )


def flask_send_from_directory(folder: Path) -> Site:
    from flask import Flask, send_from_directory

    app = Flask(__name__, static_folder=None)

    @app.get("/media/<path:name>")
    def media(name: str) -> Any:
        return send_from_directory(folder, name)

    return Site(WSGIOrigin(app), True)


def bottle(folder: Path) -> Site:
    from bottle import Bottle, static_file

    app = Bottle()

    @app.route("/media/<name:path>")
    def media(name: str) -> Any:
        return static_file(name, root=str(folder))

    return Site(WSGIOrigin(app), True)


def whitenoise_around_flask(folder: Path) -> Site:
    from flask import Flask
    from whitenoise import WhiteNoise

    app = WhiteNoise(Flask(__name__, static_folder=None), autorefresh=True)
    app.add_files(str(folder), prefix="media/")
    return Site(WSGIOrigin(app), True)


def whitenoise_around_django(folder: Path) -> Site:
    from whitenoise import WhiteNoise

    app = WhiteNoise(django_wsgi_app(folder, routes=False), autorefresh=True)
    app.add_files(str(folder), prefix="media/")
    return Site(WSGIOrigin(app), True)


def django_wsgi(folder: Path) -> Site:
    return Site(WSGIOrigin(django_wsgi_app(folder)), True)


def django_asgi(folder: Path) -> Site:
    from django.core.handlers.asgi import ASGIHandler

    _django(folder)
    return Site(ASGIOrigin(ASGIHandler()), True)


def django_middleware_sync(folder: Path) -> Site:
    handler = django_wsgi_app(folder)
    return Site(DjangoOrigin(handler.get_response, is_async=False), True)


def django_middleware_async(folder: Path) -> Site:
    from django.core.handlers.asgi import ASGIHandler

    _django(folder)
    return Site(DjangoOrigin(ASGIHandler().get_response_async, is_async=True), True)


def django_wsgi_app(folder: Path, *, routes: bool = True) -> Any:
    from django.core.handlers.wsgi import WSGIHandler

    _django(folder, routes=routes)
    return WSGIHandler()


def _django(folder: Path, *, routes: bool = True) -> None:
    """Django with `static.serve`, as `urlpatterns += static(MEDIA_URL, ...)` makes it."""
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            SECRET_KEY="of the media tests", ALLOWED_HOSTS=["*"], USE_TZ=True, MIDDLEWARE=[]
        )
        django.setup()
    from django.test.utils import override_settings
    from django.urls import re_path
    from django.views.static import serve

    class Urls:
        urlpatterns = (
            [re_path(r"^media/(?P<path>.*)$", serve, {"document_root": str(folder)})]
            if routes
            else []
        )

    global _django_override
    if _django_override is not None:
        _django_override.disable()
    _django_override = override_settings(ROOT_URLCONF=Urls, MIDDLEWARE=[], ALLOWED_HOSTS=["*"])
    _django_override.enable()


_django_override: Any = None


def undo_django() -> None:
    """Give other tests their Django settings back."""
    global _django_override
    if _django_override is not None:
        _django_override.disable()
        _django_override = None


def fastapi_static(folder: Path) -> Site:
    from fastapi import FastAPI
    from starlette.staticfiles import StaticFiles

    app = FastAPI()
    app.mount("/media", StaticFiles(directory=folder))
    return Site(ASGIOrigin(app), True)


def starlette_with_middleware(folder: Path) -> Site:
    """GZip and a `BaseHTTPMiddleware` around the static route, as many sites have them."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    async def dispatch(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-passed"] = "1"
        return response

    app = Starlette(
        routes=[Mount("/media", StaticFiles(directory=folder))],
        middleware=[
            Middleware(GZipMiddleware),
            Middleware(BaseHTTPMiddleware, dispatch=dispatch),
        ],
    )
    return Site(ASGIOrigin(app), True)


def asgi_that_refuses_pathsend(folder: Path) -> Site:
    """A middleware that knows only the messages of its time."""
    inner = fastapi_static(folder).origin._app  # type: ignore[attr-defined]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def strict(message: Any) -> None:
            assert message["type"] in ("http.response.start", "http.response.body")
            await send(message)

        await inner(scope, receive, strict)

    return Site(ASGIOrigin(app), False)


def plain_generator(folder: Path) -> Site:
    """WSGI without any framework: a generator that starts its response late."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        path = folder / environ["PATH_INFO"].removeprefix(MEDIA_URL)
        if not path.is_file():
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            yield b"no"
            return
        headers = [("Content-Type", "video/mp4"), ("Content-Length", str(path.stat().st_size))]
        start_response("200 OK", headers)
        with open(path, "rb") as file:
            while chunk := file.read(10_007):
                yield chunk

    return Site(WSGIOrigin(app), False, knows_types=False)


def wsgi_write(folder: Path) -> Site:
    """WSGI's oldest habit: the `write` callable."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        path = folder / environ["PATH_INFO"].removeprefix(MEDIA_URL)
        if not path.is_file():
            start_response("404 Not Found", [])
            return [b"no"]
        write = start_response("200 OK", [("Content-Type", "video/mp4")])
        data = path.read_bytes()
        for start in range(0, len(data), 50_000):
            write(data[start : start + 50_000])
        return []

    return Site(WSGIOrigin(app), False, knows_types=False)


def plain_asgi_stream(folder: Path) -> Site:
    """ASGI without a framework, body in pieces, with an ETag (as Litestar and Quart do)."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = folder / scope["path"].removeprefix(MEDIA_URL)
        if not path.is_file():
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"no"})
            return
        status = os.stat(path)
        headers = [
            (b"content-type", b"video/mp4"),
            (b"content-length", str(status.st_size).encode()),
            (b"etag", f'"{status.st_mtime_ns:x}"'.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        with open(path, "rb") as file:
            while chunk := file.read(30_011):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return Site(ASGIOrigin(app), False, knows_types=False)


SITES: dict[str, Callable[[Path], Site]] = {
    site.__name__: site
    for site in (
        flask_static,
        flask_send_from_directory,
        bottle,
        whitenoise_around_flask,
        whitenoise_around_django,
        django_wsgi,
        django_asgi,
        django_middleware_sync,
        django_middleware_async,
        fastapi_static,
        starlette_with_middleware,
        asgi_that_refuses_pathsend,
        plain_generator,
        wsgi_write,
        plain_asgi_stream,
    )
}
