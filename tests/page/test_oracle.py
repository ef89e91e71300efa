"""lexbor, a real parser, looks at pages before and after."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.page.support import (
    Element,
    Marked,
    in_chunks,
    is_subsequence,
    rewrite,
    sources,
    tree,
    without_ours,
)

NASTY = [
    b"<!doctype html>", b"<html>", b"<head>", b"</head>", b"<body>", b"</body>", b"</html>",
    b"<title>", b"</title>", b"<style>", b"</style>", b"<textarea>", b"</textarea>",
    b"<script>", b"</script>", b"<!--", b"-->", b"<!-->", b"<!--->", b"--!>", b"<!--<script>",
    b"</script ", b"<SCRIPT/", b"<xmp>", b"</xmp>", b"<iframe src=/f>", b"</iframe>",
    b"<noembed>", b"</noembed>", b"<noframes>", b"</noframes>", b"<noscript>n", b"</noscript>",
    b"<template>", b"</template>", b"<svg>", b"</svg>", b"<math>", b"</math>", b"<mi>", b"</mi>",
    b"<desc>", b"</desc>", b"<foreignObject>", b"</foreignObject>", b"<path/>", b"<path d=a/>",
    b"</path>", b"<g>", b"</g>", b"<![CDATA[", b"]]>", b"<?php", b"<!x", b"</ ", b"</>", b"<",
    b"<1", b">", b'"', b"'", b"=", b"/", b" ", b"\n", b"\f", b"\0", b"&amp;", b"a", b"\xe9",
    b"<p>", b"</p>", b"<div>", b"</div>", b"<a href='>'>", b"</a>", b"<b>", b"</b>", b"<br>",
    b"<table>", b"<tr>", b"<td>", b"</td>", b"</table>", b"<li>", b"<button>", b"<h1>",
    b"<video src=/a>", b"<video src='/a'>", b'<VIDEO SRC="/a">', b"<video>", b"</video>",
    b"<video/src=/a>", b"<video src>", b"<video src=''>", b"<video src = /a src=/b>",
    b"<video a=\"b\"src=/a>", b"<video data-src=/x src=/a>", b"<video data-p2p=off src=/a>",
    b"<video =src=/a src=/b>", b"<video src=/private>", b"<video title='</video>' src=/a>",
    b"<video src=//other.example/a>", b"<video sr\0c=/a>", b"<vid\0eo src=/a>", b"<video src=/a",
    b"<video title='</noscript><b>' src=/a>", b"<source src=/s>", b"<source src=/s/>",
    b"<SOURCE SRC=/t></source>", b"<source>", b"<source src=/private>", b"</source>", b"<track>",
    b"<audio>", b"</audio>", b"<picture>", b"</picture>", b"<img src='<video src=/q>'>",
    b"<base href=/media/>", b"<plaintext>",
]  # fmt: skip

soup = st.lists(st.sampled_from(NASTY), max_size=24).map(b"".join)
pages = soup.map(lambda document: b"<!doctype html>" + document)


def check_tree(document: bytes) -> list[Element]:
    """Nothing but the renaming changed; returns the renamed elements."""
    assert is_subsequence(document, rewrite(document))
    out = rewrite(document, Marked)
    before = tree(document)
    after, renamed = without_ours(tree(out))
    assert after.shape() == before.shape(), out
    for one in renamed:
        video = one if one.tag == "video" else one.parent
        assert video is not None and video.tag == "video"
        assert not video.within("svg", "math", "template", "select", "noframes", "title")
        assert all(each in renamed for each in sources(video) if "src" in each.attributes)
    return renamed


@settings(deadline=None, max_examples=600, suppress_health_check=[HealthCheck.too_slow])
@given(pages)
@example(b"<!doctype html><video src=/a src=/b></video>")
@example(b"<!doctype html><svg><style><video src=/a></video></style></svg><video src=/b></video>")
@example(b"<!doctype html><svg><p><video src=/a></video></svg><style></p><video src=/c></style>")
@example(b"<!doctype html><math><mi><style><!--</style><video src=/a></video>--></mi></math>")
@example(b"<!doctype html><svg><desc><div></desc></svg><video src=/a></video>")
@example(b"<!doctype html><svg><![CDATA[<video src=/a>]]></svg><![CDATA[><video src=/b></video>")
@example(b"<!doctype html><script><!--<script></script><video src=/a></video></script>")
@example(b"<!doctype html><script><!--></script><video src=/a></video>")
@example(b"<!doctype html><template><col><title><!--</title></template><video src=/a></video>-->")
@example(b"<!doctype html><select><title><!--</title></select><video src=/a></video>-->")
@example(b"<!doctype html><p><video src=/a><p>x</p></video>y")
@example(b"<!doctype html><a><video src=/a><a></a><source src=/b></video></a>")
@example(b"<!doctype html><table><tr><td><video src=/a><tr></tr></video></table>")
@example(b"<!doctype html> text <head lang=x><video src=/a></video>")
@example(b"<!doctype html></p><head lang=x><title></title>")
def test_a_hostile_page_stays_the_same_tree_apart_from_its_videos(document: bytes) -> None:
    check_tree(document)


@settings(deadline=None, max_examples=300)
@given(soup)
def test_a_fragment_stays_the_same_tree_too(document: bytes) -> None:
    check_tree(document)


@settings(deadline=None, max_examples=300)
@given(pages, st.data())
@example(b"<!doctype html><video src=/a><video src=/b></video>", None)
@example(b"<!doctype html><video><VIDEO src='/b' title='>'><source src=/c></video></video>", None)
@example(b"<!doctype html><select><svg><path d='M0'/></svg><video src=/a></video>", None)
def test_where_the_chunks_end_makes_no_difference(
    document: bytes, data: st.DataObject | None
) -> None:
    whole = rewrite(document)
    assert in_chunks(document, list(range(len(document)))) == whole
    for cut in range(len(document)):
        assert in_chunks(document, [cut]) == whole
    if data is not None:
        cuts = data.draw(st.lists(st.integers(0, len(document)), max_size=4))
        assert in_chunks(document, cuts) == whole


@settings(deadline=None, max_examples=200)
@given(pages, st.integers(1, 40), st.data())
def test_nor_where_the_limits_are_reached(document: bytes, limit: int, data: st.DataObject) -> None:
    whole = rewrite(document, hold_limit=limit, copy_limit=limit // 2)
    cuts = data.draw(st.lists(st.integers(0, len(document)), max_size=6))
    assert in_chunks(document, cuts, hold_limit=limit, copy_limit=limit // 2) == whole
    one_by_one = list(range(len(document)))
    assert in_chunks(document, one_by_one, hold_limit=limit, copy_limit=limit // 2) == whole


# --- well-formed pages: every video is found ---------------------------------------------

names = st.sampled_from([b"src", b"SRC", b"Src"])
spaces = st.sampled_from([b" ", b"\n", b"/", b" / ", b"\t\f"])
urls = st.sampled_from(
    [b"/a.mp4", b"b.mp4?x=1&amp;y=2", b"../c", b"/d#t=3", b"HTTPS://example.org/e"]
)
others = st.sampled_from(
    [b"", b" controls", b" poster='<video src=/p>'", b' title=">"', b" x=y", b" =z", b' "', b" a=b"]
)


@st.composite
def src(draw: st.DrawFn) -> bytes:
    value = draw(urls)
    quoted = draw(st.sampled_from([b'"%s"', b"'%s'", b"%s "])) % value
    equals = draw(st.sampled_from([b"=", b" =", b"= ", b"\n=\n"]))
    return draw(spaces) + draw(names) + equals + quoted


@st.composite
def well_formed_video(draw: st.DrawFn) -> bytes:
    own = draw(st.one_of(st.just(b""), src()))
    listed = [
        b"<source%s%s%s>" % (draw(others), draw(src()), draw(st.sampled_from([b"", b" /"])))
        for _ in range(draw(st.integers(0 if own else 1, 3)))
    ]
    fallback = draw(
        st.sampled_from([b"", b"no video", b"<track src=/t>", b"<p>no <a href=/x>video</a></p>",
                         b"<!-- <source src=/c> -->", b"\0", b"<", b"<b>x</b></source>"])
    )  # fmt: skip
    name = draw(st.sampled_from([b"video", b"VIDEO", b"Video"]))
    close = draw(st.sampled_from([b"</video>", b"</VIDEO >", b"</video/>"]))
    return b"<%s%s%s%s>%s%s%s" % (
        name, draw(others), own, draw(others), b"\n".join(listed), fallback, close
    )  # fmt: skip


around = st.sampled_from(
    [
        b"<div>%s</div>", b"<section><span>%s</span></section>", b"<a href='x>y'>%s</a>",
        b"<ul><li>%s</li></ul>", b"<table><tr><td>%s</td></tr></table>", b"text < %s >",
        b"<!-- <video src=/no> -->%s", b"<script>'<video src=/no>'</script>%s",
        b"<script><!--<script></script>--></script>%s", b"<style><video src=/no></style>%s",
        b"<textarea><video src=/no></video></textarea>%s", b"<svg><title>x</title></svg>%s",
        b"<svg><style><video src=/no></style><g><path d='M0'/></g></svg>%s",
        b"<svg viewBox='0'><path d='M0'/><circle></circle></svg>%s",
        b"<math><mi>x</mi><mo>=</mo></math>%s", b"<template><video src=/no></video></template>%s",
        b"<svg><foreignObject><div><p>x</p></div></foreignObject></svg>%s",
        b"<noscript>n<video src=/no></video></noscript>%s", b"<iframe><video src=/no></iframe>%s",
        b"<svg><![CDATA[<video src=/no>]]></svg>%s", b"<select><option>x</select>%s",
        b"<?php <video src=/no> ?>%s", b"<p>a<p>b%s", b"<img src='data:,<video src=/no>'>%s",
        b"<audio><source src=/no></audio>%s", b"<picture><source src=/no><img></picture>%s",
        b"<video data-p2p=off src=/no></video>%s", b"<video src=/private></video>%s",
        b"<svg><p></p>%s", b"<svg/>%s", b"<br/>%s<hr>", b"<xmp><svg></xmp>%s", b"</p>%s",
    ]
)  # fmt: skip


@st.composite
def well_formed(draw: st.DrawFn) -> bytes:
    body = b""
    for _ in range(draw(st.integers(1, 3))):
        inner = draw(well_formed_video())
        for _ in range(draw(st.integers(0, 3))):
            template = draw(around)
            before, after = template.split(b"%s")
            inner = before + inner + after
        body += inner
    start = draw(
        st.sampled_from([b"<!doctype html>", b"<html>", b"<head>", b"\xef\xbb\xbf<!DOCTYPE html>",
                         b" <!-- c --> <!doctype html><html lang=en><head><title>x</title></head>"
                         b"<body>", b"<?xml?><html x='>'>"])
    )  # fmt: skip
    return start + body


def eligible(top: Element) -> list[Element]:
    """What ought to be renamed, by the rules in the documentation, read off the tree before."""
    found = []
    for video in top.every():
        if video.tag != "video" or video.within("svg", "math", "template", "select"):
            continue
        if (video.attributes.get("data-p2p") or "").lower() == "off":
            continue
        those = [one for one in sources(video) if "src" in one.attributes]
        if any("private" in (one.attributes["src"] or "") for one in those):
            continue
        found += those
    return found


@settings(deadline=None, max_examples=500, suppress_health_check=[HealthCheck.too_slow])
@given(well_formed())
def test_every_video_of_a_well_formed_page_is_handed_to_the_loader(document: bytes) -> None:
    renamed = check_tree(document)
    expected = eligible(tree(document))
    assert sorted(str(one.attributes["src"]) for one in renamed) == sorted(
        str(one.attributes["src"]) for one in expected
    )


@pytest.mark.parametrize("document", [b"", b"\0", b"<", b"\xff\xfe<\0v\0", b"<!doctype", b"\xef"])
def test_a_page_that_is_cut_off_at_once_comes_out_whole(document: bytes) -> None:
    assert rewrite(document) == document
    assert in_chunks(document, list(range(len(document)))) == document
