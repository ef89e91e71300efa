"""The film that everybody watches, as one MP4 and as the same streams cut for HLS."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.servers.process import program

__all__ = ["HLS", "NAME", "Film", "film"]

NAME = "one.mp4"
"""As the pages of tests/sites call it."""
HLS = "hls"
_VIDEO_KBIT_S, _AUDIO_KBIT_S = 1028, 64
_KEY_S, _PIECE_S, _FPS = 2, 4, 25


@dataclass(frozen=True, slots=True)
class Film:
    """A folder with `one.mp4` and `hls/index.m3u8`."""

    folder: Path
    seconds: float

    @property
    def size(self) -> int:
        """Bytes of the MP4."""
        return (self.folder / NAME).stat().st_size

    @property
    def hls_size(self) -> int:
        """Bytes of the playlist and of all that it names."""
        return sum(file.stat().st_size for file in (self.folder / HLS).iterdir())

    @property
    def bytes_per_s(self) -> float:
        return self.size / self.seconds


def film(seconds: float, cache: Path | None = None) -> Film:
    """The film of that length; made by ffmpeg the first time (1.1 Mbit/s, a key frame every 2 s).

    Its picture and sound are noise, so that the rate is what it says. The HLS pieces of 4 s hold
    the very same encoded frames (`-c copy`).

    Raises:
        Missing: ffmpeg is not installed.
    """
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    base = cache or Path(tempfile.gettempdir()) / f"p2pcdn-bench-{os.getuid()}"
    place = base / f"film-{seconds:g}s-{recipe}"
    if not place.is_dir():
        base.mkdir(parents=True, exist_ok=True)
        _make(place, seconds)
    return Film(place, seconds)


def _make(place: Path, seconds: float) -> None:
    ffmpeg = program("ffmpeg")
    scratch = Path(tempfile.mkdtemp(prefix="making-", dir=place.parent))
    picture = f"testsrc2=s=320x180:r={_FPS}:d={seconds},noise=all_seed=1:alls=60:allf=t"
    sound = f"anoisesrc=d={seconds}:a=0.1:seed=1"
    rate = f"{_VIDEO_KBIT_S}k"
    keys = str(_KEY_S * _FPS)
    commands = [
        ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-shortest",
         "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p",
         "-b:v", rate, "-maxrate", rate, "-bufsize", rate,
         "-g", keys, "-keyint_min", keys, "-sc_threshold", "0",
         "-c:a", "aac", "-b:a", f"{_AUDIO_KBIT_S}k", "-movflags", "+faststart", NAME],
        ["-i", NAME, "-c", "copy", "-f", "hls", "-hls_time", str(_PIECE_S),
         "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4",
         "-hls_segment_filename", f"{HLS}/%03d.m4s", f"{HLS}/index.m3u8"],
    ]  # fmt: skip
    try:
        (scratch / HLS).mkdir()
        for arguments in commands:
            subprocess.run(
                [ffmpeg, "-v", "error", "-y", *arguments],
                check=True,
                stdin=subprocess.DEVNULL,
                cwd=scratch,
            )
        with contextlib.suppress(OSError):  # somebody was faster
            scratch.rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
