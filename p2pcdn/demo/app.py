"""The demo as a Starlette app: pages, films with Range, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from p2pcdn.demo import pages
from p2pcdn.demo.library import Film

__all__ = ["build"]

_HERE = Path(__file__).parent


def build(films: Sequence[Film]) -> Starlette:
    """A site that shows `films`; it knows nothing of p2pcdn."""
    by_slug = {film.slug: film for film in films}

    def find(request: Request) -> Film:
        film = by_slug.get(request.path_params["slug"])
        if film is None:
            raise HTTPException(404)
        return film

    async def index(request: Request) -> Response:
        return HTMLResponse(pages.index(films, root=_root(request)))

    async def watch(request: Request) -> Response:
        film = find(request)
        others = [other for other in films if other is not film]
        return HTMLResponse(pages.watch(film, others, root=_root(request)))

    async def media(request: Request) -> Response:
        film = find(request)
        if film.file.suffix.lower() != f".{request.path_params['suffix']}":
            raise HTTPException(404)
        return FileResponse(film.file, media_type=film.type)

    async def poster(request: Request) -> Response:
        picture = find(request).poster
        if picture is None:
            raise HTTPException(404)
        return FileResponse(picture, media_type="image/jpeg")

    async def asset(request: Request) -> Response:
        return FileResponse(_HERE / request.url.path.rpartition("/")[2])

    async def not_found(request: Request, error: Exception) -> Response:
        return HTMLResponse(pages.not_found(root=_root(request)), 404)

    return Starlette(
        routes=[
            Route("/", index),
            Route("/watch/{slug}", watch),
            Route("/media/{slug}.{suffix}", media),
            Route("/poster/{slug}", poster),
            Route("/style.css", asset),
            Route("/icon.svg", asset),
        ],
        exception_handlers={404: not_found},
    )


def _root(request: Request) -> str:
    return escape(str(request.scope.get("root_path", "")).rstrip("/"))
