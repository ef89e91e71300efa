"""A real site behind a counting proxy, and peers that run beside the test."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from p2pcdn.peer import Peer
from tests.browser.conftest import site, standing, watch
from tests.servers.proxy import Proxy

__all__ = ["Beside", "beside", "origin", "site", "standing", "watch"]


@pytest.fixture
def origin(site: Callable[..., Proxy]) -> Proxy:
    """The Starlette site under uvicorn; its clips are hashed."""
    return site("starlette-uvicorn")


class Beside:
    """A peer on an event loop of its own, for tests that drive browsers meanwhile."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.do(peer.__aenter__())

    def do(self, work: Any, timeout: float = 40) -> Any:
        """Run a coroutine on that loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def seed(self, url: str) -> Any:
        async def seed() -> Any:
            content = await self.peer.seed(url)
            await content.wait()
            return content

        return self.do(seed())

    def until(self, fine: Callable[[], bool], timeout: float = 30) -> None:
        """Wait until it is so."""
        end = time.monotonic() + timeout
        while not fine():
            assert time.monotonic() < end, "it never came to be"
            time.sleep(0.05)

    def close(self) -> None:
        try:
            self.do(self.peer.__aexit__(None, None, None))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


@pytest.fixture
def beside() -> Iterator[Callable[[Peer], Beside]]:
    """`beside(peer)` runs a peer until the test ends."""
    with contextlib.ExitStack() as stack:

        def beside(peer: Peer) -> Beside:
            running = Beside(peer)
            stack.callback(running.close)
            return running

        yield beside
