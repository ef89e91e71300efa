"""The page side in real browsers: what a visitor would lose if the loader or worker were wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from p2pcdn.config import Config
from tests.browser.driver import Visitor
from tests.browser.loader_site import EARLY, LoaderSite, build_loader, make_video, noise

pytestmark = pytest.mark.browser

VIDEO = '<video id=v muted controls data-src="/media/a.mp4"></video><noscript></noscript>'
THROUGH_US = "document.querySelector('video') && p2pcdn.stats().videos.some(v => v.why === null)"
BROWSERS = pytest.mark.parametrize("kind", ["chromium", "firefox"])


@pytest.fixture(scope="session")
def loader_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_loader(tmp_path_factory.mktemp("loader"))


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_video(tmp_path_factory.mktemp("video") / "a.mp4").read_bytes()


@pytest.fixture
def config() -> Config:
    return Config(ice_servers=(), startup_wait=5)


@pytest.fixture
def site(loader_folder: Path, video: bytes, config: Config) -> Iterator[LoaderSite]:
    files = {"/media/a.mp4": video, "/media/b.mp4": video}
    with LoaderSite(loader_folder, config, files=files).running() as running:
        yield running


Visit = Callable[..., Visitor]


@BROWSERS
def test_a_first_visitors_video_plays_seeks_pauses_loops_and_ends_through_the_worker(
    kind: str, site: LoaderSite, visit: Visit
) -> None:
    visitor = visit(kind)
    visitor.goto(site.page("/", VIDEO))
    visitor.wait_for("v.readyState >= 1 && v.getAttribute('src') === '/media/a.mp4'")
    assert not visitor.eval("v.hasAttribute('data-src')")
    visitor.eval("v.play()")
    visitor.wait_for("v.currentTime > 0.5")
    visitor.eval("v.pause()")
    assert visitor.eval("v.paused")
    visitor.eval("v.currentTime = 9; v.play()")
    visitor.wait_for("v.currentTime > 9.2 && !v.seeking")
    visitor.eval("v.currentTime = 2")
    visitor.wait_for("v.currentTime > 2.2 && !v.seeking")
    visitor.eval("v.loop = true; v.currentTime = v.duration - 0.5")
    visitor.wait_for("v.currentTime < 2 && v.currentTime > 0.1")
    visitor.eval("v.loop = false; v.currentTime = v.duration - 0.5")
    visitor.wait_for("v.ended")
    visitor.eval("v.play()")
    visitor.wait_for("v.currentTime > 0.2 && v.currentTime < 3 && !v.ended")
    assert visitor.eval("v.error") is None
    assert site.hits and not site.direct("/media/a.mp4"), "the player went past us"
    assert visitor.errors == []


@BROWSERS
def test_two_players_of_one_page_and_two_of_one_url_all_play(
    kind: str, site: LoaderSite, visit: Visit
) -> None:
    sources = '<source data-src="/media/b.mp4#t=3" type="video/mp4">'
    body = VIDEO + f"<video id=w muted autoplay>{sources}</video>" + VIDEO.replace("id=v", "id=x")
    visitor = visit(kind)
    visitor.goto(site.page("/", body))
    visitor.wait_for("w.currentTime > 3.3")
    visitor.eval("v.play(), x.play(), 0")
    visitor.wait_for("v.currentTime > 0.5 && x.currentTime > 0.5")
    assert not site.direct("/media/a.mp4") and not site.direct("/media/b.mp4")
    contents = visitor.eval("p2pcdn.stats().engine.contents")
    players = {content["url"].rpartition("/")[2]: content["peers"] for content in contents}
    assert players == {"a.mp4": 2, "b.mp4": 1}, "each content has its players' clocks"


@BROWSERS
def test_what_a_script_asked_of_the_player_meanwhile_is_kept(
    kind: str, site: LoaderSite, visit: Visit
) -> None:
    script = "<script>v.play().catch(() => 0); v.playbackRate = 1.5; v.currentTime = 4</script>"
    visitor = visit(kind)
    visitor.goto(site.page("/", VIDEO + script))
    visitor.wait_for("v.currentTime > 4.5")
    assert visitor.eval("[v.paused, v.playbackRate]") == [False, 1.5]


@BROWSERS
def test_videos_that_scripts_add_later_play_too(kind: str, site: LoaderSite, visit: Visit) -> None:
    visitor = visit(kind)
    visitor.goto(site.page("/", "<main id=m></main><div id=host></div>"))
    visitor.wait_for("!!navigator.serviceWorker.controller && !!window.p2pcdn")
    visitor.eval("m.innerHTML = '<p><video id=late muted autoplay data-src=\"/media/a.mp4\">'")
    visitor.wait_for("late.currentTime > 0.3")
    visitor.eval(
        "(() => { const v = document.createElement('video'); v.id = 'own'; v.muted = true;"
        "v.src = '/media/b.mp4'; m.append(v); v.play() })()"
    )
    visitor.wait_for("own.currentTime > 0.3")
    visitor.eval(
        "(() => { const r = host.attachShadow({mode: 'open'}); r.innerHTML ="
        "'<video muted autoplay data-src=\"/media/a.mp4?shadow\"></video>';"
        "document.body.append(host) })()"
    )
    visitor.wait_for("host.shadowRoot.querySelector('video').currentTime > 0.3")
    assert not site.direct("/media/a.mp4") and not site.direct("/media/b.mp4")


@BROWSERS
def test_every_kind_of_range_gets_the_files_own_bytes(
    kind: str, loader_folder: Path, visit: Visit
) -> None:
    body = noise(3_000_001)
    config = Config(ice_servers=(), include=("/media/*",))
    with LoaderSite(loader_folder, config, files={"/media/n.bin": body}).running() as site:
        visitor = visit(kind)
        visitor.goto(site.page("/", "<p>no video"))
        visitor.wait_for("!!navigator.serviceWorker.controller && !!window.p2pcdn")
        for header, status, start, end in [
            (None, 200, 0, len(body)),
            ("bytes=0-", 206, 0, len(body)),
            ("bytes=100-199", 206, 100, 200),
            ("bytes=2999999-9999999", 206, 2_999_999, len(body)),
            ("bytes=-500", 206, len(body) - 500, len(body)),
            ("bytes=9999999-", 416, 0, 0),
        ]:
            got = visitor.eval(
                """async range => {
                  const headers = range ? {Range: range} : {};
                  const response = await fetch('/media/n.bin', {headers});
                  const bytes = await response.arrayBuffer();
                  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
                  const hex = [...digest].map(b => b.toString(16).padStart(2, '0')).join('');
                  const head = name => response.headers.get(name);
                  return [response.status, hex, head('content-length'), head('content-range')];
                }""",
                header,
            )
            assert got[0] == status, header
            assert got[1] == hashlib.sha256(body[start:end]).hexdigest(), header
            assert got[2] == str(end - start), header
            if status == 206:
                assert got[3] == f"bytes {start}-{end - 1}/{len(body)}"
            if status == 416:
                assert got[3] == f"bytes */{len(body)}"
        assert not site.direct("/media/n.bin")


@BROWSERS
def test_a_video_without_a_manifest_plays_direct_with_the_browsers_own_request(
    kind: str, site: LoaderSite, visit: Visit
) -> None:
    site.without_manifest.add("/media/a.mp4")
    visitor = visit(kind)
    visitor.goto(site.page("/", VIDEO.replace("muted", "muted autoplay")))
    visitor.wait_for("v.currentTime > 0.3")
    assert visitor.eval("p2pcdn.whyDirect(v.src)") == "no-manifest"
    assert not [hit for hit in site.hits if hit.by_engine]


@BROWSERS
@pytest.mark.parametrize(
    ("why", "before"),
    [
        ("no-webrtc", "delete window.RTCPeerConnection"),
        ("no-worker", "delete Navigator.prototype.serviceWorker"),
        ("opted-out", "localStorage.p2pcdn = 'off'"),
        ("worker-failed", "ServiceWorkerContainer.prototype.register = () => Promise.reject(1)"),
        ("privacy-signal", "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl',"
         " {get: () => true, configurable: true})"),
    ],
)  # fmt: skip
def test_a_visitor_who_cannot_or_will_not_share_just_sees_the_video(
    kind: str, why: str, before: str, site: LoaderSite, visit: Visit
) -> None:
    visitor = visit(kind, scripts=(before,))
    visitor.goto(site.page("/", VIDEO.replace("muted", "muted autoplay")))
    visitor.wait_for("v.currentTime > 0.3")
    assert visitor.eval("p2pcdn.whyDirect()") == why
    assert not [hit for hit in site.hits if hit.by_engine]


@BROWSERS
def test_a_fault_of_ours_gives_every_video_its_source_back(
    kind: str, site: LoaderSite, visit: Visit
) -> None:
    broken = "Object.defineProperty(window, 'isSecureContext', {get() { throw new Error('x') }})"
    visitor = visit(kind, scripts=(broken,))
    late = "<script>setTimeout(() => m.innerHTML = '<video id=l muted autoplay data-src=\""
    late += "/media/b.mp4\">', 500)</script><main id=m></main>"
    visitor.goto(site.page("/", VIDEO.replace("muted", "muted autoplay") + late))
    visitor.wait_for("v.currentTime > 0.3")
    visitor.wait_for("window.l && l.currentTime > 0.3")


@BROWSERS
def test_a_sites_own_worker_is_never_overwritten(kind: str, site: LoaderSite, visit: Visit) -> None:
    site.scripts["/sw.js"] = (
        "addEventListener('install', () => skipWaiting());"
        "addEventListener('activate', e => e.waitUntil(clients.claim()))"
    )
    site.page("/first", "<script>navigator.serviceWorker.register('/sw.js')</script>", loader=False)
    visitor = visit(kind)
    visitor.goto(site.url + "/first")
    visitor.wait_for("!!navigator.serviceWorker.controller")
    visitor.goto(site.page("/", VIDEO.replace("muted", "muted autoplay")))
    visitor.wait_for("v.currentTime > 0.3")
    assert visitor.eval("p2pcdn.whyDirect()") == "foreign-worker"
    scripts = "navigator.serviceWorker.getRegistrations().then(r => r.map(x => x.active.scriptURL))"
    assert visitor.eval(scripts) == [site.url + "/sw.js"]


@BROWSERS
def test_a_sites_own_worker_that_imports_ours_is_used(
    kind: str, site: LoaderSite, visit: Visit
) -> None:
    site.scripts["/sw.js"] = (
        "importScripts('/p2pcdn/worker.js');"
        "addEventListener('install', () => skipWaiting());"
        "addEventListener('activate', e => e.waitUntil(clients.claim()))"
    )
    site.page("/first", "<script>navigator.serviceWorker.register('/sw.js')</script>", loader=False)
    visitor = visit(kind)
    visitor.goto(site.url + "/first")
    visitor.wait_for("!!navigator.serviceWorker.controller")
    visitor.goto(site.page("/", VIDEO.replace("muted", "muted autoplay")))
    visitor.wait_for("v.currentTime > 0.3")
    visitor.wait_for(THROUGH_US)
    assert not site.direct("/media/a.mp4")


@BROWSERS
def test_a_site_that_registers_its_own_worker_on_the_same_page_keeps_it(
    kind: str, site: LoaderSite, visit: Visit
) -> None:
    site.scripts["/sw.js"] = "addEventListener('fetch', () => {})"
    own = "<script>navigator.serviceWorker.register('/sw.js').then(() => window.done = 1)</script>"
    visitor = visit(kind)
    visitor.goto(site.page("/", own + VIDEO.replace("muted", "muted autoplay")))
    visitor.wait_for("v.currentTime > 0.3 && window.done")
    page = "navigator.serviceWorker.getRegistration().then(r => [r.installing, r.waiting, r.active]"
    visitor.wait_for(page + ".some(w => w && w.scriptURL.endsWith('/sw.js')))")
    visitor.reload()
    visitor.wait_for("v.currentTime > 0.3")
    visitor.wait_for(page + ".filter(w => w).every(w => w.scriptURL.endsWith('/sw.js')))")


def test_a_worker_that_the_browser_ended_is_not_missed(site: LoaderSite, visit: Visit) -> None:
    visitor = visit("chromium")
    visitor.goto(site.page("/", VIDEO))
    visitor.wait_for("v.readyState >= 1")
    visitor.eval("v.play()")
    visitor.wait_for("v.currentTime > 0.3")
    visitor.stop_workers()
    visitor.eval("v.currentTime = 8")
    visitor.wait_for("v.currentTime > 8.3 && !v.seeking")
    visitor.stop_workers()
    visitor.eval("v.currentTime = 1")
    visitor.wait_for("v.currentTime > 1.3 && !v.seeking")
    assert visitor.eval("v.error") is None
    assert not site.direct("/media/a.mp4")


def test_a_shift_reloaded_page_plays_without_the_worker(site: LoaderSite, visit: Visit) -> None:
    visitor = visit("chromium")
    visitor.goto(site.page("/", VIDEO.replace("muted", "muted autoplay")))
    visitor.wait_for("v.currentTime > 0.3")
    visitor.cdp("Page.reload", ignoreCache=True)
    visitor.wait_for("v.currentTime > 0.3 && window.p2pcdn?.whyDirect() === 'reload-bypass'")
    assert site.direct("/media/a.mp4")


@BROWSERS
def test_a_page_without_a_loader_plays_although_a_worker_stands_by(
    kind: str, site: LoaderSite, visit: Visit
) -> None:
    visitor = visit(kind)
    visitor.goto(site.page("/", VIDEO))
    visitor.wait_for("v.readyState >= 1")
    plain = VIDEO.replace("data-src", "src").replace("muted", "muted autoplay")
    visitor.goto(site.page("/plain", plain, loader=False))
    visitor.wait_for("v.currentTime > 0.3")
    assert site.direct("/media/a.mp4")


@BROWSERS
def test_a_worker_leaves_when_the_site_no_longer_has_us(
    kind: str, site: LoaderSite, visit: Visit
) -> None:
    visitor = visit(kind)
    visitor.goto(site.page("/", VIDEO))
    visitor.wait_for("v.readyState >= 1")
    site.assets_gone = True
    plain = (
        VIDEO.replace("data-src", "src")
        .replace("a.mp4", "b.mp4")
        .replace("muted", "muted autoplay")
    )
    visitor.goto(site.page("/plain", plain, loader=False))
    visitor.wait_for("v.currentTime > 0.3")
    visitor.wait_for("navigator.serviceWorker.getRegistrations().then(r => r.length === 0)")


@BROWSERS
def test_a_player_that_fails_through_us_is_played_again_without_us(
    kind: str, site: LoaderSite, visit: Visit
) -> None:
    # The engine gives bytes that no player can read, as a fault of ours would.
    visitor = visit(kind, scripts=("window.corrupt = true",))
    script = "<script>v.addEventListener('error', () => window.seen = 1)</script>"
    visitor.goto(site.page("/", VIDEO.replace("muted", "muted autoplay") + script))
    # What the worker gave it is fine; the engine's bytes come after that.
    visitor.wait_for("p2pcdn.whyDirect(v.src) === 'bypassed'", timeout=30)
    visitor.wait_for("v.currentTime > 3", timeout=30)
    assert visitor.eval("window.seen") is None, "the page was told of an error that is mended"
    assert site.direct("/media/a.mp4")


@BROWSERS
def test_a_silent_engine_is_got_out_of_the_way(kind: str, site: LoaderSite, visit: Visit) -> None:
    site.refuse_engine = True
    visitor = visit(kind)
    visitor.goto(site.page("/", VIDEO.replace("muted", "muted autoplay")))
    # The beginning plays without an engine.
    visitor.wait_for("p2pcdn.whyDirect(v.src) === 'bypassed'", timeout=40)
    visitor.eval("v.currentTime = v.duration - 0.5")
    visitor.wait_for("v.ended", timeout=40)
    assert visitor.eval("v.error") is None


def test_a_browser_without_webrtc_just_plays(site: LoaderSite, visit: Visit) -> None:
    visitor = visit("webkit")
    visitor.goto(site.page("/", VIDEO.replace("muted", "muted autoplay")))
    visitor.wait_for("v.readyState >= 2 && v.getAttribute('src') === '/media/a.mp4'", timeout=40)
    assert visitor.eval("p2pcdn.whyDirect()") == "no-webrtc"


@BROWSERS
def test_the_panel_shows_under_the_strictest_policy_and_says_why_no_peer_serves(
    kind: str, site: LoaderSite, visit: Visit
) -> None:
    policy = "default-src 'none'; script-src 'self'; media-src 'self'; connect-src 'self'"
    site.headers["/"] = {"Content-Security-Policy": f"{policy}; worker-src 'self'"}
    visitor = visit(kind)
    visitor.goto(site.page("/", VIDEO) + "?p2pcdn=hud")
    panel = "document.querySelector('p2pcdn-hud').shadowRoot"
    visitor.wait_for(f"{panel}.textContent.includes('From the site')")
    visitor.wait_for(f"{panel}.textContent.includes('The coordinator cannot be reached')")
    box = "(r => [r.width, r.right <= innerWidth, r.bottom <= innerHeight])"
    shape = visitor.eval(f"{box}({panel}.querySelector('section').getBoundingClientRect())")
    assert shape == [304, True, True], "the style sheet was kept out"
    visitor.eval(f"{panel}.querySelector('header').click()")
    assert visitor.eval(f"{panel}.querySelector('main').offsetHeight") == 0


AUTOPLAY = VIDEO.replace("muted", "muted autoplay")
SOURCES = (
    '<video id=v muted autoplay><source data-src="/media/no.ogv" type="video/x-unknown">'
    '<source data-src="/media/a.mp4" type="video/mp4"></video><noscript></noscript>'
)


@BROWSERS
@pytest.mark.parametrize("markup", [AUTOPLAY, SOURCES], ids=["src", "sources"])
def test_who_comes_back_need_not_wait_for_the_loader(
    kind: str, site: LoaderSite, visit: Visit, markup: str
) -> None:
    visitor = visit(kind)
    visitor.goto(site.page("/", VIDEO.replace("a.mp4", "b.mp4"), begin=True))
    visitor.wait_for("v.readyState >= 1")
    site.loader_waits = True
    visitor.goto(site.page("/again", markup, begin=True))
    visitor.wait_for("v.readyState >= 2")
    assert visitor.eval("window.p2pcdn === undefined")
    assert {hit.range for hit in site.hits if hit.path == "/media/a.mp4"} == {EARLY}
    site.loader_waits = False
    visitor.wait_for("v.currentTime > 0.3")
    visitor.wait_for(THROUGH_US)
    visitor.eval("v.currentTime = v.duration - 0.5")
    visitor.wait_for("v.ended")
    assert visitor.eval("v.error") is None
    assert not site.direct("/media/a.mp4"), "what followed came past the engine"


@BROWSERS
def test_where_the_loader_never_comes_who_comes_back_sees_all_of_the_film(
    kind: str, site: LoaderSite, visit: Visit
) -> None:
    visitor = visit(kind)
    visitor.goto(site.page("/", VIDEO, begin=True))
    visitor.wait_for("v.readyState >= 1")
    site.loader_waits = True
    visitor.goto(site.page("/again", AUTOPLAY, begin=True))
    visitor.wait_for("v.currentTime > 0.3")
    visitor.eval("v.currentTime = v.duration - 0.5")
    visitor.wait_for("v.ended")
    assert visitor.eval("v.error") is None
    assert visitor.eval("window.p2pcdn === undefined")
    site.loader_waits = False


@BROWSERS
def test_a_film_that_proves_unsharable_when_it_has_begun_plays_on(
    kind: str, site: LoaderSite, visit: Visit
) -> None:
    site.without_manifest.add("/media/a.mp4")
    script = "<script>v.addEventListener('error', () => window.seen = 1)</script>"
    visitor = visit(kind)
    visitor.goto(site.page("/", AUTOPLAY + script, begin=True))
    visitor.wait_for("v.currentTime > 0.3 && p2pcdn.whyDirect(v.src) === 'no-manifest'")
    visitor.eval("v.currentTime = 9")
    visitor.wait_for("v.currentTime > 9.2 && !v.seeking")
    visitor.eval("v.currentTime = v.duration - 0.5")
    visitor.wait_for("v.ended")
    assert visitor.eval("v.error") is None and visitor.eval("window.seen") is None
    assert site.direct("/media/a.mp4")


@BROWSERS
@pytest.mark.parametrize("how", ["the visitor", "the page"])
def test_who_opted_out_gets_no_worker(kind: str, site: LoaderSite, visit: Visit, how: str) -> None:
    scripts = ("localStorage.setItem('p2pcdn', 'off')",) if how == "the visitor" else ()
    html = "data-p2p=off" if how == "the page" else ""
    visitor = visit(kind, scripts=scripts)
    visitor.goto(site.page("/", AUTOPLAY, begin=True, html=html))
    visitor.wait_for("v.currentTime > 0.3")
    assert visitor.eval("navigator.serviceWorker.getRegistrations().then(r => r.length)") == 0
    assert visitor.eval("p2pcdn.whyDirect()") in ("opted-out", "page-off")
