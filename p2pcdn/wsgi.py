"""The WSGI adapter (PEP 3333): a thin shell around `page`, `media` and the mounted app."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from starlette.requests import HTTPConnection

from p2pcdn.config import Config
from p2pcdn.media.origin import WSGIOrigin
from p2pcdn.page.transform import inbound_environ
from p2pcdn.runtime import INTERNAL, Background, Site, none_of_ours
from p2pcdn.sockets.takeover import can_take_over, end, take_over
from p2pcdn.wsgi_bridge import answer, scope_of
from p2pcdn.wsgi_response import Environ, Response, StartResponse, StrHeaders, prefix

__all__ = ["WSGIMiddleware"]

_METHODS = frozenset({"GET", "HEAD"})
_AS_WRITTEN = frozenset({"Content-Type", "content-type"})
"""By nearly all apps, which spares them a copy in lower case."""


class WSGIMiddleware:
    """`P2PCDN(app)` for a WSGI app."""

    def __init__(
        self,
        app: Callable[..., Any],
        config: Config,
        *,
        secret: Callable[[], str | bytes | None] = lambda: None,
    ) -> None:
        self.app = app
        self.config = config
        self._enabled = config.enabled
        self.site = Site(config, WSGIOrigin(app), secret=secret)
        self._mounts = (config.mount, config.coordinator_path)
        self._undecided = True

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if INTERNAL in environ or not self._enabled:
            return self.app(environ, start_response)  # type: ignore[no-any-return]
        if self._undecided:
            self._undecided = False
            self.site.holds_sockets(can_take_over(environ))
        path = environ.get("PATH_INFO", "")
        if path.startswith(self._mounts) and self.site.owns(path):
            if environ.get("HTTP_UPGRADE") and self._take_over(environ, path):
                end()
            return answer(self.site, environ, start_response)
        if environ["REQUEST_METHOD"] not in _METHODS:
            return self.app(environ, start_response)  # type: ignore[no-any-return]
        # Nearly all responses are none of ours: one look at their type, in a closure, is all that
        # those pay. The rest get a `Response`.
        response: Response | None = None
        untouched = False

        def start(status: str, headers: StrHeaders, exc_info: Any = None) -> Callable[..., Any]:
            nonlocal response, untouched
            if exc_info is None:
                for name, value in headers:
                    if name in _AS_WRITTEN and value in none_of_ours:
                        untouched = True
                        return start_response(status, headers)  # type: ignore[no-any-return]
                    if len(name) == 12 and name.lower() == "content-type":
                        break
            elif untouched:
                return start_response(status, headers, exc_info)  # type: ignore[no-any-return]
            if response is None:
                response = Response(self.site, environ, start_response)
            return response.start(status, headers, exc_info)

        asked = environ
        if "HTTP_IF_NONE_MATCH" in environ or "HTTP_IF_MATCH" in environ:
            options = self.site.page_options(prefix(environ))
            if options is not None:
                asked = inbound_environ(environ, options)
        result = self.app(asked, start)
        if untouched:
            return result  # type: ignore[no-any-return]
        if response is None:  # a generator, which starts its response when it is asked for more
            response = Response(self.site, environ, start_response)
        untouched = response.untouched
        return result if untouched else response.body(result)

    def _take_over(self, environ: Environ, path: str) -> bool:
        """Serve a WebSocket of the coordinator on the server's own connection."""
        if path.removeprefix(self.config.coordinator_path) not in ("/peerjs", "/tracker"):
            return False
        return take_over(
            environ,
            HTTPConnection(scope_of(environ)),
            self.site.parts.hub,
            self.config,
            Background.here().loop,
        )
