"""`p2pcdn seed URL...`: a peer that stays, on any machine."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from p2pcdn.coordinator.messages import NETWORKS
from p2pcdn.peer import PeerError

if TYPE_CHECKING:
    from p2pcdn.peer.seeder import Seeder

__all__ = ["add_arguments", "run"]

_STATUS_S = 1.0
_PLAIN_STATUS_S = 30.0
_GOODBYE_S = 4.0
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `p2pcdn seed`."""
    parser.add_argument(
        "urls",
        nargs="+",
        metavar="URL",
        help="a page with videos, or a media file; all of one site",
    )
    parser.add_argument(
        "--mount",
        metavar="PATH",
        help="the site's mount, where it has an unusual name and no page of it is given",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="keep segments here, so that the next start fetches nothing again "
        "(default: in memory)",
    )
    parser.add_argument(
        "--cache-limit",
        type=_size,
        default=_UNITS["gi"],
        metavar="SIZE",
        help="most bytes of segments, e.g. 500M or 20Gi (default: 1Gi)",
    )
    parser.add_argument(
        "--upload-limit",
        type=_size,
        metavar="SIZE",
        help="most bytes per second sent to visitors, e.g. 2M (default: no limit)",
    )
    parser.add_argument(
        "--links", type=_count, default=32, help="visitors to be linked with (default: 32)"
    )
    parser.add_argument(
        "--network",
        choices=NETWORKS,
        default="unknown",
        help="the kind of network this machine is on: better ones are named first",
    )
    parser.add_argument(
        "--recheck",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="how often to ask whether a file is still the same (default: 30)",
    )
    end = parser.add_mutually_exclusive_group()
    end.add_argument(
        "--once", action="store_true", help="end when everything is fetched: fill a cache folder"
    )
    end.add_argument("--duration", type=_seconds, metavar="SECONDS", help="end after this time")
    parser.add_argument("--quiet", action="store_true", help="no status line")
    parser.add_argument("--verbose", action="store_true", help="say what happens")


def run(args: argparse.Namespace) -> int:
    """Seed until interrupted.

    Returns:
        0; 1 when something of it could not be shared with `--once` or `--duration`.

    Raises:
        PeerError: A package is missing, the site does not answer, or there is nothing to seed.
    """
    try:
        import aiortc  # noqa: F401
        import httpx  # noqa: F401
        import websockets  # noqa: F401
    except ModuleNotFoundError as error:
        raise PeerError(f'seeding needs {error.name}: pip install "p2pcdn[peer]"') from error
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("p2pcdn").setLevel(logging.INFO if args.verbose else logging.WARNING)
    return asyncio.run(_seed(args))


async def _seed(args: argparse.Namespace) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, ValueError):
            loop.add_signal_handler(number, stop.set)
    seeding = loop.create_task(_seed_until(stop, args))
    stopping = loop.create_task(stop.wait())
    await asyncio.wait({seeding, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not seeding.done():
        # Time to say goodbye; a site that does not answer is not waited for.
        await asyncio.wait({seeding}, timeout=_GOODBYE_S)
        seeding.cancel()
    stopping.cancel()
    try:
        return await seeding
    except asyncio.CancelledError:
        return 0


async def _seed_until(stop: asyncio.Event, args: argparse.Namespace) -> int:
    from p2pcdn.peer.peer import Peer
    from p2pcdn.peer.seeder import Seeder, find_targets

    loop = asyncio.get_running_loop()
    peer = Peer(
        args.urls[0],
        mount=args.mount,
        cache=args.cache,
        cache_limit=args.cache_limit,
        upload_limit=args.upload_limit,
        max_links=args.links,
        recheck_s=args.recheck,
        network=args.network,
    )
    async with peer:
        seeder = Seeder(peer, await find_targets(peer, args.urls))
        status = _Status(seeder, sys.stderr, quiet=args.quiet)
        end = loop.time() + args.duration if args.duration is not None else None

        def over() -> bool:
            status.show(loop.time())
            if args.once and all(s.settled or s.stuck for s in seeder.seedings):
                return True
            return stop.is_set() or (end is not None and loop.time() >= end)

        await seeder.run(over)
        status.end()
        lacking = [seeding for seeding in seeder.seedings if not seeding.settled]
    if not (args.once or args.duration is not None):
        return 0
    for seeding in lacking:
        reason = seeding.reason or "there was not enough time to fetch it"
        print(f"p2pcdn seed: {seeding.target}: {reason}", file=sys.stderr)
    return int(bool(lacking))


class _Status:
    """One line that is written over on a terminal, and now and then elsewhere."""

    def __init__(self, seeder: Seeder, out: TextIO, *, quiet: bool) -> None:
        self._seeder, self._out, self._quiet = seeder, out, quiet
        self._tty = out.isatty()
        self._next = float("-inf")
        self._at = 0.0
        self._sent = 0
        self._settled = False

    def show(self, now: float) -> None:
        """Write the line where it is due."""
        news = self._seeder.settled != self._settled
        if self._quiet or (now < self._next and not news):
            return
        self._settled = self._seeder.settled
        self._next = now + (_STATUS_S if self._tty else _PLAIN_STATUS_S)
        stats = self._seeder.peer.stats()
        rate = (stats.uploaded - self._sent) / (now - self._at) if self._at < now else 0.0
        self._sent, self._at = stats.uploaded, now
        line = self._line(rate)
        self._out.write(f"\r\x1b[K{line}" if self._tty else f"{line}\n")
        self._out.flush()

    def end(self) -> None:
        """Leave the last line standing."""
        if self._tty and not self._quiet:
            self._out.write("\n")

    def _line(self, rate: float) -> str:
        seeder, stats = self._seeder, self._seeder.peer.stats()
        contents = [s.content for s in seeder.seedings if s.content and not s.content.closed]
        held = sum(c.stats().held for c in contents)
        segments = sum(c.held.size for c in contents)
        share = f"{100 * held // segments} %" if segments else "nothing yet"
        parts = [
            f"{sum(s.settled for s in seeder.seedings)} of {len(seeder.seedings)} contents",
            f"{share} held",
            f"{len(stats.links)} links",
            f"{_amount(stats.uploaded)} sent",
            f"{_amount(rate)}/s",
        ]
        trouble = seeder.peer.trouble or next((s.reason for s in seeder.seedings if s.reason), "")
        return ", ".join(parts) + (f" ({trouble})" if trouble else "")


def _amount(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]i?|)b?", text.strip().lower())
    if found is None or not (size := int(float(found[1]) * _UNITS[found[2]])):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write for example 500M or 20Gi")
    return size


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d+(?:\.\d+)?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write seconds, more than 0")
    return float(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,4}", text) or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of links; allowed is 1 to 9999")
    return int(text)
