"""`P2PCDN(app)`: which adapter an app gets, and whose settings count."""

from __future__ import annotations

import functools
import inspect
import subprocess
import sys
from typing import Any

import pytest
from flask import Flask
from starlette.applications import Starlette

from p2pcdn import P2PCDN, ConfigError, P2PCDNError
from p2pcdn.runtime import Site
from p2pcdn.wsgi import WSGIMiddleware


async def asgi(scope: Any, receive: Any, send: Any) -> None: ...


def wsgi(environ: Any, start_response: Any) -> Any: ...


class OldASGI:
    """An ASGI 2 app: called twice."""

    def __init__(self, scope: Any) -> None: ...

    async def __call__(self, receive: Any, send: Any) -> None: ...


class Returns:
    """An ASGI app whose `__call__` is no coroutine function."""

    def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        return asgi(scope, receive, send)


@pytest.mark.parametrize(
    "app",
    [
        asgi,
        functools.partial(asgi),
        Starlette(),
        OldASGI,
        Returns(),
        P2PCDN(asgi),
    ],
)
def test_an_asgi_app_becomes_what_every_server_takes_for_one(app: Any) -> None:
    """Servers ask whether it is a coroutine function; of an object, whether its `__call__` is."""
    made = P2PCDN(app)
    assert made is not app
    assert isinstance(made.site, Site)
    assert made.site is not getattr(app, "site", None)
    assert inspect.iscoroutinefunction(made)


@pytest.mark.parametrize("app", [wsgi, Flask("site"), Flask("site").wsgi_app, P2PCDN(wsgi)])
def test_every_kind_of_wsgi_app_is_told_apart(app: Any) -> None:
    assert type(P2PCDN(app)) is WSGIMiddleware


def test_what_is_no_app_is_refused_by_name() -> None:
    with pytest.raises(P2PCDNError, match="'app'"):
        P2PCDN("app")


def test_a_wrong_keyword_is_an_error_where_it_is_written() -> None:
    for make in (lambda: P2PCDN(asgi, hub=True), lambda: P2PCDN(hub=True)):
        with pytest.raises(ConfigError, match="hub"):
            make()


def test_flask_settings_count_however_p2pcdn_came_in() -> None:
    for habit in ("wrap", "init_app"):
        app = Flask("site")
        app.config["P2PCDN_MOUNT"] = "/share"
        if habit == "wrap":
            app.wsgi_app = P2PCDN(app.wsgi_app)  # type: ignore[method-assign]
        else:
            P2PCDN().init_app(app)
        assert app.wsgi_app.config.mount == "/share"  # type: ignore[attr-defined]


DJANGO = """
from django.conf import settings
settings.configure(SECRET_KEY="s", ROOT_URLCONF=__name__, P2PCDN={"MOUNT": "/share"})
import django
django.setup()
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from p2pcdn import P2PCDN
urlpatterns = []
for make in (get_asgi_application, get_wsgi_application):
    print(P2PCDN(make()).config.mount)
"""


def test_django_settings_count_when_the_whole_application_is_wrapped() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DJANGO], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["/share", "/share"], done.stderr
