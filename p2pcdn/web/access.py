"""Who may read the statistics over HTTP, and how often anyone may try."""

from __future__ import annotations

import functools
import hmac
import ipaddress
import logging
import time
from collections.abc import Callable

from cachetools import LRUCache
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response

from p2pcdn.config import Config
from p2pcdn.coordinator.limits import Bucket

__all__ = ["Guard", "Throttle", "client_address", "refusal"]

log = logging.getLogger("p2pcdn.stats")


def refusal(status: int, code: str, message: str, **headers: str) -> Response:
    """The JSON that every refused request gets."""
    return JSONResponse(
        {"error": code, "message": message},
        status_code=status,
        headers={"Cache-Control": "no-store", **headers},
    )


def client_address(request: HTTPConnection) -> str:
    """Whom a rate limit is about; kept in memory only, and only as long as the limit needs.

    Behind a proxy of one's own (a private or loopback address) it is the last address of
    X-Forwarded-For, the one that this proxy added: earlier ones are the client's to invent.
    """
    host = request.client.host if request.client else ""
    proxy = _is_proxy(host)
    if proxy is None:
        return _forwarded(request) or "local"  # a Unix socket: there is a proxy in front
    return (_forwarded(request) or host) if proxy else host


@functools.lru_cache(maxsize=4096)
def _is_proxy(host: str) -> bool | None:
    """Whether a client with this address is a proxy of one's own; None: it is no address."""
    try:
        direct = ipaddress.ip_address(host)
    except ValueError:
        return None
    return direct.is_private or direct.is_loopback


def _forwarded(request: HTTPConnection) -> str | None:
    values = request.headers.getlist("x-forwarded-for")
    if not values:
        return None
    last = values[-1].rpartition(",")[2].strip()
    try:
        return str(ipaddress.ip_address(last))
    except ValueError:
        return None


class Throttle:
    """Token buckets by address, and one for all together. Bounded memory."""

    def __init__(
        self,
        *,
        rate: float,
        burst: float,
        total_rate: float,
        addresses: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate, self._burst, self._total_rate = rate, burst, total_rate
        self._clock = clock
        self._all = Bucket(2 * total_rate, clock())
        self._buckets: LRUCache[str, Bucket] = LRUCache(maxsize=addresses)

    def take(self, address: str) -> bool:
        """Whether one more request from `address` is within the limits."""
        now = self._clock()
        bucket = self._buckets.get(address)
        if bucket is None:
            bucket = self._buckets[address] = Bucket(self._burst, now)
        return bucket.take(1, rate=self._rate, burst=self._burst, now=now) and self._all.take(
            1, rate=self._total_rate, burst=2 * self._total_rate, now=now
        )


class Guard:
    """The owner's token: `?token=` or `Authorization: Bearer`."""

    def __init__(self, config: Config) -> None:
        self._token = None if config.stats_token is None else config.stats_token.encode()
        self._debug = config.debug
        # Wrong guesses only; a right token is never held up.
        self._guesses = Throttle(rate=0.2, burst=20, total_rate=50)
        self._told = False

    def check(self, request: Request) -> Response | None:
        """None for the owner, else the answer that the request gets."""
        if self._token is None:
            if self._debug:
                return None
            return refusal(
                404,
                "statistics_off",
                "Statistics over HTTP are off. Set the option `stats_token` (for example "
                "P2PCDN_STATS_TOKEN in the environment), or `debug` while developing.",
            )
        given = _given(request)
        # In constant time, so that the answer's delay tells nothing about the token.
        if given is not None and hmac.compare_digest(given.encode(errors="replace"), self._token):
            return None
        if given is not None and not self._told:
            self._told = True  # neither the token nor who gave it: both may be the owner's
            log.warning(
                "%s was asked for with a wrong token: refused (said once)", request.url.path
            )
        if given is not None and not self._guesses.take(client_address(request)):
            return refusal(
                429, "too_many_attempts", "Too many wrong tokens: wait.", **{"Retry-After": "60"}
            )
        what = "The token is wrong" if given is not None else "A token is needed"
        return refusal(
            401,
            "token",
            f"{what}: add ?token=... or `Authorization: Bearer ...` with the site's `stats_token`.",
            **{"WWW-Authenticate": "Bearer"},
        )


def _given(request: Request) -> str | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    return request.query_params.get("token")
