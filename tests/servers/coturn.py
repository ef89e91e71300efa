"""A real TURN server."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import Any

from tests.servers.process import Server, program

__all__ = ["Coturn"]


class Coturn(Server):
    """coturn with `use-auth-secret`, on loopback."""

    name = "coturn"

    def __init__(self, secret: str, **server: Any) -> None:
        super().__init__(**server)
        self._program = program("turnserver", "coturn")
        self._secret = secret

    @property
    def turn(self) -> str:
        """What stands in `ice_servers`."""
        return f"turn:127.0.0.1:{self.port}?transport=udp"

    def command(self) -> list[str]:
        return [
            self._program, "-n", "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1",
            "--listening-port", str(self.port), "--use-auth-secret",
            "--static-auth-secret", self._secret, "--realm", "example.org",
            "--allow-loopback-peers", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp",
            "--relay-threads", "1", "--verbose", "--log-file", "stdout", "--simple-log",
            "--userdb", str(self.folder / "users.db"), "--pidfile", str(self.folder / "pid"),
        ]  # fmt: skip

    def ready(self) -> bool:
        """Whether it answers a STUN Binding request (RFC 8489, section 6)."""
        request = struct.pack(">HHI12s", 1, 0, 0x2112A442, os.urandom(12))
        with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as asked:
            asked.settimeout(0.5)
            asked.sendto(request, ("127.0.0.1", self.port))
            return asked.recv(1500)[:2] == b"\x01\x01"
        return False
