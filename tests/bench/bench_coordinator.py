"""The coordinator beside npm `peer`, all on the same pinned core, in one run.

    python -m tests.bench.bench_coordinator [--peers 1000] [--rounds 5] [--viewers 0]

npm's `peerjs` command, ours inside uvicorn, and `p2pcdn serve` run at the same time, one is
busy at a time, in turn. Rates are messages per second *of the server's own processor time*, so
that other work on the machine changes them little; the crowd of clients has another core.

With `--viewers 5000` so many come to one content within ten seconds, and are counted who were
answered with a list of sources, and how fast. (npm's `peer` knows no contents: not asked.)
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from p2pcdn.coordinator import Admission
from tests.bench.load import CONTENT, Crowd, Viewers
from tests.servers.process import ROOT, environment, free_port

SECRET = "the site's secret"  # that of tests.web.coordinator_site
_CORES = sorted(os.sched_getaffinity(0))
_ASKED = {
    ("uvicorn", "bursts"): 0.8,
    ("serve", "single"): 1.3,
    ("serve", "bursts"): 2.0,
}
_MOST_KIB = {"uvicorn": 25.0, "serve": 4.0}


class Server:
    """One of the three, and what was measured of it."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int) -> None:
        self.name, self.process, self.port = name, process, port
        self.rates: dict[str, list[float]] = {"single": [], "bursts": []}
        self.connects = self.kib = 0.0
        self.latency: dict[int, tuple[float, float]] = {}
        self.crowd: Crowd | None = None
        self.viewers: Viewers | None = None
        self.busy = self.waited = 0.0

    def cpu_s(self) -> float:
        """Processor time so far, all threads, from the scheduler's own nanoseconds."""
        return self._scheduled(0)

    def waited_s(self) -> float:
        """For how long it could have run, and others had the core."""
        return self._scheduled(1)

    def _scheduled(self, field: int) -> float:
        total = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += int((task / "schedstat").read_text().split()[field])
        return total / 1e9

    def kib_used(self) -> int:
        """Memory of its own."""
        for line in Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1])
        raise AssertionError("no Pss_Anon in smaps_rollup")

    def join(self, count: int) -> None:
        warm = Crowd(self.port, 50)
        warm.closed_loop(0.3, burst=5)
        warm.close()
        time.sleep(0.5)
        before, cpu = self.kib_used(), self.cpu_s()
        self.crowd = Crowd(self.port, count)
        self.connects = count / (self.cpu_s() - cpu)
        time.sleep(1.0)
        self.kib = (self.kib_used() - before) / count

    def talk(self, kind: str, seconds: float) -> None:
        assert self.crowd is not None
        cpu = self.cpu_s()
        arrived = self.crowd.closed_loop(seconds, burst=1 if kind == "single" else 5)
        self.rates[kind].append(arrived / (self.cpu_s() - cpu))

    def welcome(self, count: int) -> None:
        """Let viewers come to one content; the crowd is gone."""
        if self.crowd is not None:
            self.crowd.close()
            self.crowd = None
        admission = Admission(SECRET.encode(), "")
        viewers = Viewers(self.port, count, lambda id: admission.issue(CONTENT, id)[0])
        cpu, waited = self.cpu_s(), self.waited_s()
        try:
            viewers.come(10.0)
        finally:
            viewers.close()
        self.busy = (self.cpu_s() - cpu) / 10.0
        self.waited = self.waited_s() - waited
        self.viewers = viewers

    def listen(self, rate: int) -> None:
        assert self.crowd is not None
        took = self.crowd.open_loop(1.0, rate)
        self.latency[rate] = took[len(took) // 2], took[int(len(took) * 0.99)]


@contextlib.contextmanager
def servers(folder: Path, peers: int, viewers: int, only: str) -> Iterator[list[Server]]:
    limit = str(2 * max(peers, viewers) + 100)
    python = [sys.executable, "-m"]
    alive = ["--alive_timeout", "3600000"]  # the crowd is never silent, and never says HEARTBEAT
    npm = ROOT / "tests/browser/node_modules/.bin/peerjs"
    node = shutil.which("node")
    assert node is not None and npm.exists(), "needs Node and npm's `peer` in tests/browser"
    commands = {
        "npm peer": [node, str(npm), "--path", "/peerjs", "-c", limit, *alive, "--port"],
        "uvicorn": [
            *python, "uvicorn", "tests.web.coordinator_site:make", "--factory",
            "--ws", "websockets-sansio", "--ws-per-message-deflate", "false",
            "--log-level", "error", "--ws-ping-interval", "3600", "--port",
        ],
        "serve": [
            *python, "p2pcdn.cli", "serve", "--path", "/peerjs", "-c", limit, *alive, "--port",
        ],
    }  # fmt: skip
    started = []
    try:
        for name, command in commands.items():
            if only and name not in ("npm peer", only):
                continue
            port = free_port()
            process = subprocess.Popen(
                [*command, str(port)],
                cwd=ROOT,
                env=environment(
                    folder / name,
                    {
                        "P2PCDN_CONCURRENT_LIMIT": limit,
                        "P2PCDN_ALIVE_TIMEOUT": "3600",
                        "P2PCDN_SECRET": SECRET,
                    },
                ),
                stdout=subprocess.DEVNULL,
                preexec_fn=lambda: os.sched_setaffinity(0, {_CORES[0]}),
            )
            started.append(Server(name, process, port))
        for server in started:
            while True:
                with contextlib.suppress(OSError):
                    Crowd(server.port, 2).close()
                    break
                assert server.process.poll() is None, f"{server.name} ended"
                time.sleep(0.1)
        yield started
    finally:
        for server in started:
            server.process.kill()
        for server in started:
            server.process.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=0.6, help="of each round")
    parser.add_argument("--rounds", type=int, default=5, help="0: only the viewers")
    parser.add_argument("--viewers", type=int, default=0, help="who come within ten seconds")
    parser.add_argument("--only", default="", help="beside npm peer: uvicorn or serve")
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))
    os.sched_setaffinity(0, {_CORES[-1]})
    with (
        tempfile.TemporaryDirectory() as folder,
        servers(Path(folder), args.peers, args.viewers, args.only) as run,
    ):
        if args.rounds:
            for server in run:
                server.join(args.peers)
            for _ in range(args.rounds):
                for kind in ("single", "bursts"):
                    for server in run:
                        server.talk(kind, args.seconds)
            for rate in (2000, 10_000):
                for server in run:
                    server.listen(rate)
            _print(run, args.peers)
        if args.viewers:
            for server in run[1:]:
                server.welcome(args.viewers)
        _print_viewers(run[1:], args.viewers)


