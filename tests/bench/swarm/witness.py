"""What a viewer sees, from inside the page and before any script of the site: by the events of
the media element and the browser's own performance entries, the same for every system."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

from tests.browser.driver import BrowserError, Visitor

__all__ = ["WITNESS", "Seen", "memory", "read"]

# `loadeddata`: "can render the media data at the current playback position for the first time"
# (HTML, section 4.8.11.16). Times in milliseconds since the navigation began.
WITNESS = """(() => {
  const bench = {first: null, playing: null, ended: null, errors: [], stalls: [],
                 long: null, longMs: 0, scripts: null};
  const now = () => performance.now();
  let open = null;
  const close = () => {
    if (open) open.seconds = (now() - open.since) / 1000;
    open = null;
  };
  const ahead = ({buffered, currentTime}) => {
    for (let i = 0; i < buffered.length; i++)
      if (buffered.start(i) <= currentTime + 0.1 && currentTime < buffered.end(i))
        return buffered.end(i) - currentTime;
    return 0;
  };
  const on = (name, heard) =>
    addEventListener(name, (event) => {
      if (event.target instanceof HTMLMediaElement) heard(event.target);
    }, true);
  on("loadeddata", () => { bench.first ??= now(); });
  on("playing", () => { bench.playing ??= now(); close(); });
  on("waiting", (video) => {
    if (bench.playing === null || open || video.currentTime > video.duration - 0.3) return;
    open = {at: video.currentTime, ahead: ahead(video), since: now(), seconds: 0};
    bench.stalls.push(open);
  });
  on("ended", () => { bench.ended ??= now(); close(); });
  on("error", (video) => {
    if (video.error) bench.errors.push(`${video.error.code} ${video.error.message}`);
  });
  const types = window.PerformanceObserver?.supportedEntryTypes ?? [];
  const observe = (type, heard) => {
    if (types.includes(type))
      new PerformanceObserver((list) => list.getEntries().forEach(heard))
        .observe({type, buffered: true});
  };
  if (types.includes("longtask")) bench.long = 0;
  observe("longtask", ({duration}) => { bench.long++; bench.longMs += duration - 50; });
  // The only entry that tells whose script it was.
  if (types.includes("long-animation-frame")) bench.scripts = {};
  observe("long-animation-frame", ({scripts}) => {
    for (const {sourceURL, duration} of scripts) {
      const name = sourceURL.replace(/[?#].*/, "").replace(/.*\\//, "");
      if (duration > 50) bench.scripts[name] = (bench.scripts[name] ?? 0) + 1;
    }
  });
  window.bench = () => {
    if (open) open.seconds = (now() - open.since) / 1000;
    const player = document.getElementById("player");
    const p2p = window.p2pcdn?.stats?.();
    return {...bench, at: player?.currentTime ?? 0,
            p2p: p2p ? {why: p2p.why, videos: p2p.videos, engine: p2p.engine} : null,
            chunks: window.chunks ?? null};
  };
})()"""


@dataclass(slots=True)
class Seen:
    """What one viewer saw. Times since its own navigation began."""

    kind: str
    first_ms: float | None = None
    """The first frame could be shown."""
    playing_ms: float | None = None
    """It was on the move: Chromium's `autoplay` waits until the film seems to come fast enough."""
    ended: bool = False
    killed: bool = False
    at_s: float = 0
    """How far it played."""
    stalls: list[dict[str, float]] = field(default_factory=list)
    """Interruptions for want of bytes: `at` (position), `seconds`, `ahead` (seconds in hand)."""
    busy: int = 0
    """Interruptions with more than a second of film in hand: the machine's, not the network's."""
    errors: list[str] = field(default_factory=list)
    long_tasks: int | None = None
    long_ms: float = 0
    """What was beyond 50 ms in them, together."""
    scripts: dict[str, int] | None = None
    """Runs of more than 50 ms, by the script's name."""
    memory: int | None = None
    """Most bytes that the page's scripts were seen to hold, array buffers included."""
    p2p: dict[str, Any] | None = None
    chunks: dict[str, int] | None = None

    @property
    def waiting_s(self) -> float:
        return sum(stall["seconds"] for stall in self.stalls)


def read(visitor: Visitor, seen: Seen) -> None:
    """Bring `seen` up to date; a page that does not answer leaves it as it was."""
    with contextlib.suppress(BrowserError):
        found = visitor.eval("window.bench ? bench() : null", timeout=20)
        if not found:
            return
        seen.first_ms, seen.playing_ms = found["first"], found["playing"]
        seen.ended, seen.at_s = found["ended"] is not None, found["at"]
        seen.stalls = [stall for stall in found["stalls"] if stall["ahead"] <= 1]
        seen.busy = len(found["stalls"]) - len(seen.stalls)
        seen.errors, seen.scripts = found["errors"], found["scripts"]
        seen.long_tasks, seen.long_ms = found["long"], found["longMs"]
        seen.p2p, seen.chunks = found["p2p"], found["chunks"]


def memory(visitor: Visitor, seen: Seen) -> None:
    """Measure the page's heap, its DOM's and its array buffers (Chromium only)."""
    if visitor.kind != "chromium":
        return
    with contextlib.suppress(BrowserError):
        usage = visitor.cdp("Runtime.getHeapUsage")
        parts = ("usedSize", "embedderHeapUsedSize", "backingStorageSize")
        seen.memory = max(seen.memory or 0, int(sum(usage.get(part, 0) for part in parts)))
