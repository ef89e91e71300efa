"""A WebSocket of ours becomes a coordinator session."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from p2pcdn.config import Config
from p2pcdn.hub import Hub
from p2pcdn.sockets.protocol import Receiver, WebSocketProtocol
from p2pcdn.web import tracker
from p2pcdn.web.coordinator import allowed
from p2pcdn.web.coordinator_socket import FOREIGN, register

__all__ = ["attach"]


def attach(
    protocol: WebSocketProtocol, connection: HTTPConnection, hub: Hub, config: Config
) -> Receiver | None:
    """Register the socket of a `WS .../peerjs?key=&id=&token=&version=`, or `.../tracker`; the
    hub is started.

    Returns:
        The session, or None where the page is another site's and was turned away.
    """
    if connection.scope["path"].endswith(tracker.PATH):
        return tracker.attach(protocol, connection, hub, allowed=allowed(connection, config))
    if not allowed(connection, config):
        protocol.deliver(FOREIGN)
        protocol.close(1008, "origin")
        return None
    return register(connection, hub, deliver=protocol.deliver, close=protocol.close)
