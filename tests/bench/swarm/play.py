"""One performance: a scenario, a system, and everybody who watches."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.swarm.film import Film
from tests.bench.swarm.processor import TRACED, Runs, runs
from tests.bench.swarm.systems import Standing, standing
from tests.bench.swarm.witness import WITNESS, Seen, memory, read
from tests.browser.driver import BrowserError, Browsers, Visitor

__all__ = ["SCENARIOS", "Outcome", "Scenario", "perform"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Who comes when, and what befalls them. Rates in multiples of the film's own."""

    name: str
    says: str
    gap_s: Callable[[int], float]
    """Time between two arrivals, of so many viewers."""
    limit: float | None = None
    """What of the film the origin gives to all together."""
    kill: bool = False
    """Every second viewer, the first one included, vanishes when it has played half."""
    firefox: bool = False
    """Every fourth viewer, from the second one on, has Firefox."""


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("staggered", "one viewer every 3 s", lambda n: 3),
        Scenario("together", "all within 2 s", lambda n: 2 / n),
        Scenario("throttled", "all within 2 s, the origin gives 1.5 times the bitrate in all",
                 lambda n: 2 / n, limit=1.5),
        Scenario("churn", "as throttled, and every second viewer vanishes in the middle",
                 lambda n: 2 / n, limit=1.5, kill=True),
        Scenario("mixed", "one viewer every 3 s, every fourth with Firefox", lambda n: 3,
                 firefox=True),
    )
}  # fmt: skip
_LOOK_S = 1.0
_MEMORY_S = 8.0


def patience(seconds: float) -> float:
    """How long after its arrival a viewer may take to see the end."""
    return 1.5 * seconds + 15


@dataclass(slots=True)
class Outcome:
    """What one performance came to."""

    scenario: str
    system: str
    size: int
    """Bytes of one copy."""
    origin: int = 0
    """Bytes of the film that left the origin."""
    rest: int = 0
    """Bytes of all else that did: pages, scripts, manifests."""
    lasted_s: float = 0
    viewers: list[Seen] = field(default_factory=list)
    runs: Runs | None = None
    """What the scripts of p2pcdn cost its pages, where that was traced."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    """What was asked of the origin, in order: `at` (seconds), `path`, `range`, `sent` (bytes)."""

    @property
    def copies(self) -> float:
        return self.origin / self.size

    @property
    def stayed(self) -> list[Seen]:
        """Those who were not made to vanish."""
        return [viewer for viewer in self.viewers if not viewer.killed]


def perform(
    scenario: Scenario, system: str, film: Film, viewers: int, *, trace: bool = False
) -> Outcome:
    """Play the film to everybody; everything that was started has ended when this returns.

    Args:
        trace: Have Chromium tell what scripts cost, which costs something itself.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="p2pcdn-trace-")))
        site = stack.enter_context(standing(system, film))
        browsers = Browsers()
        stack.callback(browsers.close)
        show = _Show(scenario, site, film)
        for number in range(viewers):
            kind = "firefox" if scenario.firefox and number % 4 == 1 else "chromium"
            doomed = scenario.kill and number % 2 == 0
            show.add(browsers.visitor(kind, scripts=(WITNESS,)), doomed)
        if scenario.limit is not None:
            # The film alone: libraries of other systems come from public CDNs elsewhere.
            site.proxy.paced = site.media
            site.proxy.bytes_per_s = scenario.limit * film.bytes_per_s
        outcome = Outcome(scenario.name, system, site.size)
        traces: list[Path] = []
        # Of no interest where none of p2pcdn's scripts run.
        traced = trace and system == "p2pcdn"
        with contextlib.ExitStack() as tracing:
            for browser in {v.visitor.browser for v in show.viewers} if traced else ():
                if browser.kind == "chromium":
                    traces.append(folder / f"{browser.name}.json")
                    tracing.enter_context(browsers.traced(browser, traces[-1], TRACED))
            started = time.monotonic()
            show.run()
            outcome.lasted_s = time.monotonic() - started
            outcome.viewers = [viewer.seen for viewer in show.viewers]
            outcome.origin = site.proxy.sent(site.media)
            outcome.rest = site.proxy.sent() - outcome.origin
            outcome.requests = [
                {"at": round(e.at - started, 3), "path": e.path,
                 "range": e.headers.get("range"), "sent": e.sent}
                for e in site.proxy.requests(site.media)
            ]  # fmt: skip
        if traces:
            outcome.runs = sum(map(runs, traces), Runs())
        return outcome


@dataclass(slots=True)
class _Viewer:
    visitor: Visitor
    seen: Seen
    doomed: bool
    arrived: float | None = None
    weighed: float = 0
    left: bool = False


class _Show:
    def __init__(self, scenario: Scenario, site: Standing, film: Film) -> None:
        self.scenario, self.site, self.film = scenario, site, film
        self.viewers: list[_Viewer] = []
        self._over = threading.Event()

    def add(self, visitor: Visitor, doomed: bool) -> None:
        self.viewers.append(_Viewer(visitor, Seen(visitor.kind), doomed))

    def run(self) -> None:
        start = time.monotonic()
        gap = self.scenario.gap_s(len(self.viewers))
        arrivals = [
            threading.Thread(target=self._arrive, args=(viewer, start + number * gap), daemon=True)
            for number, viewer in enumerate(self.viewers)
        ]
        for thread in arrivals:
            thread.start()
        try:
            while watching := [viewer for viewer in self.viewers if not viewer.left]:
                looked = time.monotonic()
                for viewer in watching:
                    if viewer.arrived is not None:
                        self._look(viewer)
                time.sleep(max(0.05, _LOOK_S - (time.monotonic() - looked)))
        finally:
            self._over.set()
            for thread in arrivals:
                thread.join(60)
        for viewer in self.viewers:
            if not viewer.visitor.gone:
                # Nobody left before: those who have seen it all go on serving the others.
                read(viewer.visitor, viewer.seen)

    def _arrive(self, viewer: _Viewer, at: float) -> None:
        self._over.wait(max(0.0, at - time.monotonic()))
        if self._over.is_set():
            return
        viewer.arrived = time.monotonic()
        try:
            viewer.visitor.goto(self.site.page, timeout=60)
        except BrowserError as error:
            if not viewer.left:
                viewer.seen.errors.append(str(error))

    def _look(self, viewer: _Viewer) -> None:
        assert viewer.arrived is not None
        now = time.monotonic()
        read(viewer.visitor, viewer.seen)
        if viewer.doomed and viewer.seen.at_s > self.film.seconds / 2:
            viewer.seen.killed = viewer.left = True
            viewer.visitor.kill()
            return
        late = now - viewer.arrived > patience(self.film.seconds)
        viewer.left = viewer.seen.ended or late
        if viewer.left or now - viewer.weighed > _MEMORY_S:
            viewer.weighed = now
            memory(viewer.visitor, viewer.seen)
