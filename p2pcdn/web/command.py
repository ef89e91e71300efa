"""`p2pcdn serve`: the coordinator alone, in place of npm's `peerjs` command.

Its options are that command's, times in milliseconds as there; what is not given stands in the
settings (environment, `p2pcdn.toml`). Exit codes: 0 stopped by SIGTERM or SIGINT; 2 wrong usage,
or it cannot start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from p2pcdn.config import Config
from p2pcdn.errors import P2PCDNError
from p2pcdn.hub import Hub, open_hub
from p2pcdn.web import coordinator, tracker

__all__ = ["add_arguments", "run"]

_EPILOG = """\
Stops at SIGTERM or SIGINT: sockets are closed with code 1001, so that clients connect again.
GET /health answers as long as this process does, GET /ready 200 where peers can be served.
For a site's own loaders it needs the site's `secret` (P2PCDN_SECRET, or p2pcdn.toml), or to run
in the site's working directory.
"""
_GOODBYE_S = 5.0
_SPARE_CONNECTIONS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `p2pcdn serve`."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    environ = os.environ
    parser.add_argument("--host", "-H", default="::", help="address (default: every one)")
    parser.add_argument(
        "--port", "-p", type=_port, default=environ.get("PORT", "9000"),
        help="default: PORT in the environment, else 9000; 0: any free one",
    )  # fmt: skip
    parser.add_argument(
        "--path", type=_path, default=environ.get("PEERSERVER_PATH", "/"),
        help="path of the coordinator (default: PEERSERVER_PATH, else /)",
    )  # fmt: skip
    parser.add_argument("--key", "-k", help="API key (default: peerjs)")
    parser.add_argument(
        *_spelled("allow-discovery"), nargs="?", type=_bool, const=True,
        help="let anyone list the ids of all peers",
    )  # fmt: skip
    parser.add_argument(
        *_spelled("expire-timeout"), "-t", type=_milliseconds, metavar="MS",
        help="a message for an absent peer is kept so long (default: 5000)",
    )  # fmt: skip
    parser.add_argument(
        *_spelled("alive-timeout"), type=_milliseconds, metavar="MS",
        help="a silent client is dropped after this time (default: 90000)",
    )  # fmt: skip
    parser.add_argument(
        *_spelled("concurrent-limit"), "-c", type=int, metavar="N",
        help="most peers at once (default: 5000)",
    )  # fmt: skip
    parser.add_argument(
        "--cors", nargs="+", action="extend", metavar="ORIGIN",
        help="origins whose pages may use it, e.g. https://example.org (default: every page)",
    )  # fmt: skip
    parser.add_argument(
        "--proxied", nargs="?", type=_bool, const=True, default=False,
        help="believe X-Forwarded-For also where the proxy has a public address",
    )  # fmt: skip
    parser.add_argument("--sslkey", type=Path, metavar="FILE", help="TLS key (PEM)")
    parser.add_argument("--sslcert", type=Path, metavar="FILE", help="TLS certificate (PEM)")
    parser.add_argument(
        *_spelled("redis-url"), metavar="URL",
        help="share the coordinator with other machines (extra `redis`)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Serve until a signal.

    Raises:
        P2PCDNError: A setting is wrong, something is missing, or the address cannot be had.
    """
    try:
        import h11  # noqa: F401
    except ModuleNotFoundError as error:
        raise P2PCDNError('`p2pcdn serve` needs h11: pip install "p2pcdn[cli]"') from error
    config = _config(args)
    tls = _tls(args)
    _more_descriptors(config.concurrent_limit + _SPARE_CONNECTIONS)
    listener = _listen(args.host, args.port)
    try:
        asyncio.run(_serve(args, config, listener, tls))
    finally:
        listener.close()
    return 0


