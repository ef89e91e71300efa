"""What PEP 3333 asks of a middleware beyond the cases that all adapters share."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from p2pcdn import P2PCDN

PAGE = b"<!doctype html><html><head></head><body><video src=/film.mp4></video></body></html>"
FILM = b"x" * 1000
Start = Callable[..., Any]


def environ(target: str, method: str = "GET", **more: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    setup_testing_defaults(made)
    made["REQUEST_METHOD"] = method
    made["PATH_INFO"], _, made["QUERY_STRING"] = target.partition("?")
    return {**made, **more}


def site(env: dict[str, Any], start: Start) -> Iterable[bytes]:
    html = ("Content-Type", "text/html")
    path = env["PATH_INFO"]
    if path == "/":
        start("200 OK", [html, ("Content-Length", str(len(PAGE)))])
        return [PAGE]
    if path == "/streams":
        start("200 OK", [html])
        return (PAGE[at : at + 7] for at in range(0, len(PAGE), 7))
    if path == "/writes":
        write = start("200 OK", [html])
        write(PAGE[:20])
        write(PAGE[20:40])
        return [PAGE[40:]]
    if path == "/film.mp4":
        start("200 OK", [("Content-Type", "video/mp4"), ("Content-Length", str(len(FILM)))])
        return [FILM]
    if path == "/304":
        start("304 Not Modified", [("ETag", '"a"')])
        return []
    start("200 OK", [("Content-Type", "application/json")])
    return [b"{}"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/streams",
        "/writes",
        "/film.mp4",
        "/304",
        "/json",
        "/peerjs",
        "/peerjs/mailbox",
        "/p2pcdn/health",
        "/p2pcdn/loader.js",
        "/p2pcdn/manifest?url=/film.mp4&peer=a",
    ],
)
@pytest.mark.parametrize(
    "more", [{}, {"HTTP_RANGE": "bytes=5-10"}, {"HTTP_IF_NONE_MATCH": '"a"'}], ids=str
)
def test_a_strict_server_and_a_strict_app_find_nothing_to_complain_about(
    tmp_path: Path, method: str, target: str, more: dict[str, str]
) -> None:
    app = validator(P2PCDN(validator(site), data_dir=str(tmp_path)))
    started: list[str] = []

    def start(status: str, headers: Any, exc_info: Any = None) -> Any:
        started.append(status)
        return lambda data: None

    result = app(environ(target, method, **more), start)
    b"".join(result)
    result.close()  # type: ignore[attr-defined]
    assert len(started) == 1


class Body:
    """An app's iterable that tells whether it was closed."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = pieces
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.pieces)

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("kind", ["text/html", "video/mp4", None])
@pytest.mark.parametrize("asked", [{}, {"HTTP_RANGE": "bytes=5-10"}], ids=str)
def test_a_body_that_nobody_began_to_read_is_closed_all_the_same(
    tmp_path: Path, kind: str | None, asked: dict[str, str]
) -> None:
    body = Body([PAGE])

    def app(env: dict[str, Any], start: Start) -> Any:
        if kind is not None:  # else: only when its first piece is asked for
            start("200 OK", [("Content-Type", kind), ("Content-Length", str(len(PAGE)))])
        return body

    result = P2PCDN(app, data_dir=str(tmp_path))(environ("/a", **asked), lambda *_: None)
    result.close()
    result.close()
    assert body.closed == 1


def test_an_app_that_never_starts_its_response_is_reported_by_its_server(tmp_path: Path) -> None:
    app = P2PCDN(lambda env, start: iter([b"", b"text"]), data_dir=str(tmp_path))
    assert b"".join(app(environ("/"), lambda *_: None)) == b"text"
    app = P2PCDN(lambda env, start: [], data_dir=str(tmp_path))
    assert b"".join(app(environ("/"), lambda *_: None)) == b""


@pytest.mark.parametrize("ours", [True, False])
def test_what_is_written_leaves_at_once_where_the_page_is_none_of_ours(
    tmp_path: Path, ours: bool
) -> None:
    """PEP 3333's `write`: an app that streams with it waits for nobody, now or later."""
    got: list[bytes] = []
    marks: list[int] = []
    headers = [("Content-Type", "text/html")]
    if not ours:
        headers.append(("Cache-Control", "no-transform"))

    def app(env: dict[str, Any], start: Start) -> Iterator[bytes]:
        write = start("200 OK", headers)
        write(PAGE[:20])
        marks.append(len(got))
        yield PAGE[20:40]
        write(PAGE[40:60])
        yield PAGE[60:]

    def start(status: str, headers: Any, exc_info: Any = None) -> Any:
        return got.append

    called = P2PCDN(app, data_dir=str(tmp_path))
    for piece in called(environ("/"), start):
        got.append(piece)
    assert (b"".join(got) == PAGE) is not ours
    assert b"".join(got).replace(b"data-src", b"src").count(b"/film.mp4") >= 1
    assert marks == [0 if ours else 1]


