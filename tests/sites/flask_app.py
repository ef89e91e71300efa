"""A Flask site; `app` takes p2pcdn by wrapping `wsgi_app`, `create()` by `init_app`."""

from __future__ import annotations

import os

from flask import Flask, Response, abort, request, send_from_directory

from tests.sites.media import folder
from tests.sites.pages import OWN_WORKER, page


def site() -> Flask:
    app = Flask(__name__, static_folder=None)
    media = os.environ.get("SITE_MEDIA") or str(folder())

    @app.get("/media/<path:name>")
    def video(name: str) -> Response:
        return send_from_directory(media, name, conditional=True)

    @app.get("/sw.js")
    def worker() -> Response:
        return Response(OWN_WORKER, mimetype="text/javascript")

    @app.get("/")
    @app.get("/<path:name>")
    def show(name: str = "") -> Response:
        root = request.script_root + "/"
        found = page(name, root=root, media=root + "media/")
        if found is None:
            abort(404)
        html, headers = found
        return Response(html, headers=headers)

    return app


def plain() -> Flask:
    """The site without p2pcdn."""
    return site()


def wrapped() -> Flask:
    from p2pcdn import P2PCDN

    app = site()
    app.wsgi_app = P2PCDN(app.wsgi_app)  # type: ignore[method-assign]
    return app


def initialised() -> Flask:
    from p2pcdn import P2PCDN

    app = site()
    app.config["P2PCDN_INCLUDE"] = ["/media/*"]
    P2PCDN().init_app(app)
    return app
