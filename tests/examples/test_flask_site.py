"""The Flask example: what a visitor of Halflight would miss if it broke."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import webtest

from tests.examples.crawl import crawl
from tests.servers.python import Gunicorn, Werkzeug

ROOT = Path(__file__).parents[2]
SITE = ROOT / "examples" / "flask_site"
FILM = ROOT / "p2pcdn" / "demo" / "media" / "northern-light.mp4"


@pytest.fixture(scope="module", params=["with p2pcdn", "without"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The site as a test client; webtest also checks that it keeps to PEP 3333."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SITE))
        patch.setenv("P2PCDN_ENABLED", str(int(request.param == "with p2pcdn")))
        patch.setenv("P2PCDN_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        app = importlib.import_module("app").app
        yield webtest.TestApp(app)
    for name in ("app", "films"):
        sys.modules.pop(name, None)


def test_the_index_leads_to_every_film(site: Any) -> None:
    page = site.get("/")
    for slug in ("northern-light", "last-tram-home", "ringed-world"):
        assert f'href="/watch/{slug}"' in page
    assert page.click("Watch, 0:40").status_int == 200


@pytest.mark.parametrize("slug", ["northern-light", "last-tram-home", "ringed-world"])
def test_a_watch_page_has_its_video_and_its_poster(site: Any, slug: str) -> None:
    page = site.get(f"/watch/{slug}")
    assert f"/media/{slug}.mp4" in page
    assert f'poster="/media/{slug}.jpg"' in page


def test_a_film_arrives_whole(site: Any) -> None:
    answer = site.get("/media/northern-light.mp4")
    assert answer.content_type == "video/mp4"
    assert answer.body == FILM.read_bytes()


def test_a_seek_gets_its_bytes(site: Any) -> None:
    answer = site.get("/media/northern-light.mp4", headers={"Range": "bytes=1000-1999"})
    assert answer.status_int == 206
    assert answer.body == FILM.read_bytes()[1000:2000]


@pytest.mark.parametrize(
    "path",
    ["/media/app.py", "/media/../app.py", "/media/..%2fapp.py", "/media/", "/watch/nothing", "/x"],
)
def test_what_is_not_part_of_the_library_is_not_there(site: Any, path: str) -> None:
    assert "Nothing on this reel" in site.get(path, status=404)


@pytest.mark.server
@pytest.mark.parametrize("server", ["gunicorn", "werkzeug"])
def test_every_link_of_the_site_leads_somewhere(
    run: Callable[[Callable[[], Any]], Any], server: str
) -> None:
    env = {"PYTHONPATH": f"{ROOT}:{SITE}"}
    make = {
        "gunicorn": lambda: Gunicorn("app:app", workers=2, env=env),
        "werkzeug": lambda: Werkzeug(str(SITE / "app"), env=env),
    }[server]
    with httpx.Client(base_url=run(make).url, timeout=30) as visitor:
        answers = crawl(visitor)
    broken = {path: answer.status_code for path, answer in answers.items() if answer.is_error}
    assert not broken
    films = [path for path in answers if path.endswith((".mp4", ".webm"))]
    assert len(films) == 4
