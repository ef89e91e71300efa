#!/usr/bin/env python3
"""Render the films of the demo and of the example sites.

    python3 -m venv /tmp/films && /tmp/films/bin/pip install numpy
    /tmp/films/bin/python tools/make_videos.py            # all films, some minutes
    /tmp/films/bin/python tools/make_videos.py --still 12 # one picture each, to look at

Needs ffmpeg (with libx264, libvpx-vp9, libopus) on PATH. The results are committed, so nobody
but the person who changes a film runs this.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np
from films import sound
from films.aurora import Aurora
from films.canvas import FPS, HEIGHT, WIDTH, finish
from films.drive import Drive
from films.planet import Planet

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "p2pcdn" / "demo" / "media"
EXAMPLES = ROOT / "examples" / "media"

# film, folder, video bit/s, second at which the poster is taken
FILMS = (
    (Aurora, DEMO, 800_000, 14.0),
    (Drive, EXAMPLES, 850_000, 11.0),
    (Planet, EXAMPLES, 620_000, 17.0),
)
WEBM = "ringed-world"  # this one also as VP9 and Opus

_DITHER = (np.random.default_rng(1).random((HEIGHT, WIDTH, 1)) * 1.2).astype(np.float32)


def ffmpeg(*arguments: str | Path, stdin: int | None = None) -> subprocess.Popen[bytes]:
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    return subprocess.Popen(command, stdin=stdin)


def finished(process: subprocess.Popen[bytes]) -> None:
    if process.wait() != 0:
        sys.exit(f"ffmpeg failed: {process.args}")


def render(film_class: type, folder: Path, bitrate: int, poster_s: float) -> None:
    film = film_class()
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / f"{film.name}.mp4"
    with tempfile.TemporaryDirectory() as work:
        track = Path(work) / "sound.wav"
        write_wav(track, sound.TRACKS[film.name](film.seconds))
        master = Path(work) / "master.mkv"
        process = ffmpeg(
            *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}"),
            *("-r", str(FPS), "-i", "-", "-i", track),
            *("-c:v", "libx264", "-preset", "ultrafast", "-crf", "8", "-pix_fmt", "yuv420p"),
            *("-c:a", "pcm_s16le", "-shortest", master),
            stdin=subprocess.PIPE,
        )
        assert process.stdin is not None
        count = film.seconds * FPS
        for number in range(count):
            image = film.frame(number / FPS)
            fade = min(1, (number + 1) / FPS, (count - number) / (1.5 * FPS))
            process.stdin.write(finish(image * fade, _DITHER).tobytes())
            if number % FPS == 0:
                print(f"\r{film.name} {number // FPS}/{film.seconds} s ", end="", flush=True)
        process.stdin.close()
        finished(process)
        encode(master, result, bitrate, Path(work))
        if film.name == WEBM:
            finished(
                ffmpeg(
                    *("-i", master, "-c:v", "libvpx-vp9", "-b:v", "520k", "-g", str(2 * FPS)),
                    *("-deadline", "good", "-cpu-used", "4", "-row-mt", "1"),
                    *("-c:a", "libopus", "-b:a", "64k", result.with_suffix(".webm")),
                )
            )
        finished(
            ffmpeg(
                *("-ss", str(poster_s), "-i", master, "-frames:v", "1", "-q:v", "4"),
                result.with_suffix(".jpg"),
            )
        )
    print(f"\r{result.relative_to(ROOT)} {result.stat().st_size / 1e6:.2f} MB")


def encode(master: Path, result: Path, bitrate: int, work: Path) -> None:
    """Two passes of H.264 with a key frame every two seconds, index in front."""
    common = (
        *("-c:v", "libx264", "-preset", "slow", "-profile:v", "main", "-pix_fmt", "yuv420p"),
        *("-b:v", str(bitrate), "-maxrate", str(bitrate * 2), "-bufsize", str(bitrate * 4)),
        *("-g", str(2 * FPS), "-x264-params", "aq-mode=3", "-passlogfile", str(work / "pass")),
    )
    finished(ffmpeg("-i", master, *common, "-pass", "1", "-an", "-f", "null", "-"))
    finished(
        ffmpeg(
            *("-i", master, *common, "-pass", "2", "-c:a", "aac", "-b:a", "96k"),
            *("-movflags", "+faststart", "-map_metadata", "-1", result),
        )
    )


def write_wav(path: Path, samples: np.ndarray) -> None:
    """Stereo samples of shape (n, 2) in -1..1."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(sound.RATE)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="films to render; default: all")
    parser.add_argument("--still", type=float, help="write one PNG per film, of this second")
    parser.add_argument("--to", type=Path, default=Path(), help="folder of the stills")
    arguments = parser.parse_args()
    for film_class, folder, bitrate, poster_s in FILMS:
        if arguments.names and film_class.name not in arguments.names:
            continue
        if arguments.still is None:
            render(film_class, folder, bitrate, poster_s)
            continue
        process = ffmpeg(
            *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-i", "-"),
            arguments.to / f"{film_class.name}-{arguments.still:g}.png",
            stdin=subprocess.PIPE,
        )
        process.communicate(finish(film_class().frame(arguments.still), _DITHER).tobytes())


if __name__ == "__main__":
    main()
