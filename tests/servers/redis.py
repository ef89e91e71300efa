"""A real redis-server."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from tests.servers.process import Server, program

__all__ = ["Redis"]


class Redis(Server):
    """redis-server that keeps nothing on disk."""

    name = "redis"

    def __init__(self, **server: Any) -> None:
        super().__init__(**server)
        self._program = program("redis-server")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        return [
            self._program, "--bind", "127.0.0.1", "--port", str(self.port),
            "--save", "", "--appendonly", "no", "--dir", str(self.folder),
        ]  # fmt: skip

    def ready(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection,
        ):
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        return False
