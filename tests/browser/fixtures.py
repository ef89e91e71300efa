"""Pytest fixtures around the browsers: `browsers` (session) and `visit` (one test's visitors)."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.driver import BrowserError, BrowserMissing, Browsers, Visitor

ARTIFACTS = Path(__file__).parent / "artifacts"
_REPORTS = pytest.StashKey[dict[str, pytest.TestReport]]()


def slow(*values: object) -> Any:
    """A case of a parametrized test for the long matrix alone (`make test-slow`)."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    report = yield
    item.stash.setdefault(_REPORTS, {})[report.when] = report
    return report


def failed(request: pytest.FixtureRequest) -> bool:
    """Whether the test's body failed (to be asked while its fixtures are torn down)."""
    reports = request.node.stash.get(_REPORTS, {})
    return "call" in reports and reports["call"].failed


def artifacts(request: pytest.FixtureRequest) -> Path:
    """The folder for what a failed test leaves behind to be looked at."""
    return ARTIFACTS / re.sub(r"[^A-Za-z0-9_.-]+", "-", request.node.name)[:120]


def missing(error: BrowserMissing) -> None:
    """Skip where a part is not installed; on a build machine that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(error))
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def browsers() -> Iterator[Browsers]:
    """The browsers, each started when first asked for."""
    running = Browsers()
    yield running
    running.close()


@pytest.fixture
def visit(browsers: Browsers, request: pytest.FixtureRequest) -> Iterator[Callable[..., Visitor]]:
    """`visit(kind, **options)` makes a visitor who leaves when the test ends.

    A failed test leaves each visitor's picture, console and page in `artifacts/`.
    """
    made: list[Visitor] = []
    shutil.rmtree(artifacts(request), ignore_errors=True)

    def visit(kind: str = "chromium", **options: Any) -> Visitor:
        try:
            visitor = browsers.visitor(kind, **options)
        except BrowserMissing as error:
            missing(error)
            raise
        made.append(visitor)
        return visitor

    yield visit
    if failed(request):
        for number, visitor in enumerate(made):
            _leave_behind(visitor, artifacts(request), number)
    for visitor in made:
        visitor.close()


def _leave_behind(visitor: Visitor, folder: Path, number: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{number}-{visitor.kind}"
    notes = [("error", n) for n in visitor.errors]
    notes += [("failed request", n) for n in visitor.failed]
    notes += [("console", n) for n in visitor.console]
    lines = [f"{kind}: {note.text} ({note.url})" for kind, note in notes]
    stem.with_suffix(".log").write_text("\n".join(lines), encoding="utf-8")
    if visitor.gone:
        return
    try:
        visitor.screenshot(stem.with_suffix(".png"))
        stem.with_suffix(".html").write_text(visitor.html(), encoding="utf-8")
    except BrowserError as error:
        stem.with_suffix(".log").write_text("\n".join([*lines, str(error)]), encoding="utf-8")
