"""One `<video>` while its end has not been seen: which addresses would be renamed?"""

from __future__ import annotations

import enum
from collections.abc import Callable

from p2pcdn.page.tokens import RAW_END, VOID, Attribute

__all__ = ["HeldVideo", "Verdict"]

_MAX_DEPTH = 64

# Elements after which nothing about this video is certain: they change how the following
# bytes are read, or close ancestors (and the video with them) depending on where it stands.
_UNCERTAIN = frozenset(
    b"base body caption col colgroup frame frameset head html math plaintext script select svg "
    b"tbody td template tfoot th thead tr video".split()
).union(RAW_END)


class Verdict(enum.Enum):
    """What a tag within the video means for it."""

    GO_ON = enum.auto()
    RELEASE = enum.auto()
    """Leave the video as it is; the tag still has to be looked at as ordinary content."""
    COMPLETE = enum.auto()


class HeldVideo:
    """Collects what rewriting a video would change, until that is certain or ruled out."""

    def __init__(self, start: int, media_of: Callable[[bytes], str | None]) -> None:
        self.start = start
        self.renames: list[int] = []
        """Positions of the `src` attributes' names in the buffer."""
        self.media: list[str] = []
        self._media_of = media_of
        self._first = b""  # as written, with its quotes
        self._open: list[bytes] = []
        self._other = False

    def moved(self, by: int) -> None:
        """The buffer lost its first `by` bytes."""
        self.start -= by
        self.renames = [position - by for position in self.renames]

    def video(self, found: list[Attribute]) -> bool:
        """The video's own tag. False: leave it alone."""
        for attribute in found:
            if attribute.name == b"data-p2p":
                if (attribute.value or b"").strip(b" \t\n\f\r").lower() == b"off":
                    return False
                break
        return self._take(found)

    def source(self, found: list[Attribute]) -> Verdict:
        """A `<source>`. It only counts as a child of the video, and only where no other
        element came before could it be anything else: `<p>`, for one, closes a `<p>` around
        the video, and the video with it."""
        has_src = any(attribute.name == b"src" for attribute in found)
        if has_src and (self._other or not self._take(found)):
            return Verdict.RELEASE
        return Verdict.GO_ON

    def other(self, name: bytes, *, void: bool) -> Verdict:
        """Any other start tag."""
        if name in _UNCERTAIN or len(self._open) >= _MAX_DEPTH:
            return Verdict.RELEASE
        if name != b"track":
            self._other = True
        if not void:
            self._open.append(name)
        return Verdict.GO_ON

    def end(self, name: bytes) -> Verdict:
        """An end tag."""
        if self._open:
            if self._open[-1] == name:
                self._open.pop()
                return Verdict.GO_ON
        elif name == b"video":
            return Verdict.COMPLETE
        # `</source>` is ignored by every parser; anything else unmatched may close the video.
        return Verdict.GO_ON if name in VOID and name != b"br" else Verdict.RELEASE

    def noscript(self, original: bytes, *, beside: bytes, copy_limit: int) -> bytes | None:
        """What follows `</video>`, or None when the video had better be left alone.

        With scripts on, `<noscript>` is text up to the next `</noscript`, wherever that stands
        (in an attribute, say): a copy must not contain it, or markup that was an attribute's
        value would come alive.
        """
        if not self.renames:
            return None
        if len(original) > copy_limit or b"noscript" in original.lower():
            if len(self._first) > copy_limit or b"noscript" in self._first.lower():
                return None
            original = b"<video src=%s controls></video>" % self._first
        return b"<noscript>%s%s</noscript>" % (beside, original)

    def _take(self, found: list[Attribute]) -> bool:
        sources = [attribute for attribute in found if attribute.name == b"src"]
        if not sources:
            return True
        # The parser drops all but the first; left as they are, a second would take its place.
        value = sources[0].value
        if not value or any(attribute.name == b"data-src" for attribute in found):
            return False
        url = self._media_of(value)
        if url is None:
            return False
        self._first = self._first or sources[0].raw
        self.media.append(url)
        self.renames += [attribute.start for attribute in sources]
        return True
