"""OpenTelemetry: the same metrics as observable instruments, where its API is installed.

Every server worker has the instruments, and of all that share a store one answers for them, as
long as it lives: a backend that adds the workers up gets each byte once. Counters begin in each
process where the exporter before it left off, as OpenTelemetry has it for a process that starts.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from p2pcdn.stats.metrics import MAX_CONTENT_LABELS, metrics
from p2pcdn.stats.recorder import Recorder
from p2pcdn.stats.store import StoreError
from p2pcdn.stats.summary import Counts, Summary

__all__ = ["register"]

log = logging.getLogger("p2pcdn.stats")

_FRESH_S = 2.0
_COORDINATOR = ("peers", "sockets", "mailboxes", "contents", "streams")

Observed = Mapping[tuple[str, str], list[tuple[float, dict[str, str]]]]
"""Instrument and suffix -> values with their attributes."""


def register(
    recorder: Recorder,
    *,
    version: str,
    live: Callable[[], Mapping[str, Any]] = dict,
    meter_provider: Any = None,
) -> bool:
    """Register the instruments with the site's meter provider (by default the global one, also
    where that is set later).

    Histograms have no observable instrument: the start-up time is exported as
    `p2pcdn_startup_seconds_sum` and `_count`. Does no I/O; never keeps `recorder` alive.

    Args:
        recorder: Whose store is read.
        version: Of p2pcdn.
        live: What the coordinator counts now, by name.
        meter_provider: In place of the global one.

    Returns:
        Whether `opentelemetry.metrics` could be imported.
    """
    try:
        from opentelemetry import metrics as api
    except ImportError:
        return False
    meter = api.get_meter("p2pcdn", version, meter_provider=meter_provider)
    exporter = _Exporter(recorder, live, version)
    nothing = Summary(since=0, until=0, step_s=0, totals=Counts(), contents=())
    for metric in metrics(nothing, dict.fromkeys(_COORDINATOR, 0), version=version):
        make = (
            meter.create_observable_gauge
            if metric.kind == "gauge"
            else meter.create_observable_counter
        )
        for suffix in sorted({s.suffix for s in metric.samples}) or [""]:
            if suffix != "_bucket":
                name = metric.name + suffix
                observe = _observer(api, exporter, metric.name, suffix)
                make(name, callbacks=[observe], description=metric.help)
    return True


class _Exporter:
    """One read of the store for all instruments of a collection."""

    def __init__(
        self, recorder: Recorder, live: Callable[[], Mapping[str, Any]], version: str
    ) -> None:
        self._recorder = weakref.ref(recorder)
        self._live = live
        self._version = version
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._observed: Observed = {}
        self._begin: dict[str, float] | None = None
        """What others had exported when this process began to; None: it does not."""

    def read(self) -> Observed:
        with self._lock:
            recorder = self._recorder()
            if recorder is not None and time.monotonic() - self._at > _FRESH_S:
                try:
                    if not recorder.export(MAX_CONTENT_LABELS, self._observe):
                        self._begin, self._observed = None, {}
                except StoreError as error:
                    log.debug("OpenTelemetry: the statistics cannot be read (%s)", error)
                self._at = time.monotonic()
            return self._observed if recorder is not None else {}

    def _observe(self, summary: Summary, exported: dict[str, float]) -> None:
        if self._begin is None:
            self._begin = dict(exported)
        found = self._live()
        counts = {
            n: float(found[n]) for n in _COORDINATOR if isinstance(found.get(n), (int, float))
        }
        observed: dict[tuple[str, str], list[tuple[float, dict[str, str]]]] = {}
        for metric in metrics(summary, counts, version=self._version):
            for sample in metric.samples:
                if sample.suffix == "_bucket":
                    continue
                value = sample.value
                if metric.kind != "gauge":
                    at = json.dumps([metric.name + sample.suffix, dict(sample.labels)])
                    exported[at] = sample.value
                    value -= self._begin.get(at, 0.0)
                observed.setdefault((metric.name, sample.suffix), []).append(
                    (value, dict(sample.labels))
                )
        self._observed = observed


def _observer(
    api: Any, exporter: _Exporter, name: str, suffix: str
) -> Callable[[Any], Iterable[Any]]:
    def observe(options: Any) -> Iterable[Any]:
        for value, attributes in exporter.read().get((name, suffix), ()):
            yield api.Observation(value, attributes)

    return observe
