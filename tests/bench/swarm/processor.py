"""What p2pcdn's scripts cost a page's main thread in processor time, from a trace of Chromium.

By the clock alone a run of a script also lasts while others have the core: eight browsers on two
cores make runs of a few milliseconds "long tasks".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["OWN", "TRACED", "Runs", "runs"]

OWN = ("loader.js", "engine.js", "stored.js", "hud.js")
"""p2pcdn's scripts in a page."""

TRACED = ("devtools.timeline", "v8.execute")
"""The categories of a trace that `runs` reads."""

_LONG_MS = 50
# Chromium's names of what enters a script, and of promises' reactions, which name no script: on the
# benchmark's page hardly anybody but p2pcdn has any.
_ENTRIES = frozenset({"FunctionCall", "EvaluateScript"})
_REACTIONS = "RunMicrotasks"
_PAGE_THREAD = "CrRendererMain"


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of p2pcdn's scripts in the pages of one performance."""

    count: int = 0
    reactions: int = 0
    """How many of them were reactions of promises."""
    long_by_clock: int = 0
    """Of more than 50 ms."""
    long: int = 0
    """Of more than 50 ms of processor time."""
    most_ms: float = 0
    """Most processor time of one run."""

    def __add__(self, other: Runs) -> Runs:
        return Runs(
            self.count + other.count,
            self.reactions + other.reactions,
            self.long_by_clock + other.long_by_clock,
            self.long + other.long,
            max(self.most_ms, other.most_ms),
        )


def runs(trace: Path) -> Runs:
    """Reads a trace in Chromium's JSON format, of the categories `TRACED`."""
    return _runs(json.loads(trace.read_text(encoding="utf-8"))["traceEvents"])


def _runs(events: Sequence[dict[str, Any]]) -> Runs:
    pages = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == _PAGE_THREAD
    }
    found = Runs()
    for event in events:
        # Complete events, durations in microseconds: `dur` by the clock, `tdur` the thread's own.
        if event["ph"] == "X" and (event["pid"], event["tid"]) in pages and _is_own(event):
            clock, own = event.get("dur", 0) / 1000, event.get("tdur", 0) / 1000
            reaction = event["name"] == _REACTIONS
            found += Runs(1, reaction, clock > _LONG_MS, own > _LONG_MS, own)
    return found


def _is_own(event: dict[str, Any]) -> bool:
    if event["name"] == _REACTIONS:
        return True
    if event["name"] not in _ENTRIES:
        return False
    url = (event.get("args", {}).get("data") or {}).get("url") or ""
    return url.partition("?")[0].rpartition("/")[2] in OWN
