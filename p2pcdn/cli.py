"""The `p2pcdn` command: a list of subcommands, each in the room that it belongs to.

A subcommand is a module with `add_arguments(parser)` and `run(args) -> int`. Only the one
that is called is imported, so that `p2pcdn stats` does not wait for WebRTC to load.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from p2pcdn import P2PCDNError, __version__

__all__ = ["main"]


class _Command(NamedTuple):
    name: str
    module: str
    help: str


_COMMANDS = (
    _Command("demo", "p2pcdn.demo.command", "show a small video site that shares its films"),
    _Command("serve", "p2pcdn.web.command", "run a coordinator of its own"),
    _Command("seed", "p2pcdn.peer.command", "join a site's swarms as a peer that stays"),
    _Command("stats", "p2pcdn.stats.command", "say what was saved"),
    _Command("doctor", "p2pcdn.doctor.command", "find out why nothing is shared"),
    _Command("hash", "p2pcdn.media.command", "show what a file's manifest holds"),
)


class _Module(Protocol):
    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, args: argparse.Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's) and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="p2pcdn",
        description="A site's videos travel from visitor to visitor, its own server stays the "
        "source that always works.",
    )
    parser.add_argument("--version", action="version", version=f"p2pcdn {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="command", required=True)
    called = next((word for word in arguments if not word.startswith("-")), None)
    modules: dict[str, _Module] = {}
    for command in filter(_exists, _COMMANDS):
        subparser = subparsers.add_parser(
            command.name, help=command.help, description=_sentence(command.help)
        )
        if command.name == called:
            module = cast(_Module, importlib.import_module(command.module))
            module.add_arguments(subparser)
            modules[command.name] = module
    args = parser.parse_args(arguments)
    try:
        return modules[args.command].run(args)
    except P2PCDNError as error:
        print(f"p2pcdn {args.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `p2pcdn hash --json * | head`
        sys.stderr.close()
        return 141
    except KeyboardInterrupt:
        return 130


def _exists(command: _Command) -> bool:
    """Whether the module is there, without importing it or the packages above it."""
    inside = command.module.split(".")[1:]
    return Path(__file__).parent.joinpath(*inside).with_suffix(".py").is_file()


def _sentence(help: str) -> str:
    return f"{help[0].upper()}{help[1:]}."


if __name__ == "__main__":
    sys.exit(main())
