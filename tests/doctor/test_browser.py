"""`--browser`: two real visitors in a headless Chromium."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from p2pcdn.doctor import Report, Status
from p2pcdn.doctor.browser import check_browser
from p2pcdn.doctor.chromium import BrowserError, find_chromium
from tests.browser.driver import BrowserMissing
from tests.browser.fixtures import missing
from tests.servers.proxy import Proxy
from tests.servers.python import Gunicorn

pytestmark = [pytest.mark.browser, pytest.mark.server]

Run = Callable[[Callable[[], Any]], Any]


@pytest.fixture(autouse=True)
def chromium() -> None:
    try:
        find_chromium()
    except BrowserError as error:
        missing(BrowserMissing(str(error)))


def through_a_browser(url: str) -> Report:
    report = Report(url)
    check_browser(report, url, wait_s=40, chromium=None)
    return report


def test_the_second_visitor_is_seen_to_be_fed_by_the_first(run: Run) -> None:
    server = run(lambda: Gunicorn("tests.sites.flask_app:wrapped()", workers=2))
    report = through_a_browser(server.url + "/watch/long")
    assert "browser-shared" in {finding.code for finding in report.findings}, report.as_text()
    assert report.exit_code == 0


def test_a_loader_that_never_runs_is_reported_with_what_the_browser_says(run: Run) -> None:
    server = run(lambda: Gunicorn("tests.sites.flask_app:wrapped()", workers=1))
    proxy = run(lambda: Proxy(server.url))
    proxy.change("loader.js", lambda body: b"this is no script of ours")
    (finding,) = through_a_browser(proxy.url + "/watch/one").findings
    assert (finding.code, finding.status) == ("browser-loader", Status.PROBLEM)
    assert "SyntaxError" in finding.text


def test_a_page_that_opted_out_is_told_so_in_words(run: Run) -> None:
    server = run(lambda: Gunicorn("tests.sites.flask_app:wrapped()", workers=1))
    proxy = run(lambda: Proxy(server.url))
    proxy.change("/watch/one", lambda body: body.replace(b"<html ", b'<html data-p2p="off" '))
    (finding,) = through_a_browser(proxy.url + "/watch/one").findings
    assert finding.code == "browser-direct" and "page-off" in finding.text
    assert "Take the attribute away" in finding.remedy
