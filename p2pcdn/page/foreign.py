"""SVG and MathML inside HTML: where does the foreign content end?

Inside it `<style>` and `<title>` are ordinary elements and `<![CDATA[` is no comment, so the
tokenizer has to know. The rules are those of the HTML Living Standard, 13.2.6.5, for markup
that is well nested; for anything else the answer is DOUBT and the page is left alone from
there on, because what closes what would depend on ancestors that nobody keeps here.
"""

from __future__ import annotations

import enum

from p2pcdn.page.tokens import BREAKOUT, RAW_END, VOID

__all__ = ["Foreign", "Step"]

_MAX_DEPTH = 512

_INTEGRATION = {
    b"svg": frozenset({b"foreignobject", b"desc", b"title"}),
    b"math": frozenset({b"mi", b"mo", b"mn", b"ms", b"mtext"}),
}

# Elements whose start or end tag closes others by itself, or that switch the parser's mode.
_UNCERTAIN = frozenset(
    b"body button caption col colgroup dd dt form frame frameset h1 h2 h3 h4 h5 h6 head html "
    b"image li nobr optgroup option plaintext rb rp rt rtc select table tbody td template tfoot "
    b"th thead tr".split()
)


class Step(enum.Enum):
    """What a tag meant."""

    INSIDE = enum.auto()
    LEFT = enum.auto()
    """The foreign content had ended before this start tag: it is HTML."""
    CLOSED = enum.auto()
    """This end tag ended the foreign content."""
    RAW = enum.auto()
    """An HTML element whose content is raw text, within an integration point."""
    DOUBT = enum.auto()


class Foreign:
    """The open elements from the outermost `<svg>` or `<math>` on."""

    __slots__ = ("_open",)

    def __init__(self, root: bytes) -> None:
        # (name, "svg" or "math" or "" for HTML); an integration point keeps its own language.
        self._open: list[tuple[bytes, bytes]] = [(root, root)]

    @property
    def cdata(self) -> bool:
        """Whether `<![CDATA[` begins a CDATA section here."""
        return self._open[-1][1] != b""

    def start(self, name: bytes, *, self_closing: bool) -> Step:
        top, language = self._open[-1]
        if language and top not in _INTEGRATION[language]:
            if name in BREAKOUT:
                foreign_only = all(
                    kind and element not in _INTEGRATION[kind] for element, kind in self._open
                )
                return Step.LEFT if foreign_only else Step.DOUBT
            if name in (b"font", b"annotation-xml"):  # depends on their attributes
                return Step.DOUBT
            return Step.INSIDE if self_closing else self._push(name, language)
        if name in (b"svg", b"math"):
            return Step.INSIDE if self_closing else self._push(name, name)
        if name in RAW_END or name == b"script":
            return Step.RAW
        if name in VOID:
            return Step.INSIDE
        if (
            name in _UNCERTAIN
            or name in (b"mglyph", b"malignmark")
            or (name in (b"p", b"a") and (name, b"") in self._open)
        ):
            return Step.DOUBT
        return self._push(name, b"")

    def end(self, name: bytes) -> Step:
        if not self._open[-1][1]:
            if self._open[-1][0] == name:
                self._open.pop()
                return Step.INSIDE
            return Step.INSIDE if name in VOID and name != b"br" else Step.DOUBT
        if name in (b"br", b"p"):
            return Step.DOUBT
        for index in range(len(self._open) - 1, -1, -1):
            element, language = self._open[index]
            if not language:
                return Step.DOUBT
            if element == name:
                del self._open[index:]
                return Step.INSIDE if self._open else Step.CLOSED
        return Step.DOUBT

    def _push(self, name: bytes, language: bytes) -> Step:
        if len(self._open) >= _MAX_DEPTH:
            return Step.DOUBT
        self._open.append((name, language))
        return Step.INSIDE
