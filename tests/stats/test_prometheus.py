"""Prometheus itself reads the metrics; every question of the Grafana dashboard has an answer."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from p2pcdn.stats import sqlite_tables
from p2pcdn.stats.metrics import metrics, prometheus
from tests.browser.fixtures import missing
from tests.servers.process import Missing, Server, program
from tests.stats.day import VIDEOS, key_of
from tests.stats.support import Site
from tests.stats.test_metrics import watch
from tests.web.stats_site import SIZES, serve

ROOT = Path(__file__).parents[2]
BOARD: dict[str, Any] = json.loads((ROOT / "docs/grafana-dashboard.json").read_text("utf-8"))
VARIABLES = {"$__range": "10m", "$__rate_interval": "1m", "$job": ".*", "$price": "0.08"}
PANELS = {
    f"{panel['id']} {panel['title']} {target['refId']}": target["expr"]
    for panel in BOARD["panels"]
    for target in panel["targets"]
}


def filled(expression: str) -> str:
    """As Grafana asks: its variables replaced."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


@pytest.fixture
def promtool() -> str:
    try:
        return program("promtool", "prometheus")
    except Missing as error:
        missing(error)
        raise


# --- what Grafana imports ----------------------------------------------------------------------


def test_the_dashboard_can_be_imported_as_it_is() -> None:
    assert BOARD["id"] is None  # Grafana gives the number
    assert re.fullmatch(r"[\w-]{1,40}", BOARD["uid"])
    assert BOARD["title"] and BOARD["schemaVersion"] >= 36
    variables = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    text = json.dumps(BOARD)
    used = set(re.findall(r"\$\{?([a-z]\w*)", text))
    assert used == variables.keys()
    # No data source of the machine on which it was drawn.
    assert set(re.findall(r'"uid": "(.*?)"', text)) == {BOARD["uid"], "${datasource}"}


def test_no_two_panels_share_a_number_or_a_place() -> None:
    taken: dict[tuple[int, int], int] = {}
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert taken.setdefault((x, y), panel["id"]) == panel["id"]
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
        assert panel["datasource"]["uid"] == "${datasource}"


def test_every_metric_and_label_that_is_asked_for_is_exported(tmp_path: Path) -> None:
    site = Site(tmp_path)
    watch(site)
    text = prometheus(metrics(site.recorder.all_time(100), {"peers": 4}, version="1"))
    site.recorder.close()
    exported: dict[str, set[str]] = {}
    values: dict[tuple[str, str], set[str]] = {}
    for name, labels in re.findall(r"^([a-z]\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        found = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels))
        exported.setdefault(name, set()).update(found)
        for label, value in found.items():
            values.setdefault((name, label), set()).add(value)
    for panel, expression in PANELS.items():
        asked = re.findall(r"(p2pcdn_\w+)\{(.*?)\}", expression)
        assert asked, panel
        assert len(asked) == len(re.findall(r"p2pcdn_\w+", expression)), panel
        for name, matchers in asked:
            assert name in exported, panel
            for label, value in re.findall(r'(\w+)=~?"(.*?)"', matchers):
                if label != "job":  # Prometheus's own
                    assert set(value.split("|")) <= values[name, label], panel
        known = set.union(*(exported[name] for name, _ in asked))
        for labels in re.findall(r"\bby \((.*?)\)", expression):
            assert set(re.findall(r"\w+", labels)) <= known, panel


@pytest.mark.server
def test_prometheus_parses_every_question(promtool: str, tmp_path: Path) -> None:
    rules = [
        {"record": f"panel_{n}", "expr": filled(expression)}
        for n, expression in enumerate(PANELS.values())
    ]
    file = tmp_path / "rules.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(PANELS)} rules" in done.stdout


@pytest.mark.server
def test_promtool_has_nothing_to_say_about_the_metrics(promtool: str, tmp_path: Path) -> None:
    site = Site(tmp_path)
    watch(site)
    counts = {"peers": 4, "sockets": 3, "links_made": 9, "tracker_relayed": 1}
    text = prometheus(metrics(site.recorder.all_time(100), counts, version="1"))
    site.recorder.close()
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- a real Prometheus -------------------------------------------------------------------------


class Prometheus(Server):
    """Scrapes one site every second, with the configuration of docs/statistics.md."""

    name = "prometheus"

    def __init__(self, target: int, token: str) -> None:
        super().__init__()
        self._program = program("prometheus")
        documented = re.search(
            r"```yaml\n# prometheus.yml\n(.*?)```",
            (ROOT / "docs/statistics.md").read_text("utf-8"),
            re.DOTALL,
        )
        assert documented
        config = documented[1].replace("a long random text", token)
        config = config.replace("example.org", f"127.0.0.1:{target}")
        config = config.replace("scheme: https", "scheme: http")
        self.folder.joinpath("prometheus.yml").write_text(
            f"global: {{scrape_interval: 1s}}\n{config}"
        )

    def command(self) -> list[str]:
        return [
            self._program, f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]  # fmt: skip

    def ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/-/ready").status_code == 200
        return False

    def ask(self, expression: str) -> list[Any]:
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", answer
        found: list[Any] = answer["data"]["result"]
        return found


@pytest.fixture
def scraped(tmp_path: Path, run: Callable[[Any], Any]) -> Iterator[tuple[Prometheus, Any]]:
    with serve(tmp_path, stats_token="the-owner") as (port, recorder):
        server: Prometheus = run(lambda: Prometheus(port, "the-owner"))
        yield server, recorder


@pytest.mark.slow
@pytest.mark.server
def test_every_panel_of_the_dashboard_has_something_to_show(
    scraped: tuple[Prometheus, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, recorder = scraped
    monkeypatch.setattr(sqlite_tables, "WINDOW_S", 1)  # until a claim counts as unconfirmed
    path = next(iter(VIDEOS))
    content = {"key": key_of(path), "url": path}

    def happen(n: int) -> None:
        reports = {
            "one-visitor": {"from_origin": 90_000 * n, "uploaded": 300_000 * n, "watched_s": n,
                            "causes": {"first": n, "no-peer": n}},
            "two-visitor": {"from_peers": 300_000 * n, "stalls": n // 4, "rejected": n,
                            "watched_s": n},
            f"new-visitor-{n}": {"startup_ms": 300, "from_origin": 1},
            f"liar-{n:04d}": {"from_peers": 10**14},
            f"boaster-{n:04d}": {"from_peers": 20_000},
        }  # fmt: skip
        for view, numbers in reports.items():
            recorder.report(
                {"view": view, "seq": n, "contents": [{**content, **numbers}],
                 "direct": {"no-webrtc": n}},
                content_size=SIZES.get,
            )  # fmt: skip
        recorder.origin(path, sent=90_000, whole=False, aborted=False, status=206)

    shown: dict[str, Any] = {}
    end = time.monotonic() + 60
    n = 0
    while len(shown) < len(PANELS) and time.monotonic() < end:
        n += 1
        happen(n)
        recorder.flush()
        time.sleep(0.5)  # the pace of what happens, not a wait for it
        for panel, expression in PANELS.items():
            for found in server.ask(filled(expression)) if panel not in shown else ():
                if found["value"][1] not in ("NaN", "0"):
                    shown[panel] = found
    assert shown.keys() == PANELS.keys()
    (offload,) = server.ask(filled(PANELS["1 Offload A"]))
    assert 0.5 < float(offload["value"][1]) < 1
    labels = httpx.get(
        f"{server.url}/api/v1/label/job/values", params={"match[]": "p2pcdn_build_info"}
    )
    assert labels.json()["data"] == ["p2pcdn"]
