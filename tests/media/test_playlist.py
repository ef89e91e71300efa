"""Which files a playlist makes known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcdn.media.playlist import is_live, named_by

MPD = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
    'mediaPresentationDuration="PT{length}S">{base}<Period><AdaptationSet>'
    '{shared}<Representation id="v1" bandwidth="9">{own}</Representation>'
    "</AdaptationSet></Period></MPD>"
)


def mpd(own: str = "", *, shared: str = "", base: str = "", length: float = 10) -> str:
    return MPD.format(own=own, shared=shared, base=base, length=length)


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (["#EXTINF:4,", "0.ts", "#EXTINF:4,", "b/1.ts?sig=x"], ["/v/0.ts", "/v/b/1.ts?sig=x"]),
        (['#EXT-X-MAP:URI="init.mp4",BYTERANGE="8@0"', "0.m4s"], ["/v/init.mp4", "/v/0.m4s"]),
        (["#EXT-X-BYTERANGE:9@0", "all.ts", "#EXT-X-BYTERANGE:9@9", "all.ts"], ["/v/all.ts"]),
        (["/media/0.ts", "../0.ts"], ["/media/0.ts", "/0.ts"]),
        (["https://cdn.example/0.ts", "//cdn.example/1.ts"], []),
        (["#EXT-X-STREAM-INF:BANDWIDTH=1", "low/index.m3u8"], []),
        (['#EXT-X-KEY:METHOD=AES-128,URI="key.bin"', "0.ts"], ["/v/0.ts"]),
    ],
)
def test_an_hls_playlist_names_its_segments(lines: list[str], named: list[str]) -> None:
    text = "\r\n".join(["#EXTM3U", *lines])
    assert list(named_by(text, "/v/index.m3u8?token=1")) == named


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            mpd(
                '<SegmentTemplate timescale="2" duration="8" startNumber="3" '
                'initialization="i-$RepresentationID$.mp4" '
                'media="c-$RepresentationID$-$Number%05d$.m4s"/>'
            ),
            ["/v/i-v1.mp4", "/v/c-v1-00003.m4s", "/v/c-v1-00004.m4s", "/v/c-v1-00005.m4s"],
        ),
        (
            mpd(
                shared='<SegmentTemplate media="$Time$.m4s"><SegmentTimeline>'
                '<S t="7" d="2" r="1"/><S d="3"/></SegmentTimeline></SegmentTemplate>'
            ),
            ["/v/7.m4s", "/v/9.m4s", "/v/11.m4s"],
        ),
        (
            mpd(
                '<SegmentList><Initialization sourceURL="i.mp4"/><SegmentURL media="1.m4s"/>'
                "</SegmentList>",
                base="<BaseURL>x/</BaseURL>",
            ),
            ["/v/x/i.mp4", "/v/x/1.m4s"],
        ),
        (mpd("<BaseURL>film.mp4</BaseURL><SegmentBase/>"), ["/v/film.mp4"]),
        (mpd("<BaseURL>https://cdn.example/film.mp4</BaseURL>"), []),
    ],
)
def test_a_dash_playlist_names_its_segments(text: str, named: list[str]) -> None:
    assert list(named_by(text, "/v/manifest.mpd")) == named


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html><a href=secret.mp4>",
        "/secret.ts",
        '<!DOCTYPE MPD [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;">]>' + mpd("&b;"),
        mpd("<broken"),
    ],
)
def test_what_is_no_playlist_names_nothing(text: str) -> None:
    assert named_by(text, "/v/index.m3u8") == ()


def test_a_playlist_that_claims_endless_segments_is_cut_short() -> None:
    template = '<SegmentTemplate duration="1" media="$Number$.m4s"/>'
    assert len(named_by(mpd(template, length=1e12), "/v/a.mpd")) <= 30_000
    timeline = "<SegmentTimeline>" + '<S d="1" r="999999999"/>' * 3 + "</SegmentTimeline>"
    text = mpd(f'<SegmentTemplate media="$Number$.m4s">{timeline}</SegmentTemplate>')
    assert len(named_by(text, "/v/a.mpd")) <= 30_000


@given(st.text(), st.booleans())
def test_no_playlist_is_an_error(text: str, hls: bool) -> None:
    found = named_by(("#EXTM3U\n" if hls else mpd(text)) + text, "/v/index.m3u8")
    assert all(url.startswith("/") for url in found)


@pytest.mark.parametrize(
    ("text", "live"),
    [
        ("#EXTM3U\n#EXTINF:4,\n0.ts\n#EXT-X-ENDLIST\n", False),
        ("\ufeff#EXTM3U\r\n#EXTINF:4,\r\n0.ts\r\n#EXT-X-ENDLIST", False),
        ("#EXTM3U\n#EXTINF:4,\n0.ts\n", True),
        ("#EXTM3U\n#EXTINF:4,\n#EXT-X-ENDLIST.ts\n", True),
        ('<?xml version="1.0"?><MPD type="static"></MPD>', False),
        ("<MPD></MPD>", False),
        ("<MPD profiles='x'\n type='dynamic'></MPD>", True),
        ("", False),
    ],
)
def test_a_playlist_that_still_grows_is_told_from_a_film(text: str, live: bool) -> None:
    assert is_live(text) is live
