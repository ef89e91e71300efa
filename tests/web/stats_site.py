"""A site that is nothing but the statistics' endpoints, served by a real uvicorn."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from p2pcdn.config import Config
from p2pcdn.stats import Recorder
from p2pcdn.web import dashboard, metrics, stats
from tests.stats.day import VIDEOS, key_of

SIZES = {key_of(path): size for path, size in VIDEOS.items()}


def app(
    recorder: Recorder, config: Config, *, live: Any = lambda: {"peers": 3}, **options: Any
) -> Starlette:
    below = [
        *stats.routes(recorder, config, live=live, content_size=SIZES.get, **options),
        *dashboard.routes(config),
        *metrics.routes(recorder, config, live=live),
    ]
    return Starlette(routes=[Mount(config.mount, routes=below)])


@contextlib.contextmanager
def serve(folder: Path, **settings: Any) -> Iterator[tuple[int, Recorder]]:
    """uvicorn in a thread; yields the port and the recorder."""
    config = Config(data_dir=str(folder), **settings)
    recorder = Recorder(config, folder=folder, secret=(config.secret or "").encode())
    server = uvicorn.Server(
        uvicorn.Config(app(recorder, config), log_level="error", ws="none", lifespan="off")
    )
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        assert server.started, "uvicorn did not start"
        yield listener.getsockname()[1], recorder
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join()
        listener.close()
        recorder.close()
