"""The Django example: accounts, uploads, and private videos that stay private."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from selectolax.lexbor import LexborHTMLParser

from tests.examples.crawl import crawl
from tests.servers.process import Server
from tests.servers.python import Gunicorn, Uvicorn

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
SITE = ROOT / "examples" / "django_site"
FILM = (ROOT / "p2pcdn" / "demo" / "media" / "northern-light.mp4").read_bytes()
# Enough of an MP4 for a site that looks at what it is given.
SMALL = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + bytes(range(256)) * 20
PASSWORD = "correct horse battery"


def manage(var: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=SITE,
        env={**os.environ, "REELHOUSE_VAR": str(var), **env},
        capture_output=True,
        text=True,
    )


class Site:
    """The site on a real server, with a folder of its own; every test has its own members."""

    def __init__(self, var: Path, server: Server) -> None:
        self.var, self.server = var, server
        self.visitors = contextlib.ExitStack()
        self._names = (f"member{number}" for number in itertools.count())

    def visitor(self) -> httpx.Client:
        return self.visitors.enter_context(
            httpx.Client(base_url=self.server.url, timeout=30, follow_redirects=True)
        )

    def member(self) -> httpx.Client:
        visitor = self.visitor()
        form = {"username": next(self._names), "password1": PASSWORD, "password2": PASSWORD}
        answer = submit(visitor, "/accounts/sign-up/", form)
        assert answer.url.path == "/upload/", answer.text
        return visitor

    def files(self) -> set[str]:
        folders = (self.var / "media", self.var / "private")
        return {str(f.relative_to(self.var)) for d in folders for f in d.rglob("*") if f.is_file()}


@pytest.fixture(scope="module", params=["gunicorn", "uvicorn"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    var = tmp_path_factory.mktemp("reelhouse")
    done = manage(var, "migrate", "-v", "0")
    assert done.returncode == 0, done.stderr
    env = {"PYTHONPATH": f"{ROOT}:{SITE}", "REELHOUSE_VAR": str(var)}
    server: Server = (
        Gunicorn("reelhouse.wsgi", workers=2, env=env)
        if request.param == "gunicorn"
        else Uvicorn("reelhouse.asgi:application", env=env)
    )
    with server:
        yield Site(var, server)


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    yield running
    running.visitors.close()
    assert "Internal Server Error" not in running.server.log(), running.server.log()[-3000:]


def submit(
    visitor: httpx.Client, path: str, data: dict[str, str], *, files: Any = None, to: str = ""
) -> httpx.Response:
    """Fill in the form that stands at `path`."""
    page = visitor.get(path)
    token = LexborHTMLParser(page.text).css_first("main [name=csrfmiddlewaretoken]")
    assert token is not None, page.text
    data = {"csrfmiddlewaretoken": token.attributes["value"] or "", **data}
    return visitor.post(to or path, data=data, files=files)


def upload(
    visitor: httpx.Client, title: str, visibility: str, film: bytes = SMALL, name: str = "my.mp4"
) -> httpx.Response:
    return submit(
        visitor,
        "/upload/",
        {"title": title, "description": "d", "visibility": visibility},
        files={"file": (name, film, "video/mp4")},
    )


def video_url(page: str) -> str:
    found = re.search(r'<source (?:data-)?src="([^"]+)"', page)
    assert found is not None, page
    return found[1]


def channel(page: httpx.Response) -> str:
    """The address of everything public by the one whose video a page shows."""
    found = re.search(r'href="(/by/[^"]+)"', page.text)
    assert found is not None
    return found[1]


def test_a_member_uploads_a_film_and_a_stranger_watches_it(site: Site) -> None:
    page = upload(site.member(), "My film", "public", FILM)
    assert page.url.path.startswith("/watch/")
    stranger = site.visitor()
    assert "My film" in stranger.get("/").text
    url = video_url(stranger.get(page.url.path).text)
    assert url.startswith("/media/") and "my.mp4" not in url
    assert stranger.get(url).content == FILM
    seek = stranger.get(url, headers={"Range": "bytes=1000-1999"})
    assert seek.content in (FILM, FILM[1000:2000])


def test_a_private_film_is_for_its_owner_alone(site: Site) -> None:
    owner, other, stranger = site.member(), site.member(), site.visitor()
    before = site.files()
    page = upload(owner, "Rough cut", "private", FILM)
    url = video_url(page.text)
    assert owner.get(url).content == FILM
    assert "private" in owner.get(url).headers["cache-control"]
    assert "Rough cut" in owner.get("/mine/").text
    for visitor in (other, stranger):
        assert visitor.get(url).status_code == 404
        assert visitor.get(page.url.path).status_code == 404
        assert "Rough cut" not in visitor.get("/").text
        assert "Rough cut" not in visitor.get(channel(page)).text
    (name,) = site.files() - before
    assert name.startswith("private/")
    for climb in ("..", "%2e%2e", "..%2f.."):
        assert stranger.get(f"/media/{climb}/{name}").status_code in (400, 404)


def manifest(visitor: httpx.Client, url: str) -> httpx.Response:
    """What is said of a video once that is settled."""
    deadline = time.monotonic() + 30
    while True:
        answer = visitor.get("/p2pcdn/manifest", params={"url": url})
        if answer.status_code != 202 or time.monotonic() > deadline:
            return answer
        time.sleep(0.1)


def test_a_public_film_becomes_a_content_and_a_private_one_never(site: Site) -> None:
    owner, stranger = site.member(), site.visitor()
    shown = video_url(upload(owner, "Final cut", "public", FILM).text)
    hidden = video_url(upload(owner, "Rough cut", "private", FILM).text)
    for visitor in (owner, stranger):
        content = manifest(visitor, shown)
        assert content.status_code == 200, content.text
        assert content.json()["size"] == len(FILM)
        refused = manifest(visitor, hidden)
        assert refused.status_code in (403, 404), refused.text
        assert "hashes" not in refused.json()


def test_a_film_that_is_made_private_leaves_its_public_address(site: Site) -> None:
    owner, stranger = site.member(), site.visitor()
    page = upload(owner, "Second thoughts", "public")
    old = video_url(page.text)
    assert stranger.get(old).content == SMALL
    number = page.url.path.split("/")[2]
    form = {"title": "Second thoughts", "description": "", "visibility": "private"}
    changed = submit(owner, f"/mine/{number}/", form)
    assert stranger.get(old).status_code == 404
    new = video_url(changed.text)
    assert owner.get(new).content == SMALL
    assert stranger.get(new).status_code == 404
    submit(owner, f"/mine/{number}/", {**form, "visibility": "public"})
    again = video_url(stranger.get(page.url.path).text)
    assert again != old and stranger.get(again).content == SMALL


def test_only_the_owner_changes_or_deletes_a_film(site: Site) -> None:
    owner, other = site.member(), site.member()
    before = site.files()
    number = upload(owner, "Mine", "public").url.path.split("/")[2]
    assert other.get(f"/mine/{number}/").status_code == 404
    delete = f"/mine/{number}/delete/"
    assert submit(other, "/upload/", {}, to=delete).status_code == 404
    assert owner.get(delete).status_code == 405
    assert owner.post(delete).status_code == 403, "without the form's token"
    assert len(site.files() - before) == 1
    assert submit(owner, f"/mine/{number}/", {}, to=delete).url.path == "/mine/"
    assert site.files() == before
    assert site.visitor().get(f"/watch/{number}/").status_code == 404


@pytest.mark.parametrize(
    ("name", "film"),
    [
        ("page.mp4", b"<html><script>alert(1)</script>"),
        ("page.html", SMALL),
        ("film.mp4", b""),
        ("film.webm", SMALL),
    ],
)
def test_what_is_no_video_is_refused_and_not_kept(site: Site, name: str, film: bytes) -> None:
    before = site.files()
    answer = upload(site.member(), "Trick", "public", film, name)
    assert answer.url.path == "/upload/"
    assert 'role="alert"' in answer.text
    assert site.files() == before


def test_a_title_is_text_whatever_stands_in_it(site: Site) -> None:
    page = upload(site.member(), "<script>alert(1)</script>", "public")
    for path in ("/", page.url.path, channel(page)):
        assert "<script>alert" not in site.visitor().get(path).text


def test_a_visitor_without_an_account_is_asked_to_log_in(site: Site) -> None:
    for path in ("/upload/", "/mine/"):
        assert site.visitor().get(path).url.path == "/accounts/login/"


def test_the_filled_site_has_no_broken_link(site: Site) -> None:
    for _ in range(2):  # a second time adds nothing
        done = manage(site.var, "demo_content")
        assert done.returncode == 0, done.stderr
    visitor = site.visitor()
    answers = crawl(visitor)
    broken = {path: answer.status_code for path, answer in answers.items() if answer.is_error}
    assert not broken
    for title in ("Northern Light", "Last Tram Home", "Ringed World"):
        assert answers["/"].text.count(f">{title}</a>") == 1
    login = {"username": "demo", "password": "watch-it-happen"}
    mine = submit(visitor, "/accounts/login/", login)
    assert mine.url.path == "/mine/" and "rough cut" in mine.text
    assert not [answer for answer in crawl(visitor, "/mine/").values() if answer.is_error]


def test_demo_content_is_not_put_on_a_real_site_by_mistake(tmp_path: Path) -> None:
    manage(tmp_path, "migrate", "-v", "0")
    done = manage(tmp_path, "demo_content", DJANGO_DEBUG="0")
    assert done.returncode != 0 and "DEBUG is off" in done.stderr


def test_the_migrations_are_those_of_the_models(tmp_path: Path) -> None:
    done = manage(tmp_path, "makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert manage(tmp_path, "check").returncode == 0
