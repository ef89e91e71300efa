"""The benchmarks run, count what really left the origin, and say so when a number is missed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import startup
from tests.bench.swarm.__main__ import main
from tests.bench.swarm.play import Outcome
from tests.bench.swarm.processor import Runs, runs
from tests.bench.swarm.report import Results, table, verdicts
from tests.bench.swarm.witness import Seen
from tests.browser.fixtures import missing
from tests.servers.process import Missing, program


def outcome(system: str, copies: float, first_ms: float | None, stalls: int = 0) -> Outcome:
    seen = Seen("chromium", first_ms=first_ms, ended=first_ms is not None, memory=20_000_000)
    seen.playing_ms = first_ms
    seen.stalls = [{"at": 3, "seconds": 0.5, "ahead": 0}] * stalls
    seen.scripts = {}
    gone = Seen("chromium", killed=True)
    return Outcome("staggered", system, 1_000_000, origin=int(copies * 1e6), viewers=[seen, gone])


def reached(results: Results) -> dict[str, bool]:
    return {verdict.name: verdict.reached for verdict in verdicts("staggered", results)}


def test_the_median_of_the_repetitions_is_judged() -> None:
    plain = [outcome("plain", 8, 300)] * 3
    good = [outcome("p2pcdn", copies, 350) for copies in (1.1, 1.25, 3)]
    assert all(reached({"plain": plain, "p2pcdn": good}).values())
    bad = [outcome("p2pcdn", copies, 350) for copies in (1.1, 1.26, 1.3)]
    assert reached({"plain": plain, "p2pcdn": bad}) == {
        **reached({"plain": plain, "p2pcdn": good}),
        "copies from the origin": False,
    }


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("time to first frame, median", outcome("p2pcdn", 1, 401)),
        ("time to first frame, p95", outcome("p2pcdn", 1, 901)),
        ("time to first frame, median", outcome("p2pcdn", 1, None)),
        ("time until it plays, median", outcome("p2pcdn", 1, 401)),
        ("viewers who did not see the end", outcome("p2pcdn", 1, None)),
        ("stalls, all viewers", outcome("p2pcdn", 1, 300, stalls=1)),
    ],
)
def test_a_missed_number_is_called_missed(name: str, ours: Outcome) -> None:
    results = {
        "plain": [outcome("plain", 8, 300)],
        "p2pcdn": [ours],
        "p2pml": [outcome("p2pml", 3, 900)],
    }
    assert reached(results)[name] is False


def test_numbers_that_nobody_measured_are_neither_shown_nor_judged() -> None:
    results = {"p2pcdn": [outcome("p2pcdn", 1, 300)]}
    assert not any("first frame" in name for name in reached(results))
    lines = list(table(results))
    assert "/plain" not in lines[0]
    (long,) = (line for line in lines if "long tasks" in line)
    assert long.split()[-1] == "-"


def run_of(name: str, url: str, dur_ms: float, tdur_ms: float) -> dict[str, object]:
    return {
        "ph": "X", "pid": 1, "tid": 2, "name": name, "dur": dur_ms * 1000, "tdur": tdur_ms * 1000,
        "args": {"data": {"url": url}},
    }  # fmt: skip


def test_a_run_that_waited_for_a_core_is_told_from_one_that_needed_it(tmp_path: Path) -> None:
    engine = "http://127.0.0.1/p2pcdn/engine.js?v=1"
    trace = tmp_path / "trace.json"
    events = [
        run_of("FunctionCall", engine, 80, 12),
        run_of("EvaluateScript", engine, 70, 60),
        run_of("FunctionCall", "http://127.0.0.1/site.js", 90, 90),
        run_of("Layout", engine, 90, 90),
        run_of("RunMicrotasks", "", 3, 2),
        run_of("RunMicrotasks", "", 99, 99) | {"tid": 3},
        *(
            {"ph": "M", "pid": 1, "tid": tid, "name": "thread_name", "args": {"name": name}}
            for tid, name in ((2, "CrRendererMain"), (3, "ServiceWorker thread"))
        ),
    ]
    trace.write_text(json.dumps({"traceEvents": events}))
    assert runs(trace) == Runs(count=3, reactions=1, long_by_clock=2, long=1, most_ms=60)
    results = {"p2pcdn": [outcome("p2pcdn", 1, 300)]}
    name = "runs of > 50 ms of processor time"
    assert name not in reached(results)
    results["p2pcdn"][0].runs = runs(trace)
    assert reached(results)[name] is False


def test_wrong_options_are_told_before_anything_is_started(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for wrong in (["--system", "http"], ["--viewers", "0"], ["--seconds", "x"]):
        with pytest.raises(SystemExit):
            main(wrong)
    assert "'http' is none of plain, p2pcdn, p2pml" in capsys.readouterr().err


@pytest.fixture
def ffmpeg() -> None:
    try:
        program("ffmpeg")
    except Missing as error:
        missing(error)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.server
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("ffmpeg")
def test_two_viewers_of_each_system_see_the_film_and_its_copies_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "seen.json"
    arguments = ["--viewers", "2", "--seconds", "5", "--repeat", "1", "--scenario", "staggered"]
    assert main([*arguments, "--trace", "--json", str(file)]) == 0
    (scenario,) = json.loads(file.read_text())["scenarios"].values()
    copies = {}
    for seen in scenario["outcomes"]:
        copies[seen["system"]] = seen["origin"] / seen["size"]
        assert seen["origin"] == sum(request["sent"] for request in seen["requests"])
        for viewer in seen["viewers"]:
            assert viewer["errors"] == []
            assert viewer["ended"] and viewer["first_ms"] > 0 and viewer["memory"] > 0
        if seen["system"] == "p2pcdn":
            assert seen["runs"]["count"] > seen["runs"]["reactions"] > 50
            assert seen["runs"]["most_ms"] > 0
        else:
            assert seen["runs"] is None
    # Two visitors without a swarm fetch it twice; with one, the second is fed by the first.
    assert copies["plain"] == pytest.approx(2, abs=0.1)
    assert 1 <= copies["p2pcdn"] < 1.8
    assert copies["p2pml"] >= 1
    printed = capsys.readouterr().out
    assert "copies from the origin" in printed and "at most 1.25" in printed


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.server
@pytest.mark.usefixtures("ffmpeg")
def test_the_start_of_a_video_is_timed_with_and_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "seen.json"
    assert startup.main(["--runs", "1", "--trace", "--json", str(file)]) == 0
    seen = json.loads(file.read_text())
    for kind in ("first", "returning"):
        (without,), (with_,) = seen["plain"][kind], seen["starlette"][kind]
        assert without["loadeddata"] > 0 and with_["loadeddata"] > 0
        assert "loader.js, asked" in with_ and "loader.js, asked" not in without
    assert "at most +100" in capsys.readouterr().out
