"""What counting costs: `python -m tests.bench.stats`.

1,000 viewers report every 10 s, everyone sends to and receives from others; the time is CPU
time of this process, against the same number of `json.loads` of such a report as a baseline.
`python -m tests.bench.stats redis://127.0.0.1:6379/0` counts into Redis instead of SQLite.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import timeit
from pathlib import Path

from p2pcdn.config import Config
from p2pcdn.stats import Recorder
from tests.stats.day import Clock

VIEWERS, EVERY_S, FLUSH_S, RUN_S = 1000, 10, 4, 40
KEY = "0123456789abcdef0123456789abcdef"


def report(viewer: int, seq: int) -> str:
    content = {
        "key": KEY, "url": "https://example.org/media/a.mp4", "size": 10**9, "segments": 1024,
        "held": seq, "peers": 6, "from_peers": 2_000_000 * seq, "from_origin": 300_000 * seq,
        "from_cache": 0, "uploaded": 2_000_000 * seq, "rejected": 0, "stalls": 0, "stall_ms": 0,
        "startup_ms": 200, "watched_s": 10 * seq, "causes": {"no-peer": seq, "urgent": 2},
    }  # fmt: skip
    links = [[f"{viewer * 7 + n:x}", 1000 * seq] for n in range(6)]
    return json.dumps(
        {"view": f"viewer-{viewer:05d}", "seq": seq, "transport": "websocket", "final": False,
         "idle_s": 10, "links": links, "direct": {}, "contents": [content]}
    )  # fmt: skip


def main() -> None:
    clock = Clock(1_780_000_000.0)
    with tempfile.TemporaryDirectory() as folder:
        config = Config(redis_url=sys.argv[1], secret=folder) if sys.argv[1:] else Config()
        recorder = Recorder(config, folder=Path(folder), clock=clock, flush_every_s=3600)
        texts = [
            report(viewer, second // EVERY_S + 1)
            for second in range(RUN_S)
            for viewer in range(second % EVERY_S, VIEWERS, EVERY_S)
        ]
        start = time.process_time()
        for text in texts:
            json.loads(text)
        baseline = time.process_time() - start
        at = iter(texts)
        start = time.process_time()
        for second in range(RUN_S):
            for _ in range(VIEWERS // EVERY_S):
                recorder.report(json.loads(next(at)), content_size=lambda key: 10**9)
            if second % FLUSH_S == 0:
                recorder.flush()
            clock.now += 1
        used = time.process_time() - start
        totals = recorder.summary(0).totals
        assert totals.views == VIEWERS and totals.from_peers > 0 and not totals.unconfirmed
        each = timeit.timeit(
            lambda: recorder.origin("/a.mp4", sent=9, whole=False, aborted=False, status=206),
            number=100_000,
        )
        recorder.close()
    print(f"origin()                     {each * 10:.2f} us")
    print(f"one report, written          {used / len(texts) * 1e6:.0f} us")
    print(f"... of json.loads alone      {used / baseline:.1f} times")
    print(f"{VIEWERS} viewers, of one core     {used / RUN_S:.2%}")


if __name__ == "__main__":
    main()
