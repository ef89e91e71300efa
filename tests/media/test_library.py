"""Which URLs get a manifest, and which never do."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pcdn.config import Config
from p2pcdn.media import body as body_module
from p2pcdn.media import jobs as jobs_module
from p2pcdn.media import library as library_module
from p2pcdn.media.library import Library
from p2pcdn.media.manifest import Manifest, Pending, Refusal
from p2pcdn.media.origin import ASGIOrigin, OriginAnswer, WSGIOrigin

from .sites import django_asgi, flask_static, settled_clock, undo_django
from .test_frameworks import digests, settled
from .test_urls import HOSTILE

FILM = random.Random(2).randbytes(200_001)


class App:
    """A WSGI app that counts what it is asked, and answers what a test says."""

    def __init__(self, *headers: tuple[str, str], status: str = "200 OK") -> None:
        self.headers = headers
        self.status = status
        self.asked: list[dict[str, Any]] = []
        self.chunks: Callable[[], Iterator[bytes]] = lambda: iter([FILM])

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        self.asked.append(environ)
        headers = {"Content-Type": "video/mp4", **dict(self.headers)}
        start_response(self.status, list(headers.items()))
        return self.chunks()


def library_of(origin: Any, folder: Path | None = None, **options: Any) -> Library:
    return Library(
        Config(**options),
        WSGIOrigin(origin) if isinstance(origin, App) else origin,
        folder=folder,
        shareable=lambda path: not path.startswith("/private/"),
        clock=settled_clock,
    )


def ask(library: Library, target: str, **named: Any) -> Manifest | Refusal:
    try:
        return asyncio.run(settled(lambda: library.manifest(target, **named)))
    finally:
        library.close()


def shown(library: Library, target: str = "/media/a.mp4", **named: Any) -> Manifest | Refusal:
    library.seen([target])
    return ask(library, target, **named)


# --- nothing that a client chose ---------------------------------------------------------------


def test_a_url_that_no_page_showed_is_unknown_and_the_site_is_not_asked() -> None:
    app = App()
    found = ask(library_of(app), "/media/a.mp4")
    assert isinstance(found, Refusal) and (found.code, found.status) == ("unknown", 404)
    assert not app.asked


@pytest.mark.parametrize("target", HOSTILE, ids=ascii)
def test_an_attackers_url_is_refused_even_if_a_page_showed_it(target: str) -> None:
    app = App()
    library = library_of(app, include=["*"])
    library.seen([target])
    library.served(target, "video/mp4", 200)
    found = ask(library, target)
    assert isinstance(found, Refusal) and found.code in ("bad-url", "outside")
    assert not app.asked


def test_guesses_are_not_remembered() -> None:
    library = library_of(App())

    async def guess() -> None:
        for index in range(200):
            await library.manifest(f"/media/{index}.mp4")

    asyncio.run(guess())
    here = library._here
    assert not here.answers and not here.asking
    assert not here.known._told
    library.close()


def test_another_query_on_a_known_url_is_another_url() -> None:
    app = App()
    library = library_of(app)
    library.seen(["/video?id=1"])
    found = ask(library, "/video?id=2")
    assert isinstance(found, Refusal) and found.code == "unknown"
    assert not app.asked


def test_a_signed_url_reaches_the_site_whole_and_shares_one_swarm() -> None:
    app = App(("ETag", '"1"'))
    library = library_of(app)
    targets = ["/media/a.mp4?sig=1&e=2", "/media/a.mp4?sig=9&e=8"]
    library.seen(targets)

    async def both() -> list[Manifest | Refusal]:
        return [await settled(lambda target=target: library.manifest(target)) for target in targets]

    one, other = asyncio.run(both())
    library.close()
    assert isinstance(one, Manifest) and isinstance(other, Manifest)
    assert one.key == other.key and one.url == "/media/a.mp4"
    assert [environ["QUERY_STRING"] for environ in app.asked] == ["sig=1&e=2", "sig=9&e=8"]


def test_what_the_site_served_to_a_visitor_is_known() -> None:
    library = library_of(App())
    library.served("/media/a.mp4", "video/mp4; codecs=avc1", 206)
    assert isinstance(ask(library, "/media/a.mp4"), Manifest)


@pytest.mark.parametrize(("content_type", "status"), [("text/html", 200), ("video/mp4", 404)])
def test_what_was_no_media_or_no_success_is_not_known(content_type: str, status: int) -> None:
    library = library_of(App())
    library.served("/media/a.mp4", content_type, status)
    found = ask(library, "/media/a.mp4")
    assert isinstance(found, Refusal) and found.code == "unknown"


def test_a_pattern_in_the_settings_is_known_before_any_page_showed_it() -> None:
    found = ask(library_of(App(), include=["/media/*"]), "/media/a.mp4")
    assert isinstance(found, Manifest)


def test_made_up_queries_below_a_pattern_do_not_have_the_body_read_each_time() -> None:
    app = App()
    read: list[bytes] = []

    def chunks() -> Iterator[bytes]:
        for at in range(0, len(FILM), 1000):
            read.append(FILM[at : at + 1000])
            yield read[-1]

    app.chunks = chunks
    found = ask(library_of(app, include=["/media/*"]), "/media/a.mp4?made=up")
    assert isinstance(found, Refusal) and found.code == "unknown"
    assert len(read) <= 1


def test_what_the_settings_exclude_is_refused() -> None:
    app = App()
    found = shown(library_of(app), "/private/a.mp4")
    assert isinstance(found, Refusal) and found.code == "outside"
    assert not app.asked


def test_the_sub_request_is_anonymous_and_marked_and_the_app_may_not_trust_it() -> None:
    app = App()
    shown(library_of(app), host="example.org:8000", scheme="https", prefix="/site")
    (environ,) = app.asked
    assert environ["p2pcdn.internal"] is True
    assert environ["REMOTE_ADDR"] == "192.0.2.1"
    assert environ["REQUEST_METHOD"] == "GET"
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/site", "/media/a.mp4")
    assert (environ["HTTP_HOST"], environ["wsgi.url_scheme"]) == ("example.org:8000", "https")
    assert not {"HTTP_COOKIE", "HTTP_AUTHORIZATION", "HTTP_RANGE"} & set(environ)


def test_a_forged_host_does_not_reach_the_app() -> None:
    app = App()
    shown(library_of(app), host="evil/../\r\nX: y", scheme="javascript")
    (environ,) = app.asked
    assert (environ["HTTP_HOST"], environ["wsgi.url_scheme"]) == ("localhost", "http")


# --- what an anonymous visitor would not get ---------------------------------------------------


@pytest.mark.parametrize(
    ("app", "code"),
    [
        (App(status="401 Unauthorized"), "protected"),
        (App(status="403 Forbidden"), "protected"),
        (App(("Location", "/login?next=/media/a.mp4"), status="302 Found"), "protected"),
        (App(("Location", "https://cdn.example.org/a.mp4"), status="302 Found"), "outside"),
        (App(("Location", "http://[broken"), status="302 Found"), "outside"),
        (App(("Cache-Control", "private, max-age=5")), "protected"),
        (App(("Cache-Control", "No-Store")), "protected"),
        (App(("Cache-Control", 'public, private="x"')), "protected"),
        (App(("Vary", "Accept, Cookie")), "protected"),
        (App(("Vary", "*")), "protected"),
        (App(("Set-Cookie", "id=1")), "protected"),
        (App(status="404 Not Found"), "unknown"),
        (App(status="410 Gone"), "unknown"),
        (App(status="500 Oops"), "broken"),
        (App(status="206 Partial Content"), "broken"),
        (App(("Content-Encoding", "gzip")), "encoded"),
        (App(("Content-Type", "text/html")), "not-media"),
        (App(("X-Accel-Redirect", "/internal/a.mp4")), "outside"),
        (App(("Content-Length", "0")), "empty"),
        (App(("Content-Length", "5")), "broken"),
        (App(("Content-Length", "99999999")), "broken"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.status} {value.headers}",
)
def test_what_is_not_for_everybody_is_not_shared(app: App, code: str) -> None:
    app.asked.clear()
    found = shown(library_of(app))
    assert isinstance(found, Refusal) and found.code == code
    assert len(found.message) > 20


@pytest.mark.parametrize(
    "headers",
    [
        [("Cache-Control", "public"), ("Vary", "Cookie")],
        [("Cache-Control", "max-age=1, Public"), ("Set-Cookie", "id=1")],
        [("Vary", "Accept-Encoding")],
        [("Content-Type", "application/octet-stream")],
        [("Content-Type", "application/vnd.apple.mpegurl")],
    ],
)
def test_what_the_site_calls_public_is_shared(headers: list[tuple[str, str]]) -> None:
    assert isinstance(shown(library_of(App(*headers))), Manifest)


def test_a_video_that_becomes_protected_is_no_longer_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(library_module, "_ASK_AGAIN_S", 0.0)
    app = App(("ETag", '"1"'))
    library = library_of(app)
    library.seen(["/media/a.mp4"])

    async def story() -> Manifest | Refusal:
        assert isinstance(await settled(lambda: library.manifest("/media/a.mp4")), Manifest)
        app.status = "403 Forbidden"
        return await settled(lambda: library.manifest("/media/a.mp4"))

    found = asyncio.run(story())
    library.close()
    assert isinstance(found, Refusal) and found.code == "protected"


def test_a_site_that_insists_on_https_behind_a_proxy_is_asked_again_as_https() -> None:
    class Secure(App):
        def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            if environ["wsgi.url_scheme"] != "https":
                start_response("301 Moved", [("Location", "https://example.org/media/a.mp4?x=1")])
                return iter([])
            return super().__call__(environ, start_response)

    app = Secure()
    library = library_of(app)
    assert isinstance(shown(library, "/media/a.mp4?x=1", host="example.org"), Manifest)


# --- what is odd, slow or broken ---------------------------------------------------------------


def test_an_app_that_raises_is_a_refusal_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    class Raises(App):
        def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            raise RuntimeError("out of order")

    library = library_of(Raises())
    library.seen(["/media/a.mp4", "/media/b.mp4"])

    async def both() -> list[Any]:
        return [await library.manifest(f"/media/{name}.mp4") for name in "ab"]

    found = asyncio.run(both())
    library.close()
    assert [refusal.code for refusal in found] == ["broken", "broken"]
    assert len([record for record in caplog.records if "out of order" in record.message]) == 1


def test_an_app_that_breaks_off_is_a_refusal() -> None:
    app = App(("Content-Length", str(len(FILM))))

    def chunks() -> Iterator[bytes]:
        yield FILM[:1000]
        raise OSError("disk gone")

    app.chunks = chunks
    found = shown(library_of(app))
    assert isinstance(found, Refusal) and found.code == "broken"


@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.response.body", "body": b"no start"},
        {"type": "http.response.start"},
        {"type": "http.response.start", "status": "two hundred", "headers": []},
        {"type": "http.response.start", "status": 200, "headers": [("a", "b")]},
        {"type": "garbage"},
        {},
    ],
)
def test_an_asgi_app_that_sends_garbage_is_a_refusal(message: dict[str, Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(message)
        await send({"type": "http.response.body", "body": b"x"})

    found = shown(library_of(ASGIOrigin(app)))
    assert isinstance(found, Refusal) and found.code == "broken"


@pytest.mark.parametrize(
    "app",
    [
        lambda environ, start_response: None,
        lambda environ, start_response: [b"no start_response"],
        lambda environ, start_response: start_response("OK", []) and [],
        lambda environ, start_response: (
            start_response("200 OK", [("Content-Type", "video/mp4")]) and ["text"]
        ),
    ],
)
def test_a_wsgi_app_that_answers_garbage_is_a_refusal(app: Any) -> None:
    found = shown(library_of(WSGIOrigin(app)))
    assert isinstance(found, Refusal)


def test_an_app_that_hangs_costs_no_visitor_more_than_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(library_module, "_ORIGIN_TIMEOUT_S", 0.05)
    release = threading.Event()

    def hangs(environ: Any, start_response: Any) -> list[bytes]:
        release.wait()
        start_response("200 OK", [])
        return []

    library = library_of(WSGIOrigin(hangs))
    library.seen([f"/media/{index}.mp4" for index in range(30)])

    async def many() -> list[Any]:
        asked = (library.manifest(f"/media/{index}.mp4") for index in range(30))
        return await asyncio.gather(*asked)

    found = asyncio.run(many())
    release.set()
    library.close()
    assert all(isinstance(answer, Pending) for answer in found)
    assert sum(thread.name == "p2pcdn-origin" for thread in threading.enumerate()) <= 8


def test_an_endless_stream_is_given_up_and_not_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(library_module, "_ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(body_module, "_UNKNOWN_LENGTH_MOST", 5_000_000)
    app = App()
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 100_000
            yield bytes(100_000)

    app.chunks = endless
    library = library_of(app)
    library.seen(["/live.mp4"])

    async def story() -> list[Any]:
        first = await settled(lambda: library.manifest("/live.mp4"))
        second = await library.manifest("/live.mp4")
        return [first, second]

    first, second = asyncio.run(story())
    library.close()
    assert isinstance(first, Refusal) and first.code == "too-large"
    assert first == second
    assert sent < 5_500_000


def test_a_body_without_validators_that_changed_is_found_out_by_its_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(library_module, "_ASK_AGAIN_S", 0.0)
    app = App(("Content-Length", str(len(FILM))))
    library = library_of(app)
    library.seen(["/media/a.mp4"])
    other = bytes(reversed(FILM))

    async def story() -> tuple[Any, Any, Any]:
        one = await settled(lambda: library.manifest("/media/a.mp4"))
        same = await settled(lambda: library.manifest("/media/a.mp4"))
        app.chunks = lambda: iter([other[:70_000], other[70_000:]])
        return one, same, await settled(lambda: library.manifest("/media/a.mp4"))

    one, same, changed = asyncio.run(story())
    library.close()
    assert one == same
    assert changed.key != one.key
    assert changed.hashes == digests(other, changed.segment_bytes)


def test_a_body_that_is_larger_than_the_limit_is_not_read() -> None:
    app = App(("Content-Length", "1000000"))
    read: list[bytes] = []

    def chunks() -> Iterator[bytes]:
        for _ in range(10):
            read.append(bytes(100_000))
            yield read[-1]

    app.chunks = chunks
    found = shown(library_of(app, max_content_bytes=999_999))
    assert isinstance(found, Refusal) and found.code == "too-large"
    assert len(read) <= 1


# --- files -------------------------------------------------------------------------------------


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(FILM)
    return folder


def test_media_that_a_web_server_in_front_serves_is_found_in_its_folder(films: Path) -> None:
    app = App()
    found = ask(library_of(app, media_roots={"/media/": str(films)}), "/media/a.mp4")
    assert isinstance(found, Manifest) and found.hashes == digests(FILM)
    assert not app.asked


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/media/missing.mp4", "gone"),
        ("/media/", "not-media"),
        ("/media/secret.txt", "not-media"),
        ("/media/link.mp4", "outside"),
        ("/media/up/outside.mp4", "outside"),
        ("/media/pipe.mp4", "gone"),
        ("/media/folder.mp4", "gone"),
        ("/media/empty.mp4", "empty"),
        ("/media/a.mp4/x.mp4", "gone"),
        ("/media/" + "x" * 300 + ".mp4", "gone"),
    ],
)
def test_nothing_else_in_or_around_that_folder_is_shared(
    films: Path, target: str, code: str
) -> None:
    (films.parent / "outside.mp4").write_bytes(FILM)
    (films / "link.mp4").symlink_to(films.parent / "outside.mp4")
    (films / "up").symlink_to(films.parent)
    (films / "secret.txt").write_text("secret")
    (films / "empty.mp4").touch()
    (films / "folder.mp4").mkdir()
    os.mkfifo(films / "pipe.mp4")
    found = ask(library_of(App(), media_roots={"/media/": str(films)}), target)
    assert isinstance(found, Refusal) and found.code == code


def test_a_link_that_stays_inside_the_folder_is_followed(films: Path) -> None:
    (films / "latest.mp4").symlink_to("a.mp4")
    found = ask(library_of(App(), media_roots={"/media/": str(films)}), "/media/latest.mp4")
    assert isinstance(found, Manifest) and found.hashes == digests(FILM)


def test_a_file_that_is_still_being_uploaded_is_not_shared_yet(films: Path) -> None:
    library = Library(
        Config(media_roots={"/media/": str(films)}),  # type: ignore[arg-type]
        WSGIOrigin(App()),
        folder=None,
        shareable=lambda path: True,
        clock=lambda: os.stat(films / "a.mp4").st_ctime + 0.3,
    )
    found = asyncio.run(library.manifest("/media/a.mp4"))
    library.close()
    assert isinstance(found, Pending) and found.reason == "changing"
    assert 0.2 <= found.retry_after_s <= 1.0


def test_a_file_larger_than_the_limit_is_refused(films: Path) -> None:
    library = library_of(App(), media_roots={"/media/": str(films)}, max_content_bytes=1000)
    found = ask(library, "/media/a.mp4")
    assert isinstance(found, Refusal) and found.code == "too-large"


def test_an_app_that_sends_a_part_of_a_file_is_taken_at_its_word(films: Path) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        file = open(films / "a.mp4", "rb")  # noqa: SIM115
        start_response("200 OK", [("Content-Type", "video/mp4"), ("Content-Length", "1000")])
        wrapper = environ["wsgi.file_wrapper"](file)

        class Part:
            def __iter__(self) -> Iterator[bytes]:
                yield next(iter(wrapper))[:1000]

            def close(self) -> None:
                file.close()

        return Part()

    found = shown(library_of(WSGIOrigin(app)))
    assert isinstance(found, Manifest)
    assert found.hashes == digests(FILM[:1000]) and found.size == 1000


def test_an_app_that_decrypts_a_file_is_hashed_by_what_it_sends(films: Path) -> None:
    class Decrypting:
        def __init__(self, file: Any) -> None:
            self.file = file
            self.name = file.name

        def read(self, size: int = -1) -> bytes:
            return bytes(byte ^ 1 for byte in self.file.read(size))

        def close(self) -> None:
            self.file.close()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "video/mp4")])
        return environ["wsgi.file_wrapper"](Decrypting(open(films / "a.mp4", "rb")))

    found = shown(library_of(WSGIOrigin(app)))
    assert isinstance(found, Manifest)
    assert found.hashes == digests(bytes(byte ^ 1 for byte in FILM), found.segment_bytes)


def test_apache_sends_the_file_that_the_app_names(films: Path) -> None:
    app = App(("X-Sendfile", str(films / "a.mp4")), ("Content-Length", "0"))
    app.chunks = lambda: iter([])
    found = shown(library_of(app))
    assert isinstance(found, Manifest) and found.hashes == digests(FILM)


# --- processes and loops -----------------------------------------------------------------------


def test_hashes_made_before_a_restart_are_not_made_again(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = flask_static(films)
    first = shown(library_of(site.origin, tmp_path / "data"))

    def never(*_: Any) -> Any:
        pytest.fail("hashed again")

    monkeypatch.setattr("p2pcdn.media.jobs.hash_file", never)
    again = ask(library_of(site.origin, tmp_path / "data"), "/media/a.mp4")
    assert isinstance(first, Manifest) and again == first


def test_a_library_that_was_used_before_the_server_forks_works_in_every_worker(
    films: Path, tmp_path: Path
) -> None:
    site = flask_static(films)
    library = library_of(site.origin, tmp_path / "data")
    library.seen(["/media/a.mp4"])
    first = asyncio.run(settled(lambda: library.manifest("/media/a.mp4")))
    assert isinstance(first, Manifest)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                (films / f"{os.getpid()}.mp4").write_bytes(FILM)
                library.seen([f"/media/{os.getpid()}.mp4"])

                async def both() -> bool:
                    own = await settled(lambda: library.manifest(f"/media/{os.getpid()}.mp4"))
                    same = await settled(lambda: library.manifest("/media/a.mp4"))
                    return isinstance(own, Manifest) and same == first

                status = 0 if asyncio.run(asyncio.wait_for(both(), 30)) else 2
                library.close()
            except BaseException:
                (tmp_path / f"trouble-{os.getpid()}").write_text(traceback.format_exc())
            finally:
                os._exit(status)
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert statuses == [0, 0, 0], [file.read_text() for file in tmp_path.glob("trouble-*")]
    assert asyncio.run(settled(lambda: library.manifest("/media/a.mp4"))) == first
    library.close()


def test_several_loops_may_ask_at_once(films: Path) -> None:
    library = library_of(flask_static(films).origin)
    library.seen(["/media/a.mp4"])
    found: list[Manifest | Refusal] = []

    def loop() -> None:
        found.append(asyncio.run(settled(lambda: library.manifest("/media/a.mp4"))))

    threads = [threading.Thread(target=loop) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    library.close()
    assert len(found) == 6 and all(isinstance(one, Manifest) for one in found)


def test_a_visitor_who_leaves_does_not_take_the_others_answer_along() -> None:
    gate = threading.Event()

    class Slow(App):
        def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            gate.wait()
            return super().__call__(environ, start_response)

    app = Slow()
    library = library_of(app)
    library.seen(["/media/a.mp4"])

    async def story() -> Manifest | Refusal:
        first = asyncio.create_task(library.manifest("/media/a.mp4"))
        second = asyncio.create_task(settled(lambda: library.manifest("/media/a.mp4")))
        while not library._here.asking:
            await asyncio.sleep(0.005)
        first.cancel()
        gate.set()
        return await second

    found = asyncio.run(story())
    library.close()
    assert isinstance(found, Manifest)


def test_a_long_film_does_not_keep_a_short_clip_waiting(
    films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pcdn.media.jobs._SLICE_BYTES", 1024 * 1024)
    with open(films / "long.mp4", "wb") as file:
        file.truncate(3 * 1024**3)  # sparse
    library = library_of(App(), media_roots={"/media/": str(films)})

    async def story() -> tuple[Any, Any]:
        long = await library.manifest("/media/long.mp4")
        short = await settled(lambda: library.manifest("/media/a.mp4"))
        return long, (short, bool(library._here.jobs._jobs))

    long, (short, long_still_runs) = asyncio.run(story())
    library.close()
    assert isinstance(long, Pending) and long.retry_after_s > 0
    assert isinstance(short, Manifest) and long_still_runs


def test_preparing_waits_for_the_manifest(films: Path) -> None:
    library = library_of(flask_static(films).origin)
    found = asyncio.run(library.prepare("/media/a.mp4"))
    library.close()
    assert isinstance(found, Manifest)


def test_an_origin_answer_is_closed_whatever_happens() -> None:
    closed: list[int] = []

    class Origin:
        async def open(self, target: str, **_: Any) -> OriginAnswer:
            async def close() -> None:
                closed.append(1)

            async def chunks() -> Any:
                yield b"x" * 10

            status = {"/ok.mp4": 200, "/no.mp4": 403}[target]
            headers = [("content-type", "video/mp4")]
            return OriginAnswer(status, headers, None, chunks, close)

    for target in ("/ok.mp4", "/no.mp4"):
        shown(library_of(Origin()), target)
    assert len(closed) == 2


def test_all_workers_of_a_machine_hash_a_film_once(films: Path, tmp_path: Path) -> None:
    with open(films / "long.mp4", "wb") as file:
        file.truncate(400 * 1024**2)  # sparse
    diary = tmp_path / "hashed"
    diary.touch()
    library = library_of(
        App(), tmp_path / "data", media_roots={"/media/": str(films)}, segment_bytes="4Mi"
    )
    real = jobs_module.hash_file

    def noted(*args: Any) -> Any:
        with open(diary, "a") as file:
            file.write("x")
        return real(*args)

    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                jobs_module.hash_file = noted
                found = asyncio.run(settled(lambda: library.manifest("/media/long.mp4")))
                status = 0 if isinstance(found, Manifest) else 2
            finally:
                os._exit(status)
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    library.close()
    assert statuses == [0, 0, 0, 0]
    assert diary.read_text() == "x"


def test_a_film_that_changes_while_it_is_hashed_is_shared_in_its_new_version_only(
    films: Path,
) -> None:
    path = films / "long.mp4"
    with open(path, "wb") as file:
        file.truncate(600 * 1024**2)  # sparse
    library = library_of(App(), media_roots={"/media/": str(films)})

    async def story() -> tuple[Any, Any]:
        first = await library.manifest("/media/long.mp4")
        with open(path, "r+b") as file:
            file.truncate(100_000)
            file.write(b"new")
        return first, await settled(lambda: library.manifest("/media/long.mp4"))

    first, found = asyncio.run(story())
    library.close()
    assert isinstance(first, Pending)
    assert isinstance(found, Manifest) and found.hashes == digests(path.read_bytes())


def test_djangos_development_server_under_asgi_names_its_static_files(films: Path) -> None:
    from django.contrib.staticfiles import finders
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
    from django.core.handlers.asgi import ASGIHandler
    from django.test.utils import override_settings

    django_asgi(films)
    try:
        with override_settings(STATIC_URL="/static/", STATICFILES_DIRS=[str(films)], DEBUG=True):
            finders.get_finder.cache_clear()
            origin = ASGIOrigin(ASGIStaticFilesHandler(ASGIHandler()))

            async def paths() -> list[Path | None]:
                found = []
                for target in ("/static/a.mp4", "/media/a.mp4"):
                    answer = await origin.open(target)
                    found.append(answer.path)
                    await answer.aclose()
                return found

            assert asyncio.run(paths()) == [films / "a.mp4", films / "a.mp4"]
    finally:
        finders.get_finder.cache_clear()
        undo_django()


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("debug", [False, True])
def test_djangos_static_files_are_found_where_no_route_serves_them(
    films: Path, is_async: bool, debug: bool
) -> None:
    from django.contrib.staticfiles import finders
    from django.core.handlers.base import BaseHandler
    from django.test.utils import override_settings

    from p2pcdn.media.django_origin import DjangoOrigin

    (films.parent / "outside.mp4").write_bytes(FILM)
    django_asgi(films / "nowhere")
    try:
        with override_settings(
            STATIC_URL="static/",
            STATICFILES_DIRS=[str(films)] if debug else [],
            STATIC_ROOT=None if debug else str(films),
            INSTALLED_APPS=["django.contrib.staticfiles"],
            DEBUG=debug,
        ):
            finders.get_finder.cache_clear()
            handler = BaseHandler()
            handler.load_middleware(is_async=is_async)
            get_response = handler.get_response_async if is_async else handler.get_response
            origin = DjangoOrigin(get_response, is_async)
            found = shown(library_of(origin), "/static/a.mp4")
            assert isinstance(found, Manifest) and found.hashes == digests(FILM)

            async def path(target: str) -> Path | None:
                answer = await origin.open(target)
                await answer.aclose()
                return answer.path

            for target in ("/static/../outside.mp4", "/static//etc/passwd", "/static/", "/a.mp4"):
                assert asyncio.run(path(target)) is None, target
    finally:
        finders.get_finder.cache_clear()
        undo_django()
