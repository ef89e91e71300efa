"""One clip as HLS and DASH, made once by ffmpeg, and pages that play it with players of npm's;
and a real encoder that sends it live."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.browser.driver import BrowserMissing as Missing

__all__ = ["PLAYERS", "folder", "on_air"]

_MODULES = Path(__file__).parents[1] / "browser" / "node_modules"

# 30 s in segments of 2 s, about 125 kB each.
_SOURCE = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=30,noise=all_seed=7:alls=60:allf=t"]
_SOUND = ["-f", "lavfi", "-i", "anoisesrc=d=30:a=0.1:seed=7"]
_CODECS = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "50",
           "-keyint_min", "50", "-sc_threshold", "0", "-b:v", "440k", "-maxrate", "440k",
           "-bufsize", "440k", "-c:a", "aac", "-b:a", "64k"]  # fmt: skip
_COPY = ["-c", "copy"]
# The same pictures, for a slow line.
_SMALL = ["-vf", "scale=160:90", "-b:v", "120k", "-maxrate", "120k", "-bufsize", "120k"]
_QUALITIES = """#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=250000,RESOLUTION=160x90
small.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=600000,RESOLUTION=320x180
large.m3u8
"""
_VOD = ["-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod"]

_SHELL = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
{head}
</head>
<body>
{body}
<script>
{script}
</script>
</body>
</html>
"""
_VIDEO = '<video id="player" controls muted playsinline width="320" height="180"></video>'
_HLS = """const hls = new Hls();
hls.loadSource("{url}");
hls.attachMedia(document.getElementById("player"));"""
# Starlette's static files look at a playlist's length before they open it: where the encoder has
# put another one into its place by then, a player gets half a file (3 of 20,000, without p2pcdn).
_LIVE = (
    _HLS.format(url="live/index.m3u8")
    + """
hls.on(Hls.Events.ERROR, (_, {fatal}) => {
  if (fatal) setTimeout(() => hls.loadSource("live/index.m3u8"), 500);
});"""
)
# The page's own buttons: `hls.nextLevel` is in the visitor's hand.
_CHOSEN = "const hls = window.hls = new Hls({{startLevel: 1}});\n" + _HLS.partition("\n")[2]

# page -> (file of npm, what stands in the body, what the page's author wrote)
PLAYERS: dict[str, tuple[str, str, str]] = {
    "hls.js-ts": ("hls.js/dist/hls.min.js", _VIDEO, _HLS.format(url="ts/index.m3u8")),
    "hls.js-fmp4": ("hls.js/dist/hls.min.js", _VIDEO, _HLS.format(url="fmp4/index.m3u8")),
    "hls.js-ranges": ("hls.js/dist/hls.min.js", _VIDEO, _HLS.format(url="ranges/index.m3u8")),
    "hls.js-qualities": (
        "hls.js/dist/hls.min.js",
        _VIDEO,
        _CHOSEN.format(url="qualities/index.m3u8"),
    ),
    "hls.js-live": ("hls.js/dist/hls.min.js", _VIDEO, _LIVE),
    "video.js": (
        "video.js/dist/video.min.js",
        '<video id="box" class="video-js" controls muted playsinline></video>',
        """videojs("box", {sources: [{src: "ts/index.m3u8", type: "application/x-mpegURL"}],
  html5: {vhs: {overrideNative: true}}}).ready(function () {
  this.el().querySelector("video").id = "player";
});""",
    ),
    "shaka-hls": (
        "shaka-player/dist/shaka-player.compiled.js",
        _VIDEO,
        """const shakaPlayer = new shaka.Player();
shakaPlayer.attach(player).then(() => shakaPlayer.load("fmp4/index.m3u8"));""",
    ),
    "shaka-dash": (
        "shaka-player/dist/shaka-player.compiled.js",
        _VIDEO,
        """const shakaPlayer = new shaka.Player();
shakaPlayer.attach(player).then(() => shakaPlayer.load("dash/manifest.mpd"));""",
    ),
    "dash.js": (
        "dashjs/dist/modern/umd/dash.all.min.js",
        _VIDEO,
        """dashjs.MediaPlayer().create().initialize(player, "dash/manifest.mpd", false);""",
    ),
    "plyr": (
        "hls.js/dist/hls.min.js",
        _VIDEO + '\n<script src="plyr.js"></script>',
        _HLS.format(url="ts/index.m3u8") + '\nnew Plyr("#player", {loadSprite: false});',
    ),
}


