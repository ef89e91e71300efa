"""An attack on every socket and endpoint of a coordinator that runs as a process of its own.

    with Target("serve") as target, Witness(target) as witness:
        attack = Attack(target)
        attack.send(kind, bytes)
        witness.undisturbed(attack)

What is sent is the caller's; here is where it goes, and who sees that nobody else noticed.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import socket
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from tests.servers.process import Server
from tests.web.coordinator_site import CONTENT, Client
from tests.web.coordinator_site import client as peer

__all__ = ["KINDS", "Attack", "Target", "Witness"]

_PER_CONNECTION = 60


class Target(Server):
    """`p2pcdn serve`, or a site on uvicorn."""

    name = "target"

    def __init__(self, kind: str) -> None:
        super().__init__(env={"P2PCDN_ALLOW_DISCOVERY": "true", "P2PCDN_SECRET": "the site's"})
        self.kind = kind

    def command(self) -> list[str]:
        if self.kind == "serve":
            return [
                sys.executable, "-m", "p2pcdn.cli", "serve", "--path", "/peerjs",
                "--host", "127.0.0.1", "--port", str(self.port),
            ]  # fmt: skip
        return [
            sys.executable, "-m", "uvicorn", "tests.web.coordinator_site:make", "--factory",
            "--host", "127.0.0.1", "--port", str(self.port), "--log-level", "error",
        ]  # fmt: skip

    def counts(self) -> dict[str, Any]:
        path = "/ready" if self.kind == "serve" else "/state"
        return dict(httpx.get(self.url + path, timeout=30).json())

    def kib(self) -> int:
        """Memory of its own."""
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(re.search(r"Pss_Anon:\s+(\d+)", text)[1])  # type: ignore[index]

    def descriptors(self) -> int:
        assert self.process is not None
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def unharmed(self) -> None:
        """It runs, and nothing unexpected happened in it."""
        assert self.process is not None and self.process.poll() is None, self.log()
        log = self.log()
        for sign in ("Traceback", "Exception", "failed", "could not", "never retrieved"):
            assert sign not in log, log[-3000:]

    def forgets(self, *, peers: int) -> None:
        """Return when all but `peers` are gone from every table."""
        end = time.monotonic() + 60
        tables = ("mailboxes", "absent", "streams", "torrents", "tracker_sockets")
        while (counts := self.counts())["peers"] != peers or any(counts[t] for t in tables):
            assert time.monotonic() < end, counts
            time.sleep(0.25)


class Witness:
    """Two visitors who talk to each other while the attack goes on."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._stack = contextlib.ExitStack()
        self._said = 0

    def __enter__(self) -> Witness:
        port = self._target.port
        self.victim: Client = self._stack.enter_context(peer(port, "victim", "v-secret"))
        self.friend: Client = self._stack.enter_context(peer(port, "friend", "f-secret"))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def undisturbed(self) -> None:
        """The two hear each other, exactly and from each other; nobody speaks in their name."""
        self._said += 1
        self.friend.say("OFFER", dst="victim", payload={"said": self._said})
        self._until(self.victim, "OFFER", "friend")
        # (Between two looks it may have been silent for longer than a streamer may be.)
        self.victim.say("STREAM-ANNOUNCE", payload={"stream": "the victim", "role": "main"})
        self.victim.say("ANSWER", dst="friend", payload={"said": self._said})
        self._until(self.friend, "ANSWER", "victim")
        self.friend.say("STREAMERS", payload={"rid": 1, "stream": "the victim", "role": "main"})
        while (heard := self.friend.hear(30))["type"] != "STREAMERS":
            self._check(heard, "friend")
        assert heard["payload"]["peers"] == [{"id": "victim"}]

    def _until(self, client: Client, type: str, src: str) -> None:
        while True:
            heard = client.hear(30)
            if heard.get("src") == src and heard["type"] == type:
                assert heard["payload"] == {"said": self._said}, heard
                return
            self._check(heard, client.id)

    def _check(self, heard: dict[str, Any], me: str) -> None:
        if heard["type"] == "REANNOUNCE":
            return
        assert heard["type"] in ("OFFER", "ANSWER", "CANDIDATE", "LEAVE"), heard
        assert heard["src"] not in ("victim", "friend", me), heard


