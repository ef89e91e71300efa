"""A site whose pages each have one thing wrong with them.

For `uvicorn tests.doctor.site:make --factory`. Headers are set by the app itself, inside of
p2pcdn, unless a test puts nginx in front.
"""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from p2pcdn import P2PCDN
from tests.sites.media import folder

_FILM = '<video src="/media/one.mp4" controls></video>'
_PAGE = "<!DOCTYPE html><html><head><title>A page</title>%s</head><body>%s</body></html>"

# path -> (in the head, in the body, headers)
PAGES: dict[str, tuple[str, str, dict[str, str]]] = {
    "good": ("", _FILM, {}),
    "br": ("", _FILM, {"Content-Encoding": "br"}),
    "no-transform": ("", _FILM, {"Cache-Control": "no-transform"}),
    "utf-16": ("", _FILM, {"Content-Type": "text/html; charset=utf-16"}),
    "json": ("", _FILM, {"Content-Type": "application/json"}),
    "download": ("", _FILM, {"Content-Disposition": "attachment"}),
    "handed-over": ("", _FILM, {"X-Accel-Redirect": "/pages/one.html"}),
    "policy": ("", _FILM, {"Content-Security-Policy": "script-src 'none'; worker-src 'self'"}),
    "policy-connect": ("", _FILM, {"Content-Security-Policy": "connect-src 'none'"}),
    "policy-meta": (
        '<meta http-equiv="Content-Security-Policy" content="worker-src \'none\'">',
        _FILM,
        {},
    ),
    "doubtful": ("", f"<!-- never closed {_FILM}", {}),
    "misnested": ("", f"<math><mi><table></mi></math>{_FILM}", {}),
    "unclosed": ("", '<video src="/media/one.mp4"><p>No end.', {}),
    "left": ("", f'{_FILM}<video src="/private/two.mp4"></video>', {}),
    "other-host": ("", f'{_FILM}<video src="https://cdn.example/a.mp4"></video>', {}),
    "blob": ("", f'{_FILM}<video src="blob:nothing"></video><video></video>', {}),
    "off": ("", f'{_FILM}<video data-p2p="off" src="/media/two.mp4"></video>', {}),
    "none": ("", "<p>No film today.</p>", {}),
    "cached": ("", _FILM, {"Age": "300"}),
    "protected": ("", '<video src="/members/one.mp4"></video>', {}),
    "gone": ("", '<video src="/media/gone.mp4"></video>', {}),
    "broken": ("", '<video src="/broken.mp4"></video>', {}),
    "notes": ("", '<video src="/notes"></video>', {}),
}


async def _page(request: Request) -> Response:
    name = request.path_params["name"]
    if name == "fragment":
        return Response(f"<div>{_FILM}</div>", media_type="text/html")
    if name == "moved":
        return RedirectResponse("/page/good")
    if name not in PAGES:
        return Response("no such page", 404)
    head, body, headers = PAGES[name]
    return Response(_PAGE % (head, body), headers={"Content-Type": "text/html", **headers})


async def _members(request: Request) -> Response:
    if "cookie" not in request.headers:
        return Response("who are you?", 401)
    return FileResponse(f"{folder()}/one.mp4")


def make() -> ASGIApp:
    """The site; settings come from the environment."""
    media = os.environ.get("SITE_MEDIA") or str(folder())
    site = Starlette(
        routes=[
            Route("/", lambda request: Response("home")),
            Mount("/media", StaticFiles(directory=media)),
            Mount("/private", StaticFiles(directory=media)),
            Route("/members/one.mp4", _members),
            Route("/broken.mp4", lambda request: Response("oh", 500)),
            Route("/notes", lambda request: Response("a note", media_type="text/plain")),
            Route("/page/{name}", _page),
        ]
    )
    return P2PCDN(site, exclude=["/private/*"])  # type: ignore[no-any-return]
