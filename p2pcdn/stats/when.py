"""Times as people write them: `24h`, `7d`, `2026-03-01`, `2026-03-01T12:00`, Unix seconds."""

from __future__ import annotations

import math
import re
from datetime import datetime

__all__ = ["ALLOWED", "parse_when"]

ALLOWED = (
    "a time span such as 30m, 24h, 7d, 4w, `all`, or a date such as 2026-03-01 or 2026-03-01T12:00"
)

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_when(text: str, *, now: float) -> float:
    """Unix seconds; a span counts back from `now`, a date without a zone is local time.

    Raises:
        ValueError: It is none of them; the message says what is allowed.
    """
    text = text.strip()
    if text == "all":
        return 0.0
    if match := _SPAN.fullmatch(text.lower()):
        return max(0.0, now - float(match[1]) * _SECONDS[match[2]])
    try:
        number = float(text) if re.fullmatch(r"\d{9,11}(\.\d+)?", text) else math.nan
        when = number if math.isfinite(number) else datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is not {ALLOWED}") from None
    return max(0.0, when)
