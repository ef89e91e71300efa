"""HTTP/1.1 in front of our own WebSockets: what `p2pcdn serve` listens with.

h11 parses; a handshake on the coordinator's path becomes a `WebSocketProtocol` on the same
transport, every other request is a small one for the ASGI app. Everything a client can make
this hold is bounded: head, body, time to send them, requests in work (one a connection).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
import socket
from collections.abc import Callable, Collection
from email.utils import formatdate
from urllib.parse import unquote

import h11
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Scope

from p2pcdn.sockets.handshake import Refused, accept, wants_websocket
from p2pcdn.sockets.protocol import Receiver, WebSocketProtocol
from p2pcdn.sockets.reactor import Reactor, at_once

__all__ = ["Listener"]

log = logging.getLogger("p2pcdn.sockets")

_MAX_HEAD_BYTES = 16 * 1024
_REQUEST_S = 10.0
"""A request has to be all there, and its answer has to be taken, within this time."""
_IDLE_S = 5.0

Opened = Callable[[WebSocketProtocol, HTTPConnection], Receiver | None]


class Listener:
    """What all connections of one listening socket share; call it for a protocol. Made on the
    running loop.

    Args:
        app: Answers requests.
        websocket_paths: Where a handshake is taken.
        opened: Makes a receiver of a new WebSocket and its request; may close it.
        max_message_bytes: Largest WebSocket message; a request's body may have four times that.
        max_connections: One more is closed at once.
        proxied: The client is whom X-Forwarded-For names, whatever address it comes from.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        websocket_paths: Collection[str],
        opened: Opened,
        max_message_bytes: int,
        max_connections: int,
        proxied: bool = False,
    ) -> None:
        self.app = app
        self.websocket_paths = websocket_paths
        self.opened = opened
        self.max_message_bytes = max_message_bytes
        self.max_body_bytes = 4 * max_message_bytes
        self.max_connections = max_connections
        self.proxied = proxied
        self.loop = asyncio.get_running_loop()  # (asked for, it looks at the process id each time)
        self.closing = False
        self.connections: set[_HTTP] = set()
        self.websockets: set[WebSocketProtocol] = set()

    def __call__(self) -> _HTTP:
        return _HTTP(self)

    async def close(self, *, within_s: float) -> None:
        """Let requests in work be answered and closed sockets say good-bye, then cut off."""
        self.closing = True
        for connection in list(self.connections):
            connection.finish()
        end = asyncio.get_running_loop().time() + within_s
        while self.connections or self.websockets:
            if asyncio.get_running_loop().time() > end:
                for connection in list(self.connections):
                    connection.abort()
                for websocket in list(self.websockets):
                    websocket.abort()
                await asyncio.sleep(0)
                return
            await asyncio.sleep(0.02)


