"""OpenTelemetry: the same metrics as observable instruments, where its API is installed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from p2pcdn.stats.metrics import MAX_CONTENT_LABELS, Metric, metrics
from p2pcdn.stats.recorder import Recorder
from p2pcdn.stats.store import StoreError
from p2pcdn.stats.summary import Counts, Summary

__all__ = ["register"]

log = logging.getLogger("p2pcdn.stats")

_FRESH_S = 2.0


def register(recorder: Recorder, *, version: str, meter_provider: Any = None) -> bool:
    """Register the instruments with the site's meter provider.

    Histograms have no observable instrument: the start-up time is exported as
    `p2pcdn_startup_seconds_sum` and `_count`. Register in one process only, or give each
    process its own `service.instance.id`: all of them read the same store.

    Returns:
        Whether `opentelemetry.metrics` could be imported.
    """
    try:
        from opentelemetry import metrics as api
    except ImportError:
        return False
    meter = api.get_meter("p2pcdn", version, meter_provider=meter_provider)
    cache = _Cache(recorder, version)
    nothing = Summary(since=0, until=0, step_s=0, totals=Counts(), contents=())
    for metric in metrics(nothing, {}, version=version):
        make = (
            meter.create_observable_gauge
            if metric.kind == "gauge"
            else meter.create_observable_counter
        )
        for suffix in sorted({s.suffix for s in metric.samples}) or [""]:
            if suffix != "_bucket":
                name = metric.name + suffix
                observe = _observer(api, cache, metric.name, suffix)
                make(name, callbacks=[observe], description=metric.help)
    return True


class _Cache:
    """One read of the store for all instruments of a collection."""

    def __init__(self, recorder: Recorder, version: str) -> None:
        self._recorder, self._version = recorder, version
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._found: dict[str, Metric] = {}

    def read(self) -> dict[str, Metric]:
        with self._lock:
            if time.monotonic() - self._at > _FRESH_S:
                try:
                    summary = self._recorder.all_time(MAX_CONTENT_LABELS)
                    found = metrics(summary, {}, version=self._version)
                    self._found = {metric.name: metric for metric in found}
                except StoreError as error:
                    log.debug("metrics: the store cannot be read (%s)", error)
                self._at = time.monotonic()
            return self._found


def _observer(api: Any, cache: _Cache, name: str, suffix: str) -> Callable[[Any], Iterable[Any]]:
    def observe(options: Any) -> Iterable[Any]:
        metric = cache.read().get(name)
        for sample in metric.samples if metric is not None else ():
            if sample.suffix == suffix:
                yield api.Observation(sample.value, dict(sample.labels))

    return observe
