"""When a store is tidied up, and what it keeps for how long. Pure."""

from __future__ import annotations

import logging
from typing import Protocol

from p2pcdn.stats.fields import DAY, HOUR

__all__ = ["EVERY_S", "KEEP_HOURS_S", "KEEP_MINUTES_S", "MAX_ROWS", "Meta", "due"]

log = logging.getLogger("p2pcdn.stats")

EVERY_S = 600
MAX_ROWS = 400_000
KEEP_MINUTES_S = 48 * HOUR
KEEP_HOURS_S = 32 * DAY
_DOUBT_S = 30 * DAY


class Meta(Protocol):
    """A few times that a store remembers."""

    def get(self, name: str) -> float | None: ...

    def set(self, name: str, value: float | None) -> None: ...


def due(meta: Meta, now: float) -> bool:
    """Whether it is time, and nobody else has just done it. True: it counts as done."""
    last = meta.get("maintained")
    if last is not None and now - last > _DOUBT_S:
        # Either the site was down for a month or the clock is wrong: a clock that jumped
        # to 2099 must not delete everything. It is believed once it has stood for a day.
        since = meta.get("doubt")
        if since is None or not 0 <= now - since <= _DOUBT_S:
            log.warning(
                "the clock says that %d days have passed since the statistics were last "
                "tidied: nothing is deleted for a day, in case the clock is wrong",
                (now - last) // DAY,
            )
            meta.set("doubt", now)
            return False
        if now - since < DAY:
            return False
        meta.set("doubt", None)
    elif last is not None and abs(now - last) < EVERY_S:
        return False
    meta.set("maintained", now)
    return True
