"""What of the report a terminal has room for: no number is ever cut. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from p2pcdn.stats.summary import Summary

__all__ = ["cut", "fit_columns", "fit_rows"]

_GAP = 2
_LEAST = ("p95", "stalls", "from origin", "start p50", "from peers", "now", "views", "saved")
"""What is left out first where there is no room."""
_NAME_MIN = 22
_AROUND = 13
"""Lines above and below the contents: headline, total, sparklines, remarks."""


def fit_columns(
    rows: Sequence[Sequence[str]], width: int | None
) -> tuple[list[list[str]], list[str]]:
    """The columns that fit, and the names of those that do not.

    The first column, the content, gives way first, down to 22 characters; then whole columns do.

    Args:
        rows: The header, then lines of the same length.
        width: Columns of the terminal; None: all fit.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    shown = list(range(len(widths)))
    left_out: list[str] = []
    least = min(widths[0], _NAME_MIN)
    for name in _LEAST:
        if width is None or least + sum(widths[i] + _GAP for i in shown[1:]) <= width:
            break
        index = rows[0].index(name)
        shown.remove(index)
        left_out.append(name)
    if width is not None:
        room = width - sum(widths[i] + _GAP for i in shown[1:])
        widths[0] = max(1, min(widths[0], room))
    lines = [[cut(row[0], widths[0]), *(row[i] for i in shown[1:])] for row in rows]
    return lines, left_out


def fit_rows(summary: Summary, height: int) -> Summary:
    """As many contents as a screen of `height` lines has room for; at least three."""
    room = max(3, height - _AROUND)
    hidden = len(summary.contents) - room
    if hidden <= 0:
        return summary
    return dataclasses.replace(
        summary,
        contents=summary.contents[:room],
        more_contents=summary.more_contents + hidden,
    )


def cut(text: str, width: int) -> str:
    """The end of a path says more than its middle."""
    if len(text) <= width:
        return text
    if width < 3:
        return text[:width]
    head = max(1, width // 3)
    return f"{text[:head]}…{text[len(text) - (width - head - 1) :]}"
