"""What a browser keeps: a film that was watched plays again without the site, and is still passed
on from the next page. Real browsers, real Cache Storage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import ENV
from tests.browser.eyes import EYES, Watch, tap, warm
from tests.browser.fixtures import slow
from tests.servers.proxy import Proxy
from tests.servers.python import Uvicorn
from tests.sites import media, presentations

pytestmark = [pytest.mark.browser, pytest.mark.server]

Site = Callable[..., Proxy]
Watcher = Callable[..., Watch]

SEGMENT = 65536
# Entries of Cache Storage: the segments, and the list of them.
ENTRIES = "caches.open('p2pcdn').then((c) => c.keys()).then((keys) => keys.length)"
CONTENT = """((name) => window.p2pcdn?.stats().engine?.contents
  .find(({url}) => url.endsWith(name)))"""
SAVE_DATA = "Object.defineProperty(navigator, 'connection', {value: {saveData: true}})"
NO_CACHES = """Object.defineProperty(window, "caches", {
  get() { throw new DOMException("The operation is insecure.", "SecurityError"); }
})"""


def size(name: str) -> int:
    return (media.folder() / name).stat().st_size


def segments(name: str) -> int:
    return -(-size(name) // SEGMENT)


def content(watch: Watch, name: str) -> dict[str, Any]:
    value: dict[str, Any] = watch.visitor.eval(f"{CONTENT}('{name}')")
    return value


def stored(watch: Watch, name: str) -> Watch:
    """Wait until all of a clip is on the disk."""
    watch.visitor.wait_for(f"{ENTRIES}.then((n) => n > {segments(name)})")
    return watch


def again(watch: Watch) -> Watch:
    watch.visitor.reload()
    watch.visitor.wait_for("!!document.getElementById('player')?.currentSrc")
    return watch.shared()


@pytest.mark.parametrize("kind", ["chromium", "firefox"])
def test_what_was_watched_plays_again_without_a_byte_from_the_site(
    kind: str, site: Site, watch: Watcher
) -> None:
    proxy = site("starlette-uvicorn")
    visitor = watch(proxy, kind).open("watch/one").shared().play().end()
    assert content(visitor, "one.mp4")["fromCache"] == 0
    stored(visitor, "one.mp4")
    proxy.reset()
    again(visitor).play().end()
    visitor.no_error()
    assert proxy.sent(r"/media/one\.mp4") == 0
    # Firefox's player has a cache of its own: ask for the rest.
    got = visitor.visitor.eval("""fetch(player.currentSrc).then((r) => r.arrayBuffer())
      .then((bytes) => crypto.subtle.digest("SHA-256", bytes))
      .then((d) => [...new Uint8Array(d)].map((b) => b.toString(16).padStart(2, "0")).join(""))""")
    assert got == media.sha256("one.mp4")
    assert proxy.sent(r"/media/one\.mp4") == 0
    assert content(visitor, "one.mp4")["fromCache"] == size("one.mp4")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["chromium", "firefox"])
def test_a_strict_policy_does_not_keep_it_from_being_stored(
    kind: str, site: Site, watch: Watcher
) -> None:
    proxy = site("starlette-uvicorn", ready=("csp", "one.mp4"))
    visitor = watch(proxy, kind).open("csp").shared().play(1).end()
    visitor.no_error()
    stored(visitor, "one.mp4")


@pytest.mark.parametrize("kind", ["chromium", slow("firefox")])
def test_a_film_of_an_earlier_page_is_still_passed_on(
    kind: str, site: Site, watch: Watcher
) -> None:
    proxy = site("starlette-uvicorn")
    warm(proxy, "watch/two", "two.mp4")
    first = watch(proxy, kind).open("watch/one").shared().play().end()
    stored(first, "one.mp4")
    first.open("watch/two").shared().play(1)
    first.visitor.wait_for(f"{CONTENT}('one.mp4')?.held === {segments('one.mp4')}")
    first.end()

    proxy.reset()
    proxy.bytes_per_s = 500_000
    second = watch(proxy).open("watch/one").shared().play(1).end()
    second.no_error()
    second.delivered("one.mp4")
    assert second.received > size("one.mp4") / 2
    assert proxy.sent(r"/media/one\.mp4") < size("one.mp4") / 2
    first.no_error()


def test_two_tabs_on_one_film_fetch_it_once(site: Site, watch: Watcher) -> None:
    proxy = site("starlette-uvicorn", ready=("watch/long", "long.mp4"))
    proxy.bytes_per_s = 450_000
    # No upload with Save-Data: what the second tab gets of the first it gets by the disk.
    first = watch(proxy, scripts=(SAVE_DATA,)).open("watch/long").shared().play(1)
    first.visitor.wait_for(f"localStorage['p2pcdn-stored'] && {ENTRIES}.then((n) => n > 8)")
    second = Watch(first.visitor.tab(scripts=(SAVE_DATA, EYES)), proxy)
    second.open("watch/long").shared().play(2)
    second.end()
    # The first one's player rests, as its tab is in the background; its loader does not.
    first.visitor.wait_for(f"{CONTENT}('long.mp4').held === {segments('long.mp4')}")
    for tab in (first, second):
        tab.no_error()
        assert tab.stalls == []
        assert tab.received < SEGMENT
    second.delivered("long.mp4")
    assert content(second, "long.mp4")["fromCache"] > size("long.mp4") / 2
    assert proxy.sent(r"/media/long\.mp4") < 1.1 * size("long.mp4")


def test_two_tabs_with_the_panel_are_two_visitors(site: Site, watch: Watcher) -> None:
    """As every page of ours that tells people to look at it says."""
    proxy = site("starlette-uvicorn")
    first = watch(proxy).open("watch/one?p2pcdn=hud").shared().play().end()
    second = Watch(first.visitor.tab(scripts=(EYES,)), proxy)
    second.open("watch/one?p2pcdn=hud").shared().play().end()
    second.no_error()
    assert content(second, "one.mp4")["fromCache"] == 0
    assert content(second, "one.mp4")["fromPeers"] > size("one.mp4") / 2


def test_stored_bytes_that_changed_never_reach_the_player(site: Site, watch: Watcher) -> None:
    proxy = site("starlette-uvicorn")
    visitor = stored(watch(proxy).open("watch/one").shared().play().end(), "one.mp4")
    spoilt = visitor.visitor.eval("""(async () => {
      const cache = await caches.open("p2pcdn");
      const [key] = (await cache.keys()).filter(({url}) => url.endsWith("/5"));
      const bytes = new Uint8Array(await (await cache.match(key)).arrayBuffer());
      bytes[1000] ^= 1;
      await cache.put(key, new Response(bytes));
      return bytes.length;
    })()""")
    assert spoilt == SEGMENT
    proxy.reset()
    again(visitor).play().end()
    visitor.no_error()
    visitor.delivered("one.mp4")
    numbers = content(visitor, "one.mp4")
    assert numbers["fromCache"] == size("one.mp4") - SEGMENT
    # Chromium's own cache may have had them.
    assert numbers["fromOrigin"] == SEGMENT
    assert proxy.sent(r"/media/one\.mp4") <= 2 * SEGMENT
    # The right ones take their place.
    visitor.visitor.wait_for(
        """caches.open("p2pcdn").then(async (cache) => {
          const [key] = (await cache.keys()).filter(({url}) => url.endsWith("/5"));
          const bytes = key && await (await cache.match(key)).arrayBuffer();
          const digest = bytes && new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
          return digest && [...digest].join() !== "";
        })"""
    )
    proxy.reset()
    again(visitor).play().end()
    assert content(visitor, "one.mp4")["fromCache"] == size("one.mp4")


@pytest.mark.slow
def test_a_full_disk_is_nobodys_trouble(site: Site, watch: Watcher) -> None:
    proxy = site("starlette-uvicorn")
    visitor = watch(proxy)
    visitor.visitor.goto(f"{proxy.localhost}/")
    visitor.visitor.cdp(
        "Storage.overrideQuotaForOrigin",
        lasting=True,
        origin=proxy.localhost,
        quotaSize=5 * SEGMENT,
    )
    visitor.open("watch/one").shared().play().end()
    visitor.visitor.wait_for(f"{ENTRIES}.then((n) => n > 0)")
    visitor.no_error()
    visitor.delivered("one.mp4")
    assert content(visitor, "one.mp4")["held"] == segments("one.mp4")
    assert visitor.visitor.eval(ENTRIES) < 6
    again(visitor).play().end()
    visitor.no_error()
    visitor.delivered("one.mp4")


@pytest.mark.slow
def test_without_storage_the_film_plays_as_ever(site: Site, watch: Watcher) -> None:
    proxy = site("starlette-uvicorn")
    visitor = watch(proxy, scripts=(NO_CACHES,)).open("watch/one").shared().play().end()
    again(visitor).play(1).end()
    visitor.no_error()
    visitor.delivered("one.mp4")
    assert content(visitor, "one.mp4")["fromCache"] == 0
    assert "p2pcdn-stored" not in visitor.visitor.eval("Object.keys(localStorage)")


@pytest.mark.slow
def test_a_site_that_turns_it_off_leaves_nothing_behind(site: Site, watch: Watcher) -> None:
    proxy = site("starlette-uvicorn", disk_limit="0")
    visitor = watch(proxy).open("watch/one").shared().play(1).end()
    assert visitor.visitor.eval("caches.keys()") == []
    visitor.visitor.eval("""caches.open("p2pcdn").then((cache) => {
      localStorage["p2pcdn-stored"] = "https://example.org/a.mp4";
      return cache.put("/p2pcdn/stored/index", new Response("[1, []]"));
    })""")
    again(visitor).play().end()
    visitor.visitor.wait_for("caches.keys().then((names) => !names.length)")
    assert visitor.visitor.eval("localStorage['p2pcdn-stored'] ?? null") is None
    visitor.no_error()


def test_what_a_site_below_another_path_has_stored_is_left_alone(
    site: Site, watch: Watcher
) -> None:
    proxy = site("starlette-uvicorn")
    visitor = watch(proxy)
    visitor.visitor.goto(proxy.localhost + "/p2pcdn/health")
    visitor.visitor.eval("""caches.open("p2pcdn")
      .then((cache) => cache.put("/other/p2pcdn/stored/index", new Response("theirs")))""")
    visitor.open("watch/one").shared().play().end()
    stored(visitor, "one.mp4")
    theirs = visitor.visitor.eval("""caches.open("p2pcdn")
      .then((cache) => cache.match("/other/p2pcdn/stored/index")).then((found) => found?.text())""")
    assert theirs == "theirs"


def test_who_opts_out_has_what_was_kept_deleted(site: Site, watch: Watcher) -> None:
    proxy = site("starlette-uvicorn")
    visitor = stored(watch(proxy).open("watch/one").shared().play().end(), "one.mp4")
    visitor.visitor.eval("p2pcdn.optOut()")
    visitor.visitor.wait_for("caches.keys().then((names) => !names.length)")
    # Nor does what the page is about to store come back.
    visitor.seek(1).play(1).until(3)
    assert visitor.visitor.eval("caches.keys()") == []
    assert visitor.visitor.eval("localStorage['p2pcdn-stored'] ?? null") is None
    visitor.visitor.reload()
    visitor.visitor.wait_for("window.p2pcdn && p2pcdn.whyDirect() === 'opted-out'")
    assert visitor.visitor.eval("caches.keys()") == []


@pytest.mark.slow
def test_a_frozen_tab_holds_nobody_up(site: Site, watch: Watcher) -> None:
    proxy = site("starlette-uvicorn", ready=("watch/long", "long.mp4"))
    proxy.bytes_per_s = 400_000
    first = watch(proxy, scripts=(SAVE_DATA,)).open("watch/long").shared().play(1)
    first.visitor.wait_for(f"localStorage['p2pcdn-stored'] && {ENTRIES}.then((n) => n > 4)")
    second = Watch(first.visitor.tab(scripts=(SAVE_DATA, EYES)), proxy)
    second.open("watch/long").shared().play(1).until(1)
    first.visitor.cdp("Page.setWebLifecycleState", state="frozen")
    second.end()
    second.no_error()
    assert second.stalls == []
    second.delivered("long.mp4")
    first.visitor.cdp("Page.setWebLifecycleState", state="active")


@pytest.mark.slow
def test_a_page_that_never_gives_its_turn_back_holds_nobody_up(site: Site, watch: Watcher) -> None:
    proxy = site("starlette-uvicorn")
    visitor = watch(proxy).open("watch/one").shared()
    visitor.visitor.eval("""new Promise((held) => {
      navigator.locks.request("p2pcdn /p2pcdn/loader.js", () => {
        held();
        return new Promise(() => {});
      });
    })""")
    visitor.play().end()
    visitor.no_error()
    visitor.delivered("one.mp4")
    # It is taken for frozen after a while.
    visitor.visitor.wait_for(f"{ENTRIES}.then((n) => n > {segments('one.mp4')})", timeout=40)


@pytest.mark.slow
def test_a_stream_that_was_watched_plays_again_without_the_site(
    run: Callable[..., Any], watch: Watcher
) -> None:
    folder = presentations.folder()
    files = folder / "ts"
    env = {**ENV, "SITE_FOLDER": str(folder)}
    server = run(lambda: Uvicorn("tests.sites.guests:asgi", arguments=["--factory"], env=env))
    proxy: Proxy = run(lambda: Proxy(server.url))
    tap(proxy)
    visitor = watch(proxy).open("hls.js-ts.html").shared()
    visitor.play(4).end()
    visitor.visitor.wait_for(
        """caches.open("p2pcdn").then(async (cache) => {
          const keys = (await cache.keys()).filter(({url}) => !url.endsWith("/index"));
          const parts = await Promise.all(keys.map(async (key) => (await cache.match(key)).blob()));
          const held = p2pcdn.stats().engine.contents.reduce((sum, {size}) => sum + size, 0);
          return held > 0 && parts.reduce((sum, {size}) => sum + size, 0) === held;
        })"""
    )
    sizes = "p2pcdn.stats().engine.contents.reduce((sum, {%s}) => sum + %s, 0)"
    held = visitor.visitor.eval(sizes.replace("%s", "size"))
    # The first segments may have been faster than the worker.
    whole = sum(file.stat().st_size for file in files.glob("*.ts"))
    assert held > 0.7 * whole
    proxy.reset()
    again(visitor)
    visitor.visitor.wait_for("player.readyState >= 2")
    visitor.play(4).end()
    visitor.no_error()
    assert visitor.visitor.eval(sizes.replace("%s", "fromCache")) == held
    assert proxy.sent(r"\.ts$") <= whole - held
