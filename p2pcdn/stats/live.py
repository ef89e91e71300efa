"""The swarm as it is now: page views and links, no addresses, no ids of people."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from typing import Any

__all__ = ["NOW_S", "read_live"]

NOW_S = 45.0
"""A view counts as watching now for this long after its last report (every 10 s or so)."""

_MAX_NODES = 240


def read_live(connection: sqlite3.Connection, *, now: float) -> dict[str, Any]:
    """Views that reported within the last `NOW_S` seconds.

    Both ends of a link give it the same short name (a hash of their session ids); views that
    report the same name are linked. Names are forgotten with the view.

    Returns:
        `{"viewers": n, "nodes": [{"id", "content": path, "held": 0..1, "from_peers", "from_origin",
        "uploaded"}], "links": [[i, j, bytes], ...]}`, at most 240 nodes.

    Raises:
        sqlite3.Error: The store cannot be read.
    """
    live = "final = 0 AND last > ? AND last < ? AND key <> ''"
    span = (now - NOW_S, now + NOW_S)
    (viewers,) = connection.execute(
        f"SELECT count(DISTINCT view) FROM views WHERE {live}", span
    ).fetchone()
    nodes: dict[bytes, dict[str, Any]] = {}
    ends: dict[str, dict[int, int]] = defaultdict(dict)
    numbers: dict[bytes, int] = {}
    for view, path, held, tags, state in connection.execute(
        "SELECT view, path, held, tags, state FROM views JOIN contents ON contents.id = content "
        f"WHERE {live} ORDER BY view LIMIT {_MAX_NODES * 4}",
        span,
    ):
        last = json.loads(state)["last"]
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
            for name, carried in json.loads(tags):
                ends[name][numbers[view]] = carried
        for name in ("from_peers", "from_origin", "uploaded"):
            node[name] += last.get(name, 0)
    links = [[*sorted(pair), max(pair.values())] for pair in ends.values() if len(pair) == 2]
    return {"viewers": viewers, "nodes": list(nodes.values()), "links": sorted(links)}
