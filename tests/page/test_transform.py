"""Which responses are touched, what becomes of their headers, and that nothing else changes."""

from __future__ import annotations

import dataclasses
import gzip
import logging
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from p2pcdn.page import transform as module
from p2pcdn.page.transform import (
    MARKER,
    Headers,
    PageOptions,
    PageTransform,
    environ_headers,
    inbound_environ,
    inbound_headers,
    is_candidate_type,
    keeps_all,
    plan,
    strip_etag_suffix,
    tag_etag,
    to_str_headers,
)
from p2pcdn.page.warn import WarnOnce

HTML = (b"content-type", b"text/html; charset=utf-8")
PAGE = b"<!doctype html><head></head><video src=/media/a.mp4></video>"
OPTIONS = PageOptions(
    loader_url="/p2pcdn/loader.js?v=ab12cd34",
    noscript_url="/p2pcdn/noscript.css",
    shareable=lambda url: url.startswith("/media/"),
)


def planned(
    *headers: tuple[bytes, bytes],
    method: str = "GET",
    status: int = 200,
    request: Any = (),
    options: PageOptions = OPTIONS,
    page_url: str = "http://example.org/watch/1",
) -> PageTransform | None:
    return plan(
        method=method,
        page_url=page_url,
        request_headers=list(request) if not isinstance(request, dict) else request,
        status=status,
        headers=list(headers),
        options=options,
    )


TEXT = b"<!doctype html><head></head><p>No film here.</p>"


@pytest.mark.parametrize("written", [lambda headers: headers, to_str_headers])
@pytest.mark.parametrize(
    ("headers", "body", "keeps"),
    [
        ([HTML], TEXT, True),
        ([HTML, (b"Content-Length", b"%d" % len(TEXT))], TEXT, True),
        ([HTML, (b"Content-Length", b"7")], TEXT, False),
        ([HTML, (b"ETag", b'"a"')], TEXT, False),
        ([HTML, (b"Content-Encoding", b"gzip")], TEXT, False),
        ([HTML], PAGE, False),
        ([HTML], PAGE.replace(b"</video", b"</viDeO"), False),
        ([HTML], b"", True),
    ],
)
def test_a_whole_page_that_keeps_all_is_told_without_a_plan(
    written: Any, headers: Headers, body: bytes, keeps: bool
) -> None:
    assert keeps_all(written(headers), body, OPTIONS) is keeps
    always = dataclasses.replace(OPTIONS, always_inject=True)
    assert keeps_all(written(headers), body, always) is False
    if keeps:  # the plan would have said the same
        changed, out = page(*headers[1:]).whole(body)
        assert out == body
        assert {n.lower(): v for n, v in changed} == {
            **{n.lower(): v for n, v in headers},
            b"content-length": b"%d" % len(body),
        }


def page(*headers: tuple[bytes, bytes], **more: Any) -> PageTransform:
    found = planned(HTML, *headers, **more)
    assert found is not None
    return found


def value(headers: Headers, name: bytes) -> bytes | None:
    return next((v for n, v in headers if n.lower() == name), None)


@pytest.fixture(autouse=True)
def fresh_warnings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "_warn_once", WarnOnce(logging.getLogger("p2pcdn.page")))
    yield


# --- what is a page ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["text/html", "TEXT/HTML; charset=utf-8", "text/html ;x", b"text/html"]
)
def test_html_is_a_candidate(kind: str | bytes) -> None:
    assert is_candidate_type(kind)


@pytest.mark.parametrize(
    "kind",
    [None, "", b"", "text/htmlx", "text/plain", "application/json", b"video/mp4", "text/htm",
     "application/xhtml+xml", "multipart/mixed; boundary=text/html"],
)  # fmt: skip
def test_nothing_else_is(kind: str | bytes | None) -> None:
    assert not is_candidate_type(kind)


@pytest.mark.parametrize("status", [200, 201, 203, 299])
def test_a_successful_page_is_treated(status: int) -> None:
    assert planned(HTML, status=status) is not None


@pytest.mark.parametrize("status", [100, 199, 204, 205, 206, 301, 404, 500])
def test_parts_errors_and_empty_answers_pass(status: int) -> None:
    assert planned(HTML, status=status) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "DELETE"])
