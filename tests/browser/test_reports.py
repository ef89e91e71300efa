"""What a real visitor's page tells the site, and what its owner reads then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.browser.conftest import ENV
from tests.browser.driver import BrowserMissing
from tests.browser.eyes import Watch
from tests.browser.fixtures import missing
from tests.servers.proxy import Proxy
from tests.servers.python import Gunicorn, Uvicorn
from tests.sites import media, presentations

pytestmark = [pytest.mark.browser, pytest.mark.server]

Watcher = Callable[..., Watch]

OWNER = {"Authorization": "Bearer owner"}


def told(proxy: Proxy, enough: Callable[[Any], Any], what: str) -> Any:
    """What the owner reads, as soon as it is `enough`."""
    end = time.monotonic() + 60
    while True:
        found = httpx.get(f"{proxy.url}/p2pcdn/stats", headers=OWNER, timeout=20).json()
        if enough(found):
            return found
        assert time.monotonic() < end, f"{what}: {found}"
        time.sleep(0.2)


@pytest.mark.parametrize("transport", ["websocket", "mailbox"])
def test_reports_travel_with_what_the_page_sends_anyway_and_the_last_one_says_goodbye(
    transport: str, run: Callable[..., Any], watch: Watcher
) -> None:
    arguments = ["--factory", *(["--ws", "none"] if transport == "mailbox" else [])]
    server = run(
        lambda: Uvicorn(
            "tests.sites.asgi_app:starlette",
            arguments=arguments,
            env={**ENV, "P2PCDN_STATS_TOKEN": "owner"},
        )
    )
    proxy: Proxy = run(lambda: Proxy(server.url))
    visitor = watch(proxy)
    visitor.open("watch/one").shared().play(4).end()
    found = told(proxy, lambda f: f["totals"]["viewers_now"] == 1, "nobody watches")
    assert found["transports"] == {transport: 1}
    assert proxy.requests("/p2pcdn/report") == [], "a request of its own"
    visitor.visitor.close()
    found = told(proxy, lambda f: f["totals"]["viewers_now"] == 0, "the last report is missing")
    totals, size = found["totals"], (media.folder() / "one.mp4").stat().st_size
    assert (totals["views"], totals["startups"]) == (1, 1)
    assert totals["watched_s"] > 0
    assert abs(totals["origin_reported"] - totals["origin_counted"]) <= 0.02 * size
    assert len(proxy.requests("/p2pcdn/report")) <= 1


def test_what_two_visitors_gave_each_other_is_what_the_owner_reads_and_the_origin_agrees(
    run: Callable[..., Any], watch: Watcher
) -> None:
    server = run(
        lambda: Gunicorn(
            "tests.sites.flask_app:wrapped()", env={**ENV, "P2PCDN_STATS_TOKEN": "owner"}
        )
    )
    proxy: Proxy = run(lambda: Proxy(server.url))
    first, second = watch(proxy), watch(proxy)
    first.open("watch/one").shared().play(4).end()
    second.open("watch/one").shared().play(1).end()
    received = second.received
    for visitor in (second, first):
        # To another page: who closes the whole browser may take the last report along.
        visitor.visitor.goto("about:blank")
    found = told(
        proxy,
        lambda f: f["totals"]["views"] == 2 and f["totals"]["viewers_now"] == 0,
        "the last reports are missing",
    )
    totals, size = found["totals"], (media.folder() / "one.mp4").stat().st_size
    # The channel carries a few per cent besides: heads, and what was cancelled.
    assert 0.5 * size < totals["from_peers"] <= received
    assert abs(totals["uploaded"] - totals["from_peers"]) <= 0.05 * size
    assert totals["unconfirmed"] == 0 and found["dropped"] == {}
    # What was on its way when a visitor no longer needed it has left the origin all the same; of a
    # film of 1 MB that is more than the two per cent.
    on_its_way = 2 * 65_536
    assert totals["origin_reported"] <= totals["origin_counted"] + 0.02 * size
    assert totals["origin_counted"] <= totals["origin_reported"] + 0.02 * size + on_its_way
    assert totals["from_peers"] + totals["origin_counted"] >= 2 * size * 0.98
    assert totals["offload"] > 0.3
    # Nor is more than that said to be missing.
    assert {note["code"] for note in found["notes"]} <= {"direct"}
    assert [c["path"] for c in found["contents"]] == ["/media/one.mp4"]


def test_a_stream_that_may_not_be_shared_is_one_video_without_us_not_one_a_segment(
    run: Callable[..., Any], watch: Watcher
) -> None:
    try:
        folder = presentations.folder()
    except BrowserMissing as error:
        missing(error)
        raise
    env = {"SITE_FOLDER": str(folder), "P2PCDN_EXCLUDE": "*.ts", "P2PCDN_STATS_TOKEN": "owner"}
    server = run(
        lambda: Uvicorn("tests.sites.guests:asgi", arguments=["--factory"], env={**ENV, **env})
    )
    proxy: Proxy = run(lambda: Proxy(server.url))
    visitor = watch(proxy)
    visitor.open("hls.js-ts.html")
    visitor.visitor.wait_for("player.readyState >= 2")
    visitor.play(4).end()
    assert len(proxy.requests(r"\.ts$")) > 3
    visitor.visitor.close()
    found = told(proxy, lambda f: f["direct"], "no word of it")
    assert found["direct"] == {"no-manifest": 1}
