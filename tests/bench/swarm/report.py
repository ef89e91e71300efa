"""From performances to a table, and to a verdict on each number that was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.swarm.play import Outcome
from tests.bench.swarm.processor import OWN, Runs
from tests.bench.swarm.witness import Seen

__all__ = ["Results", "Verdict", "measures", "table", "verdicts"]

Results = dict[str, list[Outcome]]
"""One scenario's performances by system, in the order of the repetitions."""

_MB = 1e6
# Config.memory_limit's default; and what a page may need beside its segments.
_CEILING_BYTES = 256 * 1024 * 1024
_BESIDE_BYTES = 50 * _MB


def quantile(values: Sequence[float], q: float) -> float:
    """Linear between the two nearest ranks."""
    ordered = sorted(values)
    at = q * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def _each(pick: Callable[[Outcome], float]) -> Callable[[list[Outcome]], float | None]:
    """The median of the repetitions."""
    return lambda outcomes: median(map(pick, outcomes)) if outcomes else None


def _pooled(
    pick: Callable[[Seen], float | None], fold: Callable[[list[float]], float]
) -> Callable[[list[Outcome]], float | None]:
    """Of the viewers of all repetitions together."""

    def value(outcomes: list[Outcome]) -> float | None:
        found = [pick(seen) for outcome in outcomes for seen in outcome.stayed]
        known = [number for number in found if number is not None]
        return fold(known) if known else None

    return value


def _own(seen: Seen) -> float | None:
    if seen.scripts is None:
        return None
    return sum(count for name, count in seen.scripts.items() if name in OWN)


def _traced(
    pick: Callable[[Runs], float], fold: Callable[[list[float]], float]
) -> Callable[[list[Outcome]], float | None]:
    """Of the repetitions that were traced."""

    def value(outcomes: list[Outcome]) -> float | None:
        found = [pick(outcome.runs) for outcome in outcomes if outcome.runs is not None]
        return fold(found) if found else None

    return value


@dataclass(frozen=True, slots=True)
class Measure:
    name: str
    unit: str
    value: Callable[[list[Outcome]], float | None]
    """None: nobody could tell."""
    digits: int = 0


_NEVER_MS = 1e9
"""The time to the first frame of a viewer who never saw one, or never saw it move."""


def _times(key: str, name: str, pick: Callable[[Seen], float | None]) -> dict[str, Measure]:
    def known(seen: Seen) -> float:
        return pick(seen) or _NEVER_MS

    return {
        key: Measure(f"{name}, median", "ms", _pooled(known, median)),
        f"{key}95": Measure(
            f"{name}, p95", "ms", _pooled(known, lambda found: quantile(found, 0.95))
        ),
    }


_MEASURES = {
    "copies": Measure("copies from the origin", "", _each(lambda o: o.copies), 2),
    **_times("first", "time to first frame", lambda s: s.first_ms),
    **_times("playing", "time until it plays", lambda s: s.playing_ms),
    "stalls": Measure(
        "stalls, all viewers", "", _each(lambda o: sum(len(s.stalls) for s in o.stayed))
    ),
    "waiting": Measure(
        "waiting in them", "s", _each(lambda o: sum(s.waiting_s for s in o.stayed)), 1
    ),
    "unfinished": Measure(
        "viewers who did not see the end", "",
        _each(lambda o: sum(not s.ended for s in o.stayed)),
    ),
    "memory": Measure(
        "page memory, most", "MB",
        _pooled(lambda s: None if s.memory is None else s.memory / _MB, max), 1,
    ),
    "long": Measure(
        "long tasks (> 50 ms) a viewer", "",
        _pooled(lambda s: s.long_tasks, lambda found: sum(found) / len(found)), 1,
    ),
    "longms": Measure(
        "what of them is beyond 50 ms, a viewer", "ms",
        _pooled(lambda s: None if s.long_tasks is None else s.long_ms,
                lambda found: sum(found) / len(found)),
    ),
    "own": Measure("of them by p2pcdn's scripts, all viewers", "", _pooled(_own, sum)),
    "cpu": Measure("runs of > 50 ms of processor time", "", _traced(lambda r: r.long, sum)),
    "cpumost": Measure(
        "most processor time of a run", "ms", _traced(lambda r: r.most_ms, max), 1
    ),
    "busy": Measure(
        "waits with film in hand (a busy machine)", "",
        _each(lambda o: sum(s.busy for s in o.stayed)),
    ),
    "rest": Measure("pages, scripts, manifests a viewer", "kB",
                    _each(lambda o: o.rest / len(o.viewers) / 1e3)),
}  # fmt: skip


