"""Which URLs may be shared: the `include` and `exclude` settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import unquote

from p2pcdn.page.urls import normal_path

__all__ = ["compile_patterns"]

_Match = Callable[[str], bool]


def compile_patterns(include: Iterable[str] = (), exclude: Iterable[str] = ()) -> _Match:
    """A function that tells whether an absolute path (with or without its query) may be shared.

    In a pattern `*` stands for any text, `/` included; everything else for itself. `/media/*`
    is all below `/media/`, `*.mp4` every such file, `/media` that one path. A pattern with a
    `?` in it is compared with path and query, any other with the path alone.

    Paths are compared as the site will read them, percent-decoded and without `.` and `..`, so
    that `/%70rivate/a.mp4` does not get around an exclude of `/private/*`. An empty `include`
    includes everything; `exclude` wins. Time is linear in the path for each `*`.
    """
    included = [_pattern(pattern) for pattern in include]
    excluded = [_pattern(pattern) for pattern in exclude]

    def shareable(url: str) -> bool:
        raw, mark, query = url.partition("?")
        path = normal_path(unquote(raw).replace("\\", "/"))
        full = f"{path}{mark}{query}"
        if any(match(full if whole else path) for whole, match in excluded) or any(
            match(url if whole else raw) for whole, match in excluded
        ):
            return False
        return not included or any(match(full if whole else path) for whole, match in included)

    return shareable


def _pattern(pattern: str) -> tuple[bool, _Match]:
    if not pattern.startswith(("/", "*")):
        pattern = "/" + pattern
    first, *middle = pattern.split("*")
    if not middle:
        return "?" in pattern, lambda text: text == pattern
    last = middle.pop()
    middle = [part for part in middle if part]

    def match(text: str) -> bool:
        end = len(text) - len(last)
        if end < len(first) or not text.startswith(first) or not text.endswith(last):
            return False
        at = len(first)
        for part in middle:  # the leftmost place is as good as any
            at = text.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True

    return "?" in pattern, match
