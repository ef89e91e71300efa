"""The order of a list of sources: best first, with enough chance to spread the load.

A ranker sees values only, never an address; a site may bring its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, Protocol

__all__ = ["Area", "Candidate", "DefaultRanker", "Locate", "Ranker", "closeness"]


_MIDDLING_RATE = 300_000.0
_MIDDLING_RTT_S = 0.08

# Below most of what is measured: a good line of a bad kind still goes before a bad one of a good.
_LINES = {"ethernet": 0.1, "cellular": -0.3, "slow": -0.3}


class Area(NamedTuple):
    """Whose network an address is in: autonomous system (0: unknown) and country ("")."""

    system: int
    country: str


Locate = Callable[[str], Area | None]
"""The area of an IP address."""


class Candidate(NamedTuple):
    """What is known about a possible source."""

    id: str
    overlap: float
    """Fraction of the wanted segments that it holds, 0 to 1."""
    closeness: float
    """1: behind the same address, 0.6 and 0.3: same narrow or wide network, 0.5: same autonomous
    system and country, 0.4: same autonomous system, 0.2: same country, 0: not, or unknown."""
    uptime_s: float
    busy: float
    """Share of its upload that it says is in use, 0 to 1."""
    named: float
    """How often it was named lately (an average that halves every few seconds)."""
    rtt_s: float | None = None
    """The median of the round trips that its links measured; None: nobody did."""
    rate: float | None = None
    """The median of what its links got from it, in bytes per second."""
    blame: int = 0
    """How many of its links got wrong bytes from it."""
    line: str = "unknown"
    """The kind of network that it says it is on: ethernet, wifi, cellular, slow (of whatever
    kind) or unknown."""


class Ranker(Protocol):
    """The interface to bring an order of one's own."""

    def rank(
        self, candidates: Sequence[Candidate], *, limit: int, random: Random
    ) -> Sequence[Candidate]:
        """The best `limit` of `candidates` (a few dozen at most), best first."""


def nearness(a: Area | None, b: Area | None) -> float:
    """How near two areas are, see `Candidate.closeness`."""
    if a is None or b is None:
        return 0.0
    same_country = bool(a.country) and a.country == b.country
    if a.system and a.system == b.system:
        return 0.5 if same_country else 0.4
    return 0.2 if same_country else 0.0


def closeness(a: tuple[str, str, str] | None, b: tuple[str, str, str] | None) -> float:
    """How near two addresses are, see `Candidate.closeness`."""
    if a is None or b is None:
        return 0.0
    if a[0] == b[0]:
        return 1.0
    return 0.6 if a[1] == b[1] else 0.3 if a[2] == b[2] else 0.0


class DefaultRanker:
    """A weighted sum, plus chance of about the weight of the smaller differences.

    What a peer holds counts most (a source without the segment is none), then that it is
    near, then how it serves those that have it, then that it is idle, then that it has stayed
    (who has watched for a minute is likelier to watch another one) and that its network is of
    a good kind. What nobody measured counts as middling, so that newcomers are tried. Being
    named often, and wrong bytes, count against it, without bound.
    """

    def rank(
        self, candidates: Sequence[Candidate], *, limit: int, random: Random
    ) -> Sequence[Candidate]:
        """See `Ranker.rank`."""
        scored = [(self.score(c) + 0.5 * random.random(), c) for c in candidates]
        scored.sort(key=lambda pair: pair[0], reverse=True)
        return [candidate for _, candidate in scored[:limit]]

    @staticmethod
    def score(c: Candidate) -> float:
        """The part of the order that is not chance."""
        return (
            2.0 * c.overlap
            + 0.8 * c.closeness
            + 0.3 * min(1.0, c.uptime_s / 60.0)
            + 0.8 * (0.5 if c.rate is None else c.rate / (c.rate + _MIDDLING_RATE))
            + 0.5 * (0.5 if c.rtt_s is None else _MIDDLING_RTT_S / (c.rtt_s + _MIDDLING_RTT_S))
            + _LINES.get(c.line, 0.0)
            - 0.8 * c.busy
            - 1.0 * c.blame
            - 0.1 * c.named
        )
