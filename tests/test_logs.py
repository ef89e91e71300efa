"""What is logged can be read by people and told apart by programs."""

from __future__ import annotations

import ast
import json
import logging
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pcdn.config import Config
from p2pcdn.stats import Recorder
from tests.docs.pages import blocks

ROOT = Path(__file__).parents[1]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def calls() -> Iterator[tuple[Path, ast.Call]]:
    for file in sorted((ROOT / "p2pcdn").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            function = getattr(node, "func", None)
            if isinstance(function, ast.Attribute) and isinstance(node, ast.Call):
                named = isinstance(function.value, ast.Name) and function.value.id == "log"
                if named and function.attr in LEVELS:
                    yield file, node


def test_every_event_has_a_fixed_sentence_so_that_programs_can_group_by_it() -> None:
    found = list(calls())
    assert len(found) > 40
    for file, call in found:
        sentence = call.args[0]
        where = f"{file.relative_to(ROOT)}:{call.lineno}"
        assert isinstance(sentence, ast.Constant) and isinstance(sentence.value, str), where


def test_every_logger_is_listed_in_the_documentation() -> None:
    used = set()
    for file in (ROOT / "p2pcdn").rglob("*.py"):
        used |= set(re.findall(r'getLogger\("(p2pcdn[.\w]*)"\)', file.read_text("utf-8")))
    page = (ROOT / "docs/deployment.md").read_text("utf-8")
    table = page[page.index("## Logs") :]
    assert used and {name for name in used if f"`{name}`" not in table} == set()


def test_the_documented_formatter_makes_json_of_a_real_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = (block for block in blocks("python") if block.title == "logs.py")
    (tmp_path / "logs.py").write_text(block.text)
    logger = logging.getLogger("p2pcdn")
    before = list(logger.handlers)
    try:
        runpy.run_path(str(tmp_path / "logs.py"))
        (tmp_path / "stats-1.sqlite3").write_bytes(b"no database" * 1000)
        recorder = Recorder(Config(), folder=tmp_path, flush_every_s=3600)
        recorder.origin("/a.mp4", sent=1, whole=True, aborted=False, status=200)
        recorder.close()
    finally:
        logger.handlers[:] = before
    (event,) = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert event["logger"] == "p2pcdn.sqlite" and event["level"] == "WARNING"
    assert event["event"] == "%s is corrupt (%s): moved to %s and made anew"
    assert str(tmp_path / "stats-1.sqlite3") in event["values"]
    assert "made anew" in event["text"]