def _websocket(target: Target, path: str, query: str) -> socket.socket:
    """A socket behind its handshake, raw."""
    made = socket.create_connection(("127.0.0.1", target.port), timeout=30)
    key = base64.b64encode(os.urandom(16)).decode()
    made.sendall(
        (
            f"GET /peerjs/{path}?{query} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n"
        ).encode()
    )
    got = b""
    while b"\r\n\r\n" not in got:
        got += made.recv(4096)
    assert b" 101 " in got, got
    return made


def _frame(payload: bytes, opcode: int = 1) -> bytes:
    size = len(payload)
    head = bytes([0x80 | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += b"\xfe" + size.to_bytes(2, "big")
    else:
        head += b"\xff" + size.to_bytes(8, "big")
    return head + bytes(4) + payload  # (a mask of zeros is one, too)


KINDS = [
    "peer text", "peer binary", "peer raw", "tracker text", "tracker raw", "handshake",
    "mailbox body", "mailbox messages", "announce body", "stream body", "path", "query", "tcp",
]  # fmt: skip
"""Where `Attack.send` can send something."""


class Attack:
    """Sends anything anywhere, and opens a new connection where the old one was closed on it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.sent = 0
        self._number = 0
        self._sockets: dict[str, tuple[socket.socket, int]] = {}
        self._http: http.client.HTTPConnection | None = None

    def send(self, kind: str, data: bytes) -> int:
        """Send `data`; returns the status where there is an answer, else 0."""
        self.sent += 1
        where, _, how = kind.partition(" ")
        if where in ("peer", "tracker"):
            if how == "text":
                data = _frame(data)
            elif how == "binary":
                data = _frame(data, 2)
            self._through(where, data)
            return 0
        if where == "tcp":
            self._tcp(data)
            return 0
        if where == "handshake":
            return self._get("peerjs?" + quote(data, safe="=&%"), upgrade=True)
        if where == "path":
            return self._get(quote(data, safe="/%?&="))
        if where == "query":
            return self._get(f"peerjs/contents/{CONTENT}/sources?" + quote(data, safe="=&%[]"))
        if kind == "mailbox messages":
            body = b'{"id":"box%d","token":"t","key":"peerjs","messages":[%s]}'
            return self._post("mailbox", body % (self._number % 50, data))
        paths = {
            "mailbox": "mailbox",
            "announce": f"peerjs/contents/{CONTENT}/sources",
            "stream": "peerjs/streams/s/main",
        }
        return self._post(paths[where], data)

    def close(self) -> None:
        for connection, _ in self._sockets.values():
            connection.close()
        self._sockets.clear()
        if self._http is not None:
            self._http.close()
            self._http = None

    # --- sockets -------------------------------------------------------------------------

    def _through(self, where: str, data: bytes) -> None:
        connection, left = self._sockets.get(where, (None, 0))
        if connection is None or not left:
            if connection is not None:
                connection.close()
            self._number += 1
            query = f"key=peerjs&id=mallory{self._number}&token=t" if where == "peer" else ""
            path = "peerjs" if where == "peer" else "tracker"
            connection, left = _websocket(self.target, path, query), _PER_CONNECTION
        try:
            connection.sendall(data)
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while data := connection.recv(65536):
                    pass
                left = 1  # it said good-bye
            connection.settimeout(30)
        except OSError:
            left = 1
        self._sockets[where] = connection, left - 1

    def _tcp(self, data: bytes) -> None:
        with (
            socket.create_connection(("127.0.0.1", self.target.port), timeout=30) as connection,
            contextlib.suppress(OSError),
        ):
            connection.sendall(data)

    # --- requests ------------------------------------------------------------------------

    def _get(self, path: str, *, upgrade: bool = False) -> int:
        headers = {"Upgrade": "websocket", "Connection": "Upgrade"} if upgrade else {}
        return self._request("GET", path, b"", headers)

    def _post(self, path: str, body: bytes) -> int:
        return self._request("POST", path, body, {})

    def _request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> int:
        for _ in range(2):
            if self._http is None:
                self._http = http.client.HTTPConnection("127.0.0.1", self.target.port, timeout=30)
            try:
                self._http.request(method, f"/peerjs/{path}"[:8000], body, headers)
                answer = self._http.getresponse()
                said = answer.read()
            except (OSError, http.client.HTTPException):
                # A server may close a connection that was idle or hurt; the next one is served.
                self._http.close()
                self._http = None
                continue
            if answer.status == 200 and path == "mailbox":
                assert isinstance(json.loads(said)["messages"], list)
            if answer.getheader("connection") == "close":
                self._http.close()
                self._http = None
            return answer.status
        return 0
