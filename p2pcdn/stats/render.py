"""Summaries as text: a table, CSV, sparklines. Pure."""

from __future__ import annotations

import csv
import io
import textwrap
import time
from collections.abc import Mapping, Sequence

from p2pcdn.stats.causes import CAUSES, DIRECT
from p2pcdn.stats.fit import fit_columns
from p2pcdn.stats.summary import Content, Counts, Summary

__all__ = [
    "as_csv",
    "as_text",
    "columns",
    "headline",
    "human_bytes",
    "no_room",
    "remarks",
    "sparkline",
]

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.:-=+*#"

HEADER = (
    "content",
    "views",
    "now",
    "delivered",
    "from peers",
    "from origin",
    "offload",
    "start p50",
    "p95",
    "stalls",
    "saved",
)


def human_bytes(number: float) -> str:
    """Decimal units, as traffic is billed: `1.53 GB`."""
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if abs(number) < 999.5 or unit == "PB":
            break
        number /= 1000
    return f"{number:.0f} B" if unit == "B" else f"{number:.3g} {unit}"


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{part * 100:.1f} %"


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"


def _money(amount: float, currency: str) -> str:
    return f"{currency}{amount:,.2f}"


def _row(name: str, counts: Counts, price: float, currency: str) -> tuple[str, ...]:
    return (
        name,
        f"{counts.views:,}",
        str(counts.viewers_now),
        human_bytes(counts.delivered),
        human_bytes(counts.from_peers),
        human_bytes(counts.from_origin),
        _percent(counts.offload),
        _ms(counts.startup_p50_ms),
        _ms(counts.startup_p95_ms),
        f"{counts.stalls:,}",
        _money(counts.saved(price), currency),
    )


def columns(summary: Summary, *, price: float, currency: str) -> list[tuple[str, ...]]:
    """Rows of the table under `HEADER`: the contents, then the total."""
    rows = [_row(_safe(c.path), c.counts, price, currency) for c in summary.contents]
    if summary.more_contents:
        rows.append((f"... and {summary.more_contents} more", *[""] * (len(HEADER) - 1)))
    return [*rows, _row("total", summary.totals, price, currency)]


def headline(summary: Summary, *, price: float, currency: str) -> str:
    """The numbers that matter, in one line."""
    totals = summary.totals
    return (
        f"offload {_percent(totals.offload)}, saved {human_bytes(totals.from_peers)} = "
        f"{_money(totals.saved(price), currency)}, {totals.viewers_now} watching now"
    )


def span(summary: Summary) -> str:
    begin = "the beginning" if summary.since <= 0 else _local(summary.since)
    return f"{begin} to {_local(summary.until)}"


def _local(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))


