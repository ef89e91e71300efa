"""Short clips for the tests, made once by ffmpeg and kept in the system's temporary folder.

Each clip's picture and sound are noise of their own, so that its bytes are as many as the rate
says and differ everywhere: a byte out of place is a byte that shows.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.browser.driver import BrowserMissing as Missing

__all__ = ["CLIPS", "folder", "sha256"]

_X264 = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "25"]
_AAC = ["-c:a", "aac", "-b:a", "64k"]
_SECONDS = {"long.mp4": 24}

CLIPS: dict[str, list[str]] = {
    # about 1 MB and 8 s each: 16 segments of 64 KiB
    "one.mp4": [*_X264, "-b:v", "900k", "-maxrate", "900k", "-bufsize", "900k", *_AAC,
                "-movflags", "+faststart"],
    "two.mp4": [*_X264, "-b:v", "900k", "-maxrate", "900k", "-bufsize", "900k", *_AAC,
                "-movflags", "+faststart"],
    "moov-at-end.mp4": [*_X264, "-b:v", "900k", "-maxrate", "900k", "-bufsize", "900k", *_AAC],
    "clip.webm": ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "900k",
                  "-g", "25", "-c:a", "libopus", "-b:a", "64k"],
    # about 3 MB and 24 s: long enough for something to happen in the middle
    "long.mp4": [*_X264, "-b:v", "900k", "-maxrate", "900k", "-bufsize", "900k", *_AAC,
                 "-movflags", "+faststart"],
}  # fmt: skip


def folder() -> Path:
    """The folder with all clips, made by the first who asks.

    Raises:
        Missing: ffmpeg is not installed.
    """
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    place = Path(tempfile.gettempdir()) / f"p2pcdn-test-media-{os.getuid()}-{recipe}"
    if not place.is_dir():
        _make(place)
    return place


def sha256(name: str) -> str:
    return hashlib.sha256((folder() / name).read_bytes()).hexdigest()


def _make(place: Path) -> None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise Missing("ffmpeg is not installed: apt-get install ffmpeg")
    scratch = Path(tempfile.mkdtemp(prefix="p2pcdn-media-", dir=place.parent))
    try:
        for number, (name, options) in enumerate(CLIPS.items()):
            seconds = _SECONDS.get(name, 8)
            picture = (
                f"testsrc2=s=320x180:r=25:d={seconds},noise=all_seed={number + 1}:alls=60:allf=t"
            )
            sound = f"anoisesrc=d={seconds}:a=0.1:seed={number + 1}"
            subprocess.run(
                [ffmpeg, "-v", "error", "-y", "-f", "lavfi", "-i", picture,
                 "-f", "lavfi", "-i", sound, "-shortest", *options, str(scratch / name)],
                check=True,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        with contextlib.suppress(OSError):  # somebody was faster
            scratch.rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
