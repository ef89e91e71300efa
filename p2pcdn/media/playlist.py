"""Which files an HLS or DASH playlist names, in the order of play. Pure.

What a playlist that everybody may read names is no more secret than what a page shows: its
segments become known by it, without a page ever naming them. A playlist is written by the site,
yet perhaps from what its users uploaded, so sizes are bounded and XML with entities is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

__all__ = ["MAX_PLAYLIST_BYTES", "is_live", "is_playlist", "named_by"]

MAX_PLAYLIST_BYTES = 4 * 1024 * 1024
"""A day of 4 s segments in long signed URLs has about that."""

_MOST_FILES = 30_000
_HERE = "http://p2pcdn.invalid"
_URI = re.compile(r'URI="([^"]*)"')
_DURATION = re.compile(
    r"P(?:(\d+(?:\.\d+)?)D)?(?:T(?:(\d+(?:\.\d+)?)H)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)S)?)?"
)
_DYNAMIC = re.compile(r"""<MPD[^>]*?\stype\s*=\s*["']dynamic["']""")
_TEMPLATE = re.compile(r"\$(?:(RepresentationID|Number|Time|Bandwidth)(?:%0(\d{1,2})d)?)?\$")


def is_playlist(path: str) -> bool:
    """Whether a URL path has a playlist's extension (RFC 8216, section 4; ISO/IEC 23009-1)."""
    return path.lower().endswith((".m3u8", ".m3u", ".mpd"))


def is_live(text: str) -> bool:
    """Whether a playlist is not complete yet: HLS without EXT-X-ENDLIST (RFC 8216, 4.3.3.4),
    DASH of the type `dynamic` (ISO/IEC 23009-1, 5.3.1.2)."""
    if text[:1024].lstrip("\ufeff \t\r\n").startswith("#EXTM3U"):
        return re.search(r"^#EXT-X-ENDLIST\s*$", text, re.MULTILINE) is None
    return _DYNAMIC.search(text[:4096]) is not None


def named_by(text: str, url: str) -> tuple[str, ...]:
    """The files of this site that a playlist names: absolute paths with their queries.

    Args:
        text: The playlist; what is none, or names nothing here, gives an empty tuple.
        url: Its own absolute path and query, which its relative references begin from.
    """
    base = _HERE + url
    head = text[:1024].lstrip("\ufeff \t\r\n")
    found: dict[str, None] = {}
    try:
        names = _hls(text, base) if head.startswith("#EXTM3U") else _dash(text, base)
        for absolute in names:
            if absolute.startswith(_HERE + "/"):
                found[absolute[len(_HERE) :].partition("#")[0]] = None
            if len(found) >= _MOST_FILES:
                break
    except (ElementTree.ParseError, ValueError, OverflowError, ZeroDivisionError):
        pass  # what came before the broken part stands
    return tuple(found)


def _hls(text: str, base: str) -> Iterator[str]:
    """RFC 8216: URI lines, and the initialization sections (EXT-X-MAP, 4.3.2.5)."""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("#EXT-X-MAP:"):
            uri = _URI.search(line)
            if uri is not None:
                yield urljoin(base, uri[1])
        elif line and not line.startswith("#") and not is_playlist(urlsplit(line).path):
            yield urljoin(base, line)


def _dash(text: str, base: str) -> Iterator[str]:
    """ISO/IEC 23009-1, 5.3.9: segment templates, segment lists, and single files."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text or "<MPD" not in text[:4096]:
        return
    mpd = ElementTree.fromstring(text)
    total = _seconds(mpd.get("mediaPresentationDuration"))
    base = _based(mpd, base)
    for period in _children(mpd, "Period"):
        length = _seconds(period.get("duration")) or total
        period_base = _based(period, base)
        for group in _children(period, "AdaptationSet"):
            group_base = _based(group, period_base)
            for representation in _children(group, "Representation"):
                around = [period, group, representation]
                yield from _segments(around, _based(representation, group_base), length)


def _segments(around: list[ElementTree.Element], base: str, length: float) -> Iterator[str]:
    representation = around[-1]
    for kind, read in (("SegmentTemplate", _template), ("SegmentList", _list)):
        # Attributes and children of an outer level hold where an inner one has none (5.3.9.1).
        levels = [child for element in around for child in _children(element, kind)]
        if levels:
            yield from read(levels, representation, base, length)
            return
    yield base


def _list(
    levels: list[ElementTree.Element], _: ElementTree.Element, base: str, __: float
) -> Iterator[str]:
    for name in ("Initialization", "SegmentURL"):
        for element in _inner(levels, name):
            url = element.get("sourceURL") or element.get("media")
            yield urljoin(base, url) if url else base


def _template(
    levels: list[ElementTree.Element], of: ElementTree.Element, base: str, length: float
) -> Iterator[str]:
    said = {name: value for level in levels for name, value in level.attrib.items()}
    known = {"RepresentationID": of.get("id", ""), "Bandwidth": of.get("bandwidth", "0")}
    if said.get("initialization"):
        yield urljoin(base, _filled(said["initialization"], known))
    media = said.get("media", "")
    number = int(said.get("startNumber", "1"))
    timeline = _inner(levels, "SegmentTimeline")
    if timeline:
        at = 0
        for s in _children(timeline[0], "S"):
            at = int(s.get("t", at))
            for _ in range(min(max(int(s.get("r", "0")), 0), _MOST_FILES) + 1):
                yield urljoin(base, _filled(media, {**known, "Number": number, "Time": at}))
                at += int(s.get("d", "0"))
                number += 1
        return
    each = float(said.get("duration", "0")) / float(said.get("timescale", "1"))
    count = min(int(-(-length // each)), _MOST_FILES) if each > 0 else 0
    for index in range(count):
        time = round(index * float(said["duration"]))
        yield urljoin(base, _filled(media, {**known, "Number": number + index, "Time": time}))


def _filled(template: str, values: Mapping[str, str | int]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        text = str(values.get(match[1], ""))
        return text.zfill(int(match[2])) if match[2] else text

    return _TEMPLATE.sub(value, template)


def _seconds(duration: str | None) -> float:
    match = _DURATION.fullmatch(duration or "")
    if match is None:
        return 0.0
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _based(element: ElementTree.Element, base: str) -> str:
    found = _children(element, "BaseURL")
    return urljoin(base, (found[0].text or "").strip()) if found else base


def _inner(levels: list[ElementTree.Element], name: str) -> list[ElementTree.Element]:
    for level in reversed(levels):
        found = _children(level, name)
        if found:
            return found
    return []


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [child for child in element if child.tag.rpartition("}")[2] == name]