class _HTTP(asyncio.Protocol):
    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = listener.loop
        self._transport: asyncio.Transport | None = None
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._started = False  # the present request's answer has begun
        self._eof = False

    # --- asyncio.Protocol ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        shared = self._listener
        if shared.closing or len(shared.connections) + len(shared.websockets) >= (
            shared.max_connections
        ):
            transport.abort()
            return
        at_once(transport.get_extra_info("socket"))
        shared.connections.add(self)
        self._within(_REQUEST_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.connections.discard(self)
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._h11.receive_data(data)
        except h11.RemoteProtocolError:
            return  # more than the one request that is being answered; it was paused for that
        self._read()

    def eof_received(self) -> bool:
        # Who asks and closes its half still gets its answer.
        self._eof = True
        return self._task is not None

    # --- for the listener ----------------------------------------------------------------

    def finish(self) -> None:
        """No more requests on this connection."""
        if self._task is None and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Cut off."""
        if self._transport is not None:
            self._transport.abort()

    # --- a request -----------------------------------------------------------------------

    def _read(self) -> None:
        try:
            while self._task is None and self._transport is not None:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    if self._h11.they_are_waiting_for_100_continue:
                        self._write(h11.InformationalResponse(status_code=100, headers=[]))
                    return
                if isinstance(event, h11.Request):
                    # h11 bounds what is incomplete; a whole head may come in one read.
                    size = sum(len(name) + len(value) for name, value in event.headers)
                    if size + len(event.target) > _MAX_HEAD_BYTES:
                        self._refuse(431, f"at most {_MAX_HEAD_BYTES} bytes of headers")
                        return
                    self._request = event
                    self._body.clear()
                    self._within(_REQUEST_S)
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) > self._listener.max_body_bytes:
                        self._refuse(413, f"at most {self._listener.max_body_bytes} bytes")
                        return
                elif isinstance(event, h11.EndOfMessage):
                    self._handle()
                else:  # PAUSED, ConnectionClosed
                    return
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, str(error))

    def _handle(self) -> None:
        request, transport = self._request, self._transport
        assert request is not None and transport is not None
        path, _, query = _target(request.target).partition(b"?")
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.http_version.decode(),
            "method": request.method.decode(),
            "scheme": "http" if transport.get_extra_info("sslcontext") is None else "https",
            "path": unquote(path.decode("latin-1")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(request.headers),
            "client": self._client(transport),
            "server": (transport.get_extra_info("sockname") or ("", 0))[:2],
        }
        connection = HTTPConnection(scope)
        if scope["path"] in self._listener.websocket_paths and wants_websocket(connection.headers):
            self._upgrade(connection)
            return
        # What is pipelined behind this request waits in the kernel.
        transport.pause_reading()
        self._task = self._loop.create_task(self._answer(scope, bytes(self._body)))

    def _client(self, transport: asyncio.Transport) -> tuple[str, int] | None:
        peer = transport.get_extra_info("peername")
        if self._listener.proxied or not isinstance(peer, tuple):
            return None  # as behind a Unix socket: there is a proxy in front
        try:
            ip = ipaddress.ip_address(peer[0].partition("%")[0])
        except ValueError:
            return None
        mapped = ip.ipv4_mapped if ip.version == 6 else None
        return str(mapped or ip), peer[1]

    def _upgrade(self, connection: HTTPConnection) -> None:
        transport, listener = self._transport, self._listener
        assert transport is not None
        try:
            preface = accept(connection.scope["method"], connection.headers)
        except Refused as error:
            self._refuse(int(error.status[:3]), error.reason, (b"sec-websocket-version", b"13"))
            return
        unread, _ = self._h11.trailing_data
        if self._timer is not None:
            self._timer.cancel()
        listener.connections.discard(self)
        self._transport = None
        opened = listener.opened
        protocol = WebSocketProtocol(
            lambda made: opened(made, connection),
            max_message_bytes=listener.max_message_bytes,
            preface=preface,
            unread=unread,
            register=listener.websockets,
        )
        reactor = Reactor.here()
        raw = transport.get_extra_info("socket")
        if (
            reactor is None
            or transport.get_extra_info("sslcontext") is not None
            or transport.get_write_buffer_size()
        ):
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
            return
        # The transport closes its own descriptor and leaves the connection alone.
        moved = socket.socket(fileno=os.dup(raw.fileno()))
        moved.setblocking(False)
        transport.abort()
        reactor.adopt(moved, protocol)

    async def _answer(self, scope: Scope, body: bytes) -> None:
        self._started = False
        received = False

        async def receive() -> Message:
            nonlocal received
            if received:
                return {"type": "http.disconnect"}
            received = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(b"date", formatdate(usegmt=True).encode()), *message["headers"]]
                if self._listener.closing:
                    headers.append((b"connection", b"close"))
                self._started = True
                self._write(h11.Response(status_code=message["status"], headers=headers))
            elif message["type"] == "http.response.body":
                if scope["method"] != "HEAD" and message.get("body"):
                    self._write(h11.Data(data=message["body"]))
                if not message.get("more_body", False):
                    self._write(h11.EndOfMessage())

        try:
            await self._listener.app(scope, receive, send)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not self._started:
                self._task = None
                self._refuse(500, "internal error")
                return
        self._task = None
        self._next()

    def _next(self) -> None:
        transport = self._transport
        if transport is None:
            return
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            self._end(transport)
            return
        self._h11.start_next_cycle()
        if self._listener.closing or self._eof:
            self._end(transport)
            return
        self._within(_IDLE_S)
        transport.resume_reading()
        self._read()

    def _refuse(self, status: int, reason: str, *headers: tuple[bytes, bytes]) -> None:
        transport = self._transport
        if transport is None:
            return
        # The same shape as the coordinator's own refusals.
        told = {"error": "http", "message": reason, "peers": [], "messages": []}
        body = json.dumps(told).encode()
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            fields = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
                *headers,
            ]
            self._write(h11.Response(status_code=status, headers=fields))
            if self._request is None or self._request.method != b"HEAD":
                self._write(h11.Data(data=body))
            self._write(h11.EndOfMessage())
        self._end(transport)

    def _end(self, transport: asyncio.Transport) -> None:
        """Close; a client that does not take its answer is cut off."""
        self._within(_REQUEST_S)
        transport.close()

    def _write(self, event: h11.Event) -> None:
        if self._transport is None:
            return
        try:
            data = self._h11.send(event)
        except h11.LocalProtocolError:
            log.exception("an answer was not HTTP")
            self._transport.abort()
            return
        if data:
            self._transport.write(data)

    def _within(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.abort)


def _target(target: bytes) -> bytes:
    """The path and query of a request target; proxies may send the absolute form (RFC 9112,
    3.2.2)."""
    if target[:7].lower() == b"http://" or target[:8].lower() == b"https://":
        rest = target.split(b"://", 1)[1]
        slash = rest.find(b"/")
        return rest[slash:] if slash >= 0 else b"/"
    return target
