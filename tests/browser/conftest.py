"""Sites to watch videos on, with a counting proxy in front."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.driver import Visitor
from tests.browser.eyes import EYES, Watch, tap, warm
from tests.browser.fixtures import missing
from tests.servers.nginx import Nginx
from tests.servers.process import Missing, Server
from tests.servers.proxy import Proxy
from tests.servers.python import Gunicorn, Uvicorn, Werkzeug

# The worker of a first visit is given all the time that a busy test machine needs.
ENV = {"P2PCDN_STARTUP_WAIT": "10"}

SITES: dict[str, Callable[..., Server]] = {
    "flask-gunicorn-4": lambda env: Gunicorn("tests.sites.flask_app:wrapped()", env=env),
    "flask-gunicorn-gthread": lambda env: Gunicorn(
        "tests.sites.flask_app:initialised()",
        workers=2,
        worker_class="gthread",
        threads=4,
        env=env,
    ),
    "flask-development": lambda env: Werkzeug("tests.sites.flask_app:wrapped", env=env),
    "django-gunicorn-4": lambda env: Gunicorn("tests.sites.django_site.wsgi:application", env=env),
    "django-uvicorn": lambda env: Uvicorn("tests.sites.django_site.asgi:application", env=env),
    "fastapi-uvicorn-2": lambda env: Uvicorn(
        "tests.sites.asgi_app:fastapi", workers=2, arguments=["--factory"], env=env
    ),
    "starlette-uvicorn": lambda env: Uvicorn(
        "tests.sites.asgi_app:starlette", arguments=["--factory"], env=env
    ),
    # Behind nginx, under /videos.
    "starlette-nginx": lambda env: Uvicorn(
        "tests.sites.asgi_app:starlette",
        arguments=["--factory", "--root-path", "/videos"],
        env=env,
    ),
    "flask-nginx": lambda env: Gunicorn(
        "tests.sites.flask_app:wrapped()", env={**env, "SCRIPT_NAME": "/videos"}
    ),
    # The same, behind an nginx that passes no upgrades on.
    "flask-no-upgrades-nginx": lambda env: Gunicorn(
        "tests.sites.flask_app:wrapped()", workers=2, env={**env, "SCRIPT_NAME": "/videos"}
    ),
}
PREFIX = "/videos"


def front(stack: contextlib.ExitStack, name: str, env: dict[str, str]) -> str:
    """Start a site by its name; returns the URL that visitors would use."""
    server = stack.enter_context(SITES[name]({**ENV, **env}))
    if not name.endswith("-nginx"):
        return server.url
    # uvicorn adds its root path by itself; gunicorn wants to see the whole path.
    strip = name.startswith("starlette")
    websockets = "no-upgrades" not in name
    nginx = stack.enter_context(
        Nginx(server.url, prefix=PREFIX, strip=strip, websockets=websockets)
    )
    return nginx.url


@pytest.fixture(scope="module")
def standing() -> Iterator[Callable[..., str]]:
    """`standing(name, **settings)`: a site that all tests of a module share."""
    running: dict[Any, str] = {}
    with contextlib.ExitStack() as stack:

        def standing(name: str, **settings: str) -> str:
            key = (name, *sorted(settings.items()))
            if key not in running:
                env = {f"P2PCDN_{k.upper()}": v for k, v in settings.items()}
                try:
                    running[key] = front(stack, name, env)
                except Missing as error:
                    missing(error)
            return running[key]

        yield standing


@pytest.fixture
def site(standing: Callable[..., str], run: Callable[..., Any]) -> Callable[..., Proxy]:
    """`site(name, warm=(page, clip), **settings)`: the proxy in front of a site, for one test."""

    def site(
        name: str = "flask-gunicorn-4",
        *,
        ready: tuple[str, str] | None = ("watch/one", "one.mp4"),
        **settings: str,
    ) -> Proxy:
        upstream = standing(name, **settings)
        proxy: Proxy = run(lambda: Proxy(upstream))
        if ready is not None:
            warm(proxy, *ready)
        tap(proxy)
        return proxy

    return site


@pytest.fixture
def watch(visit: Callable[..., Visitor]) -> Callable[..., Watch]:
    """`watch(proxy, kind, scripts=(), **options)`: a visitor with witnesses."""

    def watch(
        proxy: Proxy,
        kind: str = "chromium",
        *,
        scripts: tuple[str, ...] = (),
        player: str = "player",
        **options: Any,
    ) -> Watch:
        extra = () if kind == "webkit" else (*scripts, EYES)
        if extra:
            options["scripts"] = extra
        return Watch(visit(kind, **options), proxy, player)

    return watch
