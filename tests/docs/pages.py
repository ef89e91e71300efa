"""The documentation as its readers take it: pages, headings, links and code blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCS", "ROOT", "Block", "anchors", "blocks", "links", "pages"]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^( *)```(\w*)([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\\)!?\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block."""

    page: str
    language: str
    title: str
    text: str


def pages() -> list[Path]:
    """Every page of the site."""
    return sorted(DOCS.glob("*.md"))


def blocks(language: str) -> list[Block]:
    """All code blocks of one language."""
    found = []
    for page in pages():
        for match in _FENCE.finditer(page.read_text(encoding="utf-8")):
            if match[2] == language:
                title = _TITLE.search(match[3])
                indent = match[1]
                text = "\n".join(line.removeprefix(indent) for line in match[4].split("\n"))
                found.append(Block(page.name, language, title[1] if title else "", text))
    return found


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    return _LINK.findall(_prose(page))


def anchors(page: Path) -> set[str]:
    """Of headings, as mkdocs (Python-Markdown's toc) makes them."""
    found = set()
    for title in re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE):
        text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title)
        text = re.sub(r"[^\w\s-]", "", text.encode("ascii", "ignore").decode()).strip().lower()
        found.add(re.sub(r"[-\s]+", "-", text))
    return found
