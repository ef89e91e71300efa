"""`GET {mount}/metrics`: Prometheus text. Any server worker answers for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from p2pcdn import __version__
from p2pcdn.config import Config
from p2pcdn.stats import Recorder
from p2pcdn.stats.metrics import MAX_CONTENT_LABELS, metrics, prometheus
from p2pcdn.stats.store import StoreError
from p2pcdn.web.access import Guard, refusal
from p2pcdn.web.stats import coordinator_counts

__all__ = ["routes"]


def routes(
    recorder: Recorder, config: Config, *, live: Callable[[], Any] | None = None
) -> list[BaseRoute]:
    """The route `/metrics` below the mount. Same token as `/stats`; arguments as there."""
    guard = Guard(config)

    async def serve(request: Request) -> Response:
        refused = guard.check(request)
        if refused is not None:
            return refused
        try:
            summary = await run_in_threadpool(recorder.all_time, MAX_CONTENT_LABELS)
        except StoreError as error:
            return refusal(503, "store", f"The statistics cannot be read now: {error}.")
        found = metrics(summary, await coordinator_counts(live), version=__version__)
        return Response(
            prometheus(found),
            media_type="text/plain; version=0.0.4; charset=utf-8",
            headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        )

    return [Route("/metrics", serve, methods=["GET"])]
