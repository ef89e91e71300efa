"""A client's socket, taken over from a WSGI server that knows no WebSockets.

gunicorn (sync and gthread workers) and werkzeug's development server leave the connection in
the environ. It is moved to a descriptor of ours and served from this process's event loop, so
no worker is held; in its old place the server finds a connection whose other end has closed.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from starlette.requests import HTTPConnection

from p2pcdn.config import Config
from p2pcdn.hub import Hub
from p2pcdn.sockets.attach import attach
from p2pcdn.sockets.handshake import Refused, accept
from p2pcdn.sockets.protocol import WebSocketProtocol
from p2pcdn.sockets.reactor import Reactor, at_once

__all__ = ["can_take_over", "end", "ending", "take_over"]

log = logging.getLogger("p2pcdn.sockets")

_KEYS = ("gunicorn.socket", "werkzeug.socket")
# werkzeug's debugger would show the broken pipe that ends such a request as the app's error.
_DEBUGGER = "werkzeug.debug.preserve_context"


def can_take_over(environ: Mapping[str, Any]) -> bool:
    """Whether the server behind this environ lets go of its sockets."""
    return _socket(environ) is not None


def _socket(environ: Mapping[str, Any]) -> socket.socket | None:
    if _DEBUGGER in environ:
        return None
    for key in _KEYS:
        found = environ.get(key)
        # TLS that the server itself terminates lives in its own object, not in the descriptor.
        if isinstance(found, socket.socket) and not isinstance(found, ssl.SSLSocket):
            return found if found.fileno() >= 0 else None
    return None


def take_over(
    environ: Mapping[str, Any],
    connection: HTTPConnection,
    hub: Hub,
    config: Config,
    loop: asyncio.AbstractEventLoop,
) -> bool:
    """Make a WebSocket of this request's connection and serve it on `loop`.

    Args:
        environ: The WSGI environ.
        connection: The same request as Starlette sees it.
        hub: Who the peer talks to.
        config: The settings.
        loop: The running loop of another thread.

    Returns:
        False where the connection cannot be had or asks for no valid WebSocket: nothing was
        touched, answer it as HTTP. True: end the request with `end`.
    """
    server_socket = _socket(environ)
    if server_socket is None:
        return False
    headers = {name.lower(): value for name, value in connection.headers.items()}
    try:
        preface = accept(environ["REQUEST_METHOD"], headers)
    except Refused:
        return False
    ours = _moved(server_socket)
    at_once(ours)
    asyncio.run_coroutine_threadsafe(_serve(ours, preface, connection, hub, config), loop)
    return True


def _moved(server_socket: socket.socket) -> socket.socket:
    """The connection under another descriptor; under the old one is one that ended.

    Whatever the server still does there (read the next request, shut down, close) is what it
    does after any visitor who left.
    """
    ours = server_socket.dup()
    ended, other = socket.socketpair()
    other.close()
    os.dup2(ended.fileno(), server_socket.fileno())
    ended.close()
    ours.setblocking(False)
    return ours


async def _serve(
    ours: socket.socket, preface: bytes, connection: HTTPConnection, hub: Hub, config: Config
) -> None:
    try:
        await hub.start()
        served = WebSocketProtocol(
            lambda protocol: attach(protocol, connection, hub, config),
            max_message_bytes=config.max_message_bytes,
            preface=preface,
        )
        reactor = Reactor.here()
        if reactor is not None:
            reactor.adopt(ours, served)
        else:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: served, ours)
    except Exception:
        # The loader then finds its socket closed and goes on with the mailbox.
        log.exception("a socket that was taken over could not be served")
        ours.close()


def end() -> NoReturn:
    """End the server's part of a request whose connection is ours now.

    Raises:
        BrokenPipeError: Always. Servers take it for a client that left, and say nothing.
    """
    raise BrokenPipeError(errno.EPIPE, "p2pcdn serves this connection now")


def ending() -> Iterator[bytes]:
    """`end`, as the body of a response."""
    end()
    yield b""
