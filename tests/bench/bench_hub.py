"""What a message costs on its way to a peer of another server worker or machine.

    python -m tests.bench.bench_hub

Two hubs, one peer each: the time from `receive` here to `deliver` there, one message at a time
and in bursts of 50, in one process, through a Unix socket, and through a real redis-server.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.hub.people import Person, make_hub
from tests.servers.redis import Redis

_SINGLE, _BURSTS, _BURST = 300, 5, 50


class Timed(Person):
    """Notes when it was sent something; looks at nothing else."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.at: list[float] = []

    def _deliver(self, texts: str | list[str]) -> None:
        now = time.perf_counter()
        self.at += [now] * (1 if isinstance(texts, str) else len(texts))

    async def heard(self, count: int) -> None:
        while len(self.at) < count:
            await asyncio.sleep(0)


async def measure(name: str, folder: Path, **settings: Any) -> None:
    one, other = make_hub(folder / "a", **settings), make_hub(folder / "a", **settings)
    await one.start()
    await other.start()
    alice, bob = await Timed(one, "alice").connect(), Timed(other, "bob")
    await bob.connect()
    await bob.heard(1)
    single = []
    for _ in range(_SINGLE):
        count = len(bob.at)
        start = time.perf_counter()
        alice.say("CANDIDATE", "x" * 400, dst="bob")
        await bob.heard(count + 1)
        single.append(bob.at[-1] - start)
        await asyncio.sleep(0.012)  # under the rate of one peer
    bursts = []
    for _ in range(_BURSTS):
        await asyncio.sleep(0.6)
        count = len(bob.at)
        start = time.perf_counter()
        for _ in range(_BURST):
            alice.say("CANDIDATE", "x" * 400, dst="bob")
        await bob.heard(count + _BURST)
        bursts.append((bob.at[-1] - start) / _BURST)
    single.sort()
    print(
        f"{name:12} median {1e3 * statistics.median(single):6.2f} ms   "
        f"p99 {1e3 * single[int(0.99 * len(single))]:6.2f} ms   "
        f"burst {1e6 * statistics.median(bursts):5.0f} us a message"
    )
    await other.close()
    await one.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as name, Redis() as redis:
        folder = Path(name)
        asyncio.run(measure("elected", folder / "elected"))
        asyncio.run(measure("redis", folder / "redis", redis_url=redis.url))
    print("asked: median under 5 ms")


if __name__ == "__main__":
    main()
