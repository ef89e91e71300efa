"""The order of a list of sources: best first, with enough chance to spread the load.

A ranker sees values only, never an address; a site may bring its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, Protocol

__all__ = ["Candidate", "DefaultRanker", "Ranker", "closeness"]


class Candidate(NamedTuple):
    """What is known about a possible source."""

    id: str
    overlap: float
    """Fraction of the wanted segments that it holds, 0 to 1."""
    closeness: float
    """1: behind the same address, 0.6 and 0.3: same narrow or wide network, 0: not, or unknown."""
    uptime_s: float
    busy: float
    """Share of its upload that it says is in use, 0 to 1."""
    named: float
    """How often it was named lately (an average that halves every few seconds)."""


class Ranker(Protocol):
    """The interface to bring an order of one's own."""

    def rank(
        self, candidates: Sequence[Candidate], *, limit: int, random: Random
    ) -> Sequence[Candidate]:
        """The best `limit` of `candidates` (a few dozen at most), best first."""


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
    near, then that it is idle, then that it has stayed (who has watched for a minute is
    likelier to watch another one). Being named often counts against it, without bound.
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
            - 0.8 * c.busy
            - 0.1 * c.named
        )
