"""The dashboard: what is served, and what an owner sees in a real browser."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pcdn.config import Config
from p2pcdn.stats import Recorder
from p2pcdn.web.dashboard import page
from tests.browser.driver import Visitor
from tests.stats.day import Clock, play
from tests.web.stats_site import serve

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
READY = """document.querySelector("#traffic svg")
    && document.querySelectorAll("#contents tbody tr").length"""


def test_the_page_asks_nothing_of_anybody_else() -> None:
    html, policy = page()
    outside = html.replace("http://www.w3.org/2000/svg", "")
    assert "//" not in "".join(
        line.split("// ")[0].replace("https://example", "") for line in outside.splitlines()
        if "src=" in line or "href=" in line or "import" in line or "url(" in line
    )  # fmt: skip
    assert "default-src 'none'" in policy and "unsafe" not in policy


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two busy hours of a site, up to now."""
    folder = tmp_path_factory.mktemp("day")
    clock = Clock(time.time() - 7200)
    recorder = Recorder(Config(), folder=folder, clock=clock, flush_every_s=3600)
    play(recorder, clock, until=clock.now + 7200, peak=3, from_hour=12)
    recorder.close()
    return folder


@pytest.fixture
def site(day: Path) -> Iterator[tuple[str, Recorder]]:
    with serve(day, stats_token="owner") as (port, recorder):
        yield f"http://127.0.0.1:{port}/p2pcdn/dashboard", recorder


Visit = Callable[..., Visitor]


def text(visitor: Visitor, selector: str) -> str:
    found: Any = visitor.eval(f"document.querySelector({selector!r}).innerText")
    return str(found)


def complaints(visitor: Visitor) -> list[str]:
    return [n.text for n in [*visitor.errors, *visitor.console] if "autocomplete" not in n.text
            and "username fields" not in n.text]  # fmt: skip


@pytest.mark.parametrize("kind", ["chromium", "firefox"])
def test_an_owner_sees_what_was_saved(visit: Visit, site: tuple[str, Recorder], kind: str) -> None:
    url, recorder = site
    visitor = visit(kind)
    visitor.goto(f"{url}?token=owner")
    visitor.wait_for(READY)
    totals = recorder.summary(time.time() - 86400).totals
    assert totals.offload is not None and totals.offload > 0.3
    assert f"{totals.offload * 100:.1f} %" in text(visitor, ".tile.first")
    assert text(visitor, "#saved") == f"${totals.saved(0.08):,.2f}"
    assert f"{totals.views:,} views" in text(visitor, "#tiles")
    # As many dots and lines as there are viewers and links, and no address of anybody.
    live = recorder.live()
    assert f"{live['viewers']} watching, {len(live['links'])} link" in text(visitor, "#swarm-hint")
    assert visitor.eval(
        """(() => {
          const canvas = document.querySelector("#swarm");
          const { width, height } = canvas;
          const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
          return pixels.some((value) => value > 0);
        })()"""
    )
    assert "No peer had it" in text(visitor, "#causes")
    assert "No WebRTC" in text(visitor, "#direct")
    assert "Köln" in text(visitor, "#contents")
    assert visitor.eval("document.querySelectorAll('#traffic path.area').length") == 2
    assert complaints(visitor) == []


def test_the_token_leaves_the_address_bar_and_survives_a_reload(
    visit: Visit, site: tuple[str, Recorder]
) -> None:
    visitor = visit()
    visitor.goto(f"{site[0]}?token=owner")
    visitor.wait_for(READY)
    assert "owner" not in visitor.eval("location.href")
    visitor.reload()
    visitor.wait_for(READY)


def test_without_the_token_the_page_asks_for_it_and_has_no_data(
    visit: Visit, site: tuple[str, Recorder]
) -> None:
    visitor = visit()
    visitor.goto(site[0])
    visitor.wait_for("!document.querySelector('#ask').hidden")
    assert "Köln" not in visitor.html()
    fill = "(value) => { document.querySelector('#ask-token').value = value }"
    visitor.eval(fill, "wrong")
    visitor.click("#ask button")
    visitor.wait_for("document.querySelector('#ask-why').innerText.includes('wrong')")
    visitor.eval(fill, "owner")
    visitor.click("#ask button")
    visitor.wait_for(READY)


