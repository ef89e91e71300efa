"""The columns of the store: what is added up per content and time bucket."""

from __future__ import annotations

__all__ = [
    "CONFIRMED",
    "DAY",
    "FIELDS",
    "HOUR",
    "MINUTE",
    "ORIGIN",
    "REPORTED",
    "STARTUP_BOUNDS_MS",
    "startup_bound",
]

MINUTE, HOUR, DAY = 60, 3600, 86400
"""Seconds; what is counted is kept by minute at first."""

ORIGIN = ("origin_requests", "origin_whole", "origin_aborted", "origin_sent")
"""Counted by the middleware itself; `origin_sent` is bytes, the others are responses."""

REPORTED = (
    "from_origin",
    "from_cache",
    "uploaded",
    "rejected",
    "stalls",
    "stall_ms",
    "watched_s",
)
"""Told by loaders, cumulative for each page view and content."""

CONFIRMED = ("from_peers", "unconfirmed")
"""Told by loaders as `from_peers`, split by whether other peers said that they sent it."""

FIELDS = ("views", *CONFIRMED, *REPORTED, "startups", "startup_ms", *ORIGIN)
"""All additive columns, in the order in which they are stored."""

STARTUP_BOUNDS_MS = (
    50, 100, 150, 200, 300, 400, 500, 650, 800, 1000, 1300, 1600, 2000, 2500, 3000, 4000, 5000,
    7000, 10_000, 15_000, 30_000,
)  # fmt: skip
"""Upper bounds of the start-up histogram; above the last one there is one more bucket."""


def startup_bound(startup_ms: float) -> str:
    """The name of the bucket that a start-up time falls in, `inf` above the last."""
    for bound in STARTUP_BOUNDS_MS:
        if startup_ms <= bound:
            return str(bound)
    return "inf"
