"""Flask's habit: `P2PCDN().init_app(app)`, options in `app.config["P2PCDN_..."]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from p2pcdn.config import Config
from p2pcdn.middleware import P2PCDN

__all__ = ["FlaskExtension"]


class FlaskExtension:
    """What `P2PCDN()` without an app returns."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        Config.load(self._options)  # a wrong keyword is an error here, not at the first request

    def init_app(self, app: Any) -> None:
        """Wrap `app.wsgi_app`; the settings are read from `app.config` now."""
        app.wsgi_app = P2PCDN(app.wsgi_app, **self._options)
        app.extensions["p2pcdn"] = app.wsgi_app
