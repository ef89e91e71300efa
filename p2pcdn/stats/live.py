"""The swarm as it is now: page views and links, no addresses, no ids of people. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["MAX_ROWS", "NOW_S", "picture"]

NOW_S = 45.0
"""A view counts as watching now for this long after its last report (every 10 s or so)."""

_MAX_NODES = 240
MAX_ROWS = _MAX_NODES * 4
"""Rows that `picture` is given: a page may play several contents."""

_Row = tuple[bytes, str, float, Iterable[tuple[str, int]], Mapping[str, int]]


def picture(viewers: int, rows: Iterable[_Row]) -> dict[str, Any]:
    """Views that reported within the last `NOW_S` seconds.

    Both ends of a link give it the same short name (a hash of their session ids); views that
    report the same name are linked. Names are forgotten with the view.

    Args:
        viewers: All page views that watch now.
        rows: view, path, part held, links by name, cumulative numbers; ordered by view.

    Returns:
        `{"viewers": n, "nodes": [{"id", "content": path, "held": 0..1, "from_peers", "from_origin",
        "uploaded"}], "links": [[i, j, bytes], ...]}`, at most 240 nodes.
    """
    nodes: dict[bytes, dict[str, Any]] = {}
    ends: dict[str, dict[int, int]] = defaultdict(dict)
    numbers: dict[bytes, int] = {}
    for view, path, held, tags, last in rows:
        node = nodes.get(view)
        if node is None:
            if len(nodes) == _MAX_NODES:
                continue
            numbers[view] = len(nodes)
            node = nodes[view] = {
                "id": view.hex()[:10],
                "content": path,
                "held": round(held, 3),
                "from_peers": 0,
                "from_origin": 0,
                "uploaded": 0,
            }
            for name, carried in tags:
                ends[name][numbers[view]] = carried
        for name in ("from_peers", "from_origin", "uploaded"):
            node[name] += last.get(name, 0)
    links = [[*sorted(pair), max(pair.values())] for pair in ends.values() if len(pair) == 2]
    return {"viewers": viewers, "nodes": list(nodes.values()), "links": sorted(links)}
