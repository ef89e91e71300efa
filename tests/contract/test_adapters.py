"""The same cases through WSGI, ASGI and Django on both: what a visitor gets, and what the app
is spared."""

from __future__ import annotations

import gc
import gzip
import json
import threading
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from p2pcdn.media.known import _digest
from p2pcdn.media.store import Store
from tests.contract.django_sites import DjangoASGISite, DjangoWSGISite
from tests.contract.sites import ASGISite, Reply, Request, WSGISite

SITES = [WSGISite, ASGISite, DjangoWSGISite, DjangoASGISite]

PAGE = (
    b"<!doctype html><html><head><title>t</title></head>"
    b'<body><video src="/media/film.mp4" controls></video></body></html>'
)
FRAGMENT = b'<div><video src="/media/film.mp4"></video></div>'
FILM = bytes(range(256)) * 64


@pytest.fixture(params=SITES, ids=lambda site: site.name)
def serve(request: Any, tmp_path: Path) -> Any:
    def make(app: Any, **options: Any) -> Any:
        site = request.param(app, **{"data_dir": str(tmp_path), **options})
        request.addfinalizer(site.close)
        return site

    return make


def html(body: bytes | Iterable[bytes] = PAGE, *more: tuple[str, str], status: int = 200) -> Reply:
    pieces = [body] if isinstance(body, bytes) else body
    return Reply(status, [("Content-Type", "text/html; charset=utf-8"), *more], pieces)


def film(*more: tuple[str, str], status: int = 200, body: bytes = FILM) -> Reply:
    length = ("Content-Length", str(len(body)))
    return Reply(status, [("Content-Type", "video/mp4"), length, *more], [body])


def test_a_page_gets_the_loader_and_data_src_and_its_exact_length(serve: Any) -> None:
    site = serve(lambda r: html(PAGE, ("Content-Length", str(len(PAGE)))))
    seen = site.get("/")
    assert b'<script async fetchpriority=high src="/p2pcdn/loader.js?v=' in seen.body
    assert b'<video data-src="/media/film.mp4" controls>' in seen.body
    assert int(seen.headers["content-length"]) == len(seen.body)


def test_a_page_under_a_prefix_points_below_that_prefix(serve: Any) -> None:
    page = PAGE.replace(b"/media", b"/shop/media")
    seen = serve(lambda r: html(page)).get("/watch", prefix="/shop")
    assert b'src="/shop/p2pcdn/loader.js?v=' in seen.body
    assert b'data-src="/shop/media/film.mp4"' in seen.body


def test_a_video_outside_the_prefix_is_left_alone(serve: Any) -> None:
    seen = serve(lambda r: html()).get("/watch", prefix="/shop")
    assert b'<video src="/media/film.mp4" controls>' in seen.body


def test_public_prefix_stands_for_what_a_proxy_strips(serve: Any) -> None:
    page = PAGE.replace(b"/media", b"/shop/media")
    seen = serve(lambda r: html(page), public_prefix="/shop").get("/watch")
    assert b'src="/shop/p2pcdn/loader.js?v=' in seen.body
    assert b'data-src="/shop/media/film.mp4"' in seen.body


def test_a_prefix_of_any_letters_still_has_its_pages_and_its_manifests(serve: Any) -> None:
    page = PAGE.replace(b"/media", b"media")
    site = serve(lambda r: film() if r.target.startswith("/media/") else html(page))
    seen = site.get("/watch", prefix="/k\u00fcche a")
    assert b'src="/k%C3%BCche%20a/p2pcdn/loader.js?v=' in seen.body
    assert b'data-src="media/film.mp4"' in seen.body
    asked = "/p2pcdn/manifest?url=/k%25C3%25BCche%2520a/media/film.mp4&peer=p"
    assert site.get(asked, prefix="/k\u00fcche a").status in (200, 202)


@pytest.mark.parametrize("prefix", ['/"><script>alert(1)', "//evil.test", "/a\r\nX-Y: 1"])
def test_a_prefix_that_a_visitor_chose_brings_no_script_of_theirs(serve: Any, prefix: str) -> None:
    seen = serve(lambda r: html()).get("/watch", prefix=prefix)
    assert b"alert(1)" not in seen.body.replace(b"%3Ealert(1)", b"")
    assert b'src="//' not in seen.body
    assert b"\r" not in seen.body and "x-y" not in seen.headers


