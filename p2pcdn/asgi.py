"""The ASGI adapter: a thin shell around `page`, `media` and the mounted app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from p2pcdn.asgi_response import Response
from p2pcdn.config import Config
from p2pcdn.media.origin import ASGIOrigin
from p2pcdn.page.transform import inbound_headers
from p2pcdn.runtime import INTERNAL, Site, local_path, none_of_ours

__all__ = ["ASGIMiddleware", "asgi_middleware"]

_METHODS = frozenset({"GET", "HEAD"})
_CONDITIONAL = frozenset({b"if-none-match", b"if-match"})


def _is_conditional(scope: Scope) -> bool:
    """Whether the request names an ETag, which may be one of ours."""
    for name, _ in scope["headers"]:  # noqa: SIM110 - `any` takes twice the time
        if name in _CONDITIONAL:
            return True
    return False


def _ended(forward: Send | Response) -> None:
    """The app returned, or was cancelled because the visitor left."""
    if type(forward) is Response and forward.sent >= 0:
        forward.ended()


_Request = tuple[Scope, str, str]
"""As it came, for routers change a scope as they hand it on: its root, and the path below."""


class ASGIMiddleware(Protocol):
    """`P2PCDN(app)` for an ASGI app: a coroutine function, as servers like an app best."""

    app: ASGIApp
    config: Config
    site: Site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


def asgi_middleware(
    app: ASGIApp,
    config: Config,
    *,
    secret: Callable[[], str | bytes | None] = lambda: None,
) -> ASGIMiddleware:
    """Wrap `app`. Lifespan and foreign WebSockets pass untouched.

    As with every app that is a function, Starlette's `Route` would take it for an endpoint that
    is handed a request; `Mount` takes it for an app.
    """
    origin = ASGIOrigin(app)
    site = Site(config, origin, secret=secret)
    site.holds_sockets(True)
    rest = _Rest(app, config, origin, site)
    mount, coordinator = config.mount, config.coordinator_path
    usual = config.enabled and not rest.own_root

    # A function and not an object with `__call__`, and as few variables shared with the inner one
    # as can be: a JSON response of some microseconds notices either (docs/benchmarks.md).
    async def p2pcdn(scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope
        undecided: Scope | _Request | None = scope
        try:
            method, root, path = scope["method"], scope["root_path"], scope["path"]
        except KeyError:  # no request, or its root path is left out, as is allowed
            method = root = path = ""
        if (
            method != "GET"
            or root
            or mount in path
            or coordinator in path
            or not usual
            or (site.tags_pages and _is_conditional(scope))
        ):
            found = rest(scope, receive, send)
            if not isinstance(found, tuple):
                await found
                return
            asked, undecided = found
        # Nearly all responses are none of ours: one look at their type, in a closure, is all that
        # those pay. The rest get a `Response`, if they do not belong to a question of our own.
        forward = send

        def respond(message: Message) -> Awaitable[None]:
            nonlocal undecided, forward
            request = undecided
            if request is None:
                return forward(message)
            try:
                headers, status = message["headers"], message["status"]
            except KeyError:  # not the start, or one without headers
                headers, status = None, 0
            # The specification allows an iterator, which could be read only once.
            if status != 304 and type(headers) is list:
                for name, value in headers:
                    if name == b"content-type" and value in none_of_ours:
                        undecided = None
                        return forward(message)
                    if len(name) == 12 and name.lower() == b"content-type":
                        break
            forward = rest.judge(request, path, forward)
            undecided = None
            return forward(message)

        try:
            await app(asked, receive, respond)
        finally:
            if forward is not send:
                _ended(forward)

    made = cast(ASGIMiddleware, p2pcdn)
    made.app, made.config, made.site = app, config, site
    return made


class _Rest:
    """What the usual request, a GET of a site at the root of its server, need not wait for."""

    def __init__(self, app: ASGIApp, config: Config, origin: ASGIOrigin, site: Site) -> None:
        self._app = app
        self._enabled = config.enabled
        self._origin = origin
        self._site = site
        # FastAPI tells its `root_path` only to what is inside of it.
        own = getattr(app, "root_path", "")
        self.own_root = own if isinstance(own, str) else ""

    def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None] | tuple[Scope, _Request]:
        """What is to be waited for; or what the app is asked, and what its visitor did."""
        kind = scope["type"]
        if (kind != "http" and kind != "websocket") or not self._enabled:
            if kind == "lifespan" and self._enabled:
                send = self._until_shutdown(send)
            return self._app(scope, receive, send)
        root = scope.get("root_path", "")
        if self.own_root and not root:
            root = self.own_root
            scope = {**scope, "root_path": root}
        path = local_path(scope) if root else scope["path"]
        if self._is_ours(scope, path):
            self._remember_state(scope)
            return self._site.web(scope, receive, send)
        if kind == "websocket" or scope["method"] not in _METHODS:
            return self._app(scope, receive, send)
        asked = self._inbound(scope) if _is_conditional(scope) else scope
        return asked, (scope, root, path)

    def _is_ours(self, scope: Scope, path: str) -> bool:
        """Whether one of the mounted endpoints is asked, and not by ourselves."""
        return INTERNAL not in scope and self._site.owns(path)

    def judge(self, asked: Scope | _Request, path: str, send: Send) -> Send | Response:
        """The `send` for a response that may concern us."""
        scope, root, path = asked if isinstance(asked, tuple) else (asked, "", path)
        if INTERNAL in scope:
            return send
        self._remember_state(scope)
        return Response(self._site, scope, root, path, send)

    def _remember_state(self, scope: Scope) -> None:
        """Keep what the app's lifespan made for its requests: ours to the app need it as well."""
        if self._origin.state is None:
            self._origin.state = scope.get("state")

    def _until_shutdown(self, send: Send) -> Send:
        """The `send` of an app's lifespan: when it has shut down, so do we.

        An app without lifespan is left as it is: to answer in its place would hide from the
        server that it failed to start. Its process ends, and its sockets with it.
        """

        async def forward(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown"):
                await self._site.close()
            await send(message)

        return forward

    def _inbound(self, scope: Scope) -> Scope:
        """The scope for the app: our suffix is off the ETags that it compares."""
        options = self._site.page_options(scope.get("root_path", ""))
        if options is None:
            return scope
        return {**scope, "headers": inbound_headers(scope["headers"], options)}
