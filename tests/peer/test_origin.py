"""What is taken from an origin, and which answers are not believed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from p2pcdn.peer import PeerError
from p2pcdn.peer.manifest import Later, Manifest, Refused, ask_manifest, parse_manifest
from p2pcdn.peer.origin import ContentChanged, OriginError, segments
from p2pcdn.peer.site import find_site

SEGMENT = 1000
FILE = bytes(range(256)) * 9 + b"x"  # two segments and 305 bytes
PIECES = [FILE[at : at + SEGMENT] for at in range(0, len(FILE), SEGMENT)]
HASHES = b"".join(hashlib.sha256(piece).digest() for piece in PIECES)


def manifest(size: int = len(FILE), hashes: bytes = HASHES, segment: int = SEGMENT) -> Manifest:
    return Manifest("ab" * 16, size, "video/mp4", segment, hashes, "token", 9e9)


def fetch(
    answer: Callable[[Request], Response], first: int, count: int, of: Manifest | None = None
) -> dict[int, bytes]:
    async def story() -> dict[int, bytes]:
        async def endpoint(request: Request) -> Response:
            return answer(request)

        app = Starlette(routes=[Route("/a.mp4", endpoint)])
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport) as http:
            url = httpx.URL("http://site.example/a.mp4")
            return {
                n: data async for n, data in segments(http, url, of or manifest(), first, count)
            }

    return asyncio.run(story())


def ranged(data: bytes = FILE, said: str | None = None) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        low, high = request.headers["range"].removeprefix("bytes=").split("-")
        headers = {"Content-Range": said or f"bytes {low}-{high}/{len(data)}"}
        return Response(data[int(low) : int(high) + 1], 206, headers)

    return answer


@pytest.mark.parametrize("first, count", [(0, 3), (0, 1), (1, 1), (2, 1), (1, 2)])
def test_a_range_gives_the_segments_that_were_asked_for(first: int, count: int) -> None:
    expected = {number: PIECES[number] for number in range(first, first + count)}
    assert fetch(ranged(), first, count) == expected


def test_a_last_segment_of_one_byte_is_asked_for_with_its_neighbour() -> None:
    asked = []
    data = FILE[: SEGMENT + 1]
    hashes = b"".join(hashlib.sha256(p).digest() for p in (data[:SEGMENT], data[SEGMENT:]))

    def answer(request: Request) -> Response:
        asked.append(request.headers["range"])
        return ranged(data)(request)

    assert fetch(answer, 1, 1, manifest(len(data), hashes)) == {1: data[SEGMENT:]}
    assert asked == [f"bytes={SEGMENT - 1}-{SEGMENT}"], "some static routes fail on one byte"


def test_a_file_of_one_byte_is_asked_for_whole() -> None:
    of = manifest(1, hashlib.sha256(b"x").digest())
    assert fetch(lambda request: Response(b"x"), 0, 1, of) == {0: b"x"}


def test_an_origin_without_ranges_gives_the_whole_file_in_one_stream() -> None:
    assert fetch(lambda request: Response(FILE), 2, 1) == dict(enumerate(PIECES))


WRONG: dict[str, tuple[Callable[[Request], Response], type[PeerError]]] = {
    "another range": (ranged(said=f"bytes 5-1004/{len(FILE)}"), OriginError),
    "no range at all": (ranged(said="bytes"), OriginError),
    "another size": (ranged(said=f"bytes 0-{len(FILE) - 1}/9999"), ContentChanged),
    "a shorter range of a shorter file": (
        ranged(said=f"bytes 0-{len(FILE) - 2}/{len(FILE) - 1}"),
        ContentChanged,
    ),
    "other bytes": (ranged(FILE[:-1] + b"y"), ContentChanged),
    "other bytes, whole": (lambda r: Response(FILE[:-1] + b"y"), ContentChanged),
    "a shorter file": (lambda r: Response(FILE[:-1]), ContentChanged),
    "a longer file": (lambda r: Response(FILE + b"y"), ContentChanged),
    "not satisfiable": (lambda r: Response(status_code=416), ContentChanged),
    "gone": (lambda r: Response(status_code=410), OriginError),
    "in trouble": (lambda r: Response(status_code=503), OriginError),
    "encoded": (lambda r: Response(FILE, headers={"Content-Encoding": "br"}), OriginError),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_answer_is_an_error_and_never_a_segment(what: str) -> None:
    answer, error = WRONG[what]
    with pytest.raises(error):
        fetch(answer, 0, 3)


def test_errors_that_stay_are_told_from_those_that_pass() -> None:
    for status, final in ((404, True), (403, True), (429, False), (500, False)):
        with pytest.raises(OriginError) as caught:
            fetch(lambda request, status=status: Response(status_code=status), 0, 1)  # type: ignore[misc]
        assert caught.value.final is final


# --- manifests ---------------------------------------------------------------------------

GOOD = {
    "key": "ab" * 16, "url": "/a.mp4", "size": len(FILE), "type": "video/mp4",
    "segment_bytes": SEGMENT, "hashes": base64.b64encode(HASHES).decode(), "token": "t",
    "expires": 123,
}  # fmt: skip


def test_a_manifest_is_read() -> None:
    found = parse_manifest(GOOD)
    assert found is not None and found.segments == 3 and found.length(2) == len(PIECES[2])
    assert found.fits(1, PIECES[1]) and not found.fits(0, PIECES[1])


@pytest.mark.parametrize(
    "change",
    [
        {"key": "AB" * 16}, {"key": "../../etc"}, {"key": None}, {"size": 0}, {"size": 1.5},
        {"size": True}, {"size": len(FILE) + SEGMENT}, {"segment_bytes": 0},
        {"segment_bytes": -1}, {"segment_bytes": 1 << 27}, {"hashes": "!"}, {"hashes": ""},
        {"hashes": 7}, {"token": None}, {"size": 1 << 53},
        {"size": 300_000 * SEGMENT, "hashes": base64.b64encode(b"x" * 32 * 300_000).decode()},
    ],
    ids=str,
)  # fmt: skip
def test_a_manifest_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    assert parse_manifest({**GOOD, **change}) is None


@pytest.mark.parametrize(
    "response, expected",
    [
        (Response('{"state": "pending", "retry_after": 0.5}', 202), Later),
        (Response("<html>", 200), Later),
        (Response("[]", 200), Refused),
        (Response("[" * 100_000, 200), Later),
        (Response('{"error": "rate"}', 429), Later),
        (Response("", 502), Later),
        (Response('{"error": "unknown", "message": "no page shows it"}', 404), Refused),
    ],
    ids=["pending", "no JSON", "a list", "nested", "rate", "proxy error", "unknown"],
)
def test_what_the_site_says_instead_of_a_manifest(response: Response, expected: type) -> None:
    async def story() -> object:
        async def endpoint(request: Request) -> Response:
            return response

        app = Starlette(routes=[Route("/p2pcdn/manifest", endpoint)])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
            return await ask_manifest(http, httpx.URL("http://s.example/p2pcdn/"), "/a.mp4", "me")

    assert isinstance(asyncio.run(story()), expected)


# --- where p2pcdn is ---------------------------------------------------------------------

LOADER = (
    '{const P2PCDN_CONFIG={"coordinator":"../peerjs","ice":[],"key":"k","relayOnly":false,'
    '"socket":true,"version":"1234"};\n()=>{}}'
)
PAGE = """<!doctype html><html><head>
<script src="/static/loader.js"></script><script async src="/films{mount}/loader.js?v=1"></script>
</head><body><video data-src="a.mp4?sig=1#t=3"></video>
<video><source src=/b.webm><source data-src="//elsewhere.example/c.mp4"></video>
<video data-p2p=off src=d.mp4></video><audio src=e.mp3></audio><source src=f.mp4>
"""


def find(url: str, mount: str | None = None, at: str = "/p2pcdn") -> object:
    async def story() -> object:
        async def page(request: Request) -> Response:
            return Response(PAGE.format(mount=at), media_type="text/html; charset=utf-8")

        async def loader(request: Request) -> Response:
            return Response(LOADER, media_type="text/javascript")

        async def other(request: Request) -> Response:
            if request.url.path.endswith(".mp4"):
                return Response(b"film", media_type="video/mp4")
            return Response("var no_config", 200 if "static" in request.url.path else 404)

        app = Starlette(
            routes=[
                Route(f"/films{at}/loader.js", loader),
                Route("/films/watch/", page),
                Route("/{rest:path}", other),
            ]
        )
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
            return await find_site(http, url, mount)

    return asyncio.run(story())


def test_a_pages_script_tag_says_where_p2pcdn_is_and_the_page_which_videos_it_shows() -> None:
    site, page = find("http://s.example/films/watch/", at="/odd")  # type: ignore[misc]
    assert str(site.mount) == "http://s.example/films/odd/"
    assert str(site.coordinator) == "http://s.example/films/peerjs/" and site.key == "k"
    assert [str(video) for video in page.videos] == [
        "http://s.example/films/watch/a.mp4?sig=1",
        "http://s.example/b.webm",
    ]


def test_a_media_url_finds_the_default_mount_below_a_prefix() -> None:
    site, page = find("http://s.example/films/media/deep/a.mp4")  # type: ignore[misc]
    assert str(site.mount) == "http://s.example/films/p2pcdn/" and not page.html


def test_an_unusual_mount_can_be_given() -> None:
    site, _ = find("http://s.example/films/a.mp4", "/films/odd", at="/odd")  # type: ignore[misc]
    assert site.target("/a b.mp4?x=1") == "/a%20b.mp4?x=1"
    with pytest.raises(PeerError, match="one site"):
        site.target("http://other.example/a.mp4")


@pytest.mark.parametrize(
    "url, words",
    [
        ("http://s.example/a.mp4", "no p2pcdn was found"),
        ("http://s.example/none", "404"),
        ("ftp://s.example/a", "no URL"),
        ("a.mp4", "no URL"),
    ],
)
def test_what_is_no_site_of_ours_is_said_with_what_to_do(url: str, words: str) -> None:
    with pytest.raises(PeerError, match=words):
        find(url)
