"""Which secret signs: the setting, else the framework's own, else one made once and kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from starlette.applications import Starlette

from p2pcdn import P2PCDN
from p2pcdn.coordinator import Admission, Verdict

pytestmark = pytest.mark.lengthy

CONTENT, PEER = "0123456789abcdef" * 2, "anna"


def signed_with(middleware: Any, secret: str | bytes, *, site: str) -> bool:
    """Whether the site's tokens are good for who knows `secret`."""
    token, _ = middleware.site.parts.hub.issue_token(CONTENT, PEER)
    secret = secret.encode() if isinstance(secret, str) else secret
    return Admission(secret, site).check(token, CONTENT, PEER) is Verdict.GOOD


def flask(folder: Path, key: str | bytes | None, **options: Any) -> Any:
    app = Flask("site")
    app.wsgi_app = P2PCDN(  # type: ignore[method-assign]
        app.wsgi_app, data_dir=str(folder), **options
    )
    app.secret_key = key  # as sites do, after the middleware
    return app.wsgi_app


def flask_extension(folder: Path, key: str | bytes | None, **options: Any) -> Any:
    app = Flask("site")
    P2PCDN(data_dir=str(folder), **options).init_app(app)
    app.config["SECRET_KEY"] = key
    return app.wsgi_app


FLASKS = pytest.mark.parametrize("make", [flask, flask_extension])


@FLASKS
def test_the_setting_goes_before_flasks_own_secret_key(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert signed_with(make(tmp_path, "flask's", secret="set"), "set", site="")
    monkeypatch.setenv("P2PCDN_SECRET", "of the environment")
    assert signed_with(make(tmp_path, "flask's"), "of the environment", site="")
    assert signed_with(make(tmp_path, "flask's", secret="set"), "set", site="")
    assert not (tmp_path / "secret").exists()


@FLASKS
@pytest.mark.parametrize("key", ["flask's", b"\xffflask's"])
def test_without_the_setting_it_is_flasks_own_secret_key(
    make: Callable[..., Any], key: str | bytes, tmp_path: Path
) -> None:
    assert signed_with(make(tmp_path, key), key, site=str(tmp_path))
    assert not (tmp_path / "secret").exists()


@FLASKS
@pytest.mark.parametrize("key", [None, "", b""])
def test_without_either_it_is_made_once_and_kept(
    make: Callable[..., Any], key: str | bytes | None, tmp_path: Path
) -> None:
    first = make(tmp_path, key)
    first.site.parts  # noqa: B018
    kept = (tmp_path / "secret").read_bytes()
    assert len(kept) == 32 and (tmp_path / "secret").stat().st_mode & 0o077 == 0
    assert signed_with(first, kept, site=str(tmp_path))
    # After a restart, and in the other server workers, it is the same one.
    assert signed_with(make(tmp_path, key), kept, site=str(tmp_path))
    assert not signed_with(make(tmp_path / "elsewhere", key), kept, site=str(tmp_path))


def test_an_app_of_no_such_framework_has_the_kept_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "django.conf", raising=False)  # in use by other tests
    app = P2PCDN(Starlette(), data_dir=str(tmp_path))
    app.site.parts  # noqa: B018
    assert signed_with(app, (tmp_path / "secret").read_bytes(), site=str(tmp_path))
    assert signed_with(P2PCDN(Starlette(), data_dir=str(tmp_path), secret="set"), "set", site="")


# Django's settings are of the process.
DJANGO = """
import sys
from pathlib import Path
from django.conf import settings
how, folder, key, secret = sys.argv[1:]
options = {"DATA_DIR": folder, **({"SECRET": secret} if secret else {})}
settings.configure(
    ROOT_URLCONF=__name__, P2PCDN=options, ALLOWED_HOSTS=["*"],
    **({"SECRET_KEY": key.encode() if how == "bytes" else key} if key != "-" else {}),
)
import django
django.setup()
urlpatterns = []
if how == "wrapped":
    from django.core.wsgi import get_wsgi_application
    from p2pcdn import P2PCDN
    middleware = P2PCDN(get_wsgi_application())
else:
    from django.http import HttpResponse
    from p2pcdn.django import P2PCDNMiddleware
    middleware = P2PCDNMiddleware(lambda request: HttpResponse())
from tests.test_secret import signed_with
middleware.site.parts
kept = Path(folder, "secret")
for name, one in (("setting", secret), ("django", key), ("kept", b"")):
    if name == "kept" and kept.exists():
        one = kept.read_bytes()
    if signed_with(middleware, one, site="" if secret else folder):
        print(name, kept.exists())
"""


@pytest.mark.parametrize("how", ["middleware", "wrapped", "bytes"])
@pytest.mark.parametrize(
    ("key", "secret", "used"),
    [
        ("django's", "set", "setting False"),
        ("django's", "", "django False"),
        ("", "", "kept True"),
        ("-", "", "kept True"),
    ],
)
def test_in_django_it_is_the_setting_else_its_secret_key_else_the_kept_one(
    how: str, key: str, secret: str, used: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DJANGO, how, str(tmp_path), key, secret],
        capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if name != "P2PCDN_SECRET"},
    )  # fmt: skip
    assert done.stdout.strip() == used, done.stderr
