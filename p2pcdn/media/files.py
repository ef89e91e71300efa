"""A media file on disk: where it is, whether it has settled, and its manifest."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

from p2pcdn.media.hasher import FileChanged, Stamp, stamp_of
from p2pcdn.media.here import Here
from p2pcdn.media.jobs import Job
from p2pcdn.media.manifest import Manifest, Pending, Refusal, segment_bytes_for
from p2pcdn.media.store import Hashes
from p2pcdn.media.types import media_type_of
from p2pcdn.media.urls import MediaUrl
from p2pcdn.media.waiting import within

__all__ = [
    "BUDGET_S",
    "Answer",
    "MediaFile",
    "clamped_s",
    "file_in_folder",
    "manifest_of_file",
    "size_of",
]

Answer = Manifest | Pending | Refusal

BUDGET_S = 0.2
"""How long a request waits for a job that it started: a first visitor mostly gets a 200."""
_QUIET_S = 1.0
"""A file changed more recently is not hashed yet: it may still be written to, and a change
within one tick of the file system's clock would not show in its stamp."""
_POLL_S = 0.01
_ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class MediaFile:
    """The file behind a URL, and the media type that goes with it."""

    path: Path
    type: str


def file_in_folder(
    url: MediaUrl, prefix: str, folder: str, *, included: bool
) -> MediaFile | Refusal:
    """The file in a folder that a web server serves by itself (`media_roots`). Blocks.

    Args:
        url: Its path begins with `prefix`.
        prefix: The URL prefix that stands for the folder.
        folder: The folder.
        included: The owner named this path (`include`), whatever its extension.
    """
    media_type = media_type_of(url.path)
    if media_type is None and not included:
        return Refusal("not-media", "its name has no media extension; name its path in `include`.")
    root = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(root, url.path[len(prefix) :].lstrip("/")))
    if not path.startswith(root.rstrip(os.sep) + os.sep):
        return Refusal("outside", "it is a link that leads out of its `media_roots` folder.")
    return MediaFile(Path(path), media_type or "application/octet-stream")


def size_of(path: Path) -> int | None:
    """Bytes of a regular file; None for anything else. Blocks."""
    try:
        stamp = stamp_of(os.stat(path))
    except (OSError, ValueError):
        return None
    return None if stamp is None else stamp.size


def clamped_s(seconds: float) -> float:
    """A time to wait before asking again, neither hectic nor hopeless."""
    return round(min(max(seconds, 0.2), 30.0), 2)


async def manifest_of_file(here: Here, url: MediaUrl, file: MediaFile) -> Answer:
    """The manifest of what the file holds now; starts to make it where there is none."""
    content = f"file:{file.path}"
    end = 0.0
    while True:
        found = await here.run(lambda: _look(here, url, file, content))
        # Only waiting counts: a worker's very first look also opens the shared file.
        end = end or time.monotonic() + BUDGET_S
        if isinstance(found, Job):
            break
        # Another process is at it: a short file is done within the budget as well.
        if not isinstance(found, Pending) or found.reason != _ELSEWHERE:
            return found
        if time.monotonic() >= end:
            return Pending(found.retry_after_s)
        await asyncio.sleep(_POLL_S)
    try:
        hashes = await within(found.future, end - time.monotonic())
    except TimeoutError:
        return Pending(clamped_s(here.jobs.expected_s(found)))
    except FileChanged:
        return Pending(_QUIET_S, "changing")
    except OSError as error:
        return _unreadable(error)
    return here.manifest(url, file.type, content, found.version, hashes)


def _look(here: Here, url: MediaUrl, file: MediaFile, content: str) -> Answer | Job:
    """Stat the file; find its hashes or have them made. Blocks."""
    try:
        stamp = stamp_of(os.stat(file.path))
    except (OSError, ValueError) as error:
        return _unreadable(error)
    if stamp is None:
        return Refusal("gone", "what is there is not a regular file.")
    limit = here.config.max_content_bytes
    if stamp.size > limit:
        return Refusal(
            "too-large",
            f"it has {stamp.size} bytes and `max_content_bytes` is {limit}; raise that.",
        )
    if stamp.size == 0:
        return Refusal("empty", "the file is empty; there is nothing to share.")
    segment_bytes = segment_bytes_for(stamp.size, here.config.segment_bytes)
    version = f"{stamp.text}:{segment_bytes}"
    made = here.made(url, file.type, content, version)
    if made is not None:
        return made
    hashes = here.store.get(content, version)
    if hashes is not None:
        return here.manifest(url, file.type, content, version, hashes)
    started = _start(here, content, version, file.path, stamp, segment_bytes)
    if isinstance(started, Hashes):
        return here.manifest(url, file.type, content, version, started)
    return started


def _start(
    here: Here, content: str, version: str, path: Path, stamp: Stamp, segment_bytes: int
) -> Pending | Job | Hashes:
    young = _QUIET_S - stamp.age_s(here.clock())
    if young > 0:
        return Pending(clamped_s(young + 0.05), "changing")
    claim = here.store.claim(content, version, stamp.size)
    if not claim.mine:
        left = here.jobs.expected_for(stamp.size) - claim.running_s
        return Pending(clamped_s(left), _ELSEWHERE)
    # Another worker may have finished between the first look and the claim.
    hashes = here.store.get(content, version)
    if hashes is not None:
        here.store.release(content)
        return hashes
    job = here.jobs.submit(content, version, path, stamp, segment_bytes)
    if job is None:
        here.store.release(content)
        return Pending(5.0)
    return job


def _unreadable(error: Exception) -> Refusal:
    if isinstance(error, PermissionError):
        return Refusal("gone", "the site's process may not read the file; check its permissions.")
    return Refusal("gone", "the file is not there (any more).")