def test_only_get_and_head_are_pages(method: str) -> None:
    assert planned(HTML, method=method) is None


@pytest.mark.parametrize(
    "header",
    [
        (b"Cache-Control", b"public, No-Transform"),
        (b"X-Accel-Redirect", b"/x"),
        (b"X-Sendfile", b"/x"),
        (b"Content-Disposition", b" Attachment; filename=a.html"),
        (b"Content-Range", b"bytes 0-1/2"),
        (b"Content-Encoding", b"br"),
        (b"Content-Encoding", b"zstd"),
        (b"Content-Encoding", b"gzip, gzip"),
        (b"Content-Security-Policy", b"script-src 'none'"),
        (b"Content-Type", b"text/plain"),
        MARKER,
    ],
)
def test_an_app_that_says_hands_off_is_obeyed(header: tuple[bytes, bytes]) -> None:
    assert planned(HTML, header) is None
    assert planned(header, HTML) is None


@pytest.mark.parametrize("name", ["HX-Request", "Turbo-Frame"])
def test_a_fragment_for_htmx_or_turbo_is_left_alone(name: str) -> None:
    assert planned(HTML, request={name: "true"}) is None
    assert planned(HTML, request=[(name.lower().encode(), b"x")]) is None
    key = "HTTP_" + name.upper().replace("-", "_")
    assert planned(HTML, request=environ_headers({key: "true"})) is None


@pytest.mark.parametrize(
    "charset",
    ["utf-16", "UTF-16LE", '"utf-16be"', "ucs-2", "utf-32", "utf-7", "iso-2022-jp", "csISO2022KR",
     "hz-gb-2312", "unicode", "replacement"],
)  # fmt: skip
def test_encodings_that_hide_markup_pass(charset: str) -> None:
    assert planned((b"Content-Type", f"text/html; x=y; Charset={charset}".encode())) is None


@pytest.mark.parametrize(
    "charset", ["latin-1", "shift_jis", "gbk", "big5", "euc-jp", "hex", "no\0ne", ""]
)
def test_encodings_that_extend_ascii_and_unknown_ones_are_treated(charset: str) -> None:
    found = planned((b"Content-Type", b"text/html; charset=" + charset.encode()))
    assert found is not None
    _, body = found.whole(PAGE + b"<video src='/media/\xe9?\xe9'></video>")
    assert b"<video data-src=/media/a.mp4>" in body
    assert found.media[0] == "/media/a.mp4"


def test_a_path_in_the_pages_encoding_is_the_one_browsers_ask_for() -> None:
    found = planned((b"content-type", b"text/html;charset=shift_jis"))
    assert found is not None
    found.whole(b"<html><video src='/media/\x83\x5c.mp4'></video>")
    assert found.media == ["/media/%E3%82%BD.mp4"]


# --- headers -----------------------------------------------------------------------------


def test_headers_that_no_longer_hold_are_dropped_and_all_others_keep_order_and_case() -> None:
    found = page(
        (b"Content-Length", b"999"), (b"Set-Cookie", b"a=1"), (b"Content-MD5", b"x"),
        (b"Digest", b"x"), (b"Repr-Digest", b"x"), (b"Content-Digest", b"x"),
        (b"Accept-Ranges", b"bytes"), (b"Vary", b"Cookie"), (b"Set-Cookie", b"b=2"),
        (b"ETag", b'W/"v1"'),
    )  # fmt: skip
    assert found.headers == [
        HTML, (b"Set-Cookie", b"a=1"), (b"Vary", b"Cookie"), (b"Set-Cookie", b"b=2"),
        (b"ETag", tag_etag(b'W/"v1"', OPTIONS)), MARKER,
    ]  # fmt: skip
    headers, body = found.whole(PAGE)
    assert headers == found.with_length(len(body))
    assert value(headers, b"content-length") == str(len(body)).encode()
    assert len(body) > len(PAGE)


def test_a_treated_page_is_not_treated_again_by_an_outer_copy() -> None:
    headers, _ = page().whole(PAGE)
    assert planned(*headers) is None


