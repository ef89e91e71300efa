"""Whatever fails, the video plays as it would have without us, and the visitor sees no error."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from tests.browser.driver import Visitor
from tests.browser.eyes import Watch
from tests.browser.fixtures import slow
from tests.servers.proxy import Proxy
from tests.sites import media

pytestmark = [pytest.mark.browser, pytest.mark.server]

Site = Callable[..., Proxy]
Watcher = Callable[..., Watch]


def size() -> int:
    return (media.folder() / "one.mp4").stat().st_size


@pytest.fixture
def proxy(site: Site) -> Proxy:
    return site("starlette-uvicorn")


def plays_direct(watch: Watch, page: str = "watch/one", *, host: str = "localhost") -> None:
    watch.open(page, host=host).play().end()
    watch.no_error()
    assert watch.eyes["opened"] == 0
    assert watch.proxy.sent(r"/media/one\.mp4") >= size()


def test_webkit_without_webrtc_plays(proxy: Proxy, watch: Watcher) -> None:
    visitor = watch(proxy, "webkit").open("watch/one")
    assert visitor.visitor.eval("typeof RTCPeerConnection") == "undefined"
    assert visitor.why() == "no-webrtc"
    visitor.play(2).end()
    assert visitor.visitor.eval("player.error") is None
    assert visitor.visitor.errors == []


def test_no_webrtc_in_chromium(proxy: Proxy, watch: Watcher) -> None:
    visitor = watch(proxy, scripts=("delete window.RTCPeerConnection;",))
    plays_direct(visitor)
    assert visitor.why() == "no-webrtc"


def test_no_service_worker_in_chromium(proxy: Proxy, watch: Watcher) -> None:
    visitor = watch(proxy, scripts=("delete Navigator.prototype.serviceWorker;",))
    plays_direct(visitor)
    assert visitor.why() == "no-worker"


@pytest.mark.slow
def test_no_service_worker_in_firefox(proxy: Proxy, watch: Watcher) -> None:
    visitor = watch(proxy, "firefox", prefs={"dom.serviceWorkers.enabled": False})
    plays_direct(visitor)


def test_an_insecure_context(proxy: Proxy, watch: Watcher) -> None:
    visitor = watch(proxy, flags=("--host-resolver-rules=MAP site.test 127.0.0.1",))
    plays_direct(visitor, host="site.test")
    assert visitor.why() == "insecure"


@pytest.mark.parametrize("kind", ["chromium", slow("firefox")])
def test_without_javascript_there_is_one_player_and_it_works(
    kind: str, proxy: Proxy, visit: Callable[..., Visitor]
) -> None:
    visitor = visit(kind, javascript=False)
    visitor.goto(proxy.localhost + "/autoplay", wait="load")
    shown = """[...document.querySelectorAll("video")].filter((v) => v.offsetParent !== null)"""
    assert visitor.eval(f"{shown}.length") == 1
    visitor.wait_for(f"{shown}[0].ended", timeout=40)
    assert proxy.sent(r"/media/one\.mp4") >= size()


def test_a_worker_of_the_site_itself_is_left_alone(proxy: Proxy, watch: Watcher) -> None:
    visitor = watch(proxy)
    visitor.open("own-worker")
    visitor.visitor.wait_for("navigator.serviceWorker.controller !== null")
    for page in ("own-worker", "watch/one"):
        plays_direct(visitor, page)
        scripts = visitor.visitor.eval(
            "navigator.serviceWorker.getRegistrations()"
            ".then(all => all.map(r => new URL(r.active.scriptURL).pathname))"
        )
        assert scripts == ["/sw.js"]
        assert (
            visitor.visitor.eval("new URL(navigator.serviceWorker.controller.scriptURL).pathname")
            == "/sw.js"
        )
    assert visitor.why() == "foreign-worker"


def test_a_policy_that_forbids_scripts(proxy: Proxy, watch: Watcher) -> None:
    html = httpx.get(proxy.url + "/csp-none").text
    assert "data-src" not in html
    plays_direct(watch(proxy), "csp-none")


@pytest.mark.parametrize("how", ["500", "garbage", slow("404"), slow("cut")])
def test_the_loader_does_not_arrive(how: str, proxy: Proxy, watch: Watcher) -> None:
    match how:
        case "cut":
            rule = proxy.cut(r"/loader\.js", 0)
        case "garbage":
            rule = proxy.status(r"/loader\.js", 200, body=b"this is no (script")
        case _:
            rule = proxy.status(r"/loader\.js", int(how))
    visitor = watch(proxy).open("watch/one").play().end()
    assert visitor.eyes["errors"] == []
    assert rule.hits >= 1


@pytest.mark.parametrize("how", ["500", "hang", slow("garbage"), slow("cut")])
def test_the_engine_does_not_arrive(how: str, proxy: Proxy, watch: Watcher) -> None:
    match how:
        case "cut":
            rule = proxy.cut(r"/engine\.js", 0)
        case "hang":
            rule = proxy.hang(r"/engine\.js")
        case "garbage":
            rule = proxy.change(r"/engine\.js", lambda _: b"this is no (script")
        case _:
            rule = proxy.status(r"/engine\.js", int(how))
    visitor = watch(proxy).open("watch/one").play().end()
    assert visitor.eyes["errors"] == []
    assert visitor.eyes["opened"] == 0
    assert rule.hits >= 1


@pytest.mark.parametrize("how", ["500", "hang", slow("404"), slow("cut"), slow("garbage")])
def test_the_worker_does_not_arrive(how: str, site: Site, watch: Watcher) -> None:
    proxy = site("starlette-uvicorn", startup_wait="1")
    match how:
        case "cut":
            rule = proxy.cut(r"/worker\.js", 0)
        case "hang":
            rule = proxy.hang(r"/worker\.js")
        case "garbage":
            rule = proxy.change(r"/worker\.js", lambda _: b"this is no (script")
        case _:
            rule = proxy.status(r"/worker\.js", int(how))
    visitor = watch(proxy)
    plays_direct(visitor)
    assert rule.hits >= 1
    assert visitor.why() in ("worker-failed", "worker-slow")


def test_a_worker_that_comes_when_the_video_plays_already(site: Site, watch: Watcher) -> None:
    """Chromium's player fails where bytes of the network and of a worker meet in one video."""
    proxy = site("starlette-uvicorn", ready=("watch/long", "long.mp4"), startup_wait="0.5")
    proxy.delay(r"/worker\.js", 3)
    # The place that is sought must not be there yet.
    proxy.bytes_per_s, proxy.paced = 200_000, r"/media/"
    visitor = watch(proxy).open("watch/long").play().until(1)
    visitor.visitor.wait_for("navigator.serviceWorker.controller !== null")
    assert visitor.why() == "worker-slow"
    visitor.visitor.eval("player.currentTime = player.duration - 4")
    visitor.end()
    visitor.no_error()
    assert visitor.eyes["opened"] == 0


