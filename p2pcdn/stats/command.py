"""`p2pcdn stats`: what was delivered by whom, in a terminal, a pipe or another program.

Exit codes: 0 printed; 1 nothing has been counted (no store yet, or nothing in the range);
2 wrong usage, or the numbers cannot be had (locked, corrupt, unreachable, wrong token).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from p2pcdn.config import Config
from p2pcdn.errors import P2PCDNError
from p2pcdn.stats.fit import fit_rows
from p2pcdn.stats.render import as_csv, as_text
from p2pcdn.stats.source import NothingYet, read_local, read_redis, read_remote
from p2pcdn.stats.summary import Summary
from p2pcdn.stats.when import ALLOWED, parse_when

__all__ = ["add_arguments", "run"]

_EPILOG = """\
exit codes: 0 printed; 1 nothing has been counted yet; 2 wrong usage or the numbers cannot be
had. Without --url it reads the store of the site in this working directory (or --data-dir), which
with the option redis_url is in Redis: the sum of all machines.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `p2pcdn stats`."""
    parser.epilog = _EPILOG
    parser.add_argument("--since", default="24h", metavar="WHEN", help=f"{ALLOWED} (default 24h)")
    parser.add_argument("--until", metavar="WHEN", help="likewise (default: now)")
    parser.add_argument(
        "--top", type=_count, default=20, metavar="N", help="contents to show (default 20; 0: none)"
    )
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=2.0,
        metavar="SECONDS",
        help="show again every 2 s (or as given) until Ctrl-C",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="JSON (with --watch: one line each time)")
    form.add_argument("--csv", action="store_true", help="CSV: contents, then the total")
    parser.add_argument(
        "--price-per-gb", type=_price, metavar="X", help="price of 10^9 bytes (else the setting)"
    )
    parser.add_argument("--currency", metavar="SIGN", help="how the price is written")
    parser.add_argument("--url", help="ask a running site, e.g. https://example.org")
    parser.add_argument(
        "--token", help="the site's stats_token (better: P2PCDN_STATS_TOKEN in the environment)"
    )
    parser.add_argument("--data-dir", metavar="FOLDER", help="the site's data folder")


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    try:
        config = Config.load()
        return _watch(args, config) if args.watch is not None else _once(args, config)
    except NothingYet as error:
        print(f"p2pcdn stats: {error}", file=sys.stderr)
        return 1
    except (P2PCDNError, ValueError) as error:
        print(f"p2pcdn stats: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # `p2pcdn stats | head`: not an error of ours; keep the interpreter quiet at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130 if args.watch is None else 0


def _once(args: argparse.Namespace, config: Config) -> int:
    summary = _read(args, config)
    _print(_form(args, config, summary, one_line=False))
    if not _anything(summary) and not (args.json or args.csv):
        print("p2pcdn stats: nothing was counted in this time: try --since 7d.", file=sys.stderr)
    sys.stdout.flush()
    return 0 if _anything(summary) else 1


def _anything(summary: Summary) -> bool:
    return bool(summary.totals.delivered or summary.totals.views or summary.direct)


def _watch(args: argparse.Namespace, config: Config) -> int:
    terminal = sys.stdout.isatty() and not (args.json or args.csv)
    text, trouble = "", ""
    while True:
        try:
            summary, trouble = _read(args, config), ""
        except P2PCDNError as error:
            # A site that is started anew is back in a moment; a wrong address never was there.
            if not text:
                raise
            if str(error) != trouble and not terminal:
                print(f"p2pcdn stats: {error}", file=sys.stderr)
            trouble = str(error)
        else:
            if terminal:  # what does not fit on the screen would scroll it away
                summary = fit_rows(summary, shutil.get_terminal_size().lines)
            text = _form(args, config, summary, one_line=True)
        if terminal:
            shown = f"{text}\n\nNot updated: {trouble}" if trouble else text
            # Home, write, clear what is left below: no flicker, unlike clearing first.
            sys.stdout.write("\x1b[H" + shown.replace("\n", "\x1b[K\n") + "\x1b[K\n\x1b[J")
        elif not trouble:
            _print(text)
        sys.stdout.flush()
        time.sleep(args.watch)


def _read(args: argparse.Namespace, config: Config) -> Summary:
    now = time.time()
    since = parse_when(args.since, now=now)
    until = None if args.until is None else parse_when(args.until, now=now)
    if since > now:
        raise ValueError(f"--since {args.since} is in the future (or this machine's clock is slow)")
    if until is not None and until <= since:
        raise ValueError(f"--until {args.until} is not after --since {args.since}")
    if args.url:
        token = args.token or config.stats_token
        return read_remote(
            args.url, mount=config.mount, token=token, since=since, until=until, top=args.top
        )
    if config.redis_url is not None and not args.data_dir:
        return read_redis(
            config.redis_url, config.secret, since=since, until=until, top=args.top, now=now
        )
    folder = Path(args.data_dir).expanduser().absolute() if args.data_dir else config.folder()
    return read_local(folder, since=since, until=until, top=args.top, now=now)


def _form(args: argparse.Namespace, config: Config, summary: Summary, *, one_line: bool) -> str:
    price = config.price_per_gb if args.price_per_gb is None else args.price_per_gb
    currency = config.currency if args.currency is None else args.currency
    if args.json:
        value = {
            **summary.to_json(),
            "price_per_gb": price,
            "currency": currency,
            "saved": round(summary.totals.saved(price), 6),
        }
        return json.dumps(value, indent=None if one_line else 2)
    if args.csv:
        return as_csv(summary, price=price, currency=currency).rstrip("\r\n")
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    plain = not encoding.startswith("utf")
    terminal = sys.stdout.isatty()
    rich = _rich() if terminal and not plain else None
    if rich is not None:
        return rich(summary, price, currency)
    width = shutil.get_terminal_size().columns if terminal else None
    return as_text(summary, price=price, currency=currency, width=width, ascii=plain)


def _rich() -> Callable[[Summary, float, str], str] | None:
    try:
        from p2pcdn.stats.terminal import as_rich
    except ImportError:
        return None
    return as_rich


def _print(text: str) -> None:
    print(text)


def _count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1000")
    return number


def _seconds(text: str) -> float:
    return _float(text, 0.2, 3600)


def _price(text: str) -> float:
    return _float(text, 0, 1e6)


def _float(text: str, low: float, high: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low:g} to {high:g}")
    return number


def main(argv: list[str] | None = None) -> Any:
    """The command by itself: `python -m p2pcdn.stats.command`."""
    parser = argparse.ArgumentParser(prog="p2pcdn stats")
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
