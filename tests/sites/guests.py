"""A site that serves a folder (`SITE_FOLDER`) and brings its own peer-to-peer library, which
uses p2pcdn's coordinator: as a WSGI app and as an ASGI app."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles


def wsgi() -> Flask:
    from p2pcdn import P2PCDN

    app = Flask(__name__, static_folder=os.environ["SITE_FOLDER"], static_url_path="/")
    app.wsgi_app = P2PCDN(app.wsgi_app)  # type: ignore[method-assign]
    return app


def asgi() -> Any:
    from p2pcdn import P2PCDN

    files = StaticFiles(directory=os.environ["SITE_FOLDER"], follow_symlink=True)
    return P2PCDN(Starlette(routes=[Mount("/", files)]))
