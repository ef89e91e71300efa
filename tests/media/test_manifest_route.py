"""`GET /p2pcdn/manifest` as a loader sees it."""

from __future__ import annotations

import asyncio
import base64
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from p2pcdn.config import Config
from p2pcdn.media.library import Library
from p2pcdn.media.manifest import segment_bytes_for
from p2pcdn.web.manifest import RateLimit, routes

from .sites import flask_static, settled_clock
from .test_frameworks import digests
from .test_urls import HOSTILE

FILM = random.Random(3).randbytes(150_000)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    (tmp_path / "a.mp4").write_bytes(FILM)
    return tmp_path


class Loader:
    """A client of the mounted endpoint."""

    def __init__(self, films: Path, *, root_path: str = "", allow: Any = None, **options: Any):
        self.library = Library(
            Config(**options),
            flask_static(films).origin,
            folder=None,
            shareable=lambda path: True,
            clock=settled_clock,
        )
        self.library.seen(["/media/a.mp4"])
        token = lambda key, peer: (f"{key}:{peer}", 1_800_000_000)  # noqa: E731
        app = Starlette(routes=[Mount("/p2pcdn", routes=routes(self.library, token, allow=allow))])
        self._transport = httpx.ASGITransport(app, root_path=root_path)
        self._url = f"http://localhost{root_path}/p2pcdn/manifest"

    def get(self, headers: dict[str, str] | None = None, **params: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport) as client:
                return await client.get(self._url, params=params, headers=headers)

        while True:
            answer = asyncio.run(ask())
            if answer.status_code != 202:
                return answer
            assert answer.json()["state"] == "pending" and answer.json()["retry_after"] > 0
            time.sleep(0.01)


@pytest.fixture
def loader(films: Path) -> Iterator[Loader]:
    loader = Loader(films)
    yield loader
    loader.library.close()


def test_a_loader_gets_what_it_needs_to_share_a_video(loader: Loader) -> None:
    answer = loader.get(url="/media/a.mp4", peer="abc-123")
    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert base64.b64decode(body["hashes"]) == digests(FILM)
    assert body["token"] == f"{body['key']}:abc-123"
    assert (body["url"], body["size"], body["type"], body["expires"]) == (
        "/media/a.mp4",
        len(FILM),
        "video/mp4",
        1_800_000_000,
    )
    assert body["segment_bytes"] == segment_bytes_for(len(FILM))


def test_without_a_peer_id_there_is_no_token(loader: Loader) -> None:
    assert not {"token", "expires"} & set(loader.get(url="/media/a.mp4").json())


@pytest.mark.parametrize("target", HOSTILE, ids=ascii)
def test_hostile_urls_get_a_clear_error(loader: Loader, target: str) -> None:
    if "\ud800" in target:
        target = target.replace("\ud800", "\ufffd\0")  # what reaches a server of it
    answer = loader.get(url=target)
    assert answer.status_code in (400, 403)
    assert answer.json()["error"] in ("bad-url", "outside")
    assert answer.json()["message"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({}, 400),
        ({"url": ["/media/a.mp4", "/media/b.mp4"]}, 400),
        ({"url": "/media/a.mp4", "peer": "<script>"}, 400),
        ({"url": "/media/a.mp4", "peer": "a" * 500}, 400),
        ({"url": "/media/never-shown.mp4"}, 404),
    ],
)
def test_a_malformed_question_gets_a_clear_error(
    loader: Loader, params: dict[str, Any], status: int
) -> None:
    answer = loader.get(**params)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "message"}


def test_a_site_below_a_prefix_is_asked_below_it(films: Path) -> None:
    loader = Loader(films, root_path="/site")
    answer = loader.get(url="/site/media/a.mp4")
    assert answer.status_code == 200, answer.json()
    assert answer.json()["url"] == "/site/media/a.mp4"
    assert loader.get(url="/media/a.mp4").json()["error"] == "outside"
    loader.library.close()


def test_a_prefix_that_a_proxy_strips_is_known_from_the_settings(films: Path) -> None:
    loader = Loader(films, public_prefix="/shop")
    answer = loader.get(url="/shop/media/a.mp4")
    assert answer.status_code == 200, answer.json()
    assert answer.json()["url"] == "/shop/media/a.mp4"
    loader.library.close()


def test_a_flood_from_one_client_is_refused_and_others_are_served(films: Path) -> None:
    loader = Loader(films, allow=RateLimit(per_s=1.0, burst=3.0, proxy_factor=1.0, clock=lambda: 0))
    codes = [loader.get(url="/media/none.mp4").status_code for _ in range(5)]
    assert codes == [404, 404, 404, 429, 429]
    loader.library.close()


def test_a_flood_through_the_sites_own_proxy_leaves_the_others_alone(films: Path) -> None:
    loader = Loader(films, allow=RateLimit(per_s=1.0, burst=2.0, proxy_factor=1.0, clock=lambda: 0))
    hers, his = ({"X-Forwarded-For": address} for address in ("93.184.216.34", "93.184.216.35"))
    codes = [loader.get(hers, url="/media/none.mp4").status_code for _ in range(4)]
    assert codes == [404, 404, 429, 429]
    assert loader.get(his, url="/media/none.mp4").status_code == 404
    loader.library.close()


def test_a_client_may_ask_again_after_a_while() -> None:
    now = [0.0]
    allow = RateLimit(per_s=2.0, burst=4.0, clock=lambda: now[0])
    assert [allow("93.184.216.34") for _ in range(5)] == [True] * 4 + [False]
    assert allow("93.184.216.35")
    now[0] = 1.0
    assert [allow("93.184.216.34") for _ in range(3)] == [True, True, False]


