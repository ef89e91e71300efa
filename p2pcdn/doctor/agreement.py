"""Do all of a site's machines sign with one secret?

A token that one of them gives out with a manifest is worth nothing on another whose secret is not
the same: visitors are then refused their swarm now and then, for no reason that they could see.
Two tokens for the same peer, content and second of expiry are equal exactly if their makers agree.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

from p2pcdn.doctor.assets import Loader
from p2pcdn.doctor.findings import Report
from p2pcdn.doctor.visitor import Unreachable, visit

__all__ = ["check_secrets"]

_AT_ONCE = 6
_ROUNDS = 3


def check_secrets(report: Report, url: str, loader: Loader, *, timeout_s: float) -> None:
    """Ask for one video's manifest over many connections at once, and compare the tokens.

    Args:
        report: Gets the findings.
        url: A video that is shared.
        loader: Says where the manifest is.
        timeout_s: Longest silence of the server.
    """
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    address = loader.beside("manifest") + f"?url={quote(target, safe='')}&peer=doctor"
    made: dict[tuple[str, int], set[str]] = {}
    for _ in range(_ROUNDS):
        for manifest in _together(address, timeout_s):
            key, token, expires = (manifest.get(name) for name in ("key", "token", "expires"))
            if isinstance(key, str) and isinstance(token, str) and isinstance(expires, int):
                made.setdefault((key, expires), set()).add(token)
        if any(len(tokens) > 1 for tokens in made.values()):
            report.problem(
                "secret",
                "The site's machines (or server workers) do not sign with the same secret: a "
                "visitor whose page came from one is refused by another.",
                "Set one `secret` for all of them (P2PCDN_SECRET in the environment, the same on "
                "every machine), or the framework's own secret key; server workers of one machine "
                "also agree if they share one `data_dir` that they can write.",
            )
            return
    if made:
        report.ok("secret", "Whoever answered signs with one and the same secret.")


def _together(address: str, timeout_s: float) -> list[dict[str, Any]]:
    """The manifests that simultaneous visitors get. All connect before the first one asks: a
    server worker that is busy leaves the next one to another."""
    barrier = threading.Barrier(_AT_ONCE)

    def together() -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait(timeout_s)

    def ask(_: int) -> dict[str, Any]:
        try:
            answer = visit(
                address,
                headers={"Sec-Fetch-Site": "same-origin"},
                timeout_s=timeout_s,
                connected=together,
            )
        except Unreachable:
            barrier.abort()
            return {}
        found = answer.json()
        return found if answer.status == 200 and isinstance(found, dict) else {}

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(ask, range(_AT_ONCE)))
