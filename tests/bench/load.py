"""A cheap crowd of PeerJS clients: one thread, one epoll, frames that were made beforehand.

The crowd must cost less than the server that is measured, so nothing here decodes anything:
a frame that arrived is counted by its length.
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import time
from collections.abc import Callable

__all__ = ["Crowd", "Viewers"]

CONTENT = "0123456789abcdef" * 2
_OFFERED = "permessage-deflate; client_max_window_bits"


def _frame(text: str) -> bytes:
    payload, mask = text.encode(), os.urandom(4)
    size = len(payload)
    head = b"\x81" + (bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big"))
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def message(type: str, dst: str, bytes: int = 475) -> str:
    """As npm's `peerjs` says it, `bytes` long in all."""
    payload = {"connectionId": "dc_x1b2c3d4e5", "type": "data", "candidate": ""}
    text = json.dumps({"type": type, "payload": payload, "dst": dst}, separators=(",", ":"))
    payload["candidate"] = "a=candidate:1 1 udp 2113937151 " + "x" * (bytes - len(text) - 31)
    return json.dumps({"type": type, "payload": payload, "dst": dst}, separators=(",", ":"))


def _handshake(port: int, id: str, token: str) -> bytes:
    """As a browser sends it."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET /peerjs/peerjs?key=peerjs&id={id}&token={token}&version=1.5.5 HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        f"Origin: http://127.0.0.1:{port}\r\nUser-Agent: Mozilla/5.0 (bench)\r\n"
        f"Sec-WebSocket-Extensions: {_OFFERED}\r\n\r\n"
    ).encode()


class Peer:
    __slots__ = ("burst", "due", "left", "rest", "sent_at", "single", "socket", "to")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.rest = b""
        self.left = 0  # frames of the burst under way that are still to come
        self.sent_at = 0.0


class Crowd:
    """`count` peers of the PeerServer at `port`, in pairs that talk to each other."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self.peers: list[Peer] = []
        self._by_fd: dict[int, Peer] = {}
        self._epoll = select.epoll()
        for number in range(count):
            self._connect(f"bench{os.urandom(5).hex()}", number)
        self._pair()

    def _connect(self, id: str, number: int) -> None:
        connection = socket.create_connection(("127.0.0.1", self._port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(_handshake(self._port, id, f"t{number}"))
        got = b""
        while b'"OPEN"' not in got:
            chunk = connection.recv(4096)
            assert chunk, got
            got += chunk
            # A server that agrees to deflate says OPEN in its own way.
            if b"permessage-deflate" in got and not got.endswith(b"\r\n\r\n"):
                break
        connection.setblocking(False)
        peer = Peer(connection)
        peer.to = id
        self.peers.append(peer)
        self._by_fd[connection.fileno()] = peer
        self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _pair(self) -> None:
        ids = [peer.to for peer in self.peers]
        for number, peer in enumerate(self.peers):
            dst = ids[number ^ 1]
            peer.single = _frame(message("CANDIDATE", dst))
            peer.burst = _frame(message("OFFER", dst)) + peer.single * 4

    def closed_loop(self, seconds: float, *, burst: int) -> int:
        """Every peer answers what it got with the like, at once; returns how many arrived.

        Args:
            seconds: How long.
            burst: 1, or 5 for an offer with four candidates in one write.
        """
        for peer in self.peers:
            peer.left = burst
            peer.socket.send(peer.single if burst == 1 else peer.burst)
        arrived = 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for fd, _ in self._epoll.poll(0.1):
                peer = self._by_fd[fd]
                count = self._count(peer)
                arrived += count
                peer.left -= count
                if peer.left <= 0:
                    peer.left += burst
                    peer.socket.send(peer.single if burst == 1 else peer.burst)
        self._drain()
        return arrived

    def open_loop(self, seconds: float, rate: int) -> list[float]:
        """`rate` messages a second in all; returns how long each took, sorted."""
        took: list[float] = []
        start = now = time.perf_counter()
        sent, number = 0, 0
        waiting: dict[int, float] = {}
        while now < start + seconds:
            due = int((now - start) * rate)
            while sent < due:
                peer = self.peers[number % len(self.peers)]
                number += 1
                sent += 1
                other = self.peers[(number - 1) % len(self.peers) ^ 1]
                if other.socket.fileno() in waiting:
                    continue
                waiting[other.socket.fileno()] = time.perf_counter()
                peer.socket.send(peer.single)
            for fd, _ in self._epoll.poll(0.0005):
                if self._count(self._by_fd[fd]):
                    at = waiting.pop(fd, None)
                    if at is not None:
                        took.append(time.perf_counter() - at)
            now = time.perf_counter()
        self._drain()
        took.sort()
        return took

    def _count(self, peer: Peer) -> int:
        data = peer.rest + peer.socket.recv(65536)
        at, end, count = 0, len(data), 0
        while end - at > 3:
            size = data[at + 1]
            stop = at + 2 + size if size < 126 else at + 4 + (data[at + 2] << 8 | data[at + 3])
            if stop > end:
                break
            count += 1
            at = stop
        peer.rest = data[at:]
        return count

    def _drain(self) -> None:
        """Read what is still on its way."""
        quiet = 0
        while quiet < 3:
            ready = self._epoll.poll(0.1)
            quiet = 0 if ready else quiet + 1
            for fd, _ in ready:
                self._count(self._by_fd[fd])

    def close(self) -> None:
        """Hang up."""
        self._epoll.close()
        for peer in self.peers:
            peer.socket.close()


class _Viewer:
    __slots__ = ("asked_at", "data", "id", "opened", "questions", "socket", "started_at")

    def __init__(self, connection: socket.socket, id: str, questions: bytes) -> None:
        self.socket = connection
        self.id = id
        self.questions = questions
        self.started_at = time.perf_counter()
        self.asked_at = 0.0
        self.opened = False
        self.data = b""


class Viewers:
    """`count` viewers of the PeerServer at `port` who come to one content within `seconds`.

    Each connects, announces itself as soon as it is let in, and asks for sources; from then on
    it sends heartbeats, as the loader does.

    Args:
        token: Makes the admission token of a peer id.
    """

    def __init__(self, port: int, count: int, token: Callable[[str], str]) -> None:
        self._address = ("127.0.0.1", port)
        self._token = token
        self._count = count
        self._epoll = select.epoll()
        self._by_fd: dict[int, _Viewer] = {}
        self._beat = _frame('{"type":"HEARTBEAT"}')
        self.joined: list[float] = []
        """Seconds from the first packet to the list of sources, of each that was answered;"""
        self.listed: list[float] = []
        """from the question to the list;"""
        self.named = 0
        """answers that named a source."""

    def come(self, seconds: float, *, patience_s: float = 10.0) -> None:
        """Let them come, evenly, and wait for the last answer."""
        start = now = time.perf_counter()
        come = beats = 0
        while len(self.joined) < self._count and now < start + seconds + patience_s:
            due = min(self._count, int((now - start) / seconds * self._count))
            while come < due:
                self._connect(come)
                come += 1
            # Everybody's heart beats every 2 s.
            hearts = int((now - start) * len(self.joined) / 2)
            viewers = list(self._by_fd.values()) if hearts > beats else []
            for viewer in viewers[: min(200, hearts - beats)]:
                if viewer.asked_at:
                    viewer.socket.send(self._beat)
                    self._by_fd[viewer.socket.fileno()] = self._by_fd.pop(viewer.socket.fileno())
            beats = max(beats, hearts)
            for fd, _ in self._epoll.poll(0.0005):
                self._heard(self._by_fd[fd])
            now = time.perf_counter()
        self.joined.sort()
        self.listed.sort()

    def _connect(self, number: int) -> None:
        connection = socket.create_connection(self._address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        id = f"viewer{os.urandom(6).hex()}"
        token = self._token(id)
        announce = {"content": CONTENT, "token": token, "segments": 128, "have": [[0, 8]]}
        ask = {"rid": 1, "content": CONTENT, "token": token, "limit": 16}
        questions = [
            _frame(json.dumps({"type": type, "payload": payload}, separators=(",", ":")))
            for type, payload in (("ANNOUNCE", announce), ("SOURCES", ask))
        ]
        viewer = _Viewer(connection, id, b"".join(questions))
        connection.sendall(_handshake(self._address[1], id, f"t{number}"))
        connection.setblocking(False)
        self._by_fd[connection.fileno()] = viewer
        self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _heard(self, viewer: _Viewer) -> None:
        viewer.data += viewer.socket.recv(65536)
        if not viewer.opened and b'"OPEN"' in viewer.data:
            viewer.opened = True
            viewer.asked_at = time.perf_counter()
            viewer.socket.send(viewer.questions)
        if b'"SOURCES"' in viewer.data and viewer.data.endswith(b"]}}"):
            now = time.perf_counter()
            self.joined.append(now - viewer.started_at)
            self.listed.append(now - viewer.asked_at)
            self.named += b'"id"' in viewer.data
            viewer.data = b""

    def close(self) -> None:
        """Hang up."""
        self._epoll.close()
        for viewer in self._by_fd.values():
            viewer.socket.close()
