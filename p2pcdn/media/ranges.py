"""Range for everyone: the 206 that a route which ignores `Range` did not make.

Pure: headers in, a plan out; the adapter feeds the body through it. RFC 9110, section 14.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

__all__ = ["RangePlan", "content_length", "plan_range", "seek_ahead"]

# `bytes=first-last`, `bytes=first-` or `bytes=-suffix`; optional white space as in section
# 5.6.1. More digits than any file has would only cost time to read.
_ONE_RANGE = re.compile(
    r"bytes=[ \t,]*(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))[ \t,]*", re.IGNORECASE
)

# Fields that describe the whole body and would be wrong, or doubled, beside a part of it.
_REPLACED = frozenset(
    {"content-length", "content-range", "accept-ranges", "content-md5", "content-digest"}
)
# What describes a body that a 416 has not got.
_OF_A_BODY = _REPLACED | {
    "content-type",
    "content-disposition",
    "content-language",
    "etag",
    "last-modified",
    "repr-digest",
    "digest",
}


class RangePlan:
    """How a complete answer becomes a part of it.

    Attributes:
        status: 206, or 416 where nothing of the range exists.
        headers: The answer's header fields, complete.
        start: First byte that is wanted.
        stop: The byte after the last one; equal to `start` for 416.
    """

    __slots__ = ("_position", "headers", "start", "status", "stop")

    def __init__(self, status: int, headers: list[tuple[str, str]], start: int, stop: int) -> None:
        self.status = status
        self.headers = headers
        self.start = start
        self.stop = stop
        self._position = 0

    def slice(self, chunk: bytes) -> bytes:
        """The wanted bytes of the complete body's next chunk (empty: none of them)."""
        position = self._position
        self._position = position + len(chunk)
        if self._position <= self.start or position >= self.stop:
            return b""
        if position >= self.start and self._position <= self.stop:
            return chunk
        return chunk[max(self.start - position, 0) : self.stop - position]

    @property
    def done(self) -> bool:
        """Whether every wanted byte came by: the rest of the body need not be read."""
        return self._position >= self.stop or self.start == self.stop


def content_length(value: str) -> int | None:
    """A Content-Length in bytes; None where it is none, or longer than any file's."""
    digits = value.strip()
    return int(digits) if len(digits) <= 19 and digits.isascii() and digits.isdigit() else None


def seek_ahead(file: Any, count: int) -> bool:
    """Skip `count` bytes of a body that is a file. It begins where the file stands, which need
    not be the file's own beginning. False: it cannot seek."""
    try:
        file.seek(file.tell() + count)
    except (OSError, ValueError, AttributeError):
        return False
    return True


def plan_range(
    *,
    method: str,
    range_header: str | None,
    if_range: str | None,
    status: int,
    headers: list[tuple[str, str]],
) -> RangePlan | None:
    """Decide whether an app's answer is to be cut to the range that was asked.

    Asked for media only. A complete, unencoded answer of known length, by an app that says
    nothing of ranges, is touched. Several ranges, or a header that cannot be read, are answered
    whole, as section 14.2 allows.

    Returns:
        The plan, or None: leave the answer alone.
    """
    if method != "GET" or not range_header or status != 200:
        return None
    fields: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()
        if name in fields and name in ("content-length", "content-encoding"):
            return None  # two of these contradict each other or are a chain: not ours to judge
        fields[name] = value
    if "accept-ranges" in fields or "content-range" in fields or "transfer-encoding" in fields:
        return None
    if fields.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        return None
    size = content_length(fields.get("content-length", ""))
    if not size:
        return None
    if if_range is not None and not _still_the_same(if_range.strip(), fields):
        return None
    part = _parse(range_header.strip(), size)
    if part is None:
        return None
    start, stop = part
    if start >= size or start == stop:
        kept = [(name, value) for name, value in headers if name.lower() not in _OF_A_BODY]
        return RangePlan(
            416, [*kept, ("Content-Range", f"bytes */{size}"), ("Content-Length", "0")], 0, 0
        )
    kept = [(name, value) for name, value in headers if name.lower() not in _REPLACED]
    kept += [
        ("Accept-Ranges", "bytes"),
        ("Content-Range", f"bytes {start}-{stop - 1}/{size}"),
        ("Content-Length", str(stop - start)),
    ]
    return RangePlan(206, kept, start, stop)


def _parse(header: str, size: int) -> tuple[int, int] | None:
    """`(start, stop)` of a single range; None: no range that we answer."""
    match = _ONE_RANGE.fullmatch(header)
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        wanted = min(int(suffix), size)
        return size - wanted, size
    start = int(first)
    if not last:
        return start, max(size, start)
    if int(last) < start:
        return None  # invalid, section 14.1.1: as if there were no Range at all
    return start, max(min(int(last) + 1, size), start)


def _still_the_same(if_range: str, fields: dict[str, str]) -> bool:
    """Section 13.1.5: a strong match, or the client gets the whole new body."""
    if if_range.startswith('"'):
        return fields.get("etag", "").strip() == if_range
    if if_range.startswith("W/"):
        return False
    modified = _date(fields.get("last-modified", ""))
    if modified is None or _date(if_range) != modified:
        return False
    # A date is a strong validator only if the file cannot have changed twice within its one
    # second (section 8.8.2.2).
    answered = _date(fields["date"]) if "date" in fields else None
    return answered is None or modified <= answered - timedelta(seconds=1)


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text.strip())
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
