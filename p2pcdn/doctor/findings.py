"""What was found: findings with a status, their remedies, and how they are told."""

from __future__ import annotations

import enum
import shutil
import textwrap
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Finding", "Report", "Status"]

_WIDTH = 96


class Status(enum.Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """Videos are shared, but fewer of them, later, or for fewer visitors."""
    PROBLEM = "problem"
    """Because of this nothing is shared."""


_COLOURS = {Status.OK: "32", Status.WARNING: "33", Status.PROBLEM: "31"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        status: How bad it is.
        code: Stable name, an anchor in docs/troubleshooting.md, e.g. `page-policy`.
        text: What was found, in plain words.
        remedy: What to do about it; empty where nothing is to be done.
    """

    status: Status
    code: str
    text: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        return {
            "status": self.status.value,
            "code": self.code,
            "text": self.text,
            "remedy": self.remedy,
        }


_SHARED = ("manifest", "browser-shared")
"""Findings that say that a video is shared."""


@dataclass(slots=True)
class Report:
    """All findings about one page, in the order in which they were made."""

    url: str
    findings: list[Finding] = field(default_factory=list)

    def ok(self, code: str, text: str) -> None:
        self.findings.append(Finding(Status.OK, code, text))

    def warning(self, code: str, text: str, remedy: str) -> None:
        self.findings.append(Finding(Status.WARNING, code, text, remedy))

    def problem(self, code: str, text: str, remedy: str) -> None:
        self.findings.append(Finding(Status.PROBLEM, code, text, remedy))

    def count(self, status: Status) -> int:
        return sum(finding.status is status for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0: nothing to do; 1: warnings; 2: problems."""
        if self.count(Status.PROBLEM):
            return 2
        return 1 if self.count(Status.WARNING) else 0

    def to_json(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "exit_code": self.exit_code,
            "findings": [finding.to_json() for finding in self.findings],
        }

    def as_text(self, *, colours: bool = False, width: int | None = None) -> str:
        """The report for people: worst is said in the last line, details above it."""
        width = min(width or shutil.get_terminal_size((_WIDTH, 24)).columns, _WIDTH)
        lines = [_plain(self.url), ""]
        for finding in self.findings:
            word = f"{finding.status.value:<8}"
            if colours:
                word = f"\x1b[{_COLOURS[finding.status]}m{word}\x1b[0m"
            told = _wrapped(finding.text, width)
            lines.append(f"{word} {told[0]}")
            lines += [f"{'':<8} {line}" for line in told[1:]]
            if finding.remedy:
                remedy = _wrapped(finding.remedy, width - 3)
                lines.append(f"{'':<8} -> {remedy[0]}")
                lines += [f"{'':<8}    {line}" for line in remedy[1:]]
                lines.append(f"{'':<8}    [{finding.code}]")
        return "\n".join([*lines, "", self._summary()])

    def _summary(self) -> str:
        problems, warnings, fine = map(self.count, (Status.PROBLEM, Status.WARNING, Status.OK))
        if problems:
            verdict = "Nothing, or not everything, is shared on this page"
        elif not any(finding.code in _SHARED for finding in self.findings):
            verdict = "No video of this page is shared"
        elif warnings:
            verdict = "This page shares its videos, but could do better"
        else:
            verdict = "This page shares its videos"
        counts = f"{_number(problems, 'problem')}, {_number(warnings, 'warning')}, {fine} fine"
        return f"{verdict}: {counts}."


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _plain(text: str) -> str:
    """What a site says must not drive the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        _plain(text), max(width - 9, 30), break_long_words=False, break_on_hyphens=False
    ) or [""]
