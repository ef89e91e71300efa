"""Pytest fixtures around the real servers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from tests.browser.fixtures import artifacts, failed, missing
from tests.servers.process import Missing, Server
from tests.servers.proxy import Proxy

T = TypeVar("T")


def made(make: Callable[[], T]) -> T:
    """What `make` makes; a program that it misses skips the test."""
    try:
        return make()
    except Missing as error:
        missing(error)
        raise


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Any], Any]]:
    """`run(lambda: Uvicorn(...))` starts a server (or a proxy) until the test ends.

    A missing program skips the test; a failed test leaves the servers' logs in `artifacts/`.
    """
    with contextlib.ExitStack() as stack:
        servers: list[Any] = []

        def run(make: Callable[[], T]) -> T:
            server: Any = made(make)
            stack.enter_context(server)
            servers.append(server)
            return server  # type: ignore[no-any-return]

        yield run
        if failed(request):
            folder = artifacts(request)
            folder.mkdir(parents=True, exist_ok=True)
            for number, server in enumerate(servers):
                path = folder / f"server-{number}.log"
                if isinstance(server, Server):
                    path.write_text(server.log(), encoding="utf-8")
                elif isinstance(server, Proxy):
                    path.write_text("\n".join(_lines(server)), encoding="utf-8")


def _lines(proxy: Proxy) -> Iterator[str]:
    for exchange in proxy.exchanges:
        at = exchange.at - proxy.exchanges[0].at
        asked = exchange.headers.get("range", "")
        state = "upgraded" if exchange.upgraded else "complete" if exchange.complete else "cut"
        what = f"{exchange.method} {exchange.path} {asked}"
        yield f"{at:7.2f} {what} -> {exchange.status} {exchange.sent} {state}"