async def _serve(
    args: argparse.Namespace, config: Config, listener: socket.socket, tls: ssl.SSLContext | None
) -> None:
    from p2pcdn.sockets.attach import attach
    from p2pcdn.sockets.server import Listener

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    hub = _hub(config)
    await hub.start()
    front = Listener(
        _app(hub, config, args.path),
        websocket_paths=(f"{args.path}/peerjs", f"{args.path}{tracker.PATH}"),
        opened=lambda protocol, connection: attach(protocol, connection, hub, config),
        max_message_bytes=config.max_message_bytes,
        max_connections=config.concurrent_limit + _SPARE_CONNECTIONS,
        proxied=args.proxied,
    )
    server = await loop.create_server(front, sock=listener, ssl=tls, backlog=2048)
    # The words of npm's command, which scripts may be waiting for.
    address, port = listener.getsockname()[:2]
    print(f"Started PeerServer on {address}, port: {port}, path: {args.path or '/'}", flush=True)
    if "*" in config.allowed_origins:
        print("Pages of any site may use it; name yours with --cors to keep others out.")
    sys.stdout.flush()
    # What was made until now stays; peers make few cycles, and looking for them costs a tenth.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    await stop.wait()
    server.close()
    await hub.close(1001, "going away")
    await front.close(within_s=_GOODBYE_S)


def _app(hub: Hub, config: Config, path: str) -> Starlette:
    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})

    async def ready(request: Request) -> JSONResponse:
        return JSONResponse(
            {"status": "ok" if hub.healthy else "unavailable", **hub.snapshot()},
            status_code=200 if hub.healthy else 503,
            headers={"Cache-Control": "no-store"},
        )

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/ready", ready),
            *coordinator.mounted(hub, config, path),
        ]
    )


def _hub(config: Config) -> Hub:
    # The same secret as the site's that runs in this working directory.
    from p2pcdn.runtime import kept_secret

    folder = config.folder()
    secret = config.secret.encode() if config.secret else kept_secret(folder / "secret")
    return open_hub(config, secret=secret, site=str(folder), elected=False)


def _config(args: argparse.Namespace) -> Config:
    given: dict[str, Any] = {
        "peerjs_key": args.key,
        "allow_discovery": args.allow_discovery,
        "expire_timeout": args.expire_timeout,
        "alive_timeout": args.alive_timeout,
        "concurrent_limit": args.concurrent_limit,
        "allowed_origins": args.cors,
        "redis_url": args.redis_url,
    }
    keywords = {name: value for name, value in given.items() if value is not None}
    config = Config.load(keywords)
    if not config.allowed_origins:
        config = Config.load({**keywords, "allowed_origins": ["*"]})
    return config


def _tls(args: argparse.Namespace) -> ssl.SSLContext | None:
    if args.sslkey is None and args.sslcert is None:
        return None
    if args.sslkey is None or args.sslcert is None:
        raise P2PCDNError("--sslkey and --sslcert are needed both, or neither")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(args.sslcert, args.sslkey)
    except (OSError, ssl.SSLError) as error:
        raise P2PCDNError(f"{args.sslcert} and {args.sslkey} cannot be used: {error}") from error
    return context


def _listen(host: str, port: int) -> socket.socket:
    try:
        if host == "::" and not socket.has_dualstack_ipv6():
            host = "0.0.0.0"
        if host == "::":
            return socket.create_server(
                (host, port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=2048
            )
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(found[0][4][:2], family=found[0][0], backlog=2048)
    except (OSError, UnicodeError) as error:
        raise P2PCDNError(f"cannot listen on {host}, port {port}: {error}") from error


def _more_descriptors(wanted: int) -> None:
    """One a socket: the usual soft limit of 1,024 would turn peers away."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = wanted + 100 if hard == resource.RLIM_INFINITY else min(hard, wanted + 100)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


# --- options -----------------------------------------------------------------------------


def _spelled(name: str) -> tuple[str, ...]:
    """An option in the three ways that npm's command takes it."""
    first, *rest = name.split("-")
    camel = first + "".join(part.capitalize() for part in rest)
    return f"--{name}", f"--{name.replace('-', '_')}", f"--{camel}"


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")


def _path(text: str) -> str:
    path = text.strip("/")
    if any(character in path for character in "?#{}%\\ ") or not path.isascii():
        raise argparse.ArgumentTypeError(f"{text!r} is not a plain URL path such as /myapp")
    return f"/{path}" if path else ""


def _milliseconds(text: str) -> float:
    try:
        return float(text) / 1000
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of milliseconds") from None


def _bool(text: str) -> bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
