"""`python -m tests.bench.swarm --help`"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from tests.bench.swarm.film import film
from tests.bench.swarm.play import SCENARIOS, Outcome, Scenario, patience, perform
from tests.bench.swarm.report import Results, measures, table, verdicts
from tests.bench.swarm.systems import SYSTEMS
from tests.servers.process import Missing

# Starting servers and browsers, and ending them.
_SETUP_S = 12


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.swarm",
        description=__doc__
        and "Real viewers of one film: plain <video>, p2pcdn, "
        "p2p-media-loader; what left the origin, and what the viewers saw.",
    )
    parser.add_argument("--viewers", type=_at_least(1), default=8)
    parser.add_argument(
        "--seconds", type=_at_least(4), default=60, help="length of the film (default 60)"
    )
    parser.add_argument(
        "--scenario", type=_names(SCENARIOS), default=list(SCENARIOS),
        help=f"of {', '.join(SCENARIOS)} (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--system", type=_names(SYSTEMS), default=list(SYSTEMS),
        help=f"of {', '.join(SYSTEMS)} (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--repeat", type=_at_least(1), default=3, help="performances of each (default 3)"
    )
    parser.add_argument(
        "--trace", action="store_true",
        help="trace Chromium: long tasks by the processor time of their scripts, too (slower)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, help="write all that was seen to this file")
    parser.add_argument("--cache", type=Path, help="folder for the film (default: temporary)")
    return parser


def _at_least(least: int) -> Any:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    number.__name__ = "number"
    return number


def _names(known: Any) -> Any:
    def names(text: str) -> list[str]:
        found = text.split(",")
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return found

    return names


def _lasts(scenario: Scenario, system: str, viewers: int, seconds: float) -> float:
    """About how long a performance takes."""
    arrivals = scenario.gap_s(viewers) * (viewers - 1)
    # A throttled origin keeps all but p2pcdn's viewers until their patience ends.
    slow = scenario.limit is not None and system != "p2pcdn" and viewers > 1
    return arrivals + (patience(seconds) if slow else seconds + 3) + _SETUP_S


def _terminated(number: int, frame: Any) -> NoReturn:
    raise SystemExit(128 + number)  # and with it the end of all that was started


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    scenarios = [SCENARIOS[name] for name in options.scenario]
    try:
        show = film(options.seconds, options.cache)
    except Missing as error:
        print(error, file=sys.stderr)
        return 2
    rate = show.bytes_per_s * 8 / 1e6
    print(
        f"{options.viewers} viewers, {show.seconds:g} s of {rate:.2f} Mbit/s "
        f"({show.size / 1e6:.2f} MB), medians of {options.repeat}; {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    for system in options.system:
        print(f"  {system:8} {SYSTEMS[system]}")
    minutes = options.repeat / 60 * sum(
        _lasts(scenario, system, options.viewers, show.seconds)
        for scenario in scenarios
        for system in options.system
    )  # fmt: skip
    print(f"This takes about {minutes:.0f} minutes.", flush=True)
    everything: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d %H:%M"), "cores": os.cpu_count(),
        "viewers": options.viewers, "seconds": show.seconds, "bytes": show.size,
        "repeat": options.repeat, "scenarios": {},
    }  # fmt: skip
    missed = 0
    for scenario in scenarios:
        print(f"\n{scenario.name}: {scenario.says}", flush=True)
        results: Results = {system: [] for system in options.system}
        for _ in range(options.repeat):
            # In turn, so that a busy minute of the machine hits them all alike.
            for system in options.system:
                try:
                    outcome = perform(scenario, system, show, options.viewers, trace=options.trace)
                except Missing as error:
                    print(error, file=sys.stderr)
                    return 2
                results[system].append(outcome)
                _progress(outcome)
        print("\n".join(table(results)))
        judged = verdicts(scenario.name, results)
        if judged:
            print(f"  {'asked of p2pcdn':42}{'asked':>28}{'got':>14}")
            print("\n".join(map(str, judged)), flush=True)
        missed += sum(not verdict.reached for verdict in judged)
        everything["scenarios"][scenario.name] = {
            "measures": measures(results),
            "verdicts": [dataclasses.asdict(verdict) for verdict in judged],
            "outcomes": [dataclasses.asdict(o) for found in results.values() for o in found],
        }
        if options.json:
            options.json.write_text(json.dumps(everything, indent=1), encoding="utf-8")
    print("\nall reached" if not missed else f"\n{missed} missed")
    return 0


def _progress(outcome: Outcome) -> None:
    line = f"    {outcome.system:8} {outcome.lasted_s:5.0f} s, {outcome.copies:.2f} copies"
    causes: dict[str, int] = {}
    direct: dict[str, int] = {}
    for seen in outcome.viewers:
        for content in ((seen.p2p or {}).get("engine") or {}).get("contents", []):
            for cause, segments in content["causes"].items():
                causes[cause] = causes.get(cause, 0) + segments
        for video in (seen.p2p or {}).get("videos", []):
            if video["why"] is not None:
                direct[video["why"]] = direct.get(video["why"], 0) + 1
    if causes:
        told = sorted(causes.items(), key=lambda item: -item[1])
        line += "; segments from the origin: " + ", ".join(f"{n} {c}" for c, n in told)
    if direct:
        line += "; direct: " + ", ".join(f"{n} {why}" for why, n in direct.items())
    for seen in outcome.viewers:
        for error in seen.errors:
            line += f"\n      {seen.kind}: {error}"
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
