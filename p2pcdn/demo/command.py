"""`p2pcdn demo`: the demo site on a port of this machine."""

from __future__ import annotations

import argparse
import ipaddress
import socket
from pathlib import Path

from p2pcdn import P2PCDN, P2PCDNError
from p2pcdn.demo.library import find_films, own_films

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `p2pcdn demo`."""
    parser.add_argument("--port", type=_port, default=8000, help="0: any free one (default: 8000)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--media", type=Path, metavar="FOLDER", help="show the videos of this folder instead"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted.

    Raises:
        P2PCDNError: uvicorn is missing, the address cannot be had, or there is nothing to show.
    """
    try:
        import uvicorn
    except ModuleNotFoundError as error:
        raise P2PCDNError(
            'the demo needs uvicorn and websockets: pip install "p2pcdn[cli]"'
        ) from error
    from p2pcdn.demo.app import build

    films = own_films() if args.media is None else find_films(args.media)
    listener = _listen(args.host, args.port)
    local = _is_loopback(args.host)
    # Statistics without a token only where nobody but this machine can ask for them.
    app = P2PCDN(build(films), hud=True, debug=local)
    config = uvicorn.Config(app, log_level="warning", ws_per_message_deflate=False)
    print(_greeting(args.host, listener.getsockname()[1], local=local), flush=True)
    with listener:
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _greeting(host: str, port: int, *, local: bool) -> str:
    shown = "localhost" if local or host in ("", "0.0.0.0", "::") else host
    shown = f"[{shown}]" if ":" in shown else shown
    lines = [
        f"The demo is at http://{shown}:{port}/",
        "Open a film in two tabs: the second one is fed by the first, the panel shows how.",
        "Stop with Ctrl-C.",
    ]
    if not local:
        lines.insert(
            2,
            "Browsers share only over https or on localhost: from other machines the films play, "
            "but plainly.",
        )
    return "\n".join(lines)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = error.strerror or str(error)
        raise P2PCDNError(
            f"cannot listen on {host} port {port} ({reason}); choose another with --port"
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port; allowed is 0 to 65535")
