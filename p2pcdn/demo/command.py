"""`p2pcdn demo`: the demo site on a port of this machine."""

from __future__ import annotations

import argparse
import http.client
import ipaddress
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from p2pcdn import P2PCDN, P2PCDNError
from p2pcdn.demo.library import Film, find_films, own_films
from p2pcdn.demo.pages import media_path

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
    # Nothing stays in the browser: two tabs of one browser are to be two visitors.
    app = P2PCDN(build(films), hud=True, debug=local, disk_limit=0)
    config = uvicorn.Config(app, log_level="warning", ws_per_message_deflate=False)
    port = listener.getsockname()[1]

    def greet() -> None:
        near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(args.host, args.host)
        _prepare(near, port, f"{app.config.mount}/manifest", films)
        print(_greeting(args.host, port, local=local), flush=True)

    with listener:
        threading.Thread(target=greet, daemon=True).start()
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _prepare(
    host: str, port: int, manifest: str, films: Sequence[Film], *, patience_s: float = 5.0
) -> None:
    """Be the first visitor: a video is hashed when somebody first asks, and until that is done
    the page plays it plainly. Whoever opens the first tab should not have to open it twice."""
    end = time.monotonic() + patience_s
    for film in films:
        media = quote(media_path(film), safe="")
        for path in (f"/watch/{film.slug}", f"{manifest}?url={media}"):
            while time.monotonic() < end and _status(host, port, path) == 202:
                time.sleep(0.05)


def _status(host: str, port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None  # the server has ended, or says itself what is wrong
    finally:
        connection.close()


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
