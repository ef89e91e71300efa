"""A site that is nothing but a coordinator, served by a real uvicorn.

As a module for `uvicorn tests.web.coordinator_site:make --factory` its settings come from
the environment, as a real site's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from websockets.sync.client import ClientConnection, connect

from p2pcdn.config import Config
from p2pcdn.hub import Hub, open_hub
from p2pcdn.sockets.attach import attach
from p2pcdn.sockets.server import Listener
from p2pcdn.web import coordinator

ROOT = Path(__file__).parents[2]
CONTENT = "0123456789abcdef" * 2


def site(config: Config) -> tuple[Starlette, Hub]:
    hub = open_hub(config, secret=b"the site's secret", site="site")

    async def token(request: Request) -> JSONResponse:
        query = request.query_params
        return JSONResponse(hub.issue_token(query["content"], query["peer"])[0])

    async def state(request: Request) -> JSONResponse:
        return JSONResponse({**hub.snapshot(), "pid": os.getpid()})

    app = Starlette(
        routes=[
            Route("/token", token),
            Route("/state", state),
            *coordinator.mounted(hub, config, config.coordinator_path),
        ]
    )
    return app, hub


def make() -> Starlette:
    return site(Config.load())[0]


@contextlib.contextmanager
def serve(
    folder: Path, *, ws: str = "websockets-sansio", deflate: bool = False, **settings: Any
) -> Iterator[int]:
    """Yields the port.

    Args:
        ws: uvicorn's implementation; "wrapped": one that a middleware hides, so that uvicorn
            keeps the sockets, as other servers do; "own": our own server.
        deflate: Let uvicorn agree to compression, as it does unless told otherwise.
    """
    config = Config(data_dir=str(folder), **settings)
    app, hub = site(config)
    if ws == "own":
        with _serve_own(app, hub, config) as port:
            yield port
        return
    served: Any = app
    if ws == "wrapped":
        ws, served = "websockets-sansio", _wrapped(app)
    server = uvicorn.Server(
        uvicorn.Config(served, log_level="error", ws=ws, ws_per_message_deflate=deflate)  # type: ignore[arg-type]
    )
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        assert server.started, "uvicorn did not start"
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join()
        listener.close()


def _wrapped(app: Any) -> Any:
    async def wrapping(scope: Any, receive: Any, send: Any) -> None:
        async def received() -> Any:
            return await receive()

        await app(scope, received, send)

    return wrapping


@contextlib.contextmanager
def _serve_own(app: Starlette, hub: Hub, config: Config) -> Iterator[int]:
    loop = asyncio.new_event_loop()

    async def start() -> tuple[Listener, asyncio.Server]:
        await hub.start()
        front = Listener(
            app,
            websocket_paths=[f"{config.coordinator_path}/{end}" for end in ("peerjs", "tracker")],
            opened=lambda protocol, connection: attach(protocol, connection, hub, config),
            max_message_bytes=config.max_message_bytes,
            max_connections=1000,
        )
        return front, await loop.create_server(front, "127.0.0.1", 0)

    async def stop(front: Listener, server: asyncio.Server) -> None:
        server.close()
        await hub.close()
        await front.close(within_s=1)

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    front, server = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(stop(front, server), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def serve_workers(folder: Path, workers: int, **settings: Any) -> Iterator[int]:
    """uvicorn with several worker processes; yields the port."""
    environ = {f"P2PCDN_{name.upper()}": str(value) for name, value in settings.items()}
    process = subprocess.Popen(
        [
            sys.executable, "-m", "uvicorn", "tests.web.coordinator_site:make", "--factory",
            "--host", "127.0.0.1", "--port", "0", "--workers", str(workers),
        ],
        cwd=ROOT, env={**os.environ, "P2PCDN_DATA_DIR": str(folder), **environ},
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    port, ready = 0, 0
    try:
        for line in process.stderr:
            if match := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                port = int(match[1])
            ready += "startup complete" in line
            if port and ready == workers:
                break
        # What it says from now on must not fill the pipe.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


class Client:
    """A PeerJS client's socket, by hand."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def say(self, type: str, **rest: Any) -> None:
        self.socket.send(json.dumps({"type": type, **rest}))

    def hear(self, timeout_s: float = 10.0) -> Any:
        return json.loads(self.socket.recv(timeout=timeout_s))

    def hear_until(self, type: str, timeout_s: float = 15.0) -> Any:
        end = time.monotonic() + timeout_s
        while True:
            message = self.hear(max(0.01, end - time.monotonic()))
            if message["type"] == type:
                return message

    def echo(self) -> None:
        """Return when we hear ourselves. What was in the hands of a dying process is lost, so
        it is said again and again."""
        for _ in range(50):
            self.say("CANDIDATE", dst=self.id, payload="echo")
            with contextlib.suppress(TimeoutError):
                while self.hear(0.3).get("payload") != "echo":
                    pass
                return
        raise AssertionError(f"{self.id} does not hear itself")

    def quiet(self) -> bool:
        """Nothing came: what we say to ourselves is the next that we hear."""
        self.say("CANDIDATE", dst=self.id, payload="echo")
        return bool(self.hear()["payload"] == "echo")

    id = ""


@contextlib.contextmanager
def client(
    port: int,
    id: str | None,
    token: str | None = "t",
    key: str | None = "peerjs",
    *,
    opened: bool = True,
    **options: Any,
) -> Iterator[Client]:
    query = {"key": key, "id": id, "token": token, "version": "1.5.5"}
    text = "&".join(f"{name}={value}" for name, value in query.items() if value is not None)
    with connect(
        f"ws://127.0.0.1:{port}/peerjs/peerjs?{text}", compression=None, close_timeout=1, **options
    ) as socket:
        made = Client(socket)
        made.id = id or ""
        if opened:
            assert made.hear() == {"type": "OPEN"}
        yield made


def peerjs_pair(port: int, *arguments: str, **env: str) -> list[str]:
    """What two unmodified `peerjs` clients with real WebRTC say that happened to them."""
    node = shutil.which("node")
    if node is None or not (ROOT / "tests/browser/node_modules/@roamhq/wrtc").exists():
        pytest.skip("needs Node and npm's `peerjs` and `@roamhq/wrtc` in tests/browser")
    done = subprocess.run(
        [node, str(ROOT / "tests/web/peerjs_pair.mjs"), str(port), *arguments],
        capture_output=True, text=True, timeout=60, env={**os.environ, **env},
    )  # fmt: skip
    return done.stdout.splitlines() + done.stderr.splitlines()
