"""Two real visitors: the page opened twice in a headless Chromium, and what each one got."""

from __future__ import annotations

from typing import Any

from p2pcdn.doctor.chromium import BrowserError, Chromium, Tab, find_chromium
from p2pcdn.doctor.findings import Report

__all__ = ["check_browser"]

_STATS = "window.p2pcdn ? JSON.parse(JSON.stringify(window.p2pcdn.stats())) : null"
_CONTROLLED = "!!(navigator.serviceWorker && navigator.serviceWorker.controller)"
_VIDEOS = "document.querySelectorAll('video').length"
_PLAY = (
    "document.querySelectorAll('video').forEach((v, i) => { "
    "if (i < 1) { v.muted = true; v.play().catch(() => {}); } })"
)
_PAGE_S = 20.0

# What js/src/loader/why.ts names, for the site's owner.
_WHY = {
    "insecure": ("the page is not on https", "Serve the site over https."),
    "no-worker": ("this browser has no service workers", "Try another browser with --chromium."),
    "no-webrtc": ("this browser has no WebRTC", "Try another browser with --chromium."),
    "page-off": (
        'the page says data-p2p="off" on <html>',
        "Take the attribute away.",
    ),
    "element-off": ('the video says data-p2p="off"', "Take the attribute away."),
    "other-origin": (
        "the video or the loader comes from another host",
        "Serve it under the site's own address.",
    ),
    "outside-scope": (
        "the page lies outside of the worker's scope",
        "Set `public_prefix` to the prefix that visitors see.",
    ),
    "foreign-worker": (
        "the site has a service worker of its own",
        "Import ours into it, first thing: importScripts('/p2pcdn/worker.js').",
    ),
    "worker-failed": (
        "the service worker could not be installed",
        "See the findings about worker.js; a Content-Security-Policy needs worker-src 'self'.",
    ),
    "worker-slow": (
        "the service worker was not ready in time",
        "It only concerns first visits. `startup_wait` says how long they wait for it.",
    ),
    "no-manifest": (
        "the video has no manifest (yet)",
        "See the findings about the video; a file is hashed once, then it can be shared.",
    ),
    "bypassed": (
        "the video failed through p2pcdn and was played straight from the site",
        "Look at the findings about the video's bytes, and report it with --json.",
    ),
    "error": ("p2pcdn had a fault", "Please report it, with the output of --json."),
}


def check_browser(report: Report, url: str, *, wait_s: float, chromium: str | None) -> None:
    """Open the page twice, each in a context of its own, and play its first video.

    Args:
        report: Gets the findings.
        url: The page.
        wait_s: How long to wait for bytes, and then for a link.
        chromium: The executable; default: the one on PATH.
    """
    try:
        with Chromium(find_chromium(chromium)) as browser:
            first = _Visitor(browser.tab(), "The first visitor")
            if not first.open(report, url) or not first.fed(report, wait_s):
                return
            second = _Visitor(browser.tab(), "The second visitor")
            if second.open(report, url) and second.fed(report, wait_s):
                _together(report, first, second, wait_s)
    except BrowserError as error:
        report.warning(
            "browser",
            f"The look through a browser failed: {error}.",
            "Install Chromium, or name one with --chromium.",
        )


