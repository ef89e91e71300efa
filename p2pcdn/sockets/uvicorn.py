"""A WebSocket that uvicorn has accepted, taken over as from a WSGI server.

uvicorn spends three to four times as much on a message as it costs to relay it, and 25 KiB on a
peer that says nothing. Its connection moves to a descriptor of ours right behind the 101; for
uvicorn it has ended. Whatever is not exactly as expected (TLS of its own, another server,
another middleware's `receive`, frames that are already there) stays where it is.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from starlette.types import Receive

__all__ = ["detach", "holder"]

_SANSIO = "uvicorn.protocols.websockets.websockets_sansio_impl"
_KNOWN = (_SANSIO, "uvicorn.protocols.websockets.wsproto_impl")
_EXTENSIONS = "sec-websocket-extensions"


def holder(receive: Receive) -> Any:
    """What holds this connection, to be detached from when `websocket.accept` was sent; None
    where it cannot be had. Compression, which we do not speak, is declined.
    """
    found: Any = getattr(receive, "__self__", None)
    if type(found).__module__ not in _KNOWN:
        return None
    try:
        if found.transport.get_extra_info("sslcontext") is not None or not found.queue.empty():
            return None
        if found.config.ws_per_message_deflate:
            if type(found).__module__ != _SANSIO:
                return None  # wsproto agrees only when it answers, and hides what was offered
            # The answer is made, and not sent yet.
            if _EXTENSIONS in found.response.headers:
                del found.response.headers[_EXTENSIONS]
            found.conn.extensions = []
    except AttributeError:  # another version's
        return None
    return found


def detach(held: Any) -> socket.socket | None:
    """The connection of a `holder`'s, under a descriptor of ours; None: it stays uvicorn's.

    Nothing may have been awaited since the 101 was sent but the sending itself.
    """
    transport = held.transport
    there = transport.get_extra_info("socket")
    if (
        there is None
        or transport.is_closing()
        or transport.get_write_buffer_size()
        or not held.queue.empty()
    ):
        return None
    ours = socket.socket(fileno=os.dup(there.fileno()))
    ours.setblocking(False)
    # Closes uvicorn's descriptor; the connection lives on in ours.
    transport.abort()
    return ours
