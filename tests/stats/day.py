"""A site's day, hour by hour, told to a real Recorder: for tests and for looking at the pages.

`python -m tests.stats.day FOLDER` writes one into FOLDER, up to now.
"""

from __future__ import annotations

import math
import random
import sys
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from p2pcdn.config import Config
from p2pcdn.stats import Recorder

SEGMENT = 128 * 1024


class Clock:
    """A clock that stands until it is set."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def key_of(path: str) -> str:
    return f"{zlib.crc32(path.encode()):032x}"


@dataclass
class Visitor:
    view: str
    path: str
    size: int
    seq: int = 0
    numbers: dict[str, int] = field(default_factory=dict)
    causes: dict[str, int] = field(default_factory=dict)
    startup_ms: int = 200
    held: float = 0.0
    peers: list[str] = field(default_factory=list)

    def add(self, name: str, n: int) -> None:
        self.numbers[name] = self.numbers.get(name, 0) + n

    def report(self, links: list[list[object]], *, final: bool = False) -> dict[str, object]:
        self.seq += 1
        return {
            "view": self.view,
            "seq": self.seq,
            "transport": "websocket" if zlib.crc32(self.view.encode()) % 5 else "mailbox",
            "final": final,
            "links": links,
            "contents": [
                {
                    "key": key_of(self.path),
                    "url": self.path,
                    "held": self.held,
                    "peers": len(links),
                    "startup_ms": self.startup_ms,
                    "causes": self.causes,
                    **self.numbers,
                }
            ],
        }


VIDEOS = {
    "/media/harbour-at-dawn.mp4": 84_000_000,
    "/media/kitchen/sourdough-in-a-day.mp4": 212_000_000,
    "/media/talks/2026/how-the-bridge-was-built.webm": 341_000_000,
    "/media/shorts/kingfisher.mp4": 9_400_000,
    "/media/Köln/dom-von-oben.mp4": 58_000_000,
}


def play(
    recorder: Recorder,
    clock: Clock,
    *,
    until: float,
    seed: int = 7,
    peak: float = 6.0,
    step_s: float = 60.0,
    from_hour: float | None = None,
) -> None:
    """Visitors come and go from `clock.now` to `until`; every byte is told by both ends.

    They are few in the night: `from_hour` is the hour that `clock.now` stands for, if not its own.
    """
    ahead_s = 0.0 if from_hour is None else from_hour * 3600 - clock.now
    rng = random.Random(seed)
    sizes = {key_of(path): size for path, size in VIDEOS.items()}
    watching: list[Visitor] = []
    made = 0
    while True:
        hour = ((clock.now + ahead_s) / 3600) % 24
        arriving = peak * (0.15 + max(0.0, math.sin((hour - 7) / 24 * 2 * math.pi)) ** 2)
        for _ in range(_poisson(rng, arriving)):
            path = rng.choices(list(VIDEOS), weights=[40, 25, 15, 30, 8])[0]
            made += 1
            startup = int(rng.lognormvariate(5.4, 0.5))
            watching.append(
                Visitor(f"view-{seed}-{made:06d}", path, VIDEOS[path], startup_ms=startup)
            )
        for visitor in watching:
            _watch(rng, recorder, visitor, watching, step_s)
        leaving = [v for v in watching if v.held >= 1 or rng.random() < 0.03]
        for visitor in watching:
            links = [
                [f"{zlib.crc32(repr(sorted((visitor.view, p))).encode()):x}", 1_000_000]
                for p in visitor.peers
            ]
            recorder.report(visitor.report(links, final=visitor in leaving), content_size=sizes.get)
        if rng.random() < 0.2:
            recorder.report(
                {
                    "view": f"direct-{seed}-{clock.now:.0f}",
                    "seq": 1,
                    "contents": [],
                    "direct": {rng.choice(["no-webrtc", "worker-slow", "no-manifest"]): 1},
                },
                content_size=sizes.get,
            )
        watching = [v for v in watching if v not in leaving]
        recorder.flush()
        if clock.now >= until:
            return
        clock.now = min(until, clock.now + step_s)


def _watch(
    rng: random.Random, recorder: Recorder, me: Visitor, everyone: list[Visitor], step_s: float
) -> None:
    others = [v for v in everyone if v.path == me.path and v is not me]
    for other in others:
        close = other.view not in me.peers and len(me.peers) < 6 and len(other.peers) < 8
        if close and rng.random() < 0.6:
            me.peers.append(other.view)
            other.peers.append(me.view)
    here = {v.view: v for v in others}
    me.peers = [p for p in me.peers if p in here]
    wanted = int(min(me.size * (1 - me.held), 350_000 * step_s))
    givers = [here[p] for p in me.peers if here[p].held > me.held]
    from_peers = int(wanted * rng.uniform(0.78, 0.97)) if givers else 0
    from_origin = wanted - from_peers
    for giver in givers:
        giver.add("uploaded", -(-from_peers // len(givers)))
    me.add("from_peers", from_peers)
    me.add("from_origin", from_origin)
    me.add("watched_s", int(step_s))
    me.held = min(1.0, me.held + wanted / me.size)
    if rng.random() < 0.01:
        me.add("stalls", 1)
        me.add("stall_ms", rng.randrange(200, 3000))
    segments = from_origin // SEGMENT + 1
    for _ in range(segments // 20 + 1):
        cause = rng.choices(
            ["first", "urgent", "deadline", "timeout", "busy"] if givers else ["no-peer", "first"],
            weights=[20, 30, 20, 8, 12] if givers else [90, 10],
        )[0]
        me.causes[cause] = me.causes.get(cause, 0) + 20
    recorder.origin(
        f"{me.path}?sig={me.view}",
        sent=int(from_origin * 1.004),
        whole=False,
        aborted=rng.random() < 0.02,
        status=206,
    )


def _poisson(rng: random.Random, mean: float) -> int:
    n, product, limit = 0, rng.random(), math.exp(-mean)
    while product > limit:
        n += 1
        product *= rng.random()
    return n


def main() -> None:
    folder = Path(sys.argv[1])
    now = time.time()
    days = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    clock = Clock(now - days * 86400)
    recorder = Recorder(Config(), folder=folder, clock=clock, flush_every_s=3600)
    play(recorder, clock, until=now, peak=float(sys.argv[3]) if len(sys.argv) > 3 else 3.0)
    recorder.close()


if __name__ == "__main__":
    main()
