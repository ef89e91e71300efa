"""What Prometheus and OpenTelemetry collect."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from p2pcdn.stats.metrics import metrics, prometheus
from tests.stats.support import MakeSite, Site

BOTH_STORES = True
ROOT = Path(__file__).parents[2]
LINE = re.compile(
    r'([a-z0-9_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (-?[0-9.e+]+|\+Inf)'
)


def scrape(site: Site) -> dict[tuple[str, str], float]:
    text = prometheus(metrics(site.recorder.all_time(100), {"peers": 4}, version="1.2.3"))
    found: dict[tuple[str, str], float] = {}
    typed: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in typed, "a metric's lines must stand together"
            typed.add(name)
        elif not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, line
            at = (match[1], match[2] or "")
            assert at not in found
            found[at] = float(match[3])
            assert any(match[1].startswith(name) for name in typed)
    return found


def watch(site: Site) -> None:
    site.send(1000, '/media/"odd\\name\n.mp4')
    site.send(2000)
    site.tell("a", from_origin=2000, uploaded=500, startup_ms=230, stalls=2, stall_ms=1500,
              causes={"urgent": 3})  # fmt: skip
    site.tell("b", from_peers=500, startup_ms=45_000)
    site.tell("c", from_origin=10**12)


def test_prometheus_can_read_every_line_whatever_a_path_is_called(site: Site) -> None:
    watch(site)
    found = scrape(site)
    assert found["p2pcdn_delivered_bytes_total", 'source="peers"'] == 500
    assert found["p2pcdn_delivered_bytes_total", 'source="origin"'] == 3000
    assert found["p2pcdn_origin_segments_total", 'cause="urgent"'] == 3
    assert found["p2pcdn_stall_seconds_total", ""] == 1.5
    assert found["p2pcdn_viewers", ""] == 3
    assert found["p2pcdn_coordinator_peers", ""] == 4
    assert found["p2pcdn_build_info", 'version="1.2.3"'] == 1
    assert found["p2pcdn_content_bytes_total", 'content="/media/a.mp4",source="peers"'] == 500
    assert found["p2pcdn_dropped_reports_total", 'reason="more bytes than the content has"'] == 1


def test_the_start_up_histogram_is_cumulative_and_complete(site: Site) -> None:
    watch(site)
    found = scrape(site)
    buckets = [v for (name, _), v in found.items() if name == "p2pcdn_startup_seconds_bucket"]
    assert buckets == sorted(buckets) and buckets[-1] == 2
    assert found["p2pcdn_startup_seconds_bucket", 'le="0.3"'] == 1
    assert found["p2pcdn_startup_seconds_count", ""] == 2
    assert found["p2pcdn_startup_seconds_sum", ""] == pytest.approx(45.23)


def test_every_server_worker_answers_for_all(make_site: MakeSite) -> None:
    one, two = make_site(), make_site()
    one.send(100)
    one.recorder.flush()
    two.send(10)
    two.recorder.flush()
    assert scrape(one) == scrape(two)
    assert scrape(one)["p2pcdn_origin_sent_bytes_total", ""] == 110


def test_a_counter_never_goes_down_when_old_statistics_are_deleted(make_site: MakeSite) -> None:
    site = make_site(stats_retention_days=1)
    watch(site)
    before = scrape(site)
    site.later(10 * 86400)
    site.send(1)
    after = scrape(site)
    for at, value in before.items():
        if at[0].endswith(("_total", "_count", "_bucket")) and "content_bytes" not in at[0]:
            assert after[at] >= value, at


def test_the_documented_names_are_the_exported_ones(site: Site) -> None:
    documented = set(
        re.findall(r"`(p2pcdn_[a-z_]+)`", (ROOT / "docs/statistics.md").read_text("utf-8"))
    )
    watch(site)
    exported = {m.name for m in metrics(site.recorder.all_time(), {}, version="1")}
    assert exported == {name for name in documented if not name.startswith("p2pcdn_coordinator")}