def test_a_page_that_is_slow_itself_waits_longer_for_its_worker(site: Site, watch: Watcher) -> None:
    proxy = site("starlette-uvicorn", startup_wait="1")
    proxy.delay(r"/loader\.js", 3)
    proxy.delay(r"/worker\.js", 1.5)
    watch(proxy).open("watch/one").shared().play().end().no_error()


PENDING = json.dumps({"state": "pending", "retry_after": 1.0}).encode()
REFUSED = json.dumps({"error": "unknown", "message": "no"}).encode()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (202, PENDING),
        (404, REFUSED),
        slow(500, b"<h1>Internal Server Error</h1>"),
        slow(200, b"<h1>Log in</h1>"),
        slow(200, b'{"key": 5}'),
    ],
)
def test_there_is_no_manifest(status: int, body: bytes, proxy: Proxy, watch: Watcher) -> None:
    rule = proxy.status("/manifest", status, body=body)
    plays_direct(watch(proxy))
    assert rule.hits >= 1


def test_the_manifest_never_comes(proxy: Proxy, watch: Watcher) -> None:
    rule = proxy.hang("/manifest")
    plays_direct(watch(proxy))
    assert rule.hits >= 1


@pytest.mark.parametrize("kind", ["chromium", slow("firefox")])
@pytest.mark.parametrize("rate", [1, slow(4)])
def test_a_film_whose_hashes_take_their_time_is_shared_from_then_on(
    kind: str, rate: float, site: Site, watch: Watcher
) -> None:
    """Its player gets the network's bytes in parts until they are there, and waits for nothing; it
    has all of the film to give away then."""
    proxy = site("starlette-uvicorn", ready=("watch/long", "long.mp4"))
    rule = proxy.delay(r"/manifest\?", 8)
    first = watch(proxy, kind).open("watch/long").shared().play(rate).until(4 * rate)
    assert first.visitor.eval("p2pcdn.stats().engine.contents") == []
    assert first.eyes["waiting"] == []
    first.visitor.wait_for("p2pcdn.stats().engine.contents.length")
    first.until(10 * rate)
    assert first.why() is None
    proxy.remove(rule)
    first.play(8).end()
    first.no_error()
    first.delivered("long.mp4", whole=False)
    assert first.eyes["waiting"] == []
    sent = proxy.sent(r"/media/long\.mp4")
    whole = (media.folder() / "long.mp4").stat().st_size
    assert sent < 1.1 * whole, "parts were fetched again by the engine"
    second = watch(proxy).open("watch/long").shared().play(2).end()
    second.no_error()
    second.delivered("long.mp4")
    assert proxy.sent(r"/media/long\.mp4") - sent < 0.2 * whole


