"""`GET {mount}/dashboard`: one self-contained page that draws what `{mount}/stats` answers."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from p2pcdn.config import Config
from p2pcdn.stats.causes import CAUSES, DIRECT
from p2pcdn.web.access import Guard

__all__ = ["page", "routes"]

_FOLDER = Path(__file__).parent / "dashboard_page"
_SCRIPTS = ("words.js", "charts.js", "swarm.js", "app.js")


def routes(config: Config) -> list[BaseRoute]:
    """The route `/dashboard` below the mount. Off without `stats_token`, on in `debug`.

    The page has no data in it; without the right token it is served too (as 401) and asks
    for the token.
    """
    guard = Guard(config)

    async def dashboard(request: Request) -> Response:
        refused = guard.check(request)
        if refused is not None and refused.status_code != 401:
            return refused
        html, policy = page()
        return HTMLResponse(
            html,
            status_code=200 if refused is None else 401,
            headers={
                "Content-Security-Policy": policy,
                "Cache-Control": "no-store, no-transform",  # no-transform: not ours to rewrite
                "Referrer-Policy": "no-referrer",  # the address may have the token in it
                "X-Content-Type-Options": "nosniff",
                "X-Robots-Tag": "noindex",
                "Cross-Origin-Opener-Policy": "same-origin",
            },
        )

    return [Route("/dashboard", dashboard, methods=["GET"])]


@functools.cache
def page() -> tuple[str, str]:
    """The page, put together, and the Content-Security-Policy that allows just it."""
    style = _read("style.css")
    # One scope for all, closed to the page.
    script = '"use strict";(()=>{\n' + "\n".join(_read(name) for name in _SCRIPTS) + "\n})();"
    words = json.dumps({"causes": CAUSES, "direct": DIRECT}).replace("<", "\\u003c")
    html = (
        _read("index.html")
        .replace("/*style*/", style)
        .replace("/*words*/", words)
        .replace("/*script*/", script)
    )
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return html, policy


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