def measures(results: Results) -> dict[str, dict[str, float | None]]:
    """Every measure of every system."""
    return {
        key: {system: measure.value(outcomes) for system, outcomes in results.items()}
        for key, measure in _MEASURES.items()
    }


def _number(value: float | None, measure: Measure) -> str:
    if value is None:
        return "-"
    if value >= _NEVER_MS:
        return "never"
    return f"{value:.{measure.digits}f}{' ' + measure.unit if measure.unit else ''}"


def table(results: Results) -> Iterator[str]:
    """One scenario's measures, with p2pcdn's and p2p-media-loader's ratios to plain."""
    systems = list(results)
    compared = [s for s in systems if s != "plain"] if "plain" in systems else []
    heads = [*systems, *(f"{s}/plain" for s in compared)]
    yield f"  {'':42}" + "".join(f"{head:>14}" for head in heads)
    for key, values in measures(results).items():
        measure = _MEASURES[key]
        cells = [_number(values[system], measure) for system in systems]
        for system in compared:
            one, base = values[system], values["plain"]
            known = one is not None and base and max(one, base) < _NEVER_MS
            cells.append(f"{one / base:.2f}" if known else "-")  # type: ignore[operator]
        yield f"  {measure.name:42}" + "".join(f"{cell:>14}" for cell in cells)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A number that was asked for and the one that was reached."""

    name: str
    asked: str
    got: str
    reached: bool

    def __str__(self) -> str:
        word = "reached" if self.reached else "MISSED"
        return f"  {self.name:42}{self.asked:>28}{self.got:>14}   {word}"


_COPIES = {"staggered": 1.25, "together": 1.7, "mixed": 1.25}
_SMOOTH = ("stalls", "unfinished")


def verdicts(scenario: str, results: Results) -> list[Verdict]:
    """What issue by issue is asked of p2pcdn, beside what it did in this run.

    Where a number is asked in relation to another system that did not play, it is left out.
    """
    if "p2pcdn" not in results:
        return []
    found = measures(results)
    made: list[Verdict] = []

    def ask(key: str, limit: float | None, why: str = "") -> None:
        measure, got = _MEASURES[key], found[key]["p2pcdn"]
        if limit is None or got is None:
            return
        bound = "never" if limit >= _NEVER_MS else f"{limit:.{measure.digits}f}"
        asked = f"at most {bound} {measure.unit}".rstrip() if limit else "none"
        # A tenth of a per mille: numbers are compared as they are printed.
        reached = got < _NEVER_MS and round(got, measure.digits) <= round(limit, measure.digits)
        made.append(Verdict(measure.name, asked + why, _number(got, measure), reached))

    ask("copies", _COPIES.get(scenario))
    for key in ("first", "playing"):
        plain = found[key].get("plain")
        if scenario in _COPIES and plain is not None:
            ask(key, plain + 100, " (plain + 100)")
    ask("first95", found["first95"].get("p2pml"), " (as p2pml)")
    for key in _SMOOTH:
        ask(key, 0)
    film = results["p2pcdn"][0].size
    ask("memory", (min(film, _CEILING_BYTES) + _BESIDE_BYTES) / _MB, " (film + 50)")
    ask("own", 0)
    ask("cpu", 0)
    return made
