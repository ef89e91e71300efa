"""What one page view can possibly have done. Pure.

The bounds are wide: they must never drop an honest visitor with a fast line and a short video
on loop. They keep one liar from outweighing a site; what peers say that they received is in
addition held against what other peers say that they sent (`ledger.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Limits", "impossible"]

_GRACE_S = 60.0  # a first report tells of time before the server knew of the view


@dataclass(frozen=True, slots=True)
class Limits:
    """Rates in bytes per second."""

    download_bps: float = 125e6  # 1 Gbit/s
    upload_bps: float = 125e6
    copies: float = 3.0
    """Times that a view may take a whole content at once (evicted, sought, taken again)..."""
    loop_s: float = 10.0
    """...and once more for each of these: the shortest loop that is watched for long."""
    segment_bytes: int = 16 * 1024


def impossible(
    numbers: Mapping[str, int],
    causes: Mapping[str, int],
    *,
    size: int,
    elapsed_s: float,
    limits: Limits,
) -> str | None:
    """Why these cumulative numbers cannot be true, or None.

    Args:
        numbers: Of one view and content, as in a report.
        causes: Segments taken from the origin, by cause.
        size: Bytes of the content.
        elapsed_s: Time since the server first heard of this view and content.
        limits: The bounds.
    """
    time_s = max(0.0, elapsed_s) + _GRACE_S
    times = limits.copies + max(0.0, elapsed_s) / limits.loop_s
    received = numbers["from_peers"] + numbers["from_origin"]
    if received > size * times:
        return "more bytes than the content has"
    if received > limits.download_bps * time_s:
        return "faster than a visitor's line"
    if numbers["from_cache"] > size * times * 2:
        return "more bytes from the cache than the content has"
    if numbers["uploaded"] > limits.upload_bps * time_s:
        return "uploads faster than allowed"
    if numbers["watched_s"] > time_s * 16 or numbers["stall_ms"] > time_s * 1000:
        return "more time than has passed"
    if numbers["stalls"] > time_s * 10:
        return "more stalls than a player can have"
    segments = (size // limits.segment_bytes + 1) * times
    if numbers["rejected"] > max(segments, size * times):
        return "more wrong segments than the content has"
    if sum(causes.values()) > segments + 100:
        return "more causes than segments"
    return None
