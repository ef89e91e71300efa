"""Over many tags that cannot concern us at once, without reading them one by one."""

from __future__ import annotations

from p2pcdn.page.tokens import ASIDE, LOOK

__all__ = ["leap"]

_WHITE_SPACE = b" \t\n\f\r"
_NEAR = 64


def leap(buffer: bytes | bytearray, at: int) -> int:
    """A position from `at` on, as far ahead as can be told, that is between two tokens of ordinary
    content as `at` is; where nothing can be told, `at` itself.

    Up to the first match of `LOOK` there are only text and tags that change nothing, whatever
    their attributes hold, and whole icons. There, every `>` ends a tag or is text, unless it
    stands in a quoted value; and the quote that began this value would be the last of its kind
    before that `>`, with a `=` and perhaps white space before it.
    """
    while True:
        found = LOOK.search(buffer, at)
        limit = len(buffer) if found is None else found.start()
        end = buffer.rfind(b">", at, limit) + 1
        if end <= at or _may_be_quoted(buffer, at, end):
            return at
        aside = ASIDE.match(buffer, end)
        assert aside is not None
        at = aside.end()
        if at <= limit:
            return at


def _may_be_quoted(buffer: bytes | bytearray, at: int, end: int) -> bool:
    """Whether a quoted value that begins after `at` may go on at `end`."""
    for quote in (b'"', b"'"):
        last = buffer.rfind(quote, at, end)
        if last >= 0:
            before = buffer[max(at, last - _NEAR) : last].rstrip(_WHITE_SPACE)
            if not before or before.endswith(b"="):
                return True
    return False
