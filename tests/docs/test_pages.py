"""What the documentation says can be followed: links lead on, samples run, commands exist."""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest

from p2pcdn import Config, cli
from p2pcdn.config import options
from tests.docs.pages import DOCS, ROOT, Block, anchors, blocks, links, pages

pytestmark = pytest.mark.lengthy

FILM = ROOT / "p2pcdn" / "demo" / "media" / "northern-light.mp4"


def name(value: object) -> str:
    if isinstance(value, Path):
        return value.name
    return f"{value.page}-{value.title}" if isinstance(value, Block) else str(value)


# --- links -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_link_leads_to_a_page_and_a_heading_that_exist(page: Path) -> None:
    broken = []
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https", link
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        inside = target.is_file() and target.is_relative_to(DOCS)
        if not inside or (parts.fragment and parts.fragment not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_can_be_reached_from_the_menu() -> None:
    menu = set(re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert menu == {page.name for page in pages()}


def test_the_pictures_ask_nobody_else_for_anything() -> None:
    for picture in (DOCS / "images").glob("*.svg"):
        tree = ElementTree.parse(picture)
        for element in tree.iter():
            for key, value in element.attrib.items():
                assert not key.endswith("href") and "url(http" not in value, picture


def test_the_site_is_built_without_a_warning_and_without_requests_to_others(
    tmp_path: Path,
) -> None:
    if importlib.util.find_spec("material") is None:
        pytest.skip('the extra `docs` is not installed: pip install -e ".[docs]"')
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr
    for page in pages():
        built = (tmp_path / page.with_suffix(".html").name).read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]* src="([^"]+)"', built)
        loaded += re.findall(r'<link rel="(?:stylesheet|preconnect|icon)" href="([^"]+)"', built)
        assert loaded
        assert not [url for url in loaded if "//" in url], page


# --- samples ---------------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks("python"), ids=name)
def test_python_samples_are_python(block: Block) -> None:
    ast.parse(block.text)


# A project as `asgi.py` finds it.
_DJANGO = """
from django.http import HttpResponse
from django.urls import path
from tests.docs.ask import PAGE

SECRET_KEY, ALLOWED_HOSTS, ROOT_URLCONF = "x", ["*"], __name__
urlpatterns = [path("", lambda request: HttpResponse(PAGE))]
"""

_QUICK_STARTS = {
    "flask_app.py": "wsgi",
    "flask_extension.py": "wsgi",
    "settings.py": "django",
    "asgi.py": "asgi",
    "fastapi_app.py": "asgi",
    "bottle_app.py": "wsgi",
    "whitenoise_app.py": "wsgi",
    "wsgi_app.py": "wsgi",
    "asgi_app.py": "asgi",
}


@pytest.mark.parametrize("title", _QUICK_STARTS)
def test_a_quick_start_runs_as_it_stands_there_and_hands_its_video_over(
    title: str, tmp_path: Path
) -> None:
    (block,) = (block for block in blocks("python") if block.title == title)
    for folder in ("media", "static"):
        (tmp_path / folder).mkdir()
        shutil.copy(FILM, tmp_path / folder / "film.mp4")
    (tmp_path / title).write_text(block.text)
    if title == "asgi.py":
        (tmp_path / "mysite").mkdir()
        (tmp_path / "mysite" / "settings.py").write_text(_DJANGO)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("P2PCDN_")}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("ask.py")), _QUICK_STARTS[title], title],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={
            **clean,
            "PYTHONPATH": f"{ROOT}:{tmp_path}",
            "P2PCDN_DATA_DIR": str(tmp_path / "data"),
        },
    )
    assert done.returncode == 0, done.stderr
    assert "/p2pcdn/loader.js?v=" in done.stdout, done.stdout
    assert re.search(r'<video data-src="/(media|static)/film.mp4" controls>', done.stdout)


