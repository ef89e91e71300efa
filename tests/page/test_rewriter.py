"""Pages as people write them, pages as attackers write them, and what each costs."""

from __future__ import annotations

import pytest

from tests.page.support import BESIDE, HEAD, in_chunks, rewrite, rewriter


def page(body: bytes) -> bytes:
    return b"<!doctype html><head></head>" + body


def body_of(body: bytes, **options: int) -> bytes:
    """What becomes of `body`, without the style sheet's link of the first video."""
    out = rewrite(page(body), **options)
    start = b"<!doctype html><head>" + HEAD + b"</head>"
    assert out.startswith(start)
    return out.removeprefix(start).replace(BESIDE, b"", 1)


def test_a_video_is_handed_to_the_loader_and_kept_for_visitors_without_script() -> None:
    video = b'<video src="/a.mp4" controls>Sorry.</video>'
    out = rewrite(page(b"<p>" + video + b"</p>" + video))
    renamed = video.replace(b"src", b"data-src")
    assert out == page(
        b"<p>" + renamed + b"<noscript>" + BESIDE + video + b"</noscript></p>"
        + renamed + b"<noscript>" + video + b"</noscript>"
    ).replace(b"<head>", b"<head>" + HEAD)  # fmt: skip


@pytest.mark.parametrize(
    "untouched",
    [
        b"<video data-p2p=off src=/a></video>",
        b"<video DATA-P2P=' OFF ' src=/a><source src=/b></video>",
        b"<video src></video>",
        b"<video src=''></video>",
        b"<video data-src=/lazy src=/a></video>",
        b"<video src=https://cdn.example/a></video>",
        b"<video src=//cdn.example/a></video>",
        b"<video src=data:video/mp4,x></video>",
        b"<video src=blob:https://example.org/1></video>",
        b"<video src=/private/a></video>",
        b"<video src=/a><source src=/private/a></video>",
        b"<video><source src=/a><source src=//cdn.example/a></video>",
        b"<video><source src=/a><source data-src=/x src=/b></video>",
        b"<video><source src=/a><source src=''></video>",
        b"<video><p></p><source src=/a></video>",
        b"<video><audio><source src=/a></audio></video>",
        b"<video></video>",
        b"<video src=/a></div>",
        b"<video src=/a><b></video>",
        b"<video src=/a>never closed",
        b"<video src=/a><script></script></video>",
        b"<video src=/a><svg></svg></video>",
        b"<source src=/a>",
        b"<audio src=/a><source src=/b></audio>",
        b"<picture><source src=/a></picture>",
        b"<videos src=/a></videos>",
        b"<video-player src=/a></video-player>",
        b"<template><video src=/a></video></template>",
        b"<noscript><video src=/a></video></noscript>",
        b"<svg><video src=/a></video></svg>",
        b"<frameset><video src=/a></video>",
        b"<plaintext><video src=/a></video>",
        b"<select><svg></svg></select><video src=/a></video>",
        b"<script>document.write('<video src=/a></video>')</script>",
    ],
)
def test_a_video_that_is_opted_out_or_in_doubt_keeps_its_bytes(untouched: bytes) -> None:
    assert body_of(untouched) == untouched


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b"<!doctype html><head a=b><base href=/>", b"<!doctype html><head a=b>%s<base href=/>"),
        (b"<!DOCTYPE html><html><title>x", b"<!DOCTYPE html><html>%s<title>x"),
        (b"<html>\n<body>", b"<html>\n%s<body>"),
        (b"<!doctype html>\n text", b"<!doctype html>\n %stext"),
        (b"<!-- c --><!doctype html></p><head>x", b"<!-- c --><!doctype html></p><head>%sx"),
        (b"<?xml x='1.0'?><!doctype html></head>", b"<?xml x='1.0'?><!doctype html>%s</head>"),
        (b"\xef\xbb\xbf<html><head a='>'><meta>", b"\xef\xbb\xbf<html><head a='>'>%s<meta>"),
        (b"<head><title><head></title>", b"<head>%s<title><head></title>"),
        (b"<html><!-- <head> --><head>", b"<html><!-- <head> --><head>%s"),
    ],
)  # fmt: skip
def test_the_loader_runs_before_anything_in_the_head_can_forbid_or_move_it(
    document: bytes, expected: bytes
) -> None:
    assert rewrite(document) == expected % HEAD
    assert in_chunks(document, list(range(len(document)))) == expected % HEAD


@pytest.mark.parametrize(
    "fragment",
    [b"<div><video src=/a></video></div>", b"hello<html>", b"<p><head>", b" <video src=/a></video>",
     b"<!-- c --><li>", b"</p><!doctype html>", b"", b"\xff\xfe<\0h\0t\0m\0l\0>\0"],
)  # fmt: skip
def test_a_fragment_for_somebody_elses_page_is_left_alone(fragment: bytes) -> None:
    assert rewrite(fragment) == fragment


def test_an_attribute_cannot_break_out_of_the_noscript_copy() -> None:
    """With scripts on, the copy is text up to the first `</noscript`, quotes or not."""
    evil = b"<video src=/a title='</NoScript><img src=x onerror=alert(1)>'></video>"
    assert body_of(evil) == (
        evil.replace(b" src", b" data-src", 1)
        + b"<noscript><video src=/a controls></video></noscript>"
    )
    worse = b"<video src='/a?</noscript><img src=x onerror=alert(1)>'></video>"
    assert body_of(worse) == worse


