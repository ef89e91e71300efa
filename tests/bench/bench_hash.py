"""Segment hashing against hashlib's SHA-256 of the same file, in one run.

    python tests/bench/bench_hash.py [MiB]

Prints the speed of both and their ratio for small, usual and large segments; exits with 1
where the ratio is below 0.70.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from p2pcdn.media.hasher import hash_file, stamp_of
from p2pcdn.media.manifest import segment_bytes_for

WANTED = 0.70
ROUNDS = 7


def plain(path: Path) -> None:
    with open(path, "rb") as file:
        hashlib.file_digest(file, "sha256").digest()


def segments(path: Path, segment_bytes: int) -> None:
    stamp = stamp_of(os.stat(path))
    assert stamp is not None
    for _ in hash_file(path, stamp, segment_bytes):
        pass


def compare(base: Callable[[], None], ours: Callable[[], None]) -> tuple[float, float]:
    """Seconds of processor time of both, best of several rounds taken in turn.

    The file is in the page cache, so this is all the work there is; the wall clock would also
    show whatever else the machine does meanwhile.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for work, spent in zip((base, ours), times, strict=True):
            start = time.thread_time()
            work()
            spent.append(time.thread_time() - start)
    return min(times[0]), min(times[1])


def main() -> int:
    mib = int(sys.argv[1]) if len(sys.argv) > 1 else 128
    worst = 1e9
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        block = os.urandom(1024 * 1024)
        with open(path, "wb") as file:
            for _ in range(mib):
                file.write(block)
        plain(path)  # both sides then read from the page cache
        for label, length in (
            ("smallest allowed", 16 * 1024),
            ("chosen by default", segment_bytes_for(mib * 1024 * 1024)),
            ("largest by default", 4 * 1024 * 1024),
        ):
            base, ours = compare(partial(plain, path), partial(segments, path, length))
            ratio = base / ours
            worst = min(worst, ratio)
            print(
                f"{label:>18}: segments of {length // 1024:>5} KiB  "
                f"hashlib {mib / 1024 / base:5.2f} GiB/s  ours {mib / 1024 / ours:5.2f} GiB/s  "
                f"ratio {ratio:.2f}"
            )
    print(f"worst ratio {worst:.2f}, wanted {WANTED:.2f}")
    return 0 if worst >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
