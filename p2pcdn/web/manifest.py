"""`GET {mount}/manifest`: what a loader must know to share a content."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from cachetools import LRUCache
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from p2pcdn.media.library import Library
from p2pcdn.media.manifest import Manifest, Pending, Refusal
from p2pcdn.web.access import client_address

__all__ = ["PEER_CHARS", "PEER_ID", "RateLimit", "routes"]

IssueToken = Callable[[str, str], tuple[str, int]]

# PeerServer's rule for an id that a client chose, with a bound on its length.
PEER_ID = re.compile(r"[A-Za-z0-9]+(?:[ _-][A-Za-z0-9]+)*")
PEER_CHARS = 128
_PATH_SAFE = "/!$&'()*+,;=:@-._~"  # RFC 3986: pchar and the slash
_MOST_PLAYLISTS = 8
_FOLLOWING_S = 0.15
_NO_STORE = {"Cache-Control": "no-store"}


def routes(
    library: Library,
    issue_token: IssueToken | None,
    *,
    ice: Callable[[str], list[dict[str, Any]]] | None = None,
    allow: Callable[[str], bool] | None = None,
) -> list[BaseRoute]:
    """The endpoint's routes, below the mount.

    Args:
        library: Finds and makes manifests.
        issue_token: Makes the admission token of `(content key, peer id)`: the token and when
            it expires (unix seconds); None: manifests carry no token.
        ice: The ICE servers of a peer, where they are not the ones that the loader knows.
        allow: Whether the client at an address may ask once more; default: `RateLimit()`.
    """
    allow = RateLimit() if allow is None else allow

    async def manifest(request: Request) -> JSONResponse:
        if not allow(client_address(request)):
            return _refused(
                Refusal("rate", "too many requests from this address; ask again in a second.")
            )
        peer = request.query_params.get("peer", "")
        if peer and (len(peer) > PEER_CHARS or not PEER_ID.fullmatch(peer)):
            return _refused(Refusal("bad-url", "`peer` is not a peer id: letters and digits."))
        urls = request.query_params.getlist("url")
        if len(urls) != 1:
            return _refused(Refusal("bad-url", "name one media path: `?url=%2Fmedia%2Fa.mp4`."))
        prefix = _server_prefix(request, library.config.mount)
        visible = library.config.public_prefix
        visible = quote(prefix, safe=_PATH_SAFE) if visible is None else visible
        target = urls[0]
        if visible and target.startswith("/") and not target.startswith(visible + "/"):
            return _refused(Refusal("outside", f"this site's media are below {visible}/."))
        visitor = {
            "prefix": prefix,
            "host": request.headers.get("host", "localhost"),
            "scheme": request.url.scheme,
        }
        below = target.removeprefix(visible)
        playlists = request.query_params.getlist("playlist")[:_MOST_PLAYLISTS]
        inside = [p.removeprefix(visible) for p in playlists if p.startswith(visible + "/")]
        group = inside and await library.presentation(below, inside, visible=visible, **visitor)
        found = await library.manifest(below, **visitor)
        if isinstance(found, Refusal):
            return _refused(found)
        if isinstance(found, Pending):
            pending = {"state": "pending", "retry_after": found.retry_after_s}
            return JSONResponse(pending, 202, _NO_STORE)
        answer = found.to_json(prefix=visible)
        if issue_token is not None and peer:
            answer["token"], answer["expires"] = issue_token(found.key, peer)
        if ice is not None and peer:
            answer["ice"] = ice(peer)
        if group:
            answer["group"] = {"key": group.key} | ({"live": True} if group.live else {})
            if issue_token is not None and peer:
                token, expires = issue_token(group.key, peer)
                answer["group"] |= {"token": token, "expires": expires}
            answer["next"] = [
                manifest.to_json(prefix=visible)
                for manifest in await _made(library, group.following, visitor)
            ]
        return JSONResponse(answer, 200, _NO_STORE)

    return [Route("/manifest", manifest, methods=["GET"])]


async def _made(
    library: Library, targets: Iterable[str], visitor: dict[str, str]
) -> list[Manifest]:
    """Manifests that can be had at once; the others are being made when they are asked for."""
    made: list[Manifest] = []
    try:
        async with asyncio.timeout(_FOLLOWING_S):
            for target in targets:
                found = await library.manifest(target, **visitor)
                if isinstance(found, Manifest) and "?" not in target:
                    made.append(found)
    except TimeoutError:
        pass
    return made


def _refused(refusal: Refusal) -> JSONResponse:
    body = {"error": refusal.code, "message": refusal.message}
    headers = {**_NO_STORE, "Retry-After": "1"} if refusal.code == "rate" else _NO_STORE
    return JSONResponse(body, refusal.status, headers)


def _server_prefix(request: Request, mount: str) -> str:
    """What the server calls the site's prefix, without our own mount behind it."""
    scope = request.scope
    root: str = scope.get("app_root_path", scope.get("root_path", ""))
    return root.rstrip("/").removesuffix(mount)


class RateLimit:
    """A token bucket for each client address.

    Addresses of the own machine or network are most likely a proxy in front, with every
    visitor behind it: those share one far larger bucket.

    Args:
        per_s: Requests each second that an address may go on making.
        burst: Requests that it may make at once.
        proxy_factor: How many visitors' worth a local address gets.
        clock: Seconds, never running back.
    """

    def __init__(
        self,
        *,
        per_s: float = 20.0,
        burst: float = 200.0,
        proxy_factor: float = 50.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_s = per_s
        self._burst = burst
        self._proxy_factor = proxy_factor
        self._clock = clock
        self._buckets: LRUCache[str, tuple[float, float]] = LRUCache(10_000)

    def __call__(self, address: str) -> bool:
        """Whether this address may ask now. Runs on the event loop only."""
        network, local = _network(address)
        factor = self._proxy_factor if local else 1.0
        now = self._clock()
        left, at = self._buckets.get(network, (self._burst * factor, now))
        left = min(left + (now - at) * self._per_s * factor, self._burst * factor)
        allowed = left >= 1.0
        self._buckets[network] = (left - 1.0 if allowed else left, now)
        return allowed


def _network(address: str) -> tuple[str, bool]:
    """Whom an address stands for: an IPv6 client has a whole /64."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "local", True  # a Unix socket, a test client
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        else:
            network = ipaddress.ip_network((int(ip) >> 64 << 64, 64))
            return str(network), ip.is_private
    return str(ip), ip.is_private
