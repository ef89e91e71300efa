"""What `p2pcdn stats`, the dashboard and the metrics say: values and their arithmetic. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from p2pcdn.stats.fields import STARTUP_BOUNDS_MS

__all__ = ["Content", "Counts", "Note", "Point", "Summary", "percentile_ms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Sums over a range of time. Bytes, milliseconds where it says `_ms`, else numbers.

    `from_origin` is what the origin delivered: the greater of what the middleware counted
    (`origin_counted`) and what loaders report (`origin_reported`), so that neither visitors
    without a loader nor a web server in front make the offload look better than it is.
    """

    views: int = 0
    viewers_now: int = 0
    links_now: int = 0
    from_peers: int = 0
    from_origin: int = 0
    from_cache: int = 0
    uploaded: int = 0
    unconfirmed: int = 0
    rejected: int = 0
    stalls: int = 0
    stall_ms: int = 0
    watched_s: int = 0
    startups: int = 0
    startup_ms: int = 0
    startup_p50_ms: float | None = None
    startup_p95_ms: float | None = None
    origin_counted: int = 0
    origin_reported: int = 0
    origin_requests: int = 0
    origin_whole: int = 0
    origin_aborted: int = 0

    @property
    def delivered(self) -> int:
        """Bytes that went over the network to visitors; their own cache is not counted."""
        return self.from_peers + self.from_origin

    @property
    def offload(self) -> float | None:
        """Verified bytes from peers / all bytes delivered; None before the first byte."""
        return self.from_peers / self.delivered if self.delivered else None

    def saved(self, price_per_gb: float) -> float:
        """What the bytes from peers would have cost; a GB is 10**9 bytes, as it is billed."""
        return self.from_peers / 1e9 * price_per_gb


@dataclass(frozen=True, slots=True)
class Content:
    path: str
    size: int | None
    counts: Counts


@dataclass(frozen=True, slots=True)
class Point:
    """One step of the time series, from `t` (Unix seconds) on."""

    t: int
    from_peers: int
    from_origin: int
    from_cache: int
    views: int
    stalls: int


@dataclass(frozen=True, slots=True)
class Note:
    """Something the reader should know about the numbers, e.g. that a clock jumped."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    since: float
    until: float
    step_s: int
    totals: Counts
    contents: tuple[Content, ...]
    """The most delivered first, at most as many as were asked for."""
    more_contents: int = 0
    series: tuple[Point, ...] = ()
    causes: Mapping[str, int] = field(default_factory=dict)
    """Segments that loaders took from the origin, by cause (`causes.CAUSES`)."""
    direct: Mapping[str, int] = field(default_factory=dict)
    """Videos that played straight from the origin, by reason (`causes.DIRECT`)."""
    transports: Mapping[str, int] = field(default_factory=dict)
    startup: Mapping[str, int] = field(default_factory=dict)
    """The start-up histogram: upper bound in ms (or `inf`) -> number of starts."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Parts of reports that were not believed, by reason."""
    notes: tuple[Note, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As `GET {mount}/stats` answers; `from_json` reads it back."""
        return {
            "since": self.since,
            "until": self.until,
            "step_s": self.step_s,
            "totals": _counts_json(self.totals),
            "contents": [
                {"path": c.path, "size": c.size, **_counts_json(c.counts)} for c in self.contents
            ],
            "more_contents": self.more_contents,
            "series": [dataclasses.asdict(point) for point in self.series],
            "causes": dict(self.causes),
            "direct": dict(self.direct),
            "transports": dict(self.transports),
            "startup": dict(self.startup),
            "dropped": dict(self.dropped),
            "notes": [dataclasses.asdict(note) for note in self.notes],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Summary:
        """Read the answer of a site.

        Raises:
            ValueError: It is not one.
        """
        try:
            return cls(
                since=float(value["since"]),
                until=float(value["until"]),
                step_s=int(value["step_s"]),
                totals=_counts(value["totals"]),
                contents=tuple(
                    Content(str(c["path"]), c["size"], _counts(c)) for c in value["contents"]
                ),
                more_contents=int(value["more_contents"]),
                series=tuple(
                    Point(**{f.name: int(p[f.name]) for f in dataclasses.fields(Point)})
                    for p in value["series"]
                ),
                causes=_numbers(value["causes"]),
                direct=_numbers(value["direct"]),
                transports=_numbers(value["transports"]),
                startup=_numbers(value["startup"]),
                dropped=_numbers(value["dropped"]),
                notes=tuple(Note(str(n["code"]), str(n["text"])) for n in value["notes"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not the statistics of a p2pcdn site: {error!r}") from error


def _counts_json(counts: Counts) -> dict[str, Any]:
    return {
        **dataclasses.asdict(counts),
        "delivered": counts.delivered,
        "offload": counts.offload,
    }


def _counts(value: Mapping[str, Any]) -> Counts:
    found: dict[str, Any] = {}
    for f in dataclasses.fields(Counts):
        number = value.get(f.name)
        if number is not None:
            found[f.name] = float(number) if f.name.endswith(("p50_ms", "p95_ms")) else int(number)
    return Counts(**found)


def _numbers(value: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): int(number) for name, number in value.items()}


def percentile_ms(histogram: Mapping[str, int], part: float) -> float | None:
    """The `part` quantile (0.5, 0.95) of a start-up histogram, in milliseconds.

    Linear within a bucket, as Prometheus' `histogram_quantile`; above the last bound it is
    the last bound. None without a start.
    """
    counts: Sequence[tuple[float, int]] = [
        (bound, histogram.get(str(bound), 0)) for bound in STARTUP_BOUNDS_MS
    ]
    rank = part * (sum(n for _, n in counts) + histogram.get("inf", 0))
    if rank <= 0:
        return None
    below, seen = 0.0, 0
    for bound, number in counts:
        if seen + number >= rank and number:
            return below + (bound - below) * (rank - seen) / number
        below, seen = bound, seen + number
    return float(STARTUP_BOUNDS_MS[-1])
