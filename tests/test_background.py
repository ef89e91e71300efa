"""The loop behind servers that have none: a request waits for its answer in a thread of theirs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import pytest

from p2pcdn.runtime import Background


async def twice(number: int) -> int:
    await asyncio.sleep(0.001 * (number % 5))
    return 2 * number


def test_many_threads_each_get_their_own_answer() -> None:
    background = Background.here()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: background.run(twice(n)), range(400)))
    assert answers == [2 * n for n in range(400)]


def test_what_fails_there_is_raised_here() -> None:
    class Wrong(Exception):
        pass

    async def fail() -> NoReturn:
        raise Wrong("so")

    with pytest.raises(Wrong, match="so"):
        Background.here().run(fail())


def test_what_takes_too_long_is_cancelled_and_the_loop_goes_on() -> None:
    cancelled = threading.Event()

    async def long() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    background = Background.here()
    with pytest.raises(TimeoutError, match=r"0\.05 s"):
        background.run(long(), timeout_s=0.05)
    assert cancelled.wait(5)
    assert background.run(twice(3)) == 6


def test_a_request_that_is_cancelled_fails_and_does_not_end_the_servers_thread() -> None:
    async def give_up() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)

    with pytest.raises(concurrent.futures.CancelledError) as raised:
        Background.here().run(give_up())
    assert isinstance(raised.value, Exception)
