"""The ASGI adapter: a thin shell around `page`, `media` and the mounted app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from p2pcdn.asgi_response import Response
from p2pcdn.config import Config
from p2pcdn.media.origin import ASGIOrigin
from p2pcdn.page.transform import inbound_headers
from p2pcdn.runtime import INTERNAL, Site, local_path, none_of_ours

__all__ = ["ASGIMiddleware"]

_METHODS = frozenset({"GET", "HEAD"})
_CONDITIONAL = frozenset({b"if-none-match", b"if-match"})


class ASGIMiddleware:
    """`P2PCDN(app)` for an ASGI app. Lifespan and foreign WebSockets pass untouched."""

    def __init__(
        self,
        app: ASGIApp,
        config: Config,
        *,
        secret: Callable[[], str | bytes | None] = lambda: None,
    ) -> None:
        self.app = app
        self.config = config
        self._enabled = config.enabled
        self._origin = ASGIOrigin(app)
        self.site = Site(config, self._origin, secret=secret)
        self.site.holds_sockets(True)
        self._mount = config.mount
        self._coordinator = config.coordinator_path
        # FastAPI tells its `root_path` only to what is inside of it.
        own = getattr(app, "root_path", "")
        self._own_root = own if isinstance(own, str) else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if (kind != "http" and kind != "websocket") or not self._enabled:
            if kind == "lifespan" and self._enabled:
                send = self._until_shutdown(send)
            await self.app(scope, receive, send)
            return
        # Now: routers change the scope as they hand it on.
        root = scope.get("root_path", "")
        if self._own_root and not root:
            root = self._own_root
            scope = {**scope, "root_path": root}
        path = local_path(scope) if root else scope["path"]
        if (self._mount in path or self._coordinator in path) and self._is_ours(scope, path):
            self._remember_state(scope)
            await self.site.web(scope, receive, send)
            return
        if kind == "websocket" or scope["method"] not in _METHODS:
            await self.app(scope, receive, send)
            return
        # Nearly all responses are none of ours: one look at their type, in a closure, is all that
        # those pay. The rest get a `Response`, if they do not belong to a question of our own.
        forward: Send | Response | None = None

        def respond(message: Message) -> Awaitable[None]:
            nonlocal forward
            if forward is not None:
                return forward(message)
            headers = message.get("headers")
            # The specification allows an iterator, which could be read only once.
            if type(headers) is list and message.get("status", 304) != 304:
                for name, value in headers:
                    if name == b"content-type" and value in none_of_ours:
                        forward = send
                        return send(message)
                    if len(name) == 12 and name.lower() == b"content-type":
                        break
            forward = self._judge(scope, root, path, send)
            return forward(message)

        asked = scope
        for name, _ in scope["headers"]:
            if name in _CONDITIONAL:
                asked = self._inbound(scope)
                break
        try:
            await self.app(asked, receive, respond)
        finally:
            if type(forward) is Response and forward.sent >= 0:
                forward.ended()

    def _is_ours(self, scope: Scope, path: str) -> bool:
        """Whether one of the mounted endpoints is asked, and not by ourselves."""
        return INTERNAL not in scope and self.site.owns(path)

    def _judge(self, scope: Scope, root: str, path: str, send: Send) -> Send | Response:
        """The `send` for a response that may concern us."""
        if INTERNAL in scope:
            return send
        self._remember_state(scope)
        return Response(self.site, scope, root, path, send)

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
                await self.site.close()
            await send(message)

        return forward

    def _inbound(self, scope: Scope) -> Scope:
        """The scope for the app: our suffix is off the ETags that it compares."""
        options = self.site.page_options(scope.get("root_path", ""))
        if options is None:
            return scope
        return {**scope, "headers": inbound_headers(scope["headers"], options)}
