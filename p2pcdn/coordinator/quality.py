"""How good a source a peer is, as the peers that are linked to it measured.

Nobody is asked about itself. One voice each, the median of all counts, and only those have a
voice with whom the peer itself agreed to open a link: to move the median takes more links to a
peer than the honest ones have. Whoever slanders can do no more than change an order.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

__all__ = ["Measure", "Quality", "read_links"]

_MOST_VOICES = 8
_MOST_MET = 64
_MOST_LINKS = 16
_MOST_RTT_S = 10.0
_MOST_RATE = 1e9


class Measure(NamedTuple):
    """What one end of a link saw of the other; None: not measured."""

    rtt_s: float | None
    rate: float | None
    """Bytes per second that it delivered."""


class Quality:
    """What others say of one peer, and whom it met. Bounded."""

    __slots__ = ("_blamers", "_measures", "_met")

    def __init__(self) -> None:
        self._measures: OrderedDict[str, Measure] = OrderedDict()
        self._blamers: set[str] = set()
        self._met: OrderedDict[str, None] = OrderedDict()

    def meet(self, other: str) -> None:
        """This peer and `other` agreed to open a link."""
        self._met[other] = None
        self._met.move_to_end(other)
        if len(self._met) > _MOST_MET:
            gone, _ = self._met.popitem(last=False)
            self._blamers.discard(gone)

    def measured(self, reporter: str, measure: Measure) -> None:
        """`reporter` says how this peer serves it; its last word counts."""
        if reporter in self._met:
            self._measures[reporter] = measure
            self._measures.move_to_end(reporter)
            if len(self._measures) > _MOST_VOICES:
                self._measures.popitem(last=False)

    def blamed(self, reporter: str) -> None:
        """`reporter` got wrong bytes from this peer."""
        if reporter in self._met:
            self._blamers.add(reporter)

    @property
    def rtt_s(self) -> float | None:
        """The median round trip."""
        return _median(m.rtt_s for m in self._measures.values())

    @property
    def rate(self) -> float | None:
        """The median of what it delivers to one peer, in bytes per second."""
        return _median(m.rate for m in self._measures.values())

    @property
    def blame(self) -> int:
        """How many peers got wrong bytes from it."""
        return len(self._blamers)


def read_links(value: object) -> list[tuple[str, Measure]]:
    """`info.links` of an announcement, `[[id, round trip in ms, KiB per second], ...]`."""
    links: list[tuple[str, Measure]] = []
    for item in value[:_MOST_LINKS] if isinstance(value, list) else ():
        if not isinstance(item, list) or len(item) != 3 or not isinstance(item[0], str):
            continue
        rtt, rate = (_number(number) for number in item[1:])
        measure = Measure(
            None if rtt is None else min(rtt / 1000, _MOST_RTT_S),
            None if rate is None else min(rate * 1024, _MOST_RATE),
        )
        if measure != (None, None):
            links.append((item[0], measure))
    return links


def _number(value: object) -> float | None:
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return float(min(value, 1e12)) if value >= 0 else None
    return None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
