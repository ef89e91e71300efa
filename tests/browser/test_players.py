"""Players of other makers, unmodified, on pages that know nothing of p2pcdn."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import ENV
from tests.browser.driver import BrowserMissing
from tests.browser.eyes import Watch, tap
from tests.browser.fixtures import missing, slow
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

    def site(folder: Path = folder, **settings: str) -> Proxy:
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
    slow("hls.js-ts", "ts", "firefox"),
    slow("hls.js-fmp4", "fmp4", "chromium"),
    slow("hls.js-ranges", "ranges", "chromium"),
    slow("video.js", "ts", "chromium"),
    slow("shaka-hls", "fmp4", "chromium"),
    slow("shaka-dash", "dash", "chromium"),
    slow("dash.js", "dash", "chromium"),
    slow("plyr", "ts", "chromium"),
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


@pytest.fixture
def on_air(folder: Path, tmp_path: Path) -> Iterator[presentations.OnAir]:
    """The encoder of a folder like `folder` whose `live/` is on the air."""
    for name in ("film.mp4", "hls.min.js", "hls.js-live.html"):
        shutil.copy(folder / name, tmp_path)
    with presentations.on_air(tmp_path) as sender:
        yield sender


def tuned_in(proxy: Proxy, watch: Watcher, browser: str, count: int) -> list[Watch]:
    """So many viewers of the live stream, who play it."""
    visitors = [watch(proxy, browser) for _ in range(count)]
    for visitor in visitors:
        visitor.open("hls.js-live.html").shared()
        visitor.visitor.wait_for("player.readyState >= 2")
        visitor.play(1)
    return visitors


def play_on(visitors: list[Watch], seconds: float) -> None:
    """Wait until each has seen so much more, without an error."""
    begun = [float(visitor.visitor.eval("player.currentTime")) for visitor in visitors]
    for visitor, since in zip(visitors, begun, strict=True):
        visitor.until(since + seconds, timeout=60)
        visitor.no_error()


def copies_of_what_was_asked(proxy: Proxy, folder: Path) -> tuple[int, float]:
    """How many segments the origin was asked for, and how often it sent them."""
    asked = {exchange.path for exchange in proxy.requests(SEGMENTS)}
    size = sum((folder / path.lstrip("/")).stat().st_size for path in asked)
    return len(asked), proxy.sent(SEGMENTS) / size


@pytest.mark.parametrize("browser", ["chromium", slow("firefox")])
def test_a_live_stream_is_passed_on_segment_by_segment_as_it_grows(
    browser: str, site: Callable[..., Proxy], watch: Watcher, on_air: presentations.OnAir
) -> None:
    live = on_air.folder.parent
    proxy = site(live)
    visitors = tuned_in(proxy, watch, browser, 3)
    play_on(visitors, 20)
    asked, copies = copies_of_what_was_asked(proxy, live)
    stalls = [visitor.stalls for visitor in visitors]
    handed = [right(visitor, live / "live") for visitor in visitors]
    print(f"{browser}: {asked} segments, {copies:.2f} copies, {handed} bytes, {stalls}")
    assert asked >= 10, "the playlist did not grow"
    assert min(handed) > 8 * 100_000, "the worker had hardly a part in it"
    assert copies < 2, "three viewers of a live stream"
    assert all(visitor.received + visitor.eyes["sent"] > 0 for visitor in visitors)


@pytest.mark.slow
@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_a_live_stream_whose_encoder_begins_again_plays_on_from_other_visitors(
    browser: str, site: Callable[..., Proxy], watch: Watcher, on_air: presentations.OnAir
) -> None:
    live = on_air.folder.parent
    proxy = site(live)
    visitors = tuned_in(proxy, watch, browser, 2)
    before = {file.name for file in on_air.folder.glob("*.ts")}
    on_air.begin_again()
    on_air.wait_for(segments=len(before) + 6)
    assert "#EXT-X-DISCONTINUITY" in (on_air.folder / "index.m3u8").read_text()
    play_on(visitors, 10)
    for visitor in visitors:
        assert right(visitor, on_air.folder) > 8 * 100_000, "the worker had hardly a part in it"
        after = [file.name for file in on_air.folder.glob("*.ts") if file.name not in before]
        assert any(visitor.spans(name) for name in after), "nothing of what came after"
    asked, copies = copies_of_what_was_asked(proxy, live)
    print(f"{browser}: {asked} segments, {copies:.2f} copies")
    assert copies < 1.8, "two viewers of a live stream"


@pytest.mark.parametrize("browser", ["chromium", slow("firefox")])
def test_a_viewer_who_changes_the_quality_gets_both_from_the_visitor_before(
    browser: str, site: Callable[..., Proxy], watch: Watcher, folder: Path
) -> None:
    proxy = site()
    files = folder / "qualities"
    visitors = [watch(proxy, browser) for _ in range(2)]
    costs = []
    for visitor in visitors:
        before = proxy.sent(SEGMENTS)
        visitor.open("hls.js-qualities.html").shared()
        visitor.visitor.wait_for("player.readyState >= 2")
        visitor.visitor.eval("void (hls.nextLevel = 1)")
        visitor.play(2).until(8)
        visitor.visitor.eval("void (hls.nextLevel = 0)")
        visitor.until(18)
        assert visitor.visitor.eval("player.videoHeight") == 90
        visitor.visitor.eval("void (hls.nextLevel = 1)")
        visitor.end()
        assert visitor.visitor.eval("player.videoHeight") == 180
        visitor.no_error()
        handed = right(visitor, files)
        costs.append(proxy.sent(SEGMENTS) - before)
        assert handed > costs[0] / 2, "the worker had hardly a part in it"
        for name in ("small", "large"):
            names = [file.name for file in files.glob(f"{name}-*.ts")]
            assert any(visitor.spans(file) for file in names), f"no segment of {name}"
    print(f"{browser}: {costs} bytes left the origin")
    assert costs[1] < costs[0] / 2
    assert visitors[1].received > costs[0] / 2
