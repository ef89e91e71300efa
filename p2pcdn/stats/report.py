"""One loader's report: read and bounded, before anything of it is believed. Pure."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import xxhash

from p2pcdn.stats.causes import CAUSES, DIRECT, known_transport

__all__ = ["MAX_BODY_BYTES", "MAX_CONTENTS", "NO_KEY", "Malformed", "Part", "display_path", "parse"]

MAX_BODY_BYTES = 16 * 1024
MAX_CONTENTS = 32
NO_KEY = ""
"""The key of a part that is about no content: videos that played direct, as `causes`."""
_MAX_NAMES = 24
_MAX_NUMBER = 2**50  # a pebibyte; also keeps every sum far below SQLite's 2**63
_MAX_PATH = 300
_MAX_LINKS = 1000
_MAX_TAGS = 64
_TAG = re.compile(r"[0-9a-f]{1,8}")
_Tags = tuple[tuple[str, int], ...]

_VIEW = re.compile(r"[A-Za-z0-9_-]{8,64}")
_KEY = re.compile(r"[0-9a-f]{32}")

_NUMBERS = (
    "from_peers",
    "from_origin",
    "from_cache",
    "uploaded",
    "rejected",
    "stalls",
    "stall_ms",
    "watched_s",
)


class Malformed(ValueError):
    """The report is not of the documented shape; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one page view says about one content, cumulative since the view began."""

    view: bytes
    key: str
    path: str
    seq: int
    final: bool
    transport: str
    idle_s: int
    """Time since this view's report before, as the page says."""
    links: int
    held: float
    tags: tuple[tuple[str, int], ...]
    """Open links of the page: a name that both ends give it, and bytes it carried."""
    numbers: Mapping[str, int]
    startup_ms: float | None
    causes: Mapping[str, int]

    def at(self, path: str) -> Part:
        """The same for a content whose path the server knows better than the client."""
        return self if path == self.path else dataclasses.replace(self, path=path)


def parse(report: object) -> Iterator[Part | Malformed]:
    """The parts of a report, in its order; a part that is wrong comes as `Malformed`.

    Raises:
        Malformed: The report as a whole is of no use.
    """
    if not isinstance(report, Mapping):
        raise Malformed("a report is a JSON object")
    view = report.get("view")
    if not isinstance(view, str) or not _VIEW.fullmatch(view):
        raise Malformed("`view` must be 8 to 64 letters, digits, - or _")
    seq = _number(report.get("seq", 0))
    contents = report.get("contents")
    if seq is None or not isinstance(contents, list):
        raise Malformed("`seq` must be a number and `contents` a list")
    if len(contents) > MAX_CONTENTS:
        raise Malformed(f"at most {MAX_CONTENTS} contents in one report")
    # A digest has a fixed length and cannot be traced to what the page sent.
    digest = xxhash.xxh3_128_digest(view.encode())
    final = report.get("final") is True
    transport = known_transport(report.get("transport"))
    tags = _tags(report.get("links", []))
    if tags is None:
        raise Malformed("`links` must be a list of [8 hex digits, bytes]")
    idle_s = _number(report.get("idle_s", 0))
    if idle_s is None:
        raise Malformed("`idle_s` must be a number")
    head = _Head(digest, seq, final, transport, idle_s, tags)
    for entry in contents:
        yield _part(entry, head)
    if report.get("direct"):
        direct = _named(report["direct"], DIRECT)
        if direct is None:
            yield Malformed(f"`direct` must be an object of at most {_MAX_NAMES} numbers")
        else:
            yield head.part(
                NO_KEY, "", links=0, held=0.0, numbers={}, startup_ms=None, causes=direct
            )


@dataclass(frozen=True, slots=True)
class _Head:
    """What a report says once for all its contents."""

    view: bytes
    seq: int
    final: bool
    transport: str
    idle_s: int
    tags: _Tags

    def part(self, key: str, path: str, **rest: Any) -> Part:
        return Part(
            view=self.view,
            key=key,
            path=path,
            seq=self.seq,
            final=self.final,
            transport=self.transport,
            idle_s=self.idle_s,
            tags=self.tags,
            **rest,
        )


def _part(entry: object, head: _Head) -> Part | Malformed:
    if not isinstance(entry, Mapping):
        return Malformed("a content is a JSON object")
    key, url = entry.get("key"), entry.get("url", "")
    if not isinstance(key, str) or not _KEY.fullmatch(key) or not isinstance(url, str):
        return Malformed("`key` must be 32 hex digits and `url` a text")
    numbers = {}
    for name in _NUMBERS:
        number = _number(entry.get(name, 0))
        if number is None:
            return Malformed(f"`{name}` must be a number from 0 to 2**50")
        numbers[name] = number
    links, held = _number(entry.get("peers", 0)), entry.get("held", 0)
    if links is None or isinstance(held, bool) or not isinstance(held, (int, float)):
        return Malformed("`peers` and `held` must be numbers")
    segments = _number(entry.get("segments", 1))
    held = min(max(held / segments, 0.0), 1.0) if segments and math.isfinite(held) else 0.0
    startup = entry.get("startup_ms")
    if startup is not None and (startup := _number(startup)) is None:
        return Malformed("`startup_ms` must be a number or null")
    causes = _named(entry.get("causes", {}), CAUSES)
    if causes is None:
        return Malformed(f"`causes` must be an object of at most {_MAX_NAMES} numbers")
    return head.part(
        key,
        display_path(url),
        links=min(links, _MAX_LINKS),
        held=held,
        numbers=numbers,
        startup_ms=startup,
        causes=causes,
    )


def _tags(value: object) -> _Tags | None:
    if not isinstance(value, list) or len(value) > _MAX_TAGS:
        return None
    tags = []
    for entry in value:
        if not isinstance(entry, list) or len(entry) != 2:
            return None
        name, carried = entry[0], _number(entry[1])
        if not isinstance(name, str) or not _TAG.fullmatch(name) or carried is None:
            return None
        tags.append((name, carried))
    return tuple(tags)


def _named(value: object, names: Container[str]) -> dict[str, int] | None:
    """Numbers by name; unknown names are put together, so that none can fill the store."""
    if not isinstance(value, Mapping) or len(value) > _MAX_NAMES:
        return None
    known: dict[str, int] = {}
    for name, entry in value.items():
        number = _number(entry)
        if number is None:
            return None
        cause = name if name in names else "other"
        known[cause] = known.get(cause, 0) + number
    return known


def _number(value: object) -> int | None:
    if type(value) is int and 0 <= value <= _MAX_NUMBER:
        return value  # nearly always: a report has twenty of them
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not math.isfinite(value) or not 0 <= value <= _MAX_NUMBER:
        return None
    return int(value)


def display_path(url: str) -> str:
    """The path of a URL as a person reads it: decoded, without query, of bounded length.

    Signed query strings do not split a content, and do not end up in a statistics file.
    """
    return _display_path(url[: 8 * _MAX_PATH])


@functools.lru_cache(maxsize=1024)
def _display_path(url: str) -> str:
    try:
        path = urlsplit(url).path
    except ValueError:
        path = url.partition("?")[0]
    path = unquote(path, errors="replace")
    path = "".join(c if c.isprintable() else "�" for c in path)
    return path if len(path) <= _MAX_PATH else path[: _MAX_PATH - 1] + "…"
