"""The STUN and TURN servers that browsers are told of, and short-lived TURN credentials.

What lasts stands in the loader's own file. Credentials made from `turn_secret` run out, so they
travel with each manifest, and over `GET {mount}/ice` to pages that use PeerJS themselves.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from p2pcdn.config import Config
from p2pcdn.config_checks import needs_secret
from p2pcdn.web.access import client_address
from p2pcdn.web.manifest import PEER_CHARS, PEER_ID, RateLimit

__all__ = ["DEFAULT_SERVERS", "LIFETIME_S", "Ice", "turn_credentials"]

DEFAULT_SERVERS: tuple[Mapping[str, Any], ...] = (
    {"urls": ["stun:stun.l.google.com:19302", "stun:stun.cloudflare.com:3478"]},
)
"""Two companies' public STUN servers, so that neither's failure is ours. Browsers warn that more
than a few slow the gathering of candidates down."""

LIFETIME_S = 2 * 3600
"""Twice as long as a manifest's token: a page asks again before the credentials run out."""

_NO_STORE = {"Cache-Control": "no-store"}


def turn_credentials(secret: str, name: str, *, expires: int) -> tuple[str, str]:
    """Username and password of draft-uberti-behave-turn-rest-00, section 2.2, as coturn's
    `use-auth-secret` checks them: `expires:name`, and its HMAC-SHA1 in base64.

    Args:
        secret: What coturn calls `static-auth-secret`.
        name: For coturn's log and quotas; not checked.
        expires: Unix seconds.
    """
    username = f"{expires}:{name}"
    tag = hmac.digest(secret.encode(), username.encode(), "sha1")
    return username, base64.b64encode(tag).decode()


class Ice:
    """A site's ICE servers, as browsers take them (RTCIceServer).

    Args:
        config: The settings.
        clock: Unix seconds.
    """

    def __init__(self, config: Config, *, clock: Callable[[], float] = time.time) -> None:
        servers = DEFAULT_SERVERS if config.ice_servers is None else config.ice_servers
        self._servers = [dict(server) for server in servers]
        self._secret = config.turn_secret
        self._relay_only = config.relay_only
        self._clock = clock
        # A TURN server without credentials is an exception in RTCPeerConnection's constructor.
        self.lasting = [server for server in self._servers if not needs_secret(server)]
        """Those that may stand in a file that is kept."""
        self.fleeting = len(self.lasting) < len(self._servers)
        """Whether there are more, whose credentials run out."""

    def servers(self, name: str) -> list[dict[str, Any]]:
        """All servers, with fresh credentials for the peer `name`."""
        if not self.fleeting or self._secret is None:
            return self.lasting
        username, credential = turn_credentials(
            self._secret, name, expires=int(self._clock()) + LIFETIME_S
        )
        fresh = {"username": username, "credential": credential}
        return [{**server, **fresh} if needs_secret(server) else server for server in self._servers]

    def routes(self, *, allow: Callable[[str], bool] | None = None) -> list[BaseRoute]:
        """`GET /ice?peer=`, below the mount: an RTCConfiguration.

        Other sites' pages cannot read the answer, for it carries no CORS header.
        """
        allow = RateLimit(per_s=2.0, burst=30.0) if allow is None else allow

        async def ice(request: Request) -> JSONResponse:
            if not allow(client_address(request)):
                problem = {"error": "rate", "message": "too many requests; ask again in a second."}
                return JSONResponse(problem, 429, {**_NO_STORE, "Retry-After": "1"})
            peer = request.query_params.get("peer", "visitor")
            if len(peer) > PEER_CHARS or not PEER_ID.fullmatch(peer):
                problem = {"error": "bad-peer", "message": "`peer` is no peer id."}
                return JSONResponse(problem, 400, _NO_STORE)
            answer: dict[str, Any] = {
                "iceServers": self.servers(peer),
                "iceTransportPolicy": "relay" if self._relay_only else "all",
            }
            if self.fleeting:
                answer["expires"] = int(self._clock()) + LIFETIME_S
            return JSONResponse(answer, headers=_NO_STORE)

        return [Route("/ice", ice, methods=["GET"])]
