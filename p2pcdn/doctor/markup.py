"""What a browser finds in a page's HTML: the loader's script, and the videos."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

__all__ = ["Markup", "Video", "read_markup"]

# Their content is text to a browser, or another document.
_OPAQUE = frozenset({"noscript", "template", "iframe", "noembed", "noframes", "xmp", "textarea"})


@dataclass(slots=True)
class Video:
    """One `<video>`: the sources it has, those that p2pcdn took over, and whether it opted out."""

    src: list[str] = field(default_factory=list)
    data_src: list[str] = field(default_factory=list)
    off: bool = False


@dataclass(slots=True)
class Markup:
    """What the page holds, in document order."""

    scripts: list[tuple[str, str]] = field(default_factory=list)
    """Address and nonce of each."""
    videos: list[Video] = field(default_factory=list)
    complete: bool = False
    """It has a doctype, an `<html>` or a `<head>`: it is no fragment."""
    base: str | None = None
    policies: list[str] = field(default_factory=list)
    """Of `<meta http-equiv="Content-Security-Policy">`."""
    off: bool = False
    """`<html data-p2p="off">`"""


def read_markup(text: str) -> Markup:
    """Read a page's HTML."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return reader.found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found = Markup()
        self._opaque = ""
        self._video: Video | None = None

    def handle_decl(self, decl: str) -> None:
        self.found.complete = True

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._opaque:
            return
        given = {name: value or "" for name, value in reversed(attrs)}  # the first one counts
        if tag in _OPAQUE:
            self._opaque = tag
        elif tag in ("html", "head"):
            self.found.complete = True
            if tag == "html" and given.get("data-p2p", "").strip().lower() == "off":
                self.found.off = True
        elif tag == "base" and self.found.base is None:
            self.found.base = given.get("href")
        elif tag == "meta":
            if given.get("http-equiv", "").strip().lower() == "content-security-policy":
                self.found.policies.append(given.get("content", ""))
        elif tag == "script" and given.get("src"):
            self.found.scripts.append((given["src"].strip(), given.get("nonce", "")))
        elif tag == "video":
            off = given.get("data-p2p", "").strip().lower() == "off"
            self._video = Video(off=off)
            self.found.videos.append(self._video)
            self._sources(self._video, given)
        elif tag == "source" and self._video is not None:
            self._sources(self._video, given)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._opaque:
            self._opaque = ""
        elif tag == "video" and not self._opaque:
            self._video = None

    @staticmethod
    def _sources(video: Video, given: dict[str, str]) -> None:
        if given.get("src"):
            video.src.append(given["src"].strip())
        if given.get("data-src"):
            video.data_src.append(given["data-src"].strip())
