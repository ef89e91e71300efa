"""Sites whose pages bring a library of npm's, unmodified, which talks to our coordinator."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.driver import BrowserMissing
from tests.browser.fixtures import missing
from tests.servers.process import Server
from tests.servers.python import Gunicorn, Uvicorn

__all__ = ["SERVERS", "library"]

MODULES = Path(__file__).parent / "node_modules"

SERVERS: dict[str, Callable[[dict[str, str]], Server]] = {
    # The ASGI server holds the sockets; two workers, so that visitors meet across them.
    "uvicorn": lambda env: Uvicorn(
        "tests.sites.guests:asgi", workers=2, arguments=["--factory"], env=env
    ),
    # We hold them, taken over from one sync worker that has to stay free.
    "gunicorn": lambda env: Gunicorn("tests.sites.guests:wsgi()", workers=1, env=env),
}


def library(path: str, folder: Path) -> None:
    """Put a file of an npm package into a site's folder."""
    source = MODULES / path
    if not source.exists():
        missing(BrowserMissing(f"{path} is missing: npm ci --prefix tests/browser"))
    shutil.copy(source, folder)


@pytest.fixture(params=SERVERS)
def guest_site(request: pytest.FixtureRequest, run: Callable[[Any], Any]) -> Callable[[Path], str]:
    """`guest_site(folder)`: the URL of a site that serves this folder."""

    def guest_site(folder: Path, **settings: str) -> str:
        env = {f"P2PCDN_{name.upper()}": value for name, value in settings.items()}
        server = run(lambda: SERVERS[request.param]({"SITE_FOLDER": str(folder), **env}))
        return f"http://localhost:{server.port}"

    return guest_site
