"""The report for a terminal, where `rich` is installed (extra `cli`)."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from p2pcdn.stats.fit import fit_columns
from p2pcdn.stats.render import HEADER, columns, headline, no_room, remarks, span, sparklines
from p2pcdn.stats.summary import Summary

__all__ = ["as_rich"]


def as_rich(summary: Summary, price: float, currency: str) -> str:
    """The same as `render.as_text`, with colours, as wide as the terminal."""
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1))
    rows = [HEADER, *columns(summary, price=price, currency=currency)]
    (header, *lines), left_out = fit_columns(rows, console.width)
    for index, name in enumerate(header):
        style = _STYLES.get(name, "")
        table.add_column(name, justify="right" if index else "left", no_wrap=True, style=style)
    for line in lines[:-1]:
        table.add_row(*(Text(cell) for cell in line))
    table.add_section()
    table.add_row(*(Text(cell) for cell in lines[-1]), style="bold")
    parts: list[RenderableType] = [
        Text(f"p2pcdn, {span(summary)}", style="dim"),
        Text(headline(summary, price=price, currency=currency), style="bold"),
        Text(),
        table,
    ]
    graph = sparklines(summary, width=console.width, ascii=False)
    if graph:
        parts += [Text(), Text(graph[0], style="green"), Text(graph[1], style="yellow")]
        parts.append(Text(graph[2], style="dim"))
    notes = [*no_room(left_out), *remarks(summary)]
    if notes:
        parts += [Text(), *(Text(note, style="dim") for note in notes)]
    with console.capture() as capture:
        console.print(Group(*parts))
    return capture.get().rstrip("\n")


_STYLES = {"from peers": "green", "offload": "green", "saved": "green", "from origin": "yellow"}
