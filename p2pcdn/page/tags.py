"""A tag that arrives in pieces: scanned once, resumed where the last piece ended."""

from __future__ import annotations

import re

__all__ = ["OpenTag", "is_self_closing"]


# The tokenizer's states within a tag (HTML Living Standard, 13.2.5.32 to 13.2.5.40). Plain
# integers: an enum's hash costs more than the rest of a step.
(
    _TAG_NAME,
    _BEFORE_NAME,
    _NAME,
    _AFTER_NAME,
    _BEFORE_VALUE,
    _DOUBLE_QUOTED,
    _SINGLE_QUOTED,
    _UNQUOTED,
) = range(8)

_RUN = tuple(
    re.compile(pattern).match
    for pattern in (
        rb"[^ \t\n\f\r/>]*+",
        rb"[ \t\n\f\r/]*+",
        rb"[^ \t\n\f\r/>=]*+",
        rb"[ \t\n\f\r]*+",
        rb"[ \t\n\f\r]*+",
        rb'[^"]*+',
        rb"[^']*+",
        rb"[^ \t\n\f\r>]*+",
    )
)

# Whole attributes at once. Each must be followed by something that proves its end.
_WHOLE = re.compile(
    rb"(?:[ \t\n\f\r/]*+[^ \t\n\f\r/>][^ \t\n\f\r/>=]*+"
    rb"(?:[ \t\n\f\r]*+=[ \t\n\f\r]*+"
    rb"(?:\"[^\"]*+\"|'[^']*+'|[^ \t\n\f\r>\"'][^ \t\n\f\r>]*+(?=[ \t\n\f\r>]))"
    rb"|[ \t\n\f\r]*+(?=[^ \t\n\f\r=])))*+"
).match
_GREATER, _SLASH, _EQUALS, _DOUBLE, _SINGLE = b">/=\"'"


class OpenTag:
    """A tag whose end has not been seen.

    Attributes:
        start: Where it begins in the buffer, or -1 where nobody needs its bytes.
        complete: The `>` has been found.
        self_closing: It ended in `/>`.
    """

    __slots__ = ("_slash", "_state", "closing", "complete", "name", "self_closing", "start")

    def __init__(self, name: bytes, *, closing: bool, start: int) -> None:
        self.name = name
        self.closing = closing
        self.start = start
        self.complete = False
        self.self_closing = False
        self._state = _TAG_NAME
        self._slash = False

    def scan(self, buffer: bytes | bytearray, at: int) -> int:
        """Go on at `at`; returns the position after the `>`, or the buffer's end."""
        size = len(buffer)
        while True:
            state = self._state
            if state == _BEFORE_NAME:
                whole = _WHOLE(buffer, at)
                assert whole is not None
                if whole.end() > at:
                    self._slash = False
                    at = whole.end()
            run = _RUN[state](buffer, at)
            assert run is not None
            if run.end() > at:
                self._slash = state == _BEFORE_NAME and buffer[run.end() - 1] == _SLASH
            at = run.end()
            if at == size:
                return at
            byte = buffer[at]
            if state in (_DOUBLE_QUOTED, _SINGLE_QUOTED):
                self._state = _BEFORE_NAME
                at += 1
            elif byte == _GREATER:
                self.complete = True
                self.self_closing = self._slash
                return at + 1
            elif state == _BEFORE_NAME:
                self._state = _NAME
                at += 1  # even `=`, which would end any other part of a name
                self._slash = False
            elif state == _NAME:
                self._state = _AFTER_NAME
            elif state == _AFTER_NAME:
                if byte == _EQUALS:
                    self._state = _BEFORE_VALUE
                    at += 1
                else:
                    self._state = _BEFORE_NAME
            elif state == _BEFORE_VALUE:
                if byte == _DOUBLE:
                    self._state = _DOUBLE_QUOTED
                    at += 1
                elif byte == _SINGLE:
                    self._state = _SINGLE_QUOTED
                    at += 1
                else:
                    self._state = _UNQUOTED
            else:  # a tag's name or an unquoted value ended
                self._state = _BEFORE_NAME


def is_self_closing(buffer: bytes | bytearray, name_end: int, end: int) -> bool:
    """Whether the complete tag that ends at `end` has a `/>` that is no value's last byte."""
    if buffer[end - 2] != _SLASH:
        return False
    tag = OpenTag(b"", closing=False, start=-1)
    tag.scan(buffer, name_end)
    return tag.self_closing