@pytest.mark.parametrize("block", blocks("toml"), ids=name)
def test_toml_samples_are_settings_that_are_accepted(block: Block) -> None:
    Config.load(tomllib.loads(block.text), environ={}, folder=Path("/"))


def test_settings_that_are_named_exist() -> None:
    said = set()
    for page in pages():
        said |= set(re.findall(r"settings\.md#(\w+)", page.read_text(encoding="utf-8")))
        said |= {n.lower() for n in re.findall(r"P2PCDN_([A-Z_]+)\b", page.read_text("utf-8"))}
    assert said and said <= set(options()), said - set(options())


def test_the_settings_page_is_made_from_the_settings() -> None:
    made = subprocess.run(
        [sys.executable, "tools/settings_page.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert made.stdout == (DOCS / "settings.md").read_text(encoding="utf-8"), "run `make docs`"


# --- commands --------------------------------------------------------------------------------


def _commands() -> list[list[str]]:
    found = []
    for block in blocks("console"):
        for line in block.text.splitlines():
            if line.startswith("$ "):
                command = re.split(r" (?:\|\||&&|[|>]) ", line[2:])[0]
                found.append(shlex.split(command, comments=True))
    assert found
    return found


@pytest.mark.parametrize("command", _commands(), ids=" ".join)
def test_commands_exist_with_the_options_that_are_shown(command: list[str]) -> None:
    program, *words = command
    if program == "p2pcdn":
        (entry,) = (entry for entry in cli._COMMANDS if entry.name == words[0])
        parser = argparse.ArgumentParser()
        importlib.import_module(entry.module).add_arguments(parser)
        parser.parse_args(words[1:])
    elif program in ("gunicorn", "uvicorn"):
        shown = subprocess.run(
            [sys.executable, "-m", program, "--help"], capture_output=True, text=True, check=True
        ).stdout
        assert not [w for w in words if w.startswith("--") and w not in shown]
    elif program == "flask":
        assert re.fullmatch(r"\w+", words[words.index("--app") + 1])
        shown = subprocess.run(
            [sys.executable, "-m", "flask", "run", "--help"], capture_output=True, text=True
        ).stdout
        after = words[words.index("run") + 1 :]
        assert not [w for w in after if w.startswith("--") and w not in shown]
    elif program == "make":
        assert f"\n{words[0]}:" in (ROOT / "Makefile").read_text()
    else:
        assert command[:2] == ["pip", "install"], command
        extras = re.search(r"\[(.+)\]", " ".join(words))
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for extra in extras[1].split(",") if extras else ():
            assert extra in known["optional-dependencies"]


def test_every_command_has_its_section() -> None:
    there = {entry.name for entry in cli._COMMANDS if cli._exists(entry)}
    assert {f"p2pcdn-{name}" for name in there} <= anchors(DOCS / "command-line.md")


# --- the doctor ------------------------------------------------------------------------------


def _codes() -> set[str]:
    """Every name that a finding with a remedy can have, read from the doctor's source."""
    found: set[str] = set()
    for file in (ROOT / "p2pcdn" / "doctor").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                function = node.func
                called = getattr(function, "attr", getattr(function, "id", ""))
                if called in ("warning", "problem", "tell"):
                    parts = ast.walk(node.args[0])
                    found |= {p.value for p in parts if isinstance(p, ast.Constant)}
    from p2pcdn.doctor.media import _REMEDIES

    obstacles = (ROOT / "p2pcdn/doctor/obstacles.py").read_text(encoding="utf-8")
    found |= set(re.findall(r'^ +"(page-[\w-]+)",$', obstacles, re.MULTILINE))
    return found - {"manifest-"} | {f"manifest-{code}" for code in _REMEDIES}


def test_every_finding_of_the_doctor_is_explained_and_none_that_is_not_there() -> None:
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^### `([\w-]+)`$", page, re.MULTILINE))
    assert len(_codes()) > 50
    assert explained == _codes()
