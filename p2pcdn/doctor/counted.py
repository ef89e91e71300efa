"""What the site itself counted in the last day, for its owner."""

from __future__ import annotations

import math
from typing import Any

from p2pcdn.doctor.assets import Loader
from p2pcdn.doctor.findings import Report
from p2pcdn.doctor.visitor import Unreachable, visit

__all__ = ["check_counted"]


def check_counted(report: Report, loader: Loader, token: str, *, timeout_s: float) -> None:
    """Read `{mount}/stats` with the owner's token."""
    url = loader.beside("stats") + "?since=24h&top=0"
    headers = {"Authorization": f"Bearer {token}"}
    try:
        answer = visit(url, headers=headers, timeout_s=timeout_s)
    except Unreachable as error:
        report.warning("stats", f"The statistics cannot be had: {error}.", "Look into the log.")
        return
    found = answer.json()
    if answer.status != 200 or not isinstance(found, dict):
        said = found.get("message", "") if isinstance(found, dict) else ""
        report.warning(
            "stats",
            f"The site does not show its statistics ({answer.status}). {said}".rstrip(),
            "Set `stats_token` on the site and give the same one with --token.",
        )
        return
    totals = _part(found, "totals")
    views = _count(totals, "views")
    peers, delivered = _count(totals, "from_peers"), _count(totals, "delivered")
    direct = _part(found, "direct")
    if not views and not direct:
        report.ok("stats", "The site counted no viewer in the last 24 hours.")
        return
    share = f"{100 * peers / delivered:.0f} %" if delivered else "nothing"
    report.ok("stats", f"In 24 hours {views:,.0f} views; {share} of all bytes came from visitors.")
    worst = sorted(direct.items(), key=lambda item: -_count(direct, item[0]))[:3]
    if worst and sum(_count(direct, name) for name in direct) > max(views, 1):
        reasons = ", ".join(f"{name} ({_count(direct, name):,.0f})" for name, _ in worst)
        report.warning(
            "stats-direct",
            "More videos played without p2pcdn than with it; the most frequent reasons: "
            f"{reasons}.",
            "docs/statistics.md says what each reason means.",
        )


def _part(value: dict[str, Any], name: str) -> dict[str, Any]:
    part = value.get(name)
    return part if isinstance(part, dict) else {}


def _count(value: dict[str, Any], name: str) -> float:
    number = value.get(name)
    if isinstance(number, (int, float)) and math.isfinite(number):
        return float(number)
    return 0.0
