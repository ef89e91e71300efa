"""Thousands of sockets on one event loop, without what the loop spends on each.

asyncio makes three objects a socket and passes each event through four calls. Here all sockets
are in an epoll of their own, of which the loop sees only that something is ready: that halves
the memory of an idle peer, and a relayed message costs a fifth less.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
import weakref
from typing import Any

__all__ = ["Reactor", "Wire", "at_once"]

log = logging.getLogger("p2pcdn.sockets")

_READ_BYTES = 64 * 1024
_MOST_EVENTS = 256
_IN = getattr(select, "EPOLLIN", 1)


def at_once(raw: socket.socket) -> None:
    """Send each message when it is written: with Nagle's algorithm (RFC 896) one that follows
    another waits for an acknowledgement, which the other end delays by 40 ms. asyncio sees to that
    itself, but only for sockets that were made with the protocol's number.
    """
    with contextlib.suppress(OSError):  # a Unix socket has none of it
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Wire(asyncio.Transport):
    """As much of a transport as a `WebSocketProtocol` needs.

    Closing waits for the other end: a socket that is closed with something unread resets the
    connection, and what was said last is lost. Who closes must `abort` after a while.
    """

    __slots__ = ("_closing", "_out", "_protocol", "_reactor", "_socket")

    def __init__(
        self, reactor: Reactor, raw: socket.socket, protocol: asyncio.BufferedProtocol
    ) -> None:
        # (Not super().__init__: it makes a dict for what nobody asks here.)
        self._reactor = reactor
        self._socket: socket.socket | None = raw
        self._protocol = protocol
        self._out: bytearray | None = None
        self._closing = False

    # --- for the protocol ----------------------------------------------------------------

    def write(self, data: Any) -> None:
        """See `asyncio.WriteTransport`."""
        raw = self._socket
        if raw is None:
            return
        if self._out is not None:
            self._out += data
            return
        try:
            sent = raw.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.abort()
            return
        if sent < len(data):
            self._out = bytearray(data[sent:])
            self._reactor.watch(raw, writing=True)

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport`."""
        return 0 if self._out is None else len(self._out)

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self._closing or self._socket is None

    def close(self) -> None:
        """Send what waits, then the end of the stream; closed when the other end closes."""
        if not self._closing:
            self._closing = True
            if self._out is None:
                self._say_end()

    def abort(self) -> None:
        """See `asyncio.WriteTransport`."""
        self._closing = True
        if self._socket is not None:
            asyncio.get_running_loop().call_soon(self._lost, None)

    @property
    def view(self) -> memoryview:
        """Where what came is, during `buffer_updated`."""
        return self._reactor.view

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport`."""
        return self._socket if name == "socket" else default

    # --- for the reactor -----------------------------------------------------------------

    def readable(self, view: memoryview) -> None:
        """Something came, or the other end closed."""
        raw = self._socket
        if raw is None:
            return
        try:
            count = raw.recv_into(view)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(error)
            return
        if not count:
            self._lost(None)
        elif not self._closing:
            try:
                self._protocol.buffer_updated(count)
            except Exception:
                log.exception("a socket's message could not be handled")
                self.abort()

    def writable(self) -> None:
        """There is room for what waits."""
        raw = self._socket
        if raw is None or self._out is None:
            return
        try:
            sent = raw.send(self._out)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(error)
            return
        del self._out[:sent]
        if not self._out:
            self._out = None
            self._reactor.watch(raw, writing=False)
            if self._closing:
                self._say_end()

    def _say_end(self) -> None:
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.abort()

    def _lost(self, error: Exception | None) -> None:
        raw, self._socket = self._socket, None
        if raw is not None:
            self._reactor.forget(raw)
            raw.close()
            self._protocol.connection_lost(error)


class Reactor:
    """The sockets of one event loop; see `here`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wires: dict[int, Wire] = {}
        self.view = memoryview(bytearray(_READ_BYTES))
        """What is read goes here, for one socket after the other."""
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._ready)

    @staticmethod
    def here() -> Reactor | None:
        """The running loop's; None where the system or the loop cannot have one."""
        loop = asyncio.get_running_loop()
        known = _reactors.get(loop)
        reactor = known() if known is not None else None
        if reactor is None and hasattr(select, "epoll"):
            try:
                reactor = Reactor()
            except (NotImplementedError, OSError):
                return None
            # The loop holds it, as the callback of its reader.
            _reactors[loop] = weakref.ref(reactor)
        return reactor

    def adopt(self, raw: socket.socket, protocol: asyncio.BufferedProtocol) -> None:
        """Serve a connected, non-blocking socket.

        Args:
            raw: This reactor's from now on.
            protocol: `get_buffer` is not asked: what came is in `view`.
        """
        at_once(raw)
        wire = Wire(self, raw, protocol)
        self._wires[raw.fileno()] = wire
        self._epoll.register(raw.fileno(), select.EPOLLIN)
        protocol.connection_made(wire)

    def watch(self, raw: socket.socket, *, writing: bool) -> None:
        """Wait for room to write, too, or not any more."""
        self._epoll.modify(raw.fileno(), select.EPOLLIN | (select.EPOLLOUT if writing else 0))

    def forget(self, raw: socket.socket) -> None:
        """A socket is about to be closed."""
        del self._wires[raw.fileno()]
        self._epoll.unregister(raw.fileno())

    def _ready(self) -> None:
        wires, view = self._wires, self.view
        for fd, events in self._epoll.poll(0, _MOST_EVENTS):
            wire = wires.get(fd)
            if wire is None:
                continue
            if events == _IN:
                wire.readable(view)
                continue
            if events & select.EPOLLOUT:
                wire.writable()
            if events & ~select.EPOLLOUT:
                wire.readable(view)


_reactors: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Reactor]] = (
    weakref.WeakKeyDictionary()
)
