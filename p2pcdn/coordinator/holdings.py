"""Which segments a peer holds, in at most 512 bytes: one bit a *cell*.

A cell is one segment; in a content of more than 4,096 segments it is several, and counts
as held only when all of it is. What peers hold exactly they tell each other (wire message
JOIN): the coordinator only ranks by it.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["MOST_CELLS", "cells", "runs", "scale"]

MOST_CELLS = 4096


def scale(segments: int) -> int:
    """Segments a cell of a content of `segments`."""
    return -(-segments // MOST_CELLS)


def cells(runs: Iterable[tuple[int, int]], segments: int, *, touching: bool = False) -> int:
    """The bitmap of the cells that `runs` of (first, count) fill (or, `touching`, touch)."""
    size = scale(segments)
    bits = 0
    for first, count in runs:
        end = min(first + count, segments)
        if touching:
            low, high = first // size, -(-end // size)
        else:
            # The last cell may be short: it is full when the run reaches the content's end.
            low = -(-first // size)
            high = -(-end // size) if end == segments else end // size
        if high > low:
            bits |= ((1 << (high - low)) - 1) << low
    return bits


def runs(bits: int, segments: int, *, most: int) -> list[list[int]] | None:
    """The runs [first, count] of a bitmap in segments, or None where they are more than `most`."""
    size = scale(segments)
    found: list[list[int]] = []
    at = 0
    while bits:
        if len(found) == most:
            return None
        zeros = (bits & -bits).bit_length() - 1
        bits >>= zeros
        ones = (~bits & (bits + 1)).bit_length() - 1
        bits >>= ones
        first = (at + zeros) * size
        at += zeros + ones
        found.append([first, min(at * size, segments) - first])
    return found
