"""Several server workers, one coordinator: whoever gets the lock runs it, the rest connect.

When the elected process dies, however it dies, the kernel frees the lock and closes its
connections: the others see the end of the stream at once, one of them takes the lock, and
every worker tells it again who its sockets are and what they had announced.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import socket
from collections import deque
from collections.abc import Callable, Iterable

from p2pcdn.coordinator.events import (
    Action,
    Close,
    Connect,
    Disconnect,
    Event,
    Reply,
    Report,
    Restore,
    Send,
    Sends,
    Text,
    Track,
)
from p2pcdn.hub import wire
from p2pcdn.hub.backend import LocalBackend, Perform
from p2pcdn.hub.engine import ANSWER_S, Settings
from p2pcdn.hub.place import Place, same_user
from p2pcdn.hub.wire import Connection

__all__ = ["ElectedBackend"]

log = logging.getLogger("p2pcdn.hub")

_COUNTS_S = 1.0
_HELLO_S = 2.0
_START_S = 5.0
_MOST_KEPT = 2000
_MOST_KEPT_CHARS = 4 * 1024 * 1024
_NODE_SHIFT = 32


class ElectedBackend:
    """See the module, and `p2pcdn.hub.engine.MakeBackend` for the arguments."""

    def __init__(
        self,
        settings: Settings,
        perform: Perform,
        introductions: Callable[[], Iterable[Event]],
        lost: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._perform_here = perform
        self._introductions = introductions
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._place: Place | None = None
        self._leader: LocalBackend | None = None
        self._listener: socket.socket | None = None
        self._to_leader: Connection | None = None
        self._followers: dict[int, Connection] = {}
        self._nodes = 0
        self._sockets: set[socket.socket] = set()
        self._kept: deque[tuple[float, Event]] = deque()
        self._kept_chars = 0
        self._counts: dict[str, int] = {}
        self._counts_timer: asyncio.TimerHandle | None = None
        self._ready = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def forgetful(self) -> bool:
        """See `Backend`: what this process's own coordinator knows dies with its sockets."""
        return self._leader is None

    @property
    def state(self) -> str:
        """See `Backend`."""
        if self._leader is not None:
            return "elected" if self._listener is not None else "local"
        return "connected" if self._to_leader is not None else "looking"

    async def start(self) -> None:
        """See `Backend`. After 5 s without a coordinator events are kept and start returns."""
        if self._supervisor is None:
            self._supervisor = self._loop.create_task(self._supervise())
        try:
            async with asyncio.timeout(_START_S):
                await self._ready.wait()
        except TimeoutError:
            log.warning("no coordinator could be reached yet; p2pcdn keeps trying")

    async def close(self) -> None:
        """See `Backend`."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await supervisor
            # Transports close on the loop's next turn.
            await asyncio.sleep(0)

    def counts(self) -> dict[str, int]:
        """See `Backend`."""
        return self._counts if self._leader is None else self._leader.counts()

    def submit(self, event: Event) -> None:
        """See `Backend`."""
        if self._leader is not None:
            self._leader.submit(event)
        elif self._to_leader is not None:
            self._to_leader.send(wire.encode(event))
        elif not isinstance(event, (Connect, Track, Disconnect)):
            # (Who is here, the sessions know: `introductions` tells it.)
            size = len(event.text) if isinstance(event, Text) else 1024
            if len(self._kept) < _MOST_KEPT and self._kept_chars + size < _MOST_KEPT_CHARS:
                self._kept.append((self._loop.time(), event))
                self._kept_chars += size

    def submit_all(self, link: int, texts: list[str]) -> None:
        """See `Backend`."""
        if self._leader is not None:
            self._leader.submit_all(link, texts)
        else:
            for text in texts:
                self.submit(Text(link, text))

    def abandon(self) -> None:
        """See `Backend`."""
        for owned in self._sockets:
            owned.close()
        self._sockets.clear()
        if self._listener is not None:
            self._listener.close()
        if self._place is not None:
            self._place.unlock()

    # --- election ------------------------------------------------------------------------

    async def _supervise(self) -> None:
        try:
            try:
                self._place = Place(self._settings.folder, self._settings.name)
                while not self._place.lock():
                    await self._follow(self._place)
                    await asyncio.sleep(0.01 + 0.03 * random.random())
                listener = self._place.listen()
            except OSError as error:
                log.warning(
                    "server workers cannot share a coordinator (%s): each has its own, so "
                    "visitors on different workers do not find each other. Set `data_dir` to "
                    "a folder that the site may write to.",
                    error,
                )
                if self._place is not None:
                    self._place.unlock()
                self._lead(None)
                await asyncio.Event().wait()
                return
            self._lead(listener)
            await self._accept(listener)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        self._ready.clear()
        if self._leader is not None:
            self._leader.end()
            self._leader = None
        if self._counts_timer is not None:
            self._counts_timer.cancel()
        for connection in [*self._followers.values(), self._to_leader]:
            if connection is not None:
                connection.close()
        self._followers.clear()
        self._to_leader = None
        if self._listener is not None and self._place is not None:
            with contextlib.suppress(OSError):
                self._place.unlink()
            self._listener.close()
            self._listener = None
        if self._place is not None:
            self._place.unlock()

    def _introduce(self) -> None:
        for event in self._introductions():
            self.submit(event)
        kept, self._kept, self._kept_chars = self._kept, deque(), 0
        for since, event in kept:
            # Who asked has been told that there was no answer.
            if isinstance(event, Text) or self._loop.time() - since < ANSWER_S:
                self.submit(event)
        self._ready.set()

    # --- elected -------------------------------------------------------------------------

    def _lead(self, listener: socket.socket | None) -> None:
        self._listener = listener
        self._leader = LocalBackend(self._settings.coordinator(), self._perform)
        self._leader.begin()
        self._introduce()
        if listener is not None:
            self._send_counts()

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                accepted, _ = await self._loop.sock_accept(listener)
                if not same_user(accepted):
                    accepted.close()
                    continue
                await self._connected(
                    accepted, lambda: Connection(self._from_follower, self._follower_lost), True
                )
            except OSError as error:  # no descriptors left, say
                log.warning("a server worker could not connect to the coordinator: %s", error)
                await asyncio.sleep(0.1)

    async def _connected(
        self, raw: socket.socket, make: Callable[[], Connection], accepted: bool
    ) -> Connection:
        raw.setblocking(False)
        self._sockets = {known for known in self._sockets if known.fileno() >= 0} | {raw}
        connection: Connection
        if accepted:
            _, connection = await self._loop.connect_accepted_socket(make, raw)
            self._nodes += 1
            connection.node = self._nodes
            self._followers[connection.node] = connection
            connection.send_json(wire.HELLO, wire.VERSION)
            connection.send_json(wire.COUNTS, self.counts())
        else:
            _, connection = await self._loop.create_unix_connection(make, sock=raw)
        return connection

    def _from_follower(self, connection: Connection, frames: list[tuple[int, int, bytes]]) -> None:
        leader = self._leader
        if leader is None:
            return
        base = connection.node << _NODE_SHIFT
        for kind, number, body in frames:
            try:
                event = wire.decode(kind, base | number, body)
            except (ValueError, TypeError, KeyError) as error:
                log.warning("a server worker speaks another language (%s): cut off", error)
                connection.abort()
                return
            if isinstance(event, (Connect, Restore, Track)):
                connection.links.add(base | number)
            elif isinstance(event, Disconnect):
                connection.links.discard(base | number)
            assert not isinstance(event, (Send, Sends, Close, Reply, Report))
            leader.submit(event)

    def _follower_lost(self, connection: Connection) -> None:
        self._followers.pop(connection.node, None)
        if self._leader is not None:
            for link in connection.links:
                self._leader.submit(Disconnect(link))

    def _perform(self, actions: Iterable[Action]) -> None:
        if not self._followers:
            self._perform_here(actions)
            return
        here: list[Action] = []
        for action in actions:
            if isinstance(action, Report):
                here.append(action)
                continue
            number = action[0]
            node = number >> _NODE_SHIFT
            if not node:
                here.append(action)
                continue
            follower = self._followers.get(node)
            if follower is not None:
                if isinstance(action, Close):
                    follower.links.discard(number)
                if isinstance(action, Sends):
                    for text in action.texts:
                        follower.send(wire.encode(Send(number, text)))
                else:
                    follower.send(wire.encode(action))
        if here:
            self._perform_here(here)

    def _send_counts(self) -> None:
        self._counts_timer = self._loop.call_later(_COUNTS_S, self._send_counts)
        if self._followers:
            counts = self.counts()
            for follower in self._followers.values():
                follower.send_json(wire.COUNTS, counts)

    # --- connected -----------------------------------------------------------------------

    async def _follow(self, place: Place) -> None:
        """Be a client of the elected process until it is gone."""
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        gone = asyncio.Event()
        connection: Connection | None = None
        try:
            raw.setblocking(False)
            try:
                await self._loop.sock_connect(raw, place.path)
            except (FileNotFoundError, ConnectionError, BlockingIOError):
                return  # it is just starting, or just dead
            if not same_user(raw):
                raise PermissionError(f"{place.path} belongs to another user")
            connection = await self._connected(
                raw, lambda: Connection(self._from_leader, lambda _: gone.set()), False
            )
            # A process that hangs accepts nothing: without a greeting, try again.
            hello = self._loop.call_later(_HELLO_S, connection.abort)
            self._hello = hello
            await gone.wait()
            hello.cancel()
        finally:
            self._ready.clear()
            if self._to_leader is not None:
                self._to_leader = None
                self._lost()
            if connection is None:
                raw.close()
            else:
                connection.close()

    def _from_leader(self, connection: Connection, frames: list[tuple[int, int, bytes]]) -> None:
        actions: list[Action] = []
        for kind, number, body in frames:
            if kind == wire.HELLO:
                self._hello.cancel()
                self._to_leader = connection
                self._introduce()
            elif kind == wire.COUNTS:
                self._counts = json.loads(body)
            else:
                action = wire.decode(kind, number, body)
                assert isinstance(action, (Send, Close, Reply))
                actions.append(action)
        if actions:
            self._perform_here(actions)