def folder() -> Path:
    """The folder with all presentations, pages and libraries, made by the first who asks.

    Raises:
        Missing: ffmpeg or the npm packages are not installed.
    """
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    place = Path(tempfile.gettempdir()) / f"p2pcdn-test-presentations-{os.getuid()}-{recipe}"
    if not place.is_dir():
        scratch = Path(tempfile.mkdtemp(prefix="p2pcdn-presentations-", dir=place.parent))
        _presentations(scratch)
        _pages(scratch)
        with contextlib.suppress(OSError):  # somebody was faster
            scratch.rename(place)
    return place


class OnAir:
    """A real encoder that sends the clip live, over and over, into `live/` below a folder: the
    playlist names the last six segments of 2 s. (The others stay on the disk, for who wants to
    compare.)"""

    def __init__(self, place: Path) -> None:
        self._film, self.folder = place / "film.mp4", place / "live"
        self.folder.mkdir()
        self._begin("temp_file")

    def _begin(self, flags: str) -> None:
        arguments = [
            "-re", "-stream_loop", "-1", "-i", f"{self._film}", "-c", "copy",
            "-f", "hls", "-hls_time", "2", "-hls_list_size", "6", "-hls_flags", flags,
            "-hls_segment_filename", f"{self.folder}/%05d.ts", f"{self.folder}/index.m3u8",
        ]  # fmt: skip
        self._encoder = subprocess.Popen(
            [_ffmpeg(), "-v", "error", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def wait_for(self, segments: int) -> None:
        while len(list(self.folder.glob("*.ts"))) < segments:
            if self._encoder.poll() is not None:
                raise RuntimeError(f"ffmpeg ended with {self._encoder.returncode}")
            time.sleep(0.1)

    def begin_again(self) -> None:
        """As after a power cut: the clip from its beginning, in the same playlist, with a
        discontinuity (RFC 8216, 4.3.2.3) where it begins."""
        self.end()
        self._begin("temp_file+append_list+discont_start")

    def end(self) -> None:
        self._encoder.kill()
        self._encoder.wait()


@contextmanager
def on_air(place: Path) -> Iterator[OnAir]:
    """An encoder for a folder with the clip, once it has sent three segments."""
    sender = OnAir(place)
    try:
        sender.wait_for(segments=3)
        yield sender
    finally:
        sender.end()


def _ffmpeg() -> str:
    found = shutil.which("ffmpeg")
    if found is None:
        raise Missing("ffmpeg is not installed: apt-get install ffmpeg")
    return found


def _presentations(place: Path) -> None:
    ffmpeg = _ffmpeg()

    def make(*arguments: str) -> None:
        subprocess.run(
            [ffmpeg, "-v", "error", "-y", *arguments], check=True, stdin=subprocess.DEVNULL
        )

    for name in ("ts", "fmp4", "ranges", "dash", "qualities"):
        (place / name).mkdir()
    film = str(place / "film.mp4")
    make(*_SOURCE, *_SOUND, "-shortest", *_CODECS, film)
    copy = ["-i", film, *_COPY]
    make(*copy, *_VOD, "-hls_segment_filename", f"{place}/ts/%03d.ts", f"{place}/ts/index.m3u8")
    make(*copy, *_VOD, "-hls_segment_type", "fmp4", "-hls_segment_filename",
         f"{place}/fmp4/%03d.m4s", f"{place}/fmp4/index.m3u8")  # fmt: skip
    make(*copy, *_VOD, "-hls_flags", "single_file", "-hls_segment_type", "fmp4",
         "-hls_segment_filename", f"{place}/ranges/film.mp4",
         f"{place}/ranges/index.m3u8")  # fmt: skip
    make(*copy, "-f", "dash", "-seg_duration", "2", f"{place}/dash/manifest.mpd")
    for name, codecs in (("large", _COPY), ("small", [*_CODECS, *_SMALL])):
        make("-i", film, *codecs, *_VOD, "-hls_segment_filename",
             f"{place}/qualities/{name}-%03d.ts", f"{place}/qualities/{name}.m3u8")  # fmt: skip
    (place / "qualities" / "index.m3u8").write_text(_QUALITIES)


def _pages(place: Path) -> None:
    for name, (library, body, script) in PLAYERS.items():
        for file in [library, *(["plyr/dist/plyr.js"] if name == "plyr" else [])]:
            if not (_MODULES / file).exists():
                raise Missing(f"{file} is missing: npm ci --prefix tests/browser")
            shutil.copy(_MODULES / file, place)
        head = f'<script src="{Path(library).name}"></script>'
        html = _SHELL.format(title=name, head=head, body=body, script=script)
        (place / f"{name}.html").write_text(html)