def test_a_complete_page_without_a_video_keeps_its_bytes_and_gets_its_true_length() -> None:
    plain = b"<!doctype html><p>hello"
    headers, body = page((b"Content-Length", b"7"), (b"Accept-Ranges", b"bytes")).whole(plain)
    assert body is plain
    assert value(headers, b"content-length") == b"23"
    assert value(headers, b"accept-ranges") == b"bytes"
    always = PageOptions(
        loader_url="/l", noscript_url="/n", shareable=lambda url: True, always_inject=True
    )
    assert b'src="/l"' in page(options=always).whole(plain)[1]


def test_a_streamed_page_gets_the_loader_because_videos_may_follow() -> None:
    found = page()
    assert b"/p2pcdn/loader.js?v=ab12cd34" in found.feed(b"<!doctype html><p>hel")
    assert found.feed(b"lo") + found.close() == b"lo"
    assert value(found.headers, b"content-length") is None


@pytest.mark.parametrize(("type", "most"), [(b"text/html", 280), (b"text/html; charset=x", 1300)])
def test_what_enters_the_head_leaves_room_for_the_charset(type: bytes, most: int) -> None:
    # Browsers look for it in the first 1,024 bytes, where the header does not name it.
    found = planned((b"Content-Type", type))
    assert found is not None
    added = len(found.feed(b"<html><head>")) - len(b"<html><head>")
    assert most / 2 < added < most


def test_head_promises_what_get_delivers_but_for_the_length() -> None:
    head = page((b"Content-Length", b"60"), (b"ETag", b'"1"'), method="HEAD")
    get = page((b"ETag", b'"1"'))
    assert head.bodyless and head.headers == get.headers
    assert head.feed(b"") + head.close() == b""


def test_text_headers_of_wsgi_work_as_well() -> None:
    found = plan(
        method="GET",
        page_url="http://example.org/",
        request_headers=environ_headers({"REQUEST_METHOD": "GET"}),
        status=200,
        headers=[("Content-Type", "text/html"), ("X-Name", "\xe9")],
        options=OPTIONS,
    )
    assert found is not None
    assert to_str_headers(found.headers)[:2] == [("Content-Type", "text/html"), ("X-Name", "\xe9")]


# --- validators --------------------------------------------------------------------------


@pytest.mark.parametrize("etag", [b'"v1"', b'W/"v1"', b'""'])
def test_the_app_can_still_answer_not_modified(etag: bytes) -> None:
    ours = value(page((b"ETag", etag)).headers, b"etag")
    assert ours is not None and ours != etag
    assert strip_etag_suffix(ours) == strip_etag_suffix(ours, OPTIONS) == etag
    asked = [(b"host", b"x"), (b"if-none-match", b'"old", ' + ours), (b"if-match", ours)]
    assert inbound_headers(asked) == [
        (b"host", b"x"), (b"if-none-match", b'"old", ' + etag), (b"if-match", etag)
    ]  # fmt: skip
    answer = planned((b"ETag", etag), status=304, request=asked)
    assert answer is not None and answer.bodyless
    assert answer.headers == [(b"ETag", ours)]


def test_a_304_about_a_page_that_was_never_ours_passes() -> None:
    assert planned((b"etag", b'"v1"'), status=304, request={"If-None-Match": '"v1"'}) is None
    assert planned((b"etag", b'"v1"'), status=304) is None
    ours = tag_etag(b'"v2"', OPTIONS)
    assert planned((b"etag", b'"v1"'), status=304, request=[(b"if-none-match", ours)]) is None


def test_a_weak_answer_to_a_strong_question_is_still_ours() -> None:
    ours = tag_etag(b'"v1"', OPTIONS)
    answer = planned((b"etag", b'W/"v1"'), status=304, request=[(b"if-none-match", ours)])
    assert answer is not None and value(answer.headers, b"etag") == b"W/" + ours


def test_a_new_loader_renews_pages_that_caches_hold() -> None:
    newer = PageOptions(
        loader_url="/p2pcdn/loader.js?v=new", noscript_url="/n", shareable=lambda url: True
    )
    old = tag_etag(b'"v1"', OPTIONS)
    assert strip_etag_suffix(old, newer) == old
    assert (
        planned((b"etag", b'"v1"'), status=304, request=[(b"if-none-match", old)], options=newer)
        is None
    )