def test_it_goes_on_by_itself_and_says_when_the_site_does_not_answer(
    visit: Visit, site: tuple[str, Recorder]
) -> None:
    url, recorder = site
    visitor = visit()
    visitor.goto(f"{url}?token=owner")
    visitor.wait_for(READY)
    recorder.origin("/media/brand-new.mp4", sent=10**6, whole=True, aborted=False, status=200)
    visitor.wait_for("document.querySelector('#contents').innerText.includes('brand-new')")
    visitor.offline()
    visitor.wait_for("document.querySelector('#state').innerText.includes('not updated')")
    assert "brand-new" in text(visitor, "#contents")
    assert "old. The site does not answer" in text(visitor, "#trouble")
    visitor.offline(False)
    visitor.wait_for("document.querySelector('#state').innerText.startsWith('updated')")
    assert visitor.eval("document.querySelector('#trouble').hidden")


def test_a_price_of_ones_own_changes_the_savings_and_is_remembered(
    visit: Visit, site: tuple[str, Recorder]
) -> None:
    visitor = visit()
    visitor.goto(f"{site[0]}?token=owner")
    visitor.wait_for(READY)
    visitor.eval(
        """(() => {
          const input = document.querySelector("#price");
          input.focus();
          input.value = "1000";
          input.dispatchEvent(new Event("input"));
        })()"""
    )
    saved = text(visitor, "#saved")
    assert "," in saved and saved != "$0.00"
    visitor.reload()
    visitor.wait_for(READY)
    assert visitor.eval("document.querySelector('#price').value") == "1000"


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_in_light_and_dark(
    visit: Visit, site: tuple[str, Recorder], dark: bool
) -> None:
    visitor = visit()
    visitor.viewport(390, 844, dark=dark, mobile=True)
    visitor.goto(f"{site[0]}?token=owner")
    visitor.wait_for(READY)
    assert visitor.eval("document.documentElement.scrollWidth <= 390")
    light: Any = visitor.eval(
        """getComputedStyle(document.body).backgroundColor
            .match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0) / 3"""
    )
    assert (light < 60) is dark


def test_a_site_without_any_data_says_what_to_do(visit: Visit, tmp_path: Path) -> None:
    with serve(tmp_path, debug=True) as (port, _):
        visitor = visit()
        visitor.goto(f"http://127.0.0.1:{port}/p2pcdn/dashboard")
        visitor.wait_for("!document.querySelector('#main').hidden")
        assert "p2pcdn doctor" in text(visitor, "#empty")
        assert complaints(visitor) == []


def test_numbers_that_cannot_be_had_are_said_in_a_sentence_not_in_a_blank_page(
    visit: Visit, tmp_path: Path
) -> None:
    with serve(tmp_path, debug=True, redis_url="redis://127.0.0.1:1/0", secret="x") as (port, _):
        visitor = visit()
        visitor.goto(f"http://127.0.0.1:{port}/p2pcdn/dashboard")
        visitor.wait_for("!document.querySelector('#trouble').hidden")
        said = text(visitor, "#trouble")
        assert "cannot be read" in said and "serves on" in said


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_text_can_be_read_by_weak_eyes(theme: int) -> None:
    # WCAG 2.2, 1.4.3: 4.5 to 1.
    css = (ROOT / "p2pcdn/web/dashboard_page/style.css").read_text("utf-8")
    found = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[theme]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6});", found))

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    for ink in ("text", "soft", "faint"):
        for paper in ("card", "bg"):
            light, dark = sorted((luminance(colours[ink]), luminance(colours[paper])))[::-1]
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)


def test_a_path_that_is_html_is_shown_as_text(visit: Visit, tmp_path: Path) -> None:
    with serve(tmp_path, debug=True) as (port, recorder):
        evil = "/media/<img src=x onerror=alert(1)>.mp4"
        recorder.origin(evil, sent=1000, whole=True, aborted=False, status=200)
        visitor = visit()
        visitor.goto(f"http://127.0.0.1:{port}/p2pcdn/dashboard")
        visitor.wait_for(READY)
        assert evil in text(visitor, "#contents")
        assert visitor.eval("document.querySelectorAll('#contents img').length") == 0


def test_the_address_with_the_token_is_not_told_to_anyone(site: tuple[str, Recorder]) -> None:
    import httpx

    answer = httpx.get(f"{site[0]}?token=owner")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "no-store" in answer.headers["Cache-Control"]
    assert "sha256-" in answer.headers["Content-Security-Policy"]
    assert httpx.get(site[0]).status_code == 401