class _Visitor:
    def __init__(self, tab: Tab, name: str) -> None:
        self.tab, self.name = tab, name
        self.url = ""

    def open(self, report: Report, url: str) -> bool:
        """Whether the page has a running loader."""
        self.url = url
        self.tab.goto(url)
        stats = self.tab.wait_for(_STATS, bool, timeout_s=_PAGE_S)
        if stats is None:
            said = "; ".join(self.tab.complaints()[:2])
            report.problem(
                "browser-loader",
                f"{self.name}'s browser did not run the loader."
                + (f" It says: {said[:300]}" if said else ""),
                "See the findings above about page, policy and loader.",
            )
            return False
        if not self.tab.wait_for(_VIDEOS, bool, timeout_s=5):
            report.warning(
                "browser-no-video",
                "There is no <video> on this page in a browser either.",
                "Name a page that plays a video without a click.",
            )
            return False
        self.tab.eval(_PLAY)
        return True

    def fed(self, report: Report, wait_s: float) -> bool:
        """Whether this visitor's video comes through p2pcdn."""
        for attempt in range(2):
            stats = self.tab.wait_for(
                _STATS, lambda s: _direct(s) or _total(s, "held") > 0, timeout_s=wait_s
            )
            why = _direct(stats)
            if why in ("worker-slow", "no-manifest") and attempt == 0:
                # What a returning visitor finds: the worker is there, and so may be the hashes.
                self.tab.wait_for(_CONTROLLED, bool, timeout_s=wait_s)
                self.tab.goto(self.url)
                self.tab.wait_for(_STATS, bool, timeout_s=_PAGE_S)
                self.tab.eval(_PLAY)
                continue
            break
        if why:
            words, remedy = _WHY.get(why, (why, "docs/statistics.md says what that means."))
            tell = report.warning if why == "worker-slow" else report.problem
            tell(
                "browser-direct",
                f"{self.name}'s video plays straight from the site: {words} ({why}).",
                remedy,
            )
            return False
        if _total(stats, "held") == 0:
            said = "; ".join(self.tab.complaints()[:2])
            report.warning(
                "browser-silent",
                f"{self.name} got no byte of a video within {wait_s:g} s."
                + (f" Its browser says: {said[:300]}" if said else ""),
                "See whether the page plays its video at all when it is opened by hand.",
            )
            return False
        return True


def _together(report: Report, first: _Visitor, second: _Visitor, wait_s: float) -> None:
    stats = second.tab.wait_for(
        _STATS, lambda s: _total(s, "fromPeers") > 0 or _direct(s), timeout_s=wait_s
    )
    other = first.tab.eval(_STATS)
    for visitor, found in ((first, other), (second, stats)):
        report.ok("browser-visitor", f"{visitor.name}: {_described(found)}")
    linked = any(_open(found) for found in (stats, other))
    if _total(stats, "fromPeers") > 0:
        report.ok("browser-shared", "The second visitor was fed by the first.")
    elif linked:
        report.warning(
            "browser-idle",
            "The two visitors were connected, but the second one took all bytes from the site.",
            "Try a longer video: the first seconds always come from the site. If it stays so, "
            "look at the panel (?p2pcdn=hud).",
        )
    elif _transport(stats) == "none":
        report.problem(
            "browser-coordinator",
            "The visitors did not reach the coordinator.",
            "See the findings about the coordinator.",
        )
    else:
        report.warning(
            "browser-no-link",
            f"The two visitors found no way to each other within {wait_s:g} s, although they are "
            "on one machine.",
            "Check that this machine's browser may use WebRTC (enterprise policies, firewalls). "
            "With `relay_only`, see the findings about the TURN server.",
        )


# --- LoaderStats of js/src/loader/start.ts -----------------------------------------------------


def _engine(stats: Any) -> dict[str, Any]:
    engine = stats.get("engine") if isinstance(stats, dict) else None
    return engine if isinstance(engine, dict) else {}


def _parts(whole: Any, name: str) -> list[dict[str, Any]]:
    """A list of objects in what the page said; a page can say anything."""
    parts = whole.get(name) if isinstance(whole, dict) else None
    return [p for p in parts if isinstance(p, dict)] if isinstance(parts, list) else []


def _direct(stats: Any) -> str:
    """Why the page, or all of its videos, play straight from the site."""
    if not isinstance(stats, dict):
        return ""
    if stats.get("why"):
        return str(stats["why"])
    whys = [video.get("why") for video in _parts(stats, "videos")]
    return str(whys[0]) if whys and all(whys) else ""


def _total(stats: Any, name: str) -> int:
    numbers = (content.get(name) for content in _parts(_engine(stats), "contents"))
    return sum(number for number in numbers if isinstance(number, int))


def _open(stats: Any) -> int:
    return sum(peer.get("state") == "open" for peer in _parts(_engine(stats), "peers"))


def _transport(stats: Any) -> str:
    return str(_engine(stats).get("transport", "none"))


def _described(stats: Any) -> str:
    return (
        f"{_total(stats, 'fromPeers'):,} bytes from visitors, {_total(stats, 'fromOrigin'):,} "
        f"from the site, {_total(stats, 'uploaded'):,} passed on, {_open(stats)} connected, "
        f"coordinator by {_transport(stats)}."
    )