@pytest.mark.parametrize("etag", [b"v1", b'"v1', b"", b"*", b"w/'1'"])
def test_a_malformed_etag_stays_as_it_is(etag: bytes) -> None:
    assert tag_etag(etag, OPTIONS) == etag
    assert strip_etag_suffix(etag) == etag


def test_requests_that_do_not_concern_us_are_not_even_copied() -> None:
    headers = [(b"host", b"x"), (b"if-none-match", b'"v1-p2p"')]
    assert inbound_headers(headers) is headers
    environ = {"HTTP_IF_NONE_MATCH": '"v1-p2pnothex0"', "PATH_INFO": "/"}
    assert inbound_environ(environ) is environ
    ours = tag_etag(b'"v1"', OPTIONS).decode()
    changed = inbound_environ({"HTTP_IF_MATCH": ours, "HTTP_IF_NONE_MATCH": ours, "x": 1})
    assert changed == {"HTTP_IF_MATCH": '"v1"', "HTTP_IF_NONE_MATCH": '"v1"', "x": 1}


# --- policies ----------------------------------------------------------------------------


def test_a_nonce_goes_on_our_script_and_no_inline_handler_is_added() -> None:
    found = page((b"Content-Security-Policy", b"script-src 'nonce-Zm9v' 'strict-dynamic'"))
    _, body = found.whole(PAGE)
    script = b'<script nonce="Zm9v" async fetchpriority=high src="/p2pcdn/loader.js?v=ab12cd34">'
    assert script in body
    assert b"onerror" not in body


def test_without_a_policy_a_loader_that_cannot_be_had_gives_the_videos_back() -> None:
    assert b"onerror=" in page().whole(PAGE)[1]
    strict = page((b"content-security-policy", b"default-src 'self'")).whole(PAGE)[1]
    assert b"onerror=" not in strict and b"<script async " in strict


def test_a_page_that_cannot_have_the_loader_is_warned_about_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number in range(3):
        policy = f"script-src 'nonce-{number}'; worker-src 'none'".encode()
        assert planned(HTML, (b"Content-Security-Policy", policy)) is None
        assert planned(HTML, (b"Content-Encoding", b"br")) is None
    assert len(caplog.records) == 2
    assert "worker-src 'self'" in caplog.text and "br" in caplog.text


def test_warnings_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    for number in range(300):
        planned(HTML, (b"Content-Encoding", b"x%d" % number))
    assert len(caplog.records) == 64


def test_an_error_within_leaves_the_visitor_the_page(caplog: pytest.LogCaptureFixture) -> None:
    def broken(url: str) -> bool:
        raise RuntimeError("database gone")

    options = PageOptions(loader_url="/l", noscript_url="/n", shareable=broken)
    one = page(options=options)
    out = b"".join(one.feed(PAGE[i : i + 9]) for i in range(0, len(PAGE), 9)) + one.close()
    assert out.endswith(b"</head><video src=/media/a.mp4></video>")
    assert page(options=options).whole(PAGE)[1] == PAGE
    assert caplog.text.count("database gone") == 1


# --- compressed pages --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("coding", "wbits"), [(b"gzip", 31), (b"X-GZip", 31), (b"deflate", 15), (b"deflate", -15)]
)
def test_a_compressed_page_is_rewritten_inside(coding: bytes, wbits: int) -> None:
    packer = zlib.compressobj(wbits=wbits)
    packed = packer.compress(PAGE) + packer.flush()
    headers, body = page((b"Content-Encoding", coding)).whole(packed)
    assert zlib.decompress(body, wbits) == page().whole(PAGE)[1]
    assert value(headers, b"content-length") == str(len(body)).encode()
    chunked = page((b"Content-Encoding", coding))
    out = b"".join(chunked.feed(packed[i : i + 1]) for i in range(len(packed))) + chunked.close()
    assert zlib.decompress(out, wbits) == page().whole(PAGE)[1]
    assert chunked.media == ["/media/a.mp4"]


def test_a_compressed_page_without_a_video_keeps_its_bytes() -> None:
    packed = gzip.compress(b"<!doctype html><p>" + b"x" * 300_000)
    assert page((b"content-encoding", b"gzip")).whole(packed)[1] is packed
