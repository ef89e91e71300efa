"""A server that stops lets go of the coordinator at once, so that its neighbours need not wait."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from p2pcdn import P2PCDN


def test_a_stopping_server_hands_the_coordinator_over(tmp_path: Path) -> None:
    async def test() -> None:
        site = P2PCDN(Starlette(), data_dir=str(tmp_path), secret="s" * 32)
        to_app: asyncio.Queue[Any] = asyncio.Queue()
        to_server: asyncio.Queue[Any] = asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        server = asyncio.create_task(site(scope, to_app.get, to_server.put))
        await to_app.put({"type": "lifespan.startup"})
        assert (await to_server.get())["type"] == "lifespan.startup.complete"
        hub = site.site.parts.hub
        await hub.start()
        assert hub.snapshot()["state"] == "elected"
        await to_app.put({"type": "lifespan.shutdown"})
        assert (await to_server.get())["type"] == "lifespan.shutdown.complete"
        await server
        assert not list(tmp_path.glob("hub-*.sock"))
        assert hub.snapshot()["state"] == "idle"

    asyncio.run(test())
