"""A Starlette and a FastAPI site."""

from __future__ import annotations

import os

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from tests.sites.media import folder
from tests.sites.pages import OWN_WORKER, page


def _media() -> str:
    return os.environ.get("SITE_MEDIA") or str(folder())


async def _show(request: Request) -> Response:
    root = request.scope.get("root_path", "") + "/"
    found = page(request.path_params.get("name", ""), root=root, media=root + "media/")
    if found is None:
        return Response("no such page", status_code=404)
    html, headers = found
    return HTMLResponse(html, headers=headers)


async def _worker(request: Request) -> Response:
    return Response(OWN_WORKER, media_type="text/javascript")


async def _echo(channel: WebSocket) -> None:
    """The site's own WebSocket, which must go on working beside ours."""
    await channel.accept()
    while (message := await channel.receive())["type"] == "websocket.receive":
        if message.get("text") is not None:
            await channel.send_text(message["text"])
        else:
            await channel.send_bytes(message["bytes"])


def starlette_site() -> Starlette:
    return Starlette(
        routes=[
            Mount("/media", StaticFiles(directory=_media())),
            WebSocketRoute("/echo", _echo),
            Route("/sw.js", _worker),
            Route("/", _show),
            Route("/{name:path}", _show),
        ]
    )


def plain() -> ASGIApp:
    """The Starlette site without p2pcdn."""
    return starlette_site()


def starlette() -> ASGIApp:
    """Starlette, wrapped."""
    from p2pcdn import P2PCDN

    return P2PCDN(starlette_site())  # type: ignore[no-any-return]


def fastapi() -> FastAPI:
    """FastAPI, through `add_middleware`."""
    from p2pcdn import P2PCDN

    app = FastAPI()
    app.add_middleware(P2PCDN)
    app.mount("/media", StaticFiles(directory=_media()))
    app.add_route("/sw.js", _worker)
    app.add_route("/", _show)
    app.add_route("/{name:path}", _show)
    return app
