"""`POST {mount}/report`: what a loader counted. `GET {mount}/stats`: the sums, for the owner."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from p2pcdn.config import Config
from p2pcdn.coordinator.admission import origin_allowed
from p2pcdn.stats import Recorder
from p2pcdn.stats.report import MAX_BODY_BYTES
from p2pcdn.stats.store import StoreError
from p2pcdn.stats.when import parse_when
from p2pcdn.web.access import Guard, Throttle, client_address, refusal

__all__ = ["coordinator_counts", "routes"]

_MAX_TOP = 1000


def routes(
    recorder: Recorder,
    config: Config,
    *,
    live: Callable[[], Any] | None,
    content_size: Callable[[str], int | None] | None = None,
    content_url: Callable[[str], str | None] | None = None,
    throttle: Throttle | None = None,
) -> list[BaseRoute]:
    """Routes below the mount: `/report` and `/stats`.

    Args:
        recorder: Counts and remembers.
        config: `stats_token`, `debug`, `allowed_origins`, `price_per_gb`, `currency`.
        live: What the coordinator counts now (also as an awaitable); numbers by name are
            shown to the owner, anything else in it is not.
        content_size: Bytes of the content with this key; reports of others are dropped.
        content_url: Path of the content with this key, below the site's prefix.
        throttle: How often anyone may report.
    """
    # 10 views behind one address report once a second; a few hundred may sit behind one NAT.
    limit = throttle or Throttle(rate=50, burst=500, total_rate=2000)
    guard = Guard(config)

    async def report(request: Request) -> Response:
        if not origin_allowed(
            request.headers.get("origin"),
            hosts=(request.headers.get("host"), request.headers.get("x-forwarded-host")),
            allowed=config.allowed_origins,
            same_origin=request.headers.get("sec-fetch-site") == "same-origin",
        ):
            return refusal(403, "origin", "This page's origin is not in `allowed_origins`.")
        if not limit.take(client_address(request)):
            recorder.drop("too many reports")
            return refusal(429, "too_many_reports", "Report less often.", **{"Retry-After": "30"})
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=204)  # nobody hears it
        if body is None:
            return refusal(413, "too_large", f"A report has at most {MAX_BODY_BYTES} bytes.")
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            recorder.drop("malformed")
            return refusal(400, "malformed", "A report is a JSON object: docs/statistics.md.")
        recorder.report(
            value, content_size=content_size or (lambda key: None), content_url=content_url
        )
        return Response(status_code=204, headers={"Cache-Control": "no-store"})

    async def stats(request: Request) -> Response:
        refused = guard.check(request)
        if refused is not None:
            return refused
        now, query = recorder.clock(), request.query_params
        try:
            since = parse_when(query.get("since", "24h"), now=now)
            until = parse_when(query["until"], now=now) if "until" in query else None
            top = _top(query.get("top", "50"))
        except ValueError as error:
            return refusal(400, "query", str(error))
        try:
            summary = await run_in_threadpool(recorder.summary, since, until, top)
            swarm = await run_in_threadpool(recorder.live)
        except StoreError as error:
            return refusal(503, "store", f"The statistics cannot be read now: {error}.")
        return JSONResponse(
            {
                **summary.to_json(),
                "live": swarm,
                "coordinator": await coordinator_counts(live),
                "price_per_gb": config.price_per_gb,
                "currency": config.currency,
            },
            headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        )

    return [Route("/report", report, methods=["POST"]), Route("/stats", stats, methods=["GET"])]


def _top(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else -1
    if not 0 <= number <= _MAX_TOP:
        raise ValueError(f"`top` is {text[:20]!r}; allowed is 0 to {_MAX_TOP}")
    return number


async def _body(request: Request) -> bytes | None:
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > MAX_BODY_BYTES:
            return None
        parts.append(part)
    return b"".join(parts)


async def coordinator_counts(live: Callable[[], Any] | None) -> dict[str, float]:
    """The numbers of the coordinator's snapshot; nothing else of it, as it may know addresses."""
    if live is None:
        return {}
    try:
        found = live()
        if inspect.isawaitable(found):
            found = await found
    except Exception:  # a coordinator in trouble must not take the statistics with it
        return {}
    if not isinstance(found, Mapping):
        return {}
    return {
        str(name): value
        for name, value in found.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
