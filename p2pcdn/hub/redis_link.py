"""A node's two connections to Redis: one asks, in order and in batches, one listens.

When either fails, both are made anew under a new node name: what the old one had left in Redis
counts as a dead node's. Nothing is ever sent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
from collections import deque
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from p2pcdn.hub.redis_scripts import SCRIPTS

__all__ = ["HEARTBEAT_S", "Link", "Lost"]

log = logging.getLogger("p2pcdn.hub")

HEARTBEAT_S = 2.5
_BATCH = 512
_MOST_QUEUED = 20_000
_MOST_QUEUED_BYTES = 32 * 1024 * 1024
_TIMEOUT_S = 5.0
_LONGEST_PAUSE_S = 2.0

Done = Callable[[Any], None]


class Lost(Exception):
    """Nobody knows whether the question reached Redis."""


class Link:
    """Calls scripts; tells when Redis can be reached, when not any more, and what comes in.

    Args:
        url: Of Redis.
        prefix: Of all keys and channels.
        up: Called when this is a node: `node` is its name.
        down: Called when it is none any more, after every open question got `Lost`.
        frame: Called with what others sent to this node.
        counts: This node's counts as JSON, for the heartbeat.
        beaten: Called with the answer to each heartbeat.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        *,
        up: Callable[[], None],
        down: Callable[[], None],
        frame: Callable[[bytes], None],
        counts: Callable[[], str],
        beaten: Callable[[Any], None],
    ) -> None:
        self._url = url
        self._prefix = prefix
        self._up = up
        self._down = down
        self._frame = frame
        self._counts = counts
        self._beaten = beaten
        self._shas = {
            name: hashlib.sha1(text.encode()).hexdigest() for name, text in SCRIPTS.items()
        }
        self._queue: deque[tuple[str, tuple[Any, ...], Done | None, int]] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._warned = False
        self._clients: list[Redis] = []
        self.ready = asyncio.Event()
        self.node = ""
        """This node's name; empty while Redis cannot be reached."""

    def start(self) -> None:
        """Begin to connect."""
        if self._supervisor is None:
            self._supervisor = asyncio.get_running_loop().create_task(self._supervise())

    async def close(self) -> None:
        """Send what waits, sign off, disconnect."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        if self.node:
            gone = asyncio.Event()
            self.call("reap", self.node, done=lambda _: gone.set())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await gone.wait()
        supervisor.cancel()
        await asyncio.wait((supervisor,))

    @property
    def _closed(self) -> bool:
        """Asked by the supervisor, whose cancelling may get lost on its way: a task group that has
        a failure to report forgets it, and see `_heed_cancelling`."""
        return self._supervisor is not asyncio.current_task()

    def call(self, script: str, *arguments: Any, done: Done | None = None) -> None:
        """Ask; `done` gets the answer, or an exception. Questions are answered in order."""
        size = 64 + sum(len(a) for a in arguments if isinstance(a, (str, bytes)))
        if (
            not self.node
            or len(self._queue) >= _MOST_QUEUED
            or self._queued_bytes + size > _MOST_QUEUED_BYTES
        ):
            if done is not None:
                done(Lost())
            return
        self._queue.append((script, arguments, done, size))
        self._queued_bytes += size
        self._wake.set()

    def after(self, done: Callable[[], None]) -> None:
        """Call `done` when all that was asked until now is answered."""
        if self.node and (self._queue or self._asking):
            self._queue.append(("", (), lambda _: done(), 0))
            self._wake.set()
        else:
            done()

    _asking = False

    def abandon(self) -> None:
        """Close every descriptor without an event loop, see `Backend.abandon`."""
        for sock in self._sockets():
            with contextlib.suppress(OSError):
                os.close(sock)

    def _sockets(self) -> list[int]:
        """The descriptors of both connections; the client's own way needs its loop."""
        found = []
        for client in self._clients:
            for connection in list(getattr(client.connection_pool, "_in_use_connections", ())):
                writer = getattr(connection, "_writer", None)
                sock = writer.get_extra_info("socket") if writer is not None else None
                if sock is not None and sock.fileno() >= 0:
                    found.append(sock.fileno())
        return found

    # --- connections ---------------------------------------------------------------------

    async def _supervise(self) -> None:
        pause = 0.05
        while True:
            try:
                await self._session()
            except (RedisError, OSError, TimeoutError) as error:
                if self.node:
                    pause = 0.05
                if not self._warned and not self._closed:
                    self._warned = True
                    log.warning(
                        "Redis cannot be reached (%s): until it is back, visitors on different "
                        "server workers do not find each other",
                        error,
                    )
            finally:
                self._end()
                await self._disconnect()
            if self._closed:
                return
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE_S, 2 * pause)

    async def _session(self) -> None:
        asker, listener = self._client(_TIMEOUT_S), self._client(None)
        node = secrets.token_hex(8)
        for text in SCRIPTS.values():
            await asker.script_load(text)
        pubsub = listener.pubsub()
        await pubsub.subscribe(f"{self._prefix}@{node}")
        try:
            await self._beat(asker, node)
            if self._closed:
                return
            self.node = node
            self.ready.set()
            if self._warned:
                self._warned = False
                log.warning("Redis is back")
            self._up()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ask(asker))
                tasks.create_task(self._listen(pubsub))
                tasks.create_task(self._beats())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            with contextlib.suppress(Exception):
                await pubsub.aclose()

    def _client(self, timeout_s: float | None) -> Redis:
        # Its own retries would send a message twice.
        client = Redis.from_url(
            self._url,
            single_connection_client=True,
            socket_timeout=timeout_s,
            socket_keepalive=True,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            retry_on_error=[],
        )
        self._clients.append(client)
        return client

    async def _disconnect(self) -> None:
        clients, self._clients = self._clients, []
        for client in clients:
            with contextlib.suppress(Exception):
                await client.aclose()

    def _end(self) -> None:
        was_up, self.node = bool(self.node), ""
        self.ready.clear()
        self._asking = False
        queue, self._queue, self._queued_bytes = self._queue, deque(), 0
        for _, _, done, _ in queue:
            if done is not None:
                _call(done, Lost())
        if was_up:
            self._down()

    # --- asking --------------------------------------------------------------------------

    async def _ask(self, client: Redis) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
                self._asking = True
                try:
                    answers = await self._execute(client, batch)
                except BaseException:
                    for _, _, done, _ in batch:
                        if done is not None:
                            _call(done, Lost())
                    raise
                self._asking = False
                for (_, _, done, size), answer in zip(batch, answers, strict=True):
                    self._queued_bytes -= size
                    if done is not None:
                        _call(done, answer)
                    elif isinstance(answer, Exception):
                        log.warning("Redis refused a script: %s", answer)
                _heed_cancelling()

    async def _execute(self, client: Redis, batch: list[Any]) -> list[Any]:
        pipeline = client.pipeline(transaction=False)
        for script, arguments, _, _ in batch:
            if script:
                pipeline.execute_command("EVALSHA", self._shas[script], 1, self._prefix, *arguments)
        answers = iter(await pipeline.execute(raise_on_error=False) if len(pipeline) else ())
        return [next(answers) if script else None for script, _, _, _ in batch]

    async def _listen(self, pubsub: Any) -> None:
        while True:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=None)
            if message is not None and message["type"] == "message":
                try:
                    self._frame(message["data"])
                except Exception:
                    log.exception("a message of another server worker could not be read")
            _heed_cancelling()

    async def _beat(self, client: Redis, node: str) -> None:
        answer = await client.execute_command(
            "EVALSHA", self._shas["beat"], 1, self._prefix, node, self._counts()
        )
        self._beaten(answer)

    async def _beats(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            answered: asyncio.Future[Any] = loop.create_future()

            def done(answer: Any, answered: asyncio.Future[Any] = answered) -> None:
                if not answered.done():
                    answered.set_result(answer)

            self.call("beat", self.node, self._counts(), done=done)
            async with asyncio.timeout(_TIMEOUT_S):
                answer = await answered
            if isinstance(answer, Lost):
                continue  # the queue is full, or the asking task has the reason
            if isinstance(answer, Exception):
                raise RedisError(str(answer))
            if answer[0] or not answer[4]:
                # Redis was emptied, or the others took this node for dead, or nothing comes in.
                raise RedisError("this node was forgotten")
            self._beaten(answer)


def _heed_cancelling() -> None:
    """Raise `CancelledError` where one was requested and got lost: Python 3.11's `wait_for`, in
    which the client writes, drops it if the writing ends in the same moment."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _call(done: Done, answer: Any) -> None:
    try:
        done(answer)
    except Exception:
        log.exception("an answer of Redis could not be used")