def test_a_huge_video_gets_a_short_copy_and_an_endless_one_none() -> None:
    big = b"<video poster='data:%s' src='/a b'></video>" % (b"x" * 9000)
    assert body_of(big).endswith(b"<noscript><video src='/a b' controls></video></noscript>")
    endless = b"<video poster='data:%s' src=/a></video>" % (b"x" * 70000)
    after = b"<video src=/b></video>"
    assert body_of(endless + after).startswith(endless + b"<video data-src=/b>")


def test_a_video_behind_a_huge_picture_is_still_found() -> None:
    picture = b"<img src='data:image/png;base64,%s'>" % (b"A" * 300_000)
    out = in_chunks(page(picture + b"<video src=/a></video>"), list(range(0, 300_000, 4096)))
    assert b"<video data-src=/a>" in out


def test_the_page_keeps_flowing_while_it_streams() -> None:
    one = rewriter()
    assert one.feed(b"<!doctype html><head>") == b"<!doctype html><head>" + HEAD
    assert one.feed(b"<p>first") == b"<p>first"
    assert one.feed(b"<video src=/a>") == b""
    assert one.feed(b"</video><p>").startswith(b"<video data-src=/a></video><noscript>")
    assert one.feed(b"<script>wait(") == b"<script>wait("
    assert one.feed(b"1)</script>x") == b"1)</script>x"
    assert one.close() == b""


def test_media_are_listed_in_order_as_they_are_found() -> None:
    one = rewriter()
    one.feed(page(b"<video src=b.mp4></video><video><source src='/a?x=1&amp;y'><source src=b.mp4>"))
    assert one.media == ["/watch/b.mp4"]
    one.feed(b"</video><base href=/m/><video src=c#t=1></video>")
    assert one.media == ["/watch/b.mp4", "/a?x=1&y", "/m/c"]
    one.feed(b"<base href=//cdn.example/><video src=d></video>")
    assert one.media == ["/watch/b.mp4", "/a?x=1&y", "/m/c", "/m/d"]


def test_a_base_of_another_site_takes_relative_videos_with_it() -> None:
    out = body_of(
        b"<base href=//cdn.example/><video src=a></video><video src=//example.org/b></video>"
    )
    assert b"<video src=a></video><video data-src=//example.org/b>" in out


def test_japanese_escape_sequences_end_the_rewriting_where_the_encoding_is_unknown() -> None:
    document = page(b"<video src=/a></video>\x1b$B<video src=/b></video>")
    one = rewriter(watch_escapes=True)
    out = one.feed(document) + one.close()
    assert b"data-src=/a" in out and out.endswith(b"</noscript>\x1b$B<video src=/b></video>")
    again = rewriter(watch_escapes=True)
    assert b"".join(again.feed(document[i : i + 1]) for i in range(len(document))) == out


ATTACKS = [
    b"<", b"<a ", b"<a b=", b"<a b='", b'<a b="', b"<a/", b"<a\n\n\n", b"<!", b"<!-",
    b"<!--", b"<!---",
    b"<!--<!-", b"--", b"</", b"</a ", b"<video ", b"<video src='", b"<video src=/a>", b"<video><",
    b"<video><a ", b"<video><!--", b"<svg>", b"<svg><path d='", b"<svg><path/>", b"<svg><p>",
    b"<svg viewBox='0'><path d='M'/><", b"<script>", b"<script><!--", b"<script><!--<script>",
    b"<script>--", b"<title>", b"<title></titl", b"<textarea><", b"<source src='/a'",
    b"<template>", b"<select>", b"<a =", b"<a = = =", b"<a b=c/", b"<?", b"<![CDATA[", b"\x1b",
    b"<svg><![CDATA[]", b"<base href='", b"<video src=/a></video>", b"<math><mi>", b"<a a=\"b\"c",
    b"<div class=\"a\" id=\"b\"\n", b" x=\"y\"", b"<d x=\"y\"z",
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("tail", [b"", b">", b"'", b'"', b"-->", b"</video>"])
def test_no_input_makes_the_work_more_than_linear(attack: bytes, tail: bytes) -> None:
    """`work` counts the bytes that every feed had to look at, not seconds."""
    size = 3_000
    document = page(attack * (size // len(attack)) + tail)
    byte_by_byte = rewriter(hold_limit=1024)
    out = b"".join(byte_by_byte.feed(document[i : i + 1]) for i in range(len(document)))
    out += byte_by_byte.close()
    assert byte_by_byte.failure is None
    assert byte_by_byte.work < 16 * len(document)
    at_once = rewriter(hold_limit=1024)
    assert at_once.feed(document) + at_once.close() == out
    assert at_once.work < 4 * len(document)


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_endless_is_kept_in_memory(attack: bytes) -> None:
    one = rewriter()
    sent = one.feed(page(b""))
    fed = sent
    for start in (attack, attack * 3000):
        for _ in range(8):
            fed += start
            sent += one.feed(start)
    assert one.failure is None
    unsent = len(one._buffer)
    assert unsent <= 64 * 1024 + 3000 * len(attack)