def test_a_manifest_with_wrong_hashes_never_breaks_the_video(proxy: Proxy, watch: Watcher) -> None:
    def wrong(body: bytes) -> bytes:
        manifest = json.loads(body)
        manifest["hashes"] = manifest["hashes"][::-1].lstrip("=")
        manifest["hashes"] += "=" * (-len(manifest["hashes"]) % 4)
        return json.dumps(manifest).encode()

    rule = proxy.change("/manifest", wrong)
    for _ in range(2):
        visitor = watch(proxy).open("watch/one").play().end()
        visitor.no_error()
    assert rule.hits >= 1


@pytest.mark.parametrize("how", ["502", slow("hang"), slow("cut")])
def test_the_coordinator_is_down(how: str, proxy: Proxy, watch: Watcher) -> None:
    match how:
        case "502":
            rule = proxy.status("/peerjs", 502)
        case "hang":
            rule = proxy.hang("/peerjs")
        case _:
            rule = proxy.cut("/peerjs", 0)
    for _ in range(2):
        visitor = watch(proxy).open("watch/one").play().end()
        visitor.no_error()
        assert visitor.eyes["opened"] == 0
    assert rule.hits >= 1


def test_the_coordinator_dies_in_the_middle(site: Site, watch: Watcher) -> None:
    proxy = site("starlette-uvicorn", ready=("watch/long", "long.mp4"))
    first = watch(proxy).open("watch/long").shared().play(2).until(2)
    second = watch(proxy).open("watch/long").shared().play(2).until(1)
    proxy.status("/peerjs", 502)
    proxy.cut_now()
    for visitor in (first, second):
        visitor.end()
        visitor.no_error()


def test_the_origin_stumbles_as_it_would_without_us(proxy: Proxy, watch: Watcher) -> None:
    """Connections to the origin break off in the middle, twice."""
    rule = proxy.cut(r"/media/one\.mp4", 200_000, times=2)
    visitor = watch(proxy).open("watch/one").play().end()
    visitor.no_error()
    assert rule.hits == 2


def test_data_channels_that_never_open(proxy: Proxy, watch: Watcher) -> None:
    watch(proxy).open("watch/one").shared().play().end()
    blocked = "RTCPeerConnection.prototype.addIceCandidate = () => new Promise(() => {});"
    blocked += "RTCPeerConnection.prototype.setRemoteDescription = () => new Promise(() => {});"
    second = watch(proxy, scripts=(blocked,)).open("watch/one").shared().play().end()
    second.no_error()
    second.delivered("one.mp4")
    assert second.received == 0


def test_a_site_never_seen_before(site: Site, watch: Watcher) -> None:
    """No hash is ready, no worker installed: the first visitor notices nothing."""
    proxy = site("starlette-uvicorn", ready=None, hud="0")
    visitor = watch(proxy).open("watch/two").play().end()
    visitor.no_error()


_BUSY = """(() => {
  const { serviceWorker } = navigator;
  const late = new WeakSet();
  serviceWorker?.addEventListener("message", (event) => {
    if (!window.busyMs || late.has(event)) return;
    event.stopImmediatePropagation();
    const again = new MessageEvent("message", {data: event.data, ports: [...event.ports]});
    late.add(again);
    setTimeout(() => serviceWorker.dispatchEvent(again), window.busyMs);
    window.held = (window.held ?? 0) + 1;
  });
})()"""


def test_a_page_that_is_busy_for_a_while_keeps_what_comes_through_us(
    proxy: Proxy, watch: Watcher
) -> None:
    """The page hears its worker late. Chromium ends with an error where a player that got bytes of
    ours is then given the network's."""
    proxy.bytes_per_s = 150_000
    visitor = watch(proxy, scripts=(_BUSY,)).open("watch/one").shared().play(1).until(1)
    visitor.visitor.eval("void (window.busyMs = 1500)")
    visitor.seek(24)
    assert visitor.visitor.eval("window.held") > 0
    visitor.visitor.eval("void (window.busyMs = 0)")
    proxy.bytes_per_s = None
    visitor.end()
    visitor.no_error()
    assert visitor.why() is None
    visitor.delivered("one.mp4", whole=False)
    assert not any(span.network for span in visitor.spans("one.mp4"))


def test_a_video_that_began_without_us_goes_on_without_us(site: Site, watch: Watcher) -> None:
    """Its hashes come while it plays; a seek then asks for bytes that could be ours."""
    proxy = site("starlette-uvicorn", ready=None, hud="0")
    rule = proxy.status(r"/manifest\?", 503)
    proxy.bytes_per_s = 100_000
    visitor = watch(proxy).open("watch/long").shared().play(1).until(7)
    proxy.remove(rule)
    assert visitor.visitor.eval(
        """new Promise((done) => {
          const ask = async () => {
            const url = "/p2pcdn/manifest?url=" + encodeURIComponent("/media/long.mp4");
            if ((await fetch(url)).status === 200) done(true); else setTimeout(ask, 200);
          };
          ask();
        })"""
    )
    visitor.seek(75)
    proxy.bytes_per_s = None
    visitor.end()
    visitor.no_error()
    assert visitor.why() == "no-manifest"
