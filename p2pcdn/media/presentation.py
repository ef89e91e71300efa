"""An HLS or DASH presentation: what its playlist makes known, and who shares it.

A player of ours asks for a segment and says which playlists it has read. Where one of them is
public and names that segment, the segment is as known as a video that a page shows, and all who
play from this playlist are one *group*: they find each other once, not once a segment.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from p2pcdn.media.answer import OriginAnswer
from p2pcdn.media.here import Here
from p2pcdn.media.manifest import Refusal, content_key
from p2pcdn.media.playlist import MAX_PLAYLIST_BYTES, is_live, is_playlist, named_by
from p2pcdn.media.urls import MediaUrl, parse_target

__all__ = ["Presentation", "find", "parse_playlist", "read_answer", "read_file"]

_READ_AGAIN_S = 10.0
# A live playlist that does not name a segment yet may do so now.
_MISSED_AGAIN_S = 0.5
_FOLLOWING = 8

Read = Callable[[MediaUrl], Awaitable[str | None]]
"""The text of a playlist that an anonymous visitor would get; None: nobody's business."""


@dataclass(frozen=True, slots=True)
class Presentation:
    """What a playlist says of one of its segments.

    Attributes:
        key: Of the group, made from the playlist's path alone: a live one is the same for ever.
        following: The targets that come after the segment, a few.
        live: The playlist still grows.
    """

    key: str
    following: tuple[str, ...]
    live: bool = False


@dataclass(frozen=True, slots=True)
class _Names:
    at: float
    targets: tuple[str, ...]
    places: dict[str, int]
    live: bool


async def find(
    here: Here,
    target: str,
    playlists: list[MediaUrl],
    *,
    visitor: tuple[str, str, str],
    visible: str,
    mounts: tuple[str, ...],
    read: Read,
) -> Presentation | None:
    """The first of these playlists that names `target`, a canonical one.

    Args:
        visitor: What else the site's answer depends on: prefix, host, scheme.
        visible: The prefix that visitors see, as it may stand in the playlist's URLs.
        read: See `Read`; its own checks come with it.
    """
    for playlist in playlists:
        key = (f"playlist {playlist.target}", *visitor)
        with here.lock:
            at, names = here.answers.get(key, (0.0, None))
        age = time.monotonic() - at
        known = isinstance(names, _Names) and target in names.places
        if not isinstance(names, _Names) or age > (_READ_AGAIN_S if known else _MISSED_AGAIN_S):
            text = await read(playlist)
            names = _names("" if text is None else text, playlist, visible, mounts)
            with here.lock:
                here.answers[key] = (names.at, names)
        place = names.places.get(target)
        if place is not None:
            following = names.targets[place + 1 : place + 1 + _FOLLOWING]
            return Presentation(content_key(playlist.path, b""), following, names.live)
    return None


def _names(text: str, playlist: MediaUrl, visible: str, mounts: tuple[str, ...]) -> _Names:
    targets: dict[str, None] = {}
    for named in named_by(text, visible + playlist.target):
        if named.startswith(visible + "/"):
            url = parse_target(named[len(visible) :], mounts=mounts)
            if isinstance(url, MediaUrl) and not is_playlist(url.path):
                targets[url.target] = None
    ordered = tuple(targets)
    places = {target: place for place, target in enumerate(ordered)}
    return _Names(time.monotonic(), ordered, places, is_live(text))


async def read_answer(here: Here, answer: OriginAnswer) -> str | None:
    """The body of the origin's answer, if it is of a playlist's size. Closes nothing."""
    if answer.path is not None:
        path = answer.path
        return await here.run(lambda: read_file(path))
    data = bytearray()
    chunks = answer.chunks()
    try:
        async for chunk in chunks:
            data += chunk
            if len(data) > MAX_PLAYLIST_BYTES:
                return None
    finally:
        await chunks.aclose()  # type: ignore[attr-defined]
    return data.decode("utf-8", "replace")


def read_file(path: Path) -> str | None:
    """The text of a file, if it is of a playlist's size. Blocks."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PLAYLIST_BYTES + 1)
    except OSError:
        return None
    return None if len(data) > MAX_PLAYLIST_BYTES else data.decode("utf-8", "replace")


def parse_playlist(target: str, mounts: tuple[str, ...]) -> MediaUrl | Refusal:
    """A playlist's URL that we would read, or why not."""
    url = parse_target(target, mounts=mounts)
    if isinstance(url, MediaUrl) and not is_playlist(url.path):
        return Refusal("not-media", "its name has no playlist's extension.")
    return url
