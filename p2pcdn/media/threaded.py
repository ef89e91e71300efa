"""A synchronous app's answer, made in a thread of its own and read from an event loop.

One thread for one answer, because an app may keep things in thread-locals from its call to
the last chunk (a database connection, a request context). The thread makes the next chunk
only when it is asked for, so a large body never piles up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from p2pcdn.media.answer import Headers, OriginAnswer, OriginBusy, OriginError

__all__ = ["Emit", "open_in_thread"]

_MOST_AT_ONCE = 8


class _Stopped(BaseException):
    """Nobody wants the rest; not an Exception, so that no app swallows it."""


async def open_in_thread(produce: Callable[[Emit], None]) -> OriginAnswer:
    """Run `produce` in a new thread and return when it has emitted the answer's head.

    Raises:
        OriginError: It raised before that.
        OriginBusy: Too many such threads are at work.
    """
    emit = Emit(asyncio.get_running_loop(), produce)
    try:
        status, headers, path = await emit.started
    except BaseException:
        emit.stop()
        raise
    return OriginAnswer(status, headers, path, emit.chunks, emit.aclose)


class Emit:
    """The thread's side (`head`, `chunk`) and the loop's side (`chunks`, `aclose`) of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, produce: Callable[[Emit], None]) -> None:
        self._loop = loop
        self._produce = produce
        self._wanted: queue.SimpleQueue[asyncio.Future[bytes | None] | None] = queue.SimpleQueue()
        self._asked: asyncio.Future[bytes | None] | None = None
        self._ended = False
        self.head_sent = False
        self.started: asyncio.Future[tuple[int, Headers, Path | None]] = loop.create_future()
        _running.enter()
        try:
            threading.Thread(target=self._run, name="p2pcdn-origin", daemon=True).start()
        except BaseException:
            _running.leave()
            raise

    # --- in the thread -------------------------------------------------------------------

    def head(self, status: int, headers: Headers, path: Path | None) -> None:
        """Hand over status, header fields and, if found, the file."""
        self.head_sent = True
        self._tell(self.started, (status, headers, path))

    def chunk(self, data: bytes) -> None:
        """Hand over a piece of the body; waits until it is wanted."""
        if not data:
            return
        if self._asked is None:
            self._asked = self._wanted.get()
            if self._asked is None:
                raise _Stopped
        asked, self._asked = self._asked, None
        self._tell(asked, data)

    def _run(self) -> None:
        error: OriginError | None = None
        try:
            self._produce(self)
        except _Stopped:
            self._ended = True
        except OriginError as raised:
            error = raised
        except BaseException as raised:
            error = OriginError(f"the app raised {type(raised).__name__}: {raised}")
        finally:
            _running.leave()
            _leave_databases()
            if not self._ended:
                with contextlib.suppress(_Stopped):
                    self._end(error)

    def _end(self, error: OriginError | None) -> None:
        if not self.head_sent:
            self._tell(self.started, None, error or OriginError("the app gave no answer"))
            return
        asked = self._asked if self._asked is not None else self._wanted.get()
        if asked is not None:
            self._tell(asked, None, error)

    def _tell(
        self, future: asyncio.Future[Any], value: Any, error: Exception | None = None
    ) -> None:
        def settle() -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(settle)
        except RuntimeError:  # the loop is closed: nobody waits any more
            raise _Stopped from None

    # --- on the loop ---------------------------------------------------------------------

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            future: asyncio.Future[bytes | None] = self._loop.create_future()
            self._wanted.put(future)
            data = await future
            if data is None:
                return
            yield data

    def stop(self) -> None:
        self._wanted.put(None)
        if self.started.done() and not self.started.cancelled():
            self.started.exception()  # seen, even where nobody waited for it

    async def aclose(self) -> None:
        self.stop()


class _Running:
    """How many such threads this process has (a fork has none)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def enter(self) -> None:
        with self._lock:
            if self._count >= _MOST_AT_ONCE:
                raise OriginBusy(f"{_MOST_AT_ONCE} sub-requests are under way")
            self._count += 1

    def leave(self) -> None:
        with self._lock:
            self._count -= 1


_running = _Running()


def _after_fork() -> None:
    global _running
    _running = _Running()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _leave_databases() -> None:
    """Django keeps a connection for each thread; this thread is about to end."""
    database = sys.modules.get("django.db")
    if database is not None:
        with contextlib.suppress(Exception):
            database.connections.close_all()