def sparkline(values: Sequence[int], *, top: int | None = None, ascii: bool = False) -> str:
    """One character a value, from nothing to `top` (default: the largest)."""
    marks = _ASCII if ascii else _BLOCKS
    top = max(values, default=0) if top is None else top
    if top <= 0:
        return marks[0] * len(values)
    return "".join(
        marks[0] if value <= 0 else marks[max(1, min(len(marks) - 1, value * len(marks) // top))]
        for value in values
    )


def sparklines(summary: Summary, *, width: int, ascii: bool) -> list[str]:
    """Origin and peers over time, on one scale."""
    points = summary.series
    if len(points) < 2:
        return []
    per = -(-len(points) // max(10, width - 28))
    groups = [points[i : i + per] for i in range(0, len(points), per)]
    peers = [sum(p.from_peers for p in group) for group in groups]
    origin = [sum(p.from_origin for p in group) for group in groups]
    top = max(*peers, *origin)
    step = per * summary.step_s
    every = (
        f"{step // 86400} d"
        if step >= 86400
        else (f"{step // 3600} h" if step >= 3600 else f"{step // 60} min")
    )
    return [
        f"peers   {sparkline(peers, top=top, ascii=ascii)}",
        f"origin  {sparkline(origin, top=top, ascii=ascii)}",
        f"        {every} a mark, highest {human_bytes(top)}",
    ]


def remarks(summary: Summary) -> list[str]:
    """What else should be known: reconciliation, causes, reports that were not believed."""
    lines = [note.text for note in summary.notes]
    totals = summary.totals
    if summary.causes:
        lines.append("From the origin because: " + _ranked(summary.causes, CAUSES))
    if summary.direct:
        lines.append("Played without p2pcdn because: " + _ranked(summary.direct, DIRECT))
    if totals.unconfirmed:
        lines.append(
            f"{human_bytes(totals.unconfirmed)} said to come from peers are not counted: no peer "
            "says that it sent them."
        )
    if summary.dropped:
        reasons = ", ".join(f"{_safe(name)} ({n:,})" for name, n in summary.dropped.items())
        lines.append(f"Reports that were not believed: {reasons}.")
    return lines


def _ranked(found: Mapping[str, int], words: Mapping[str, tuple[str, str]]) -> str:
    total = sum(found.values()) or 1
    ranked = sorted(found.items(), key=lambda item: -item[1])[:5]
    parts = [f"{words.get(k, (k, ''))[0]} {n / total:.0%}" for k, n in ranked]
    return ", ".join(parts) + "."


def as_text(
    summary: Summary, *, price: float, currency: str, width: int | None, ascii: bool = False
) -> str:
    """The whole report in plain text.

    Args:
        width: Columns of the terminal; None (a pipe): nothing is cut.
        ascii: For an output that cannot write block characters.
    """
    rows = [HEADER, *columns(summary, price=price, currency=currency)]
    table, left_out = fit_columns(rows, width)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [f"p2pcdn, {span(summary)}", headline(summary, price=price, currency=currency), ""]
    for first, *rest in table:
        cells = (cell.rjust(w) for cell, w in zip(rest, widths[1:], strict=True))
        lines.append("  ".join((first.ljust(widths[0]), *cells)).rstrip())
    lines.insert(len(lines) - 1, "-" * len(lines[-1]))
    if graph := sparklines(summary, width=width or 100, ascii=ascii):
        lines += ["", *graph]
    if notes := [*no_room(left_out), *remarks(summary)]:
        lines.append("")
        for note in notes:
            lines += [note] if width is None else textwrap.wrap(note, width)
    text = "\n".join(lines)
    return text.encode("ascii", "replace").decode() if ascii else text


def no_room(left_out: Sequence[str]) -> list[str]:
    """What to say of columns that a terminal has no room for."""
    if not left_out:
        return []
    return [f"No room for: {', '.join(left_out)}. A wider terminal, a pipe or --csv has all."]


def _safe(text: str) -> str:
    """Another site's text must not steer this terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


_CSV_FIELDS = (
    "views",
    "viewers_now",
    "delivered",
    "from_peers",
    "from_origin",
    "from_cache",
    "offload",
    "uploaded",
    "unconfirmed",
    "startup_p50_ms",
    "startup_p95_ms",
    "stalls",
    "stall_ms",
    "watched_s",
    "origin_counted",
    "origin_reported",
    "origin_requests",
    "origin_whole",
    "origin_aborted",
)


def as_csv(summary: Summary, *, price: float, currency: str) -> str:
    """Bytes and milliseconds in full; one row a content, the last one the total (RFC 4180)."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["content", "size", *_CSV_FIELDS, "saved", "currency"])
    total = Content("total", None, summary.totals)
    for content in (*summary.contents, total):
        counts = content.counts
        numbers = [getattr(counts, name) for name in _CSV_FIELDS]
        cells = ["" if n is None else round(n, 4) if isinstance(n, float) else n for n in numbers]
        saved = f"{counts.saved(price):.4f}"
        # A spreadsheet runs what begins with these.
        name = f"'{content.path}" if content.path[:1] in "=+-@" else content.path
        size = "" if content.size is None else content.size
        writer.writerow([_safe(name), size, *cells, saved, currency])
    return out.getvalue()
