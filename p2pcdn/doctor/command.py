"""`p2pcdn doctor URL`: find out why nothing is shared.

Exit codes: 0 all is well; 1 warnings; 2 problems, or wrong usage.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys

from p2pcdn.doctor.examine import examine

__all__ = ["add_arguments", "run"]

_EPILOG = """\
exit codes: 0 all is well; 1 warnings; 2 problems, or wrong usage. Each finding's name is explained
in docs/troubleshooting.md.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `p2pcdn doctor`."""
    parser.epilog = _EPILOG
    parser.add_argument("url", metavar="URL", help="a page with a video, as visitors see it")
    parser.add_argument(
        "--browser", action="store_true", help="also open it twice in a headless Chromium"
    )
    parser.add_argument("--json", action="store_true", help="findings as JSON")
    parser.add_argument(
        "--token",
        default=os.environ.get("P2PCDN_STATS_TOKEN"),
        help="the site's stats_token, to say what the site counted (better: P2PCDN_STATS_TOKEN "
        "in the environment)",
    )
    parser.add_argument(
        "--mount", default="/p2pcdn", metavar="PATH", help="the site's `mount` (default /p2pcdn)"
    )
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=20.0,
        metavar="SECONDS",
        help="for hashes that are being made, and for a link (default 20)",
    )
    parser.add_argument(
        "--chromium", metavar="FILE", help="the browser (default: the one on the PATH)"
    )


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    # Findings say it better than what the page's rules would log about the same page.
    logging.getLogger("p2pcdn").addHandler(logging.NullHandler())
    report = examine(
        args.url,
        browser=args.browser,
        token=args.token,
        mount="/" + args.mount.strip("/"),
        wait_s=args.wait,
        chromium=args.chromium,
    )
    if args.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print(report.as_text(colours=colours))
    return report.exit_code


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to 3600")
    return value
