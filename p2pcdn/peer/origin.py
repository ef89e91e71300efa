"""Whole segments from the site's own route, by Range; each is verified before it is handed on."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx

from p2pcdn.peer import PeerError
from p2pcdn.peer.manifest import Manifest

__all__ = ["ContentChanged", "OriginError", "segments"]

_PASSING = (408, 425, 429)
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class OriginError(PeerError):
    """The origin does not give what it should. `final`: nor will it soon."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class ContentChanged(PeerError):
    """The origin's bytes are no longer the manifest's."""


async def segments(
    http: httpx.AsyncClient, url: httpx.URL, manifest: Manifest, first: int, count: int
) -> AsyncIterator[tuple[int, bytes]]:
    """Fetch `count` segments from number `first` on, in one request.

    An origin that ignores Range answers with the whole resource; then all its segments come,
    from number 0 on, until the caller has heard enough.

    Yields:
        Segment numbers with their verified bytes, in order.

    Raises:
        OriginError: No answer, or a wrong one.
        ContentChanged: Other bytes than the manifest says.
    """
    size = manifest.size
    start = first * manifest.segment_bytes
    last = min(size, (first + count) * manifest.segment_bytes) - 1
    # Some static routes fail on a range of one byte.
    begin = max(0, min(start, last - 1))
    headers = {"Accept-Encoding": "identity"}
    if size > 1:
        headers["Range"] = f"bytes={begin}-{last}"
    try:
        async with http.stream("GET", url, headers=headers) as response:
            if _whole(response, begin, last, size):
                first, begin, start = 0, 0, 0
            skip = start - begin
            buffer = bytearray()
            segment = first
            async for part in response.aiter_raw():
                buffer += part[skip:]
                skip = max(0, skip - len(part))
                while buffer and segment < manifest.segments:
                    length = manifest.length(segment)
                    if len(buffer) < length:
                        break
                    data = bytes(buffer[:length])
                    del buffer[:length]
                    if not manifest.fits(segment, data):
                        raise ContentChanged(f"{url} has other bytes than its manifest says")
                    yield segment, data
                    segment += 1
            if buffer and segment >= manifest.segments:
                raise ContentChanged(f"{url} is longer than its manifest says")
            if segment * manifest.segment_bytes <= last:
                raise OriginError(f"{url} ended too early")
    except httpx.HTTPError as error:
        raise OriginError(f"{url} does not answer: {error or type(error).__name__}") from error


def _whole(response: httpx.Response, begin: int, last: int, size: int) -> bool:
    """Whether the answer is the whole resource instead of the range."""
    status = response.status_code
    if response.headers.get("content-encoding", "identity") != "identity":
        raise OriginError(f"{response.url} came encoded, though that was not asked for", final=True)
    if status == 206:
        said = response.headers.get("content-range", "")
        found = _RANGE.fullmatch(said)
        # First: what got shorter is answered with a shorter range, too.
        if found is not None and int(found[3]) != size:
            raise ContentChanged(f"{response.url} has another size than its manifest says")
        if found is None or (int(found[1]), int(found[2])) != (begin, last):
            raise OriginError(f"{response.url} answered with the range {said!r}")
        return False
    if status == 416:
        raise ContentChanged(f"{response.url} is shorter than its manifest says")
    if status != 200:
        final = 400 <= status < 500 and status not in _PASSING
        raise OriginError(f"{response.url} answered {status}", final=final)
    length = response.headers.get("content-length")
    if length is not None and length != str(size):
        raise ContentChanged(f"{response.url} has another size than its manifest says")
    return True
