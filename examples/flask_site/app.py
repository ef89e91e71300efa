"""Halflight, a small library of short films: an ordinary Flask site with one line added.

flask --app examples/flask_site/app run
gunicorn --chdir examples/flask_site --workers 4 app:app
"""

from __future__ import annotations

from films import BY_SLUG, FILMS, media_path
from flask import Flask, abort, render_template, send_file
from flask.typing import ResponseReturnValue

from p2pcdn import P2PCDN

app = Flask(__name__)
app.wsgi_app = P2PCDN(app.wsgi_app)


@app.get("/")
def index() -> str:
    return render_template("index.html", lead=FILMS[0], films=FILMS)


@app.get("/watch/<slug>")
def watch(slug: str) -> str:
    film = BY_SLUG.get(slug) or abort(404)
    return render_template("watch.html", film=film, related=[f for f in FILMS if f is not film])


@app.get("/about")
def about() -> str:
    return render_template("about.html")


@app.get("/media/<name>")
def media(name: str) -> ResponseReturnValue:
    path = media_path(name) or abort(404)
    return send_file(path, conditional=True, max_age=3600)


@app.errorhandler(404)
def not_found(error: Exception) -> ResponseReturnValue:
    return render_template("404.html"), 404
