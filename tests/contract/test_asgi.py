"""What the ASGI specification allows an app beyond the cases that all adapters share."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from p2pcdn import P2PCDN

PAGE = b"<!doctype html><html><head></head><body><video src=/film.mp4></video></body></html>"
HTML = (b"content-type", b"text/html")
LENGTH = (b"content-length", str(len(PAGE)).encode())


def start(*headers: Any, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": list(headers), **more}


def body(data: bytes = PAGE, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def get(tmp_path: Path, *messages: dict[str, Any], **scope: Any) -> list[dict[str, Any]]:
    """What reaches the server when an app sends these messages."""
    got: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if "p2pcdn.internal" in scope:
            raise RuntimeError("not now")
        for message in messages:
            await send(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        got.append(
            {**message, "headers": list(message["headers"])} if "headers" in message else message
        )

    asked = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    asyncio.run(P2PCDN(app, data_dir=str(tmp_path))({**asked, **scope}, receive, send))
    return got


def test_a_response_without_headers_is_a_response(tmp_path: Path) -> None:
    got = get(tmp_path, {"type": "http.response.start", "status": 204}, body(b""))
    assert got[0]["status"] == 204


@pytest.mark.parametrize("kind", [b"text/html", b"video/mp4", b"application/json"])
def test_headers_that_can_be_read_only_once_still_reach_the_visitor(
    tmp_path: Path, kind: bytes
) -> None:
    once = iter([(b"x-mine", b"1"), (b"content-type", kind)])
    got = get(tmp_path, {"type": "http.response.start", "status": 200, "headers": once}, body())
    assert (b"x-mine", b"1") in got[0]["headers"]


def test_a_message_between_start_and_body_does_not_spoil_the_length(tmp_path: Path) -> None:
    debug = {"type": "http.response.debug", "info": {"template": "t"}}
    got = get(tmp_path, start(HTML, LENGTH), debug, body())
    page = b"".join(m.get("body", b"") for m in got)
    headers = next(dict(m["headers"]) for m in got if m["type"] == "http.response.start")
    assert b"data-src" in page
    assert int(headers[b"content-length"]) == len(page)
    assert debug in got


def test_a_page_that_streams_and_is_none_of_ours_has_its_headers_at_once(tmp_path: Path) -> None:
    opted_out = (b"cache-control", b"no-transform")
    assert get(tmp_path, start(HTML, opted_out)) == [start(HTML, opted_out)]
    parts = [start(HTML, opted_out, LENGTH), body(PAGE[:9], more=True), body(PAGE[9:])]
    assert get(tmp_path, *parts) == parts


def test_a_page_without_a_video_is_the_app_s_own(tmp_path: Path) -> None:
    text = b"<!doctype html><head></head><p>No film here.</p>"
    whole = [start(HTML, (b"content-length", b"%d" % len(text))), body(text)]
    assert get(tmp_path, *whole) == whole
    debug = {"type": "http.response.debug", "info": {}}
    assert get(tmp_path, whole[0], debug, whole[1]) == [debug, *whole]


@pytest.mark.parametrize("more", [True, False])
@pytest.mark.parametrize("kind", [b"text/html", b"text/html; charset=utf-8"])
@pytest.mark.parametrize("like", [memoryview, bytearray])
def test_a_page_in_any_kind_of_bytes_is_a_page(
    tmp_path: Path, more: bool, kind: bytes, like: Callable[[bytes], Any]
) -> None:
    parts = [body(like(PAGE), more=True), body(like(b""))] if more else [body(like(PAGE))]
    got = get(tmp_path, start((b"content-type", kind)), *parts)
    assert b"data-src" in b"".join(m.get("body", b"") for m in got)


def test_what_is_pushed_before_the_response_decides_nothing_about_it(tmp_path: Path) -> None:
    push = {"type": "http.response.push", "path": "/a.css", "headers": [(b"accept", b"*/*")]}
    typed = {**push, "headers": [(b"content-type", b"application/json")]}
    got = get(tmp_path, push, typed, start(HTML, LENGTH), body())
    assert got[:2] == [push, typed]
    assert b"data-src" in got[-1]["body"]


def test_trailers_come_last(tmp_path: Path) -> None:
    trailers = {"type": "http.response.trailers", "headers": [], "more_trailers": False}
    got = get(tmp_path, start(HTML, trailers=True), body(), trailers)
    assert [m["type"].rpartition(".")[2] for m in got] == ["start", "body", "trailers"]
    assert got[0]["trailers"]


def test_a_body_that_the_server_copies_itself_is_the_one_that_was_announced(
    tmp_path: Path,
) -> None:
    copied = {"type": "http.response.zerocopysend", "file": 7}
    assert get(tmp_path, start(HTML, LENGTH), copied) == [start(HTML, LENGTH), copied]
    film = start((b"content-type", b"video/mp4"), (b"content-length", b"1000"))
    offer = {"http.response.zerocopysend": {}}
    asked = [(b"range", b"bytes=0-9")]
    assert get(tmp_path, film, copied, extensions=offer, headers=asked) == [film, copied]


def test_several_sites_mounted_in_one_app_each_share_their_own_videos(tmp_path: Path) -> None:
    film = tmp_path / "media" / "a.mp4"
    film.parent.mkdir()
    film.write_bytes(b"film" * 1000)
    os.utime(film, (1e9, 1e9))

    def site(name: str) -> Any:
        page = b"<!doctype html><html><head></head><video src=media/a.mp4></video></html>"
        app = Starlette(
            routes=[
                Route("/watch", lambda request: HTMLResponse(page)),
                Mount("/media", StaticFiles(directory=film.parent)),
            ]
        )
        return Mount(f"/{name}", P2PCDN(app, data_dir=str(tmp_path / name)))

    async def ask() -> None:
        app = Starlette(routes=[site("one"), site("two")])
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://site.test") as client:
            for name in ("one", "two"):
                page = await client.get(f"/{name}/watch")
                assert f'src="/{name}/p2pcdn/loader.js' in page.text
                address = f"/{name}/p2pcdn/manifest?peer=p&url=/%s/media/a.mp4"
                made = await client.get(address % name)
                assert made.status_code in (200, 202), made.text
                assert (await client.get(address % "three")).json()["error"] == "outside"

    asyncio.run(ask())


@pytest.mark.parametrize("said", [{}, {"root_path": ""}])
def test_a_file_is_counted_by_its_own_path_whatever_a_router_makes_of_the_scope(
    tmp_path: Path, said: dict[str, str]
) -> None:
    counted: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["root_path"] = "/media"  # as Starlette's `Mount` does it
        await send(start((b"content-type", b"video/mp4"), (b"content-length", b"4")))
        await send(body(b"film"))

    async def send(message: Any) -> None:
        pass

    site = P2PCDN(app, data_dir=str(tmp_path))
    site.site.recorder.origin = lambda target, **_: counted.append(target)
    path = "/media/film.mp4"
    asked = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    asyncio.run(site(asked | said, None, send))
    assert counted == [path]


def test_what_goes_wrong_while_a_start_is_sent_is_not_taken_for_a_start_without_headers(
    tmp_path: Path,
) -> None:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start((b"content-type", b"application/json")))

    def send(message: Any) -> Any:
        sent.append(message)
        raise KeyError("no coroutine")

    async def ask() -> None:
        site = P2PCDN(app, data_dir=str(tmp_path))
        asked = {"type": "http", "method": "GET", "path": "/", "root_path": "",
                 "query_string": b"", "headers": []}  # fmt: skip
        for _ in range(2):  # only from the second on the type is known
            with pytest.raises(KeyError, match="no coroutine"):
                await site(asked, None, send)

    asyncio.run(ask())
    assert len(sent) == 2


def test_a_visitor_who_has_the_range_does_not_wait_for_the_rest_of_the_film(tmp_path: Path) -> None:
    film = start((b"content-type", b"video/mp4"), (b"content-length", b"40"))
    pieces = [body(bytes([number]) * 10, more=number < 3) for number in range(4)]
    got = get(tmp_path, film, *pieces, headers=[(b"range", b"bytes=5-14")])
    assert [m["body"] for m in got[1:]] == [b"\0" * 5, b"\1" * 5]
    assert [m["more_body"] for m in got[1:]] == [True, False]


@pytest.mark.parametrize("inside", [False, True], ids=["around the app", "add_middleware"])
@pytest.mark.parametrize("prefix", ["", "/site"])
def test_pages_of_a_part_mounted_further_below_find_the_loader_where_it_is(
    tmp_path: Path, prefix: str, inside: bool
) -> None:
    blog = Starlette(routes=[Route("/post", lambda request: HTMLResponse(PAGE))])
    app: Any = FastAPI()
    app.mount("/blog", blog)
    if inside:
        app.add_middleware(P2PCDN, data_dir=str(tmp_path))
    else:
        app = P2PCDN(app, data_dir=str(tmp_path))

    async def ask() -> tuple[str, int]:
        transport = httpx.ASGITransport(app=app, root_path=prefix)
        async with httpx.AsyncClient(transport=transport, base_url="http://site.test") as client:
            page = (await client.get(f"{prefix}/blog/post")).text
            found = re.search(r'src="([^"]*loader[.]js[^"]*)"', page)
            assert found is not None
            return found[1], (await client.get(found[1])).status_code

    loader, status = asyncio.run(ask())
    assert loader.startswith(f"{prefix}/p2pcdn/loader.js")
    assert status == 200


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
@pytest.mark.parametrize("inside", [False, True], ids=["around the app", "add_middleware"])
@pytest.mark.parametrize("stripped", [False, True])
def test_an_app_that_knows_its_prefix_itself_is_found_below_it(
    tmp_path: Path, stripped: bool, inside: bool
) -> None:
    app: Any = FastAPI(root_path="/site")
    app.add_api_route("/post", lambda: HTMLResponse(PAGE))
    if inside:
        app.add_middleware(P2PCDN, data_dir=str(tmp_path))
    else:
        app = P2PCDN(app, data_dir=str(tmp_path))

    async def ask() -> tuple[str, int]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://site.test") as client:

            async def visit(path: str) -> httpx.Response:
                return await client.get(path.removeprefix("/site") if stripped else path)

            page = (await visit("/site/post")).text
            found = re.search(r'src="([^"]*loader[.]js[^"]*)"', page)
            assert found is not None
            return found[1], (await visit(found[1])).status_code

    loader, status = asyncio.run(ask())
    assert loader.startswith("/site/p2pcdn/loader.js")
    assert status == 200


def test_a_page_from_before_a_restart_is_sent_whole_once_and_confirmed_from_then_on(
    tmp_path: Path,
) -> None:
    """Only once a page has left does the middleware look for its ETags in every request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        etag = (b"etag", b'"v1"')
        if (b"if-none-match", b'"v1"') in scope["headers"]:
            await send({"type": "http.response.start", "status": 304, "headers": [etag]})
            await send(body(b""))
        else:
            await send(start(HTML, LENGTH, etag))
            await send(body())

    async def visits(*etags: bytes) -> list[Any]:
        site = P2PCDN(app, data_dir=str(tmp_path))
        got: list[Any] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                got.append((message["status"], dict(message["headers"])[b"etag"]))

        for etag in etags:
            headers = [(b"if-none-match", etag)]
            asked = {"type": "http", "method": "GET", "path": "/", "root_path": "",
                     "query_string": b"", "headers": headers}  # fmt: skip
            await site(asked, None, send)
        return got

    ((_, tagged),) = asyncio.run(visits(b'"other"'))
    assert tagged not in (b'"v1"', b'"other"')
    # A new process.
    assert asyncio.run(visits(tagged, tagged)) == [(200, tagged), (304, tagged)]
