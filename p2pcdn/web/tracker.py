"""The WebTorrent tracker's WebSocket, `WS {coordinator_path}/tracker`."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from p2pcdn.coordinator.tracker_messages import failure
from p2pcdn.hub import Hub
from p2pcdn.sockets.protocol import Receiver, WebSocketProtocol
from p2pcdn.web.access import client_address
from p2pcdn.web.coordinator_socket import Outbox, Socket

__all__ = ["PATH", "TrackerSocket", "attach"]

PATH = "/tracker"
"""Below `coordinator_path`."""

FOREIGN = failure(
    "pages of another site may not use this tracker; its owner can name them in allowed_origins"
)


class TrackerSocket(Socket):
    """Where the ASGI server holds the socket."""

    foreign = FOREIGN

    def attach(self, connection: HTTPConnection, outbox: Outbox | WebSocketProtocol) -> Receiver:
        """See `Socket.attach`."""
        return self.hub.track(
            deliver=outbox.deliver, close=outbox.close, address=client_address(connection)
        )


def attach(
    protocol: WebSocketProtocol, connection: HTTPConnection, hub: Hub, *, allowed: bool
) -> Receiver | None:
    """Where we hold it ourselves.

    Returns:
        The session, or None where the page is another site's and was turned away.
    """
    if not allowed:
        protocol.deliver(FOREIGN)
        protocol.close(1008, "origin")
        return None
    return hub.track(
        deliver=protocol.deliver, close=protocol.close, address=client_address(connection)
    )
