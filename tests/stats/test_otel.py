"""OpenTelemetry's own SDK collects what the site counted: once, however many workers there are."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader

from p2pcdn.stats import otel
from p2pcdn.stats.metrics import _escaped
from tests.stats.support import MakeSite, Site
from tests.stats.test_metrics import scrape, watch

BOTH_STORES = True
ROOT = Path(__file__).parents[2]


class Backend:
    """A server worker's SDK; `values` is what its exporter would send."""

    def __init__(self, site: Site, **options: Any) -> None:
        self.site = site
        self.reader = InMemoryMetricReader(**options)
        self.provider = MeterProvider(metric_readers=[self.reader])
        assert otel.register(
            site.recorder, version="1.2.3", live=lambda: {"peers": 4, "state": "elected"},
            meter_provider=self.provider,
        )  # fmt: skip

    def values(self) -> dict[tuple[str, str], float]:
        found: dict[tuple[str, str], float] = {}
        data = self.reader.get_metrics_data()
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                assert (scope.scope.name, scope.scope.version) == ("p2pcdn", "1.2.3")
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        labels = ",".join(
                            f'{k}="{_escaped(v, quote=True)}"' for k, v in point.attributes.items()
                        )
                        found[metric.name, labels] = point.value  # type: ignore[union-attr]
        return found

    def end(self) -> None:
        self.site.recorder.close()
        self.provider.shutdown()


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "_FRESH_S", -1.0)


DELIVERED = ("p2pcdn_delivered_bytes_total", 'source="origin"')


def test_the_sdk_collects_what_prometheus_scrapes(site: Site) -> None:
    backend = Backend(site)
    watch(site)
    values = backend.values()
    scraped = scrape(site)
    for at in {*scraped}:
        if not at[0].endswith("_bucket") and at[0] != "p2pcdn_build_info":
            assert values[at] == scraped[at], at
    assert values[DELIVERED] == 3000
    assert values["p2pcdn_startup_seconds_count", ""] == 2
    assert values["p2pcdn_coordinator_peers", ""] == 4
    site.send(50)
    assert backend.values()[DELIVERED] == 3050
    backend.provider.shutdown()


def test_of_several_workers_one_exports_and_the_next_goes_on_where_it_ended(
    make_site: MakeSite,
) -> None:
    one, two, three = (Backend(make_site()) for _ in range(3))
    one.site.send(1000)
    assert one.values()[DELIVERED] == 1000
    assert two.values() == three.values() == {}
    two.site.send(100)
    two.site.recorder.flush()
    last = one.values()[DELIVERED]
    assert last == 1100
    three.site.send(10)  # after the last export of the first
    one.end()
    three.site.recorder.flush()
    taken = two.values()
    assert taken[DELIVERED] == 10 and three.values() == {}
    assert last + taken[DELIVERED] == two.site.totals().origin_counted
    two.provider.shutdown()
    three.provider.shutdown()


def test_a_backend_that_wants_differences_gets_each_byte_once(make_site: MakeSite) -> None:
    delta = {ObservableCounter: AggregationTemporality.DELTA}
    seen = 0.0
    for n in range(3):  # the site is started anew each time
        backend = Backend(make_site(), preferred_temporality=delta)
        for _ in range(2):
            backend.site.send(100 + n)
            seen += backend.values()[DELIVERED]
        backend.end()
    assert seen == make_site().totals().origin_counted == 606


def test_a_store_in_trouble_costs_a_gap_and_nothing_else(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from p2pcdn.stats.store import StoreError

    backend = Backend(site)
    site.send(10)
    assert backend.values()[DELIVERED] == 10

    def fails(*_: Any) -> None:
        raise StoreError("locked")

    with monkeypatch.context() as patch:
        patch.setattr(site.recorder._store, "all_time", fails)
        backend.values()
    site.send(5)
    assert backend.values()[DELIVERED] == 15
    backend.provider.shutdown()


def test_a_site_that_is_gone_exports_nothing_and_is_not_kept_alive(make_site: MakeSite) -> None:
    import gc
    import weakref

    from p2pcdn.config import Config
    from p2pcdn.stats import Recorder

    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    recorder = Recorder(Config(), folder=None)
    otel.register(recorder, version="1", meter_provider=provider)
    gone = weakref.ref(recorder)
    recorder.close()
    del recorder
    gc.collect()
    assert gone() is None
    data = reader.get_metrics_data()
    assert data is None or not data.resource_metrics
    provider.shutdown()


WORKERS = """
import json, os, pathlib, sys
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient
from p2pcdn import P2PCDN

video = Response(b"x" * 1000, media_type="video/mp4")
app = P2PCDN(Starlette(routes=[Route("/a.mp4", video)]), data_dir=sys.argv[1], stats_token="t")
ends = []
for n in range(3):
    out, into = os.pipe()
    go, start = os.pipe()
    if not os.fork():
        reader = InMemoryMetricReader()
        metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
        http = TestClient(app)
        http.get("/a.mp4")
        http.get("/p2pcdn/stats?token=t")      # writes what it has
        os.write(into, b".")
        os.read(go, 1)                         # all have
        found = {}
        data = reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for metric in resource.scope_metrics[0].metrics:
                for point in metric.data.data_points:
                    found[metric.name] = found.get(metric.name, 0) + point.value
        os.write(into, json.dumps(found).encode())
        os._exit(0)
    os.close(into)
    ends.append((out, start))
for out, _ in ends:
    os.read(out, 1)
for _, start in ends:
    os.write(start, b".")
answers = []
for out, _ in ends:
    text = b""
    while piece := os.read(out, 65536):
        text += piece
    answers.append(json.loads(text))
print(json.dumps(answers))
"""


def test_a_site_with_three_workers_is_exported_without_a_line_of_its_owner(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(WORKERS), str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    answers = json.loads(done.stdout or "null")
    assert answers is not None, done.stderr
    sent = [found["p2pcdn_origin_sent_bytes_total"] for found in answers if found]
    assert sent == [3000], answers


def test_without_opentelemetry_nothing_is_registered(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.startswith("opentelemetry")]:
        monkeypatch.setitem(sys.modules, name, None)
    assert not otel.register(site.recorder, version="1")
