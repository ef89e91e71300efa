"""Players of other makers, unmodified, on pages that know nothing of p2pcdn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import ENV
from tests.browser.driver import BrowserMissing
from tests.browser.eyes import Watch, tap
from tests.browser.fixtures import missing
from tests.servers.proxy import Proxy
from tests.servers.python import Uvicorn
from tests.sites import presentations

pytestmark = [pytest.mark.browser, pytest.mark.server]

Watcher = Callable[..., Watch]

SEGMENTS = r"\.(ts|m4s|mp4)$"
# About four times what the clips need.
USUAL = 250_000


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        return presentations.folder()
    except BrowserMissing as error:
        missing(error)
        raise


@pytest.fixture
def site(folder: Path, run: Callable[..., Any]) -> Callable[..., Proxy]:
    """`site(**settings)`: the proxy in front of a site with the presentations."""

    def site(**settings: str) -> Proxy:
        env = {f"P2PCDN_{name.upper()}": value for name, value in settings.items()}
        server = run(
            lambda: Uvicorn(
                "tests.sites.guests:asgi",
                arguments=["--factory"],
                env={**ENV, "SITE_FOLDER": str(folder), **env},
            )
        )
        proxy: Proxy = run(lambda: Proxy(server.url, bytes_per_s=USUAL))
        tap(proxy)
        return proxy

    return site


def played_from(proxy: Proxy, page: str, visitor: Watch, *, rate: float = 1) -> int:
    """Watch to the end; returns the bytes of segments that left the origin for it."""
    before = proxy.sent(SEGMENTS)
    visitor.open(f"{page}.html").shared()
    visitor.visitor.wait_for("player.readyState >= 2")
    visitor.play(rate).end()
    visitor.no_error()
    return proxy.sent(SEGMENTS) - before


def right(visitor: Watch, folder: Path, kinds: tuple[str, ...] = ("ts", "m4s", "mp4")) -> int:
    """Every byte that the worker handed to the player is the file's; returns how many."""
    handed = 0
    for file in sorted(folder.iterdir()):
        if file.suffix[1:] not in kinds:
            continue
        whole = file.read_bytes()
        for span in visitor.spans(file.name):
            if not span.network:
                assert span.data == whole[span.start : span.start + len(span.data)], file.name
                handed += len(span.data)
    return handed


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


PLAYERS = [
    ("hls.js-ts", "ts", "chromium"),
    pytest.param("hls.js-ts", "ts", "firefox", marks=pytest.mark.slow),
    pytest.param("hls.js-fmp4", "fmp4", "chromium", marks=pytest.mark.slow),
    pytest.param("hls.js-ranges", "ranges", "chromium", marks=pytest.mark.slow),
    pytest.param("video.js", "ts", "chromium", marks=pytest.mark.slow),
    pytest.param("shaka-hls", "fmp4", "chromium", marks=pytest.mark.slow),
    pytest.param("shaka-dash", "dash", "chromium", marks=pytest.mark.slow),
    pytest.param("dash.js", "dash", "chromium", marks=pytest.mark.slow),
    pytest.param("plyr", "ts", "chromium", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("page", "kind", "browser"), PLAYERS)
def test_a_players_segments_come_from_the_visitor_before(
    page: str, kind: str, browser: str, site: Callable[..., Proxy], watch: Watcher, folder: Path
) -> None:
    proxy = site()
    files = folder / kind
    first, second = watch(proxy, browser), watch(proxy, browser)
    alone = played_from(proxy, page, first, rate=4)
    assert alone <= size(files) * 1.1, "the first visitor cost more than plain HTTP"
    cost = played_from(proxy, page, second, rate=2)
    print(f"{page} {browser}: {alone}, then {cost} of {size(files)} bytes from the origin")
    for visitor in (first, second):
        assert right(visitor, files) > size(files) / 2, "the worker had hardly a part in it"
        assert visitor.spans("index.m3u8") == visitor.spans("manifest.mpd") == [], (
            "not our business"
        )
    assert cost < size(files) / 2, f"{cost} of {size(files)} bytes left the origin again"
    assert second.received > size(files) / 2
    # Each viewer asks once for nine segments.
    assert len(proxy.requests(r"/manifest\?")) <= 2 * (2 + len(list(files.iterdir())) / 9)


@pytest.mark.slow
def test_three_viewers_of_a_stream_at_about_the_same_time_cost_less_than_two_copies(
    site: Callable[..., Proxy], watch: Watcher, folder: Path
) -> None:
    proxy = site()
    visitors = [watch(proxy) for _ in range(3)]
    for visitor in visitors:
        visitor.open("hls.js-ts.html").shared()
        visitor.visitor.wait_for("player.readyState >= 2")
        visitor.play(1)
    for visitor in visitors:
        visitor.end()
        visitor.no_error()
        right(visitor, folder / "ts")
    cost = proxy.sent(SEGMENTS) / size(folder / "ts")
    print(f"three viewers: {cost:.2f} copies, stalls {[visitor.stalls for visitor in visitors]}")
    assert cost < 2
