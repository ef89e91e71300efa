"""A tag that arrives in pieces: scanned once, resumed where the last piece ended."""

from __future__ import annotations

import enum
import re

__all__ = ["OpenTag", "is_self_closing"]


class _State(enum.Enum):
    """The tokenizer's states within a tag (HTML Living Standard, 13.2.5.32 to 13.2.5.40)."""

    BEFORE_NAME = enum.auto()
    NAME = enum.auto()
    AFTER_NAME = enum.auto()
    BEFORE_VALUE = enum.auto()
    DOUBLE_QUOTED = enum.auto()
    SINGLE_QUOTED = enum.auto()
    UNQUOTED = enum.auto()
    TAG_NAME = enum.auto()


_RUN = {
    _State.TAG_NAME: re.compile(rb"[^ \t\n\f\r/>]*+"),
    _State.BEFORE_NAME: re.compile(rb"[ \t\n\f\r/]*+"),
    _State.NAME: re.compile(rb"[^ \t\n\f\r/>=]*+"),
    _State.AFTER_NAME: re.compile(rb"[ \t\n\f\r]*+"),
    _State.BEFORE_VALUE: re.compile(rb"[ \t\n\f\r]*+"),
    _State.DOUBLE_QUOTED: re.compile(rb'[^"]*+'),
    _State.SINGLE_QUOTED: re.compile(rb"[^']*+"),
    _State.UNQUOTED: re.compile(rb"[^ \t\n\f\r>]*+"),
}
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
        self._state = _State.TAG_NAME
        self._slash = False

    def scan(self, buffer: bytes | bytearray, at: int) -> int:
        """Go on at `at`; returns the position after the `>`, or the buffer's end."""
        size = len(buffer)
        while True:
            state = self._state
            run = _RUN[state].match(buffer, at)
            assert run is not None
            if run.end() > at:
                self._slash = state is _State.BEFORE_NAME and buffer[run.end() - 1] == _SLASH
            at = run.end()
            if at == size:
                return at
            byte = buffer[at]
            if state is _State.DOUBLE_QUOTED or state is _State.SINGLE_QUOTED:
                self._state = _State.BEFORE_NAME
                at += 1
            elif byte == _GREATER:
                self.complete = True
                self.self_closing = self._slash
                return at + 1
            elif state is _State.BEFORE_NAME:
                self._state = _State.NAME
                at += 1  # even `=`, which would end any other part of a name
                self._slash = False
            elif state is _State.NAME:
                self._state = _State.AFTER_NAME
            elif state is _State.AFTER_NAME:
                if byte == _EQUALS:
                    self._state = _State.BEFORE_VALUE
                    at += 1
                else:
                    self._state = _State.BEFORE_NAME
            elif state is _State.BEFORE_VALUE:
                if byte == _DOUBLE:
                    self._state = _State.DOUBLE_QUOTED
                    at += 1
                elif byte == _SINGLE:
                    self._state = _State.SINGLE_QUOTED
                    at += 1
                else:
                    self._state = _State.UNQUOTED
            else:  # a tag's name or an unquoted value ended
                self._state = _State.BEFORE_NAME


def is_self_closing(buffer: bytes | bytearray, name_end: int, end: int) -> bool:
    """Whether the complete tag that ends at `end` has a `/>` that is no value's last byte."""
    if buffer[end - 2] != _SLASH:
        return False
    tag = OpenTag(b"", closing=False, start=-1)
    tag.scan(buffer, name_end)
    return tag.self_closing