def test_one_ipv6_client_cannot_use_its_whole_network_as_many() -> None:
    allow = RateLimit(per_s=1.0, burst=2.0, clock=lambda: 0.0)
    assert [allow(f"2a01:4f8::{index}") for index in range(3)] == [True, True, False]
    assert allow("2a01:4f9::1")


def test_the_visitors_behind_a_proxy_do_not_share_one_visitors_limit() -> None:
    allow = RateLimit(per_s=1.0, burst=2.0, proxy_factor=50.0, clock=lambda: 0.0)
    for address in ("127.0.0.1", "::1", "10.0.0.1", "", "::ffff:192.168.1.1"):
        assert sum(allow(address) for _ in range(60)) > 2, address


def test_counting_clients_needs_bounded_memory() -> None:
    allow = RateLimit(clock=lambda: 0.0)
    for index in range(20_000):
        allow(f"203.{index >> 16}.{index >> 8 & 255}.{index & 255}")
    assert len(allow._buckets) <= 10_000


# --- a presentation ----------------------------------------------------------------------------

PLAYLIST = "#EXTM3U\n" + "".join(f"#EXTINF:4,\n{n}.ts\n" for n in range(12)) + "#EXT-X-ENDLIST\n"


@pytest.fixture
def hls(films: Path) -> Loader:
    (films / "index.m3u8").write_text(PLAYLIST)
    for n in range(12):
        (films / f"{n}.ts").write_bytes(bytes([n]) * 5000)
    (films / "secret.ts").write_bytes(b"s")
    loader = Loader(films)
    # A player has read it, and nothing else has come up on this site.
    loader.library.served("/media/index.m3u8", "application/vnd.apple.mpegurl", 200)
    return loader


def test_a_playlist_that_was_played_makes_its_segments_known(hls: Loader) -> None:
    asked = {"url": "/media/3.ts", "peer": "alice", "playlist": "/media/index.m3u8"}
    answer = hls.get(**asked).json()
    assert (answer["url"], answer["size"], answer["type"]) == ("/media/3.ts", 5000, "video/mp2t")
    group = answer["group"]
    assert group["token"] == f"{group['key']}:alice" and group["expires"] == 1_800_000_000
    assert "live" not in group
    deadline = time.monotonic() + 20
    while len(answer["next"]) < 8:  # those that were ready at once are there at once
        assert time.monotonic() < deadline
        answer = hls.get(**asked).json()
    assert [item["url"] for item in answer["next"]] == [f"/media/{n}.ts" for n in range(4, 12)]
    assert "token" not in answer["next"][0]
    other = hls.get(url="/media/7.ts", peer="bob", playlist="/media/index.m3u8").json()
    assert other["group"]["key"] == group["key"] != other["key"]


@pytest.mark.parametrize(
    ("url", "playlist"),
    [
        ("/media/secret.ts", "/media/index.m3u8"),  # not named by it
        ("/media/3.ts", None),
        ("/media/3.ts", "/media/other.m3u8"),  # the site never brought it up
        ("/media/3.ts", "/media/3.ts"),
        ("/media/3.ts", "//elsewhere.example/index.m3u8"),
        ("/media/3.ts", "/media/../media/index.m3u8%00"),
    ],
)
def test_a_segment_is_known_by_no_other_playlist(
    hls: Loader, url: str, playlist: str | None
) -> None:
    asked = {"url": url, "peer": "alice"} | ({} if playlist is None else {"playlist": playlist})
    answer = hls.get(**asked)
    assert answer.status_code == 404 and answer.json()["error"] == "unknown"


def test_a_playlist_that_visitors_do_not_get_makes_nothing_known(films: Path, hls: Loader) -> None:
    (films / "index.m3u8").unlink()
    answer = hls.get(url="/media/3.ts", peer="alice", playlist="/media/index.m3u8")
    assert answer.status_code == 404


def test_a_live_playlist_makes_each_new_segment_known(films: Path, hls: Loader) -> None:
    asked = {"peer": "alice", "playlist": "/media/index.m3u8"}
    group = hls.get(url="/media/3.ts", **asked).json()["group"]["key"]
    (films / "12.ts").write_bytes(b"new")
    (films / "index.m3u8").write_text(PLAYLIST.replace("#EXT-X-ENDLIST", "#EXTINF:4,\n12.ts"))
    deadline = time.monotonic() + 20
    while (answer := hls.get(url="/media/12.ts", **asked)).status_code == 404:
        assert time.monotonic() < deadline
    assert answer.json()["group"]["key"] == group
    # Nobody comes back to it: browsers need not store it.
    assert answer.json()["group"]["live"] is True


def test_below_a_prefix_a_playlist_names_what_visitors_see(films: Path) -> None:
    (films / "index.m3u8").write_text("#EXTM3U\n#EXTINF:4,\n/site/media/0.ts\n/media/1.ts\n")
    (films / "0.ts").write_bytes(b"0")
    (films / "1.ts").write_bytes(b"1")
    loader = Loader(films, root_path="/site")
    loader.library.served("/media/index.m3u8", "application/vnd.apple.mpegurl", 200)
    asked = {"peer": "alice", "playlist": "/site/media/index.m3u8"}
    assert loader.get(url="/site/media/0.ts", **asked).status_code == 200
    assert loader.get(url="/site/media/1.ts", **asked).status_code == 404
    loader.library.close()
