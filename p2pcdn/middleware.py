"""`P2PCDN`: one name for every kind of app, that becomes the adapter which fits."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from asgiref.compatibility import guarantee_single_callable, is_double_callable

from p2pcdn.config import Config
from p2pcdn.errors import P2PCDNError

__all__ = ["P2PCDN", "django_secret"]


class P2PCDN:
    """Middleware that lets a site's videos travel from visitor to visitor.

    `P2PCDN(app)` returns an ASGI app for an ASGI app and a WSGI app for a WSGI app.
    `P2PCDN()` returns a Flask extension with `init_app`.

    Args:
        app: The app to wrap; a framework's app object or a bare callable.
        **options: Any field of `p2pcdn.Config`.

    Raises:
        ConfigError: An unknown option, or a value that is not allowed.
        P2PCDNError: `app` is neither an ASGI nor a WSGI app.
    """

    def __new__(cls, app: Any = None, /, **options: Any) -> Any:
        if app is None:
            app = options.pop("app", None)  # Starlette hands it over by keyword
        if app is None:
            from p2pcdn.flask import FlaskExtension

            return FlaskExtension(options)
        if _is_asgi(app):
            from p2pcdn.asgi import asgi_middleware

            app = guarantee_single_callable(app)  # type: ignore[no-untyped-call]
            return asgi_middleware(app, _load(options, app), secret=_secret_of(app))
        if callable(app):
            from p2pcdn.wsgi import WSGIMiddleware

            return WSGIMiddleware(app, _load(options, app), secret=_secret_of(app))
        raise P2PCDNError(f"P2PCDN wraps an ASGI or WSGI app, not {app!r}")


def _load(options: Mapping[str, Any], app: Any) -> Config:
    flask = _flask_of(app)
    if flask is None and type(app).__module__.startswith("django."):
        from django.conf import settings

        found = getattr(settings, "P2PCDN", {})
        return Config.load(options, framework=found, framework_name="settings.P2PCDN")
    if flask is None:
        return Config.load(options)
    found = {name: value for name, value in flask.config.items() if str(name).startswith("P2PCDN_")}
    return Config.load(options, framework=found, framework_name="app.config")


def _flask_of(app: Any) -> Any:
    """The Flask object behind `app.wsgi_app`, where there is one: its config counts too."""
    owner = getattr(app, "__self__", app)
    if hasattr(owner, "wsgi_app") and isinstance(getattr(owner, "config", None), Mapping):
        return owner
    return None


def _secret_of(app: Any) -> Callable[[], str | bytes | None]:
    def secret() -> str | bytes | None:
        flask = _flask_of(app)
        found = getattr(flask, "secret_key", None) if flask is not None else django_secret()
        return found if isinstance(found, (str, bytes)) else None

    return secret


def django_secret() -> str | bytes | None:
    """Django's secret key where Django is in use in this process."""
    conf = sys.modules.get("django.conf")
    if conf is None or not conf.settings.configured:
        return None
    from django.core.exceptions import ImproperlyConfigured

    try:
        found = conf.settings.SECRET_KEY
    except (AttributeError, ImproperlyConfigured):
        return None  # a site that signs nothing needs none, and Django lets it run
    return found if isinstance(found, (str, bytes)) else None


def _is_asgi(app: Any) -> bool:
    while isinstance(app, functools.partial):
        app = app.func
    if inspect.iscoroutinefunction(app):
        return True
    if not inspect.isclass(app) and inspect.iscoroutinefunction(type(app).__call__):
        return True
    if inspect.isclass(app):
        double = is_double_callable(app)  # type: ignore[no-untyped-call]
        return bool(double) and _positional(app) == 1
    return _positional(app) == 3


def _positional(app: Any) -> int:
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return 0
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(1 for p in parameters if p.kind in kinds and p.default is p.empty)