def test_a_page_that_cannot_be_treated_is_the_page_as_it_was(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise UnicodeError("somebody's mistake")

    site = serve(lambda r: html())
    monkeypatch.setattr("p2pcdn.page.inject.script", broken)
    assert site.get("/").body == PAGE
    monkeypatch.setattr("p2pcdn.page.transform._plan_page", broken)
    assert site.get("/").body == PAGE


def test_what_is_no_page_reaches_the_visitor_byte_for_byte(serve: Any) -> None:
    replies = {
        "/json": Reply(200, [("Content-Type", "application/json")], [b'{"a": "<video src=x>"}']),
        "/none": Reply(200, [], [PAGE]),
        "/204": Reply(204, [("Content-Type", "text/html")], []),
        "/partial": html(PAGE, ("Content-Range", "bytes 0-1/2"), status=206),
        "/error": html(PAGE, status=500),
        "/fragment": html(FRAGMENT, ("Content-Length", str(len(FRAGMENT)))),
        "/notransform": html(PAGE, ("Cache-Control", "public, no-transform")),
        "/utf16": Reply(200, [("Content-Type", "text/html; charset=utf-16")], [PAGE]),
    }
    site = serve(lambda r: replies[r.target])
    for path, reply in replies.items():
        seen = site.get(path)
        assert seen.body == b"".join(reply.body), path
        assert seen.headers == {k.lower(): v for k, v in reply.headers}, path
        assert seen.status == reply.status


@pytest.mark.parametrize("site", [WSGISite, ASGISite], ids=lambda site: site.name)
@pytest.mark.parametrize("video", [True, False], ids=["video", "none"])
def test_a_page_of_many_megabytes_takes_little_memory_besides(
    site: Any, video: bool, tmp_path: Path
) -> None:
    long = PAGE.replace(b"<video", b"<p>word</p>" * 800_000 + (b"<video" if video else b"<i"))
    long = long if video else long.replace(b"</video>", b"")
    made = site(lambda r: html(long), data_dir=str(tmp_path))
    made.get("/")
    tracemalloc.start()
    try:
        made.get("/")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        made.close()
    # The visitor keeps all of it here.
    assert most < len(long) + 2**20


def test_a_streamed_page_is_handed_on_piece_by_piece(serve: Any) -> None:
    handed: list[int] = []

    def pieces() -> Any:
        yield PAGE[: PAGE.index(b"<video")]
        for number in range(5):
            handed.append(number)
            yield b"<p>more</p>"
        yield PAGE[PAGE.index(b"<video") :]

    site = serve(lambda r: Reply(200, [("Content-Type", "text/html")], pieces()))
    if site.closes_what_failed:
        # A visitor who leaves after three pieces must not have made the app produce the rest.
        site.get("/", leave_after=3)
        assert len(handed) < 5
    seen = site.get("/")
    assert b'data-src="/media/film.mp4"' in seen.body
    assert "content-length" not in seen.headers


def test_a_gzipped_page_is_rewritten_and_stays_gzipped(serve: Any) -> None:
    packed = gzip.compress(PAGE)
    site = serve(
        lambda r: html(packed, ("Content-Encoding", "gzip"), ("Content-Length", str(len(packed))))
    )
    seen = site.get("/", {"Accept-Encoding": "gzip"})
    assert seen.headers["content-encoding"] == "gzip"
    assert b'data-src="/media/film.mp4"' in gzip.decompress(seen.body)


def test_head_has_the_page_s_headers_without_a_length_that_would_be_wrong(serve: Any) -> None:
    def app(request: Request) -> Reply:
        reply = html(PAGE, ("Content-Length", str(len(PAGE))), ("ETag", '"v1"'))
        return Reply(200, reply.headers, [] if request.method == "HEAD" else reply.body)

    site = serve(app)
    get, head = site.get("/"), site.get("/", method="HEAD")
    assert head.body == b""
    assert head.headers["etag"] == get.headers["etag"] != '"v1"'
    assert head.headers.get("content-length") in (None, get.headers["content-length"])


def test_a_page_that_did_not_change_is_still_answered_304(serve: Any) -> None:
    def app(request: Request) -> Reply:
        if request.headers.get("if-none-match") == '"v1"':
            return Reply(304, [("ETag", '"v1"')], [])
        return html(PAGE, ("ETag", '"v1"'))

    site = serve(app)
    etag = site.get("/").headers["etag"]
    again = site.get("/", {"If-None-Match": etag})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == etag


@pytest.mark.parametrize("path", ["/page", "/film", "/json"])
@pytest.mark.parametrize("leave_after", [None, 1])
def test_the_app_s_body_is_closed_exactly_once_on_every_path(
    serve: Any, path: str, leave_after: int | None
) -> None:
    closed: list[str] = []
    kinds = {"/page": "text/html", "/film": "video/mp4", "/json": "application/json"}

    def app(request: Request) -> Reply:
        return Reply(
            200,
            [("Content-Type", kinds[request.target])],
            (piece for piece in (PAGE[:30], PAGE[30:60], PAGE[60:])),
            lambda: closed.append(request.target),
        )

    site = serve(app)
    if leave_after is not None and not site.closes_what_failed:
        pytest.skip("Django itself closes a response under ASGI only after its last byte")
    site.get(path, leave_after=leave_after)
    assert closed == [path]


def test_an_app_that_fails_mid_page_fails_as_it_would_without_us(serve: Any) -> None:
    closed: list[bool] = []

    def pieces() -> Any:
        yield PAGE[:60]
        raise RuntimeError("database gone")

    site = serve(
        lambda r: Reply(200, [("Content-Type", "text/html")], pieces(), lambda: closed.append(True))
    )
    if not site.closes_what_failed:
        pytest.skip("Django itself closes a response under ASGI only after its last byte")
    with pytest.raises(RuntimeError, match="database gone"):
        site.get("/")
    assert closed == [True]


def test_a_media_route_that_ignores_range_answers_206(serve: Any) -> None:
    site = serve(lambda r: film())
    seen = site.get("/media/film.mp4", {"Range": "bytes=100-199"})
    assert seen.status == 206
    assert seen.headers["content-range"] == f"bytes 100-199/{len(FILM)}"
    assert seen.headers["content-length"] == "100"
    assert seen.body == FILM[100:200]


@pytest.mark.parametrize("said", ["application/octet-stream", "text/plain; charset=utf-8"])
def test_a_film_whose_type_the_server_does_not_know_is_a_film(serve: Any, said: str) -> None:
    """A bare container image has no table of types."""

    def app(request: Request) -> Reply:
        length = ("Content-Length", str(len(FILM)))
        return Reply(200, [("Content-Type", said), length], [FILM])

    site = serve(app)
    seen = site.get("/media/live.TS", {"Range": "bytes=100-199"})
    assert (seen.status, seen.body) == (206, FILM[100:200])
    assert seen.headers["content-type"] == said
    other = site.get("/media/words.txt", {"Range": "bytes=100-199"})
    assert (other.status, other.body) == (200, FILM)
    recorder = site.ours.site.recorder
    recorder.flush()
    assert recorder.summary(0).totals.origin_counted == 100


@pytest.mark.parametrize(
    ("asked", "leave_after", "counted"),
    [
        # requests, whole, aborted
        ({}, None, (1, 1, 0)),
        ({}, 1, (1, 1, 1)),
        ({"Range": "bytes=100-"}, None, (1, 0, 0)),
        ({"Range": "bytes=100-"}, 1, (1, 0, 1)),
        ({"Range": "bytes=99999-"}, None, (0, 0, 0)),
    ],
)
def test_the_owner_reads_what_was_whole_what_a_part_and_what_broke_off(
    serve: Any, asked: dict[str, str], leave_after: int | None, counted: tuple[int, int, int]
) -> None:
    pieces = [FILM[at : at + len(FILM) // 4 + 1] for at in range(0, len(FILM), len(FILM) // 4 + 1)]
    site = serve(lambda r: Reply(200, film().headers, (piece for piece in pieces)))
    if leave_after is not None and not site.closes_what_failed:
        pytest.skip("Django itself closes a response under ASGI only after its last byte")
    site.get("/media/film.mp4", asked, leave_after=leave_after)
    recorder = site.ours.site.recorder
    recorder.flush()
    totals = recorder.summary(0).totals
    assert (totals.origin_requests, totals.origin_whole, totals.origin_aborted) == counted
    first = 100 if asked else 0
    if leave_after is None:
        assert totals.origin_counted == (len(FILM) - first if counted[0] else 0)
    else:
        assert totals.origin_counted < len(FILM) - first


def test_a_stream_is_read_no_further_than_the_range_that_was_asked(serve: Any) -> None:
    taken: list[int] = []

    def pieces() -> Iterable[bytes]:
        for number in range(64):
            taken.append(number)
            yield FILM[number * 256 : (number + 1) * 256]

    site = serve(lambda r: Reply(200, film().headers, pieces()))
    seen = site.get("/media/film.mp4", {"Range": "bytes=100-299"})
    assert (seen.status, seen.body) == (206, FILM[100:300])
    if site.name != "asgi":  # an ASGI app cannot be stopped, only not listened to
        assert len(taken) <= 3


def test_a_pattern_with_a_question_mark_is_compared_with_the_query(serve: Any) -> None:
    page = PAGE.replace(b"</body>", b'<video src="/media/film.mp4?members=1"></video></body>')
    site = serve(lambda r: film() if "film" in r.target else html(page), exclude=["*?members=*"])
    seen = site.get("/")
    assert b'data-src="/media/film.mp4"' in seen.body
    assert b'<video src="/media/film.mp4?members=1">' in seen.body
    asked = "/p2pcdn/manifest?url=%2Fmedia%2Ffilm.mp4"
    assert site.get(asked).status in (200, 202)
    assert site.get(asked + "%3Fmembers=1").status == 403


def test_a_range_behind_the_end_is_refused_as_the_standard_says(serve: Any) -> None:
    seen = serve(lambda r: film()).get("/media/film.mp4", {"Range": "bytes=99999-"})
    assert seen.status == 416
    assert seen.headers["content-range"] == f"bytes */{len(FILM)}"
    assert seen.body == b""


def test_a_range_that_the_app_answered_itself_is_left_alone(serve: Any) -> None:
    part = film(("Content-Range", f"bytes 0-9/{len(FILM)}"), status=206, body=FILM[:10])
    seen = serve(lambda r: part).get("/media/film.mp4", {"Range": "bytes=0-9"})
    assert (seen.status, seen.body) == (206, FILM[:10])


def test_the_owner_sees_every_byte_that_the_origin_sent(serve: Any) -> None:
    site = serve(lambda r: film())
    site.get("/media/film.mp4")
    site.get("/media/film.mp4", {"Range": "bytes=0-99"})
    recorder = site.ours.site.recorder
    recorder.flush()
    assert recorder.summary(0).totals.origin_counted == len(FILM) + 100


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_left_before_the_visitor_did_is_counted(serve: Any) -> None:
    pieces = [FILM[:4096], FILM[4096:8192], FILM[8192:]]
    headers = [("Content-Type", "video/mp4"), ("Content-Length", str(len(FILM)))]
    site = serve(lambda r: Reply(200, headers, (piece for piece in pieces)))
    site.get("/media/film.mp4", leave_after=2)
    gc.collect()  # of the request that Django leaves open: its warning belongs here
    recorder = site.ours.site.recorder
    recorder.flush()
    totals = recorder.summary(0).totals
    assert 4096 <= totals.origin_counted < len(FILM)


def test_turned_off_means_the_app_as_it_was(serve: Any) -> None:
    site = serve(lambda r: html(), enabled=False)
    assert site.get("/").body == PAGE
    assert site.get("/p2pcdn/loader.js").body == PAGE


def test_other_methods_pass_through(serve: Any) -> None:
    assert serve(lambda r: html()).get("/", method="POST").body == PAGE


def test_the_mounted_endpoints_answer_and_do_not_reach_the_app(serve: Any) -> None:
    asked: list[str] = []

    def app(request: Request) -> Reply:
        asked.append(request.target)
        return html(b"<!doctype html><p>no video")

    site = serve(app)
    assert site.get("/p2pcdn/health").status == 200
    assert json.loads(site.get("/peerjs/").body)["name"]
    assert len(site.get("/peerjs/peerjs/id").body) == 36
    assert site.get("/shop/p2pcdn/health").body != b""  # not ours: the app's
    assert asked == ["/shop/p2pcdn/health"]
    assert site.get("/p2pcdn/health", prefix="/shop").status == 200
    assert site.get("/p2pcdnx").status == 200
    assert asked == ["/shop/p2pcdn/health", "/p2pcdnx"]


@pytest.mark.parametrize(
    "path", ["/p2pcdn", "/p2pcdn/", "/p2pcdn/manifest/", "/p2pcdn//a.test/", "/peerjs/peerjs"]
)
def test_no_endpoint_sends_a_visitor_to_the_host_that_a_request_claims(
    serve: Any, path: str
) -> None:
    seen = serve(lambda r: html()).get(path, {"Host": "evil.test"})
    assert seen.status == 404
    assert "location" not in seen.headers
    assert b"evil.test" not in seen.body


def test_an_endpoint_takes_no_endless_body(serve: Any) -> None:
    site = serve(lambda r: html())
    seen = site.get("/peerjs/mailbox", method="POST", body=b"x" * 300_000)
    assert seen.status in (400, 413)
    assert site.get("/p2pcdn/health").status == 200


def test_a_manifest_is_only_made_for_what_the_site_showed(serve: Any) -> None:
    def app(request: Request) -> Reply:
        return film() if request.target.startswith("/media/") else html()

    site = serve(app)
    refused = site.get("/p2pcdn/manifest?url=/media/film.mp4&peer=p")
    assert refused.status == 404
    site.get("/")
    made = site.get("/p2pcdn/manifest?url=/media/film.mp4&peer=p")
    assert made.status in (200, 202)


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a server worker notes reaches the shared file only after a while."""
    remember = Store.remember

    def late(store: Store, entries: Any) -> None:
        time.sleep(0.1)
        remember(store, entries)

    monkeypatch.setattr(Store, "remember", late)


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streams"])
def test_the_loader_may_ask_another_server_worker_as_soon_as_it_knows_the_video(
    serve: Any, tmp_path: Path, slow_disk: None, streams: bool
) -> None:
    other = Store(tmp_path / "media.sqlite")  # what another process sees
    known: list[bool] = []

    def pieces() -> Any:
        yield PAGE
        # Whoever produces what follows knows that the visitor has what came before.
        known.append(other.known(_digest("/media/film.mp4")))
        yield b"<p>more</p>"

    site = serve(lambda r: film() if r.target != "/" else html(pieces() if streams else PAGE))
    assert b"data-src" in site.get("/").body
    assert other.known(_digest("/media/film.mp4"))
    assert all(known) and len(known) == streams
    other.close()


def test_a_disk_that_stands_still_does_not_hold_a_page_for_ever(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(Store, "remember", lambda store, entries: over.wait())
    try:
        assert b"data-src" in serve(lambda r: html()).get("/").body
    finally:
        over.set()


def test_a_site_whose_data_folder_cannot_be_had_is_served_all_the_same(
    serve: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def removed() -> str:
        raise FileNotFoundError(2, "No such file or directory")

    site = serve(lambda r: film() if r.target.startswith("/media/") else html(), data_dir="")
    monkeypatch.setattr("p2pcdn.config.os.getcwd", removed)
    assert b"data-src" in site.get("/").body
    assert site.get("/media/film.mp4").body == FILM
    assert site.get("/p2pcdn/manifest?url=/media/film.mp4&peer=p").status in (200, 202)
    assert "no data folder" in caplog.text


def test_a_page_without_a_video_gets_the_loader_where_the_owner_wants_it(serve: Any) -> None:
    page = b"<!doctype html><html><head></head><body><div id=player></div></body></html>"
    reply = html(page, ("Content-Length", str(len(page))))
    assert b"loader.js" not in serve(lambda r: reply).get("/").body
    assert b"loader.js" in serve(lambda r: reply, always_inject=True).get("/").body


def test_without_the_built_loader_the_site_is_as_it_was(
    serve: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: Any
) -> None:
    monkeypatch.setattr("p2pcdn.web.assets.STATIC", tmp_path / "nothing")
    site = serve(lambda r: html() if r.target == "/" else film())
    assert site.get("/").body == PAGE
    assert site.get("/film.mp4").body == FILM
    assert "p2pcdn does nothing" in caplog.text


def test_a_page_with_an_older_loader_is_sent_anew(serve: Any) -> None:
    def app(request: Request) -> Reply:
        if request.headers.get("if-none-match") == '"v1"':
            return Reply(304, [("ETag", '"v1"')], [])
        return html(PAGE, ("ETag", '"v1"'))

    site = serve(app)
    etag = site.get("/").headers["etag"]
    older = etag[:-2] + ("0" if etag[-2] != "0" else "1") + '"'
    assert site.get("/", {"If-None-Match": older}).status == 200
