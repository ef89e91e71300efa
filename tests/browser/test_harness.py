"""The harness itself, on plain pages: were it wrong, every test beside it would prove nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.browser.driver import BrowserError, Visitor, WaitTimeout
from tests.servers.proxy import Proxy
from tests.servers.python import Uvicorn
from tests.sites import media

pytestmark = [pytest.mark.browser, pytest.mark.server]

Run = Callable[[Callable[[], Any]], Any]
Visit = Callable[..., Visitor]


@pytest.fixture
def origin(run: Run) -> Proxy:
    server = run(lambda: Uvicorn("tests.sites.asgi_app:plain", arguments=["--factory"]))
    proxy: Proxy = run(lambda: Proxy(server.url))
    return proxy


@pytest.mark.parametrize("kind", ["chromium", "firefox", "webkit"])
def test_a_plain_video_plays_to_its_end(kind: str, origin: Proxy, visit: Visit) -> None:
    visitor = visit(kind)
    visitor.goto(origin.localhost + "/watch/one")
    visitor.eval("(() => { player.playbackRate = 4; return player.play() })()")
    visitor.wait_for("player.ended", timeout=40)
    assert visitor.eval("player.error") is None
    assert origin.sent(r"one\.mp4") >= len((media.folder() / "one.mp4").read_bytes())


@pytest.mark.parametrize("kind", ["chromium", "firefox"])
def test_scripts_consoles_and_errors_of_a_page_are_seen(
    kind: str, origin: Proxy, visit: Visit
) -> None:
    visitor = visit(kind, scripts=("window.before = 40",))
    assert visitor.goto(origin.localhost + "/watch/one") == 200
    assert visitor.eval("(n) => before + n", 2) == 42
    visitor.eval("console.log('spoken')")
    visitor.eval("setTimeout(() => { throw new Error('thrown') })")
    visitor.wait_for("document.title === 'One'")
    for _ in range(50):
        if visitor.errors:
            break
        visitor.eval("new Promise(done => setTimeout(done, 50))")
    assert any("spoken" in note.text for note in visitor.console)
    assert any("thrown" in note.text for note in visitor.errors)
    with pytest.raises(BrowserError, match="refused"):
        visitor.eval("Promise.reject(new Error('refused'))")
    with pytest.raises(WaitTimeout, match="false"):
        visitor.wait_for("1 > 2", timeout=0.3)


@pytest.mark.parametrize("kind", ["chromium", "firefox"])
def test_without_javascript_no_script_runs(kind: str, origin: Proxy, visit: Visit) -> None:
    visitor = visit(kind, javascript=False)
    visitor.goto(origin.localhost + "/added-alone")
    assert "<video" not in visitor.html().split("<script")[0]


def test_a_killed_visitor_says_no_goodbye_and_the_others_live_on(
    origin: Proxy, visit: Visit
) -> None:
    goodbye = "addEventListener('pagehide', () => navigator.sendBeacon('/goodbye'))"
    killed, closed = visit(scripts=(goodbye,)), visit(scripts=(goodbye,))
    firefox = visit("firefox", own_process=True, scripts=(goodbye,))
    for visitor in (killed, closed, firefox):
        visitor.goto(origin.localhost + "/watch/one")
    killed.kill()
    firefox.kill()
    assert closed.eval("1 + 1") == 2
    assert not origin.requests("/goodbye")


def test_another_host_name_is_no_secure_context(origin: Proxy, visit: Visit) -> None:
    visitor = visit(flags=("--host-resolver-rules=MAP site.test 127.0.0.1",))
    visitor.goto(f"http://site.test:{origin.port}/watch/one")
    assert visitor.eval("isSecureContext") is False
    assert visitor.eval("'serviceWorker' in navigator") is False


def test_the_proxy_counts_what_left_and_breaks_what_it_is_told_to(origin: Proxy) -> None:
    body = (media.folder() / "one.mp4").read_bytes()
    with httpx.Client(base_url=origin.url) as client:
        assert client.get("/media/one.mp4").content == body
        part = client.get("/media/one.mp4", headers={"Range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, body[100:200])
        assert client.head("/media/one.mp4").headers["content-length"] == str(len(body))
        assert origin.sent("/media/one.mp4") == len(body) + 100

        rule = origin.status("/media", 503, body=b"no", times=1)
        assert client.get("/media/one.mp4").status_code == 503
        assert client.get("/media/one.mp4").status_code == 200
        assert rule.hits == 1

        origin.change("/media", lambda data: data[::-1])
        assert client.get("/media/one.mp4").content == body[::-1]
        origin.remove()

        origin.reset()
        origin.cut("/media", 5000)
        with pytest.raises(httpx.TransportError):
            client.get("/media/one.mp4")
        assert origin.sent() == 5000
        origin.remove()

        origin.hang("/media")
        with pytest.raises(httpx.TimeoutException):
            client.get("/media/one.mp4", timeout=0.3)
        origin.remove()

        origin.down = True
        with pytest.raises(httpx.TransportError):
            httpx.get(origin.url + "/")


def test_a_cancelled_download_is_counted_by_what_left(origin: Proxy) -> None:
    with httpx.Client(base_url=origin.url) as client:
        with client.stream("GET", "/media/long.mp4") as answer:
            next(answer.iter_raw(1000))
        for _ in range(200):
            if origin.sent():
                break
    size = (media.folder() / "long.mp4").stat().st_size
    assert origin.sent("long") < size


def test_the_clips_are_what_the_recipe_says() -> None:
    for name in media.CLIPS:
        data = (media.folder() / name).read_bytes()
        assert media.sha256(name) == hashlib.sha256(data).hexdigest()
        assert len(data) > 900_000
