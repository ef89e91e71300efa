"""The metrics by name, once for Prometheus and OpenTelemetry (docs/statistics.md). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from p2pcdn.stats.causes import CAUSES, DIRECT
from p2pcdn.stats.fields import STARTUP_BOUNDS_MS
from p2pcdn.stats.summary import Summary

__all__ = ["MAX_CONTENT_LABELS", "Metric", "Sample", "metrics", "prometheus"]

MAX_CONTENT_LABELS = 100


@dataclass(frozen=True, slots=True)
class Sample:
    value: float
    labels: Mapping[str, str]
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """`kind` is counter, gauge or histogram, as in the Prometheus data model."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]


def metrics(
    summary: Summary, coordinator: Mapping[str, float], *, version: str
) -> Iterator[Metric]:
    """Everything that is exported, from `Recorder.all_time` and the coordinator's counts."""
    totals = summary.totals
    yield _one("build_info", "gauge", "Version of p2pcdn.", 1, version=version)
    yield _many(
        "delivered_bytes_total",
        "counter",
        "Bytes delivered to visitors, by source; peers: verified and confirmed by their sender.",
        "source",
        {"peers": totals.from_peers, "origin": totals.from_origin, "cache": totals.from_cache},
    )
    for name, help, value in (
        ("uploaded_bytes_total", "Bytes that visitors say they sent.", totals.uploaded),
        ("unconfirmed_bytes_total", "From peers, but no peer sent them.", totals.unconfirmed),
        ("origin_sent_bytes_total", "Media bytes that this app sent.", totals.origin_counted),
        ("origin_reported_bytes_total", "From the origin, by loaders.", totals.origin_reported),
        ("views_total", "Views of a content.", totals.views),
        ("watched_seconds_total", "Time that visitors watched.", totals.watched_s),
        ("stalls_total", "Interruptions of playback.", totals.stalls),
        ("stall_seconds_total", "Time of interruptions.", totals.stall_ms / 1000),
        ("rejected_total", "Segments from peers with a wrong hash.", totals.rejected),
    ):
        yield _one(name, "counter", help, value)
    yield _many(
        "origin_responses_total",
        "counter",
        "Media responses of the app, by kind; an aborted one counts under both.",
        "kind",
        {
            "whole": totals.origin_whole,
            "partial": totals.origin_requests - totals.origin_whole,
            "aborted": totals.origin_aborted,
        },
    )
    yield _many(
        "origin_segments_total",
        "counter",
        "Segments that loaders took from the origin, by cause.",
        "cause",
        {name: summary.causes.get(name, 0) for name in CAUSES},
    )
    yield _many(
        "direct_videos_total",
        "counter",
        "Videos that played straight from the origin, by reason.",
        "reason",
        {name: summary.direct.get(name, 0) for name in DIRECT},
    )
    yield _many(
        "dropped_reports_total",
        "counter",
        "Parts of reports that were not believed, by reason.",
        "reason",
        summary.dropped,
    )
    yield _many(
        "views_by_transport_total",
        "counter",
        "Views by the loader's way to the coordinator.",
        "transport",
        summary.transports,
    )
    yield _startup(summary)
    yield _one("viewers", "gauge", "Page views that watch now.", totals.viewers_now)
    for name, value in sorted(coordinator.items()):
        if name.isidentifier() and name.isascii():
            help = f"What the coordinator counts as {name} now."
            yield _one(f"coordinator_{name}", "gauge", help, value)
    yield Metric(
        "p2pcdn_content_bytes_total",
        "counter",
        f"As delivered_bytes_total, for the {MAX_CONTENT_LABELS} most delivered contents.",
        tuple(
            Sample(value, {"content": content.path, "source": source})
            for content in summary.contents[:MAX_CONTENT_LABELS]
            for source, value in (
                ("peers", content.counts.from_peers),
                ("origin", content.counts.from_origin),
            )
        ),
    )


def _one(name: str, kind: str, help: str, value: float, **labels: str) -> Metric:
    return Metric(f"p2pcdn_{name}", kind, help, (Sample(value, labels),))


def _many(name: str, kind: str, help: str, label: str, values: Mapping[str, float]) -> Metric:
    samples = tuple(Sample(value, {label: at}) for at, value in values.items())
    return Metric(f"p2pcdn_{name}", kind, help, samples)


def _startup(summary: Summary) -> Metric:
    samples, seen = [], 0
    for bound in STARTUP_BOUNDS_MS:
        seen += summary.startup.get(str(bound), 0)
        samples.append(Sample(seen, {"le": f"{bound / 1000:g}"}, "_bucket"))
    total = seen + summary.startup.get("inf", 0)
    samples += [
        Sample(total, {"le": "+Inf"}, "_bucket"),
        Sample(summary.totals.startup_ms / 1000, {}, "_sum"),
        Sample(total, {}, "_count"),
    ]
    return Metric(
        "p2pcdn_startup_seconds", "histogram", "Time from play to the first frame.", tuple(samples)
    )


def prometheus(found: Iterable[Metric]) -> str:
    """The text exposition format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats)."""
    lines = []
    for metric in found:
        lines.append(f"# HELP {metric.name} {_escaped(metric.help)}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for sample in metric.samples:
            labels = ",".join(
                f'{name}="{_escaped(value, quote=True)}"' for name, value in sample.labels.items()
            )
            head = f"{metric.name}{sample.suffix}" + (f"{{{labels}}}" if labels else "")
            lines.append(f"{head} {_number(sample.value)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))