def test_an_app_that_changes_its_mind_before_its_page_has_left_is_heard(tmp_path: Path) -> None:
    """With exc_info, from a page to another page, and to what is none of ours."""
    page = [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))]
    json = [("Content-Type", "application/json")]

    def app(env: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/html"), ("X-Void", "1")])
        try:
            raise OSError("the database is gone")
        except OSError:
            start("500 Sorry", page if env["PATH_INFO"] == "/page" else json, sys.exc_info())
        return [PAGE if env["PATH_INFO"] == "/page" else b"{}"]

    called = P2PCDN(app, data_dir=str(tmp_path))
    for path, sent in (("/page", b"Content-Type"), ("/json", b"{}")):
        calls: list[tuple[Any, ...]] = []
        body = b"".join(called(environ(path), lambda *call, calls=calls: calls.append(call)))
        assert [call[0] for call in calls] == ["500 Sorry"]
        assert "X-Void" not in dict(calls[0][1])
        assert body == sent if path == "/json" else body.startswith(b"<!doctype html>")


@pytest.mark.parametrize("length", ["\u00b2", "-1", "9" * 5000, "0" * 5000 + "7", "1e9"])
def test_a_length_that_is_no_number_is_refused(tmp_path: Path, length: str) -> None:
    started: list[str] = []
    app = P2PCDN(site, data_dir=str(tmp_path))
    asked = environ("/peerjs/mailbox", "POST", CONTENT_LENGTH=length)
    asked["wsgi.input"] = io.BytesIO(b"{}")
    b"".join(app(asked, lambda status, headers, exc_info=None: started.append(status)))
    assert started[0].startswith("413")


@pytest.mark.parametrize("generator", [False, True])
def test_an_app_that_fails_half_way_tells_its_server_so(tmp_path: Path, generator: bool) -> None:
    """Its second `start_response`, with exc_info, reaches the server as it is, also late."""
    sorry = [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))]

    def pieces(start: Start) -> Iterator[bytes]:
        try:
            raise OSError("the database is gone")
        except OSError:
            start("500 Sorry", sorry, sys.exc_info())
        yield PAGE

    def app(env: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "application/json")])
        return pieces(start) if generator else list(pieces(start))

    called = P2PCDN(app, data_dir=str(tmp_path))
    for _ in range(2):  # the second time the type is known as none of ours
        calls: list[tuple[Any, ...]] = []
        body = b"".join(called(environ("/"), lambda *call, calls=calls: calls.append(call)))
        assert body == PAGE
        assert [call[0] for call in calls] == ["200 OK", "500 Sorry"]
        assert calls[1][1] == sorry and calls[1][2][0] is OSError


def test_a_file_that_stands_elsewhere_than_at_its_beginning_is_cut_where_its_body_begins(
    tmp_path: Path,
) -> None:
    file = tmp_path / "film.mp4"
    file.write_bytes(b"HEADER----" + FILM[:5] + b"abcde")

    def app(env: dict[str, Any], start: Start) -> Iterable[bytes]:
        opened = file.open("rb")
        opened.seek(10)
        start("200 OK", [("Content-Type", "video/mp4"), ("Content-Length", "10")])
        return FileWrapper(opened)

    called = P2PCDN(app, data_dir=str(tmp_path))
    result = called(environ("/film.mp4", HTTP_RANGE="bytes=5-8"), lambda *_: None)
    assert b"".join(result) == b"abcd"
    result.close()


@pytest.mark.parametrize("generator", [False, True])
def test_an_error_in_the_place_of_a_film_is_not_cut_to_the_range(
    tmp_path: Path, generator: bool
) -> None:
    sorry = [("Content-Type", "text/plain"), ("Content-Length", "11")]

    def pieces(start: Start) -> Iterator[bytes]:
        try:
            raise OSError("disk")
        except OSError:
            start("500 Sorry", sorry, sys.exc_info())
        yield b"disk failed"

    def app(env: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "video/mp4"), ("Content-Length", "1000")])
        return pieces(start) if generator else list(pieces(start))

    calls: list[tuple[Any, ...]] = []
    called = P2PCDN(app, data_dir=str(tmp_path))
    asked = environ("/film.mp4", HTTP_RANGE="bytes=0-3")
    assert b"".join(called(asked, lambda *call: calls.append(call))) == b"disk failed"
    assert calls[-1][:2] == ("500 Sorry", sorry)
