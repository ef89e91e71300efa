"""Waiting on an event loop for what a thread, or another loop, will finish."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from typing import TypeVar

__all__ = ["within"]

_T = TypeVar("_T")


async def within(future: concurrent.futures.Future[_T], seconds: float) -> _T:
    """The future's result, or what it raised, if that comes in time.

    `asyncio.wrap_future` would hand a cancellation on to the thread, complain of an exception
    that came too late to be of interest, and fail in the thread once the loop is closed.

    Raises:
        TimeoutError: It is not done after `seconds`; it goes on all the same.
    """
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def tell(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(tell)
    async with asyncio.timeout(max(seconds, 0.0)):
        await done.wait()
    return future.result()