def _print(run: list[Server], peers: int) -> None:
    base = run[0]
    print(f"{peers} peers, rates per second of the server's processor time")
    print(
        f"{'':10}{'single':>9}{'ratio':>7}{'bursts':>9}{'ratio':>7}{'KiB/peer':>10}"
        f"{'connects':>10}   p50/p99 ms at 2,000/s and 10,000/s"
    )
    verdicts = []
    for server in run:
        line = f"{server.name:10}"
        for kind in ("single", "bursts"):
            rate = median(server.rates[kind])
            # Round by round: what else the machine did in it concerned both.
            pairs = zip(server.rates[kind], base.rates[kind], strict=True)
            ratio = median(mine / theirs for mine, theirs in pairs)
            line += f"{rate:9.0f}{ratio:7.2f}"
            asked = _ASKED.get((server.name, kind))
            if asked:
                verdicts.append((f"{server.name} {kind}", f"{ratio:.2f}", f">= {asked}",
                                 ratio >= asked))  # fmt: skip
        most = _MOST_KIB.get(server.name)
        if most:
            verdicts.append((f"{server.name} KiB a peer", f"{server.kib:.1f}", f"<= {most:g}",
                             server.kib <= most))  # fmt: skip
        late = "   ".join(
            f"{1e3 * p50:.2f}/{1e3 * p99:.2f}" for p50, p99 in server.latency.values()
        )
        print(f"{line}{server.kib:10.1f}{server.connects:10.0f}   {late}")
    for what, number, asked, reached in verdicts:
        print(f"{what:22} {number:>6}   asked {asked:8} {'reached' if reached else 'NOT REACHED'}")


def _print_viewers(run: list[Server], count: int) -> None:
    for server in run:
        viewers = server.viewers
        if viewers is None:
            continue
        answered = len(viewers.joined)
        if not answered:
            print(f"{server.name}: none of {count} viewers was answered   NOT REACHED")
            continue
        p99 = viewers.joined[int(0.99 * (answered - 1))]
        median, late = viewers.joined[answered // 2], viewers.listed[int(0.99 * (answered - 1))]
        print(
            f"{server.name}: {answered} of {count} viewers answered, {viewers.named} with sources; "
            f"connect to list p50 {1e3 * median:.1f} ms, p99 {1e3 * p99:.1f} ms; question to list "
            f"p99 {1e3 * late:.1f} ms; {server.busy:.0%} of a core, which others had for "
            f"{server.waited:.1f} s meanwhile   asked: all, p99 < 100 ms "
            f"{'reached' if answered == count and p99 < 0.1 else 'NOT REACHED'}"
        )


if __name__ == "__main__":
    main()
