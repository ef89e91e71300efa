"""Many sockets in one epoll: what one of them does is nothing to the others."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from collections.abc import Awaitable, Callable

import pytest

from p2pcdn.sockets.frames import PING, TEXT, encode
from p2pcdn.sockets.protocol import WebSocketProtocol
from p2pcdn.sockets.reactor import Reactor
from tests.sockets.test_frames import frame

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="needs epoll")


class Receiver:
    def __init__(self, protocol: WebSocketProtocol) -> None:
        self.protocol = protocol
        self.texts: list[str] = []
        self.gone = False
        self.reads = 0

    def receive_all(self, texts: list[str]) -> None:
        self.reads += 1
        if "fail" in texts:
            raise RuntimeError("a bug")
        self.texts += texts

    def detach(self) -> None:
        self.gone = True


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(bounded())


async def joined(most: int = 100_000) -> tuple[socket.socket, Receiver]:
    """A client's end, and the receiver behind the server's."""
    client, server = socket.socketpair()
    server.setblocking(False)
    made: list[Receiver] = []

    def opened(protocol: WebSocketProtocol) -> Receiver:
        made.append(Receiver(protocol))
        return made[0]

    reactor = Reactor.here()
    assert reactor is not None
    reactor.adopt(server, WebSocketProtocol(opened, max_message_bytes=most))
    client.setblocking(False)
    return client, made[0]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def read(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = await asyncio.get_running_loop().sock_recv(client, 65536)
        assert chunk, data
        data += chunk
    return data


async def ended(client: socket.socket) -> bytes:
    data = b""
    while chunk := await asyncio.get_running_loop().sock_recv(client, 65536):
        data += chunk
    return data


def test_what_one_read_brings_is_handed_over_together() -> None:
    async def test() -> None:
        client, receiver = await joined()
        client.send(b"".join(frame(1, b"%d" % n) for n in range(5)))
        await until(lambda: len(receiver.texts) == 5)
        assert receiver.texts == list("01234") and receiver.reads == 1
        receiver.protocol.deliver(["a", "b"])
        assert await read(client, 6) == encode(TEXT, b"a") + encode(TEXT, b"b")
        client.close()
        await until(lambda: receiver.gone)

    run(test)


def test_a_message_larger_than_one_read_arrives_whole() -> None:
    async def test() -> None:
        client, receiver = await joined(300_000)
        data = frame(1, b"x" * 250_000)
        await asyncio.get_running_loop().sock_sendall(client, data)
        await until(lambda: bool(receiver.texts))
        assert receiver.texts == ["x" * 250_000]
        client.close()
        await until(lambda: receiver.gone)

    run(test)


def test_what_the_kernel_does_not_take_at_once_follows_in_order() -> None:
    async def test() -> None:
        client, receiver = await joined()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        texts = [f"{n:05d}" * 400 for n in range(300)]
        for text in texts:
            receiver.protocol.deliver(text)
        expected = b"".join(encode(TEXT, text.encode()) for text in texts)
        assert await read(client, len(expected)) == expected
        receiver.protocol.deliver("and on")
        assert await read(client, 8) == encode(TEXT, b"and on")
        client.close()
        await until(lambda: receiver.gone)

    run(test)


def test_who_does_not_read_is_dropped_alone() -> None:
    async def test() -> None:
        slow, slow_receiver = await joined()
        client, receiver = await joined()
        for _ in range(400):
            slow_receiver.protocol.deliver("x" * 10_000)
        await until(lambda: slow_receiver.gone)
        receiver.protocol.deliver("here")
        assert await read(client, 6) == encode(TEXT, b"here")
        slow.close()
        client.close()
        await until(lambda: receiver.gone)

    run(test)


def test_a_bug_in_one_socket_s_message_ends_that_socket(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        bad, bad_receiver = await joined()
        client, receiver = await joined()
        bad.send(frame(1, b"fail"))
        client.send(frame(1, b"fine"))
        await until(lambda: bad_receiver.gone and bool(receiver.texts))
        assert receiver.texts == ["fine"]
        bad.close()
        client.close()
        await until(lambda: receiver.gone)

    with caplog.at_level(logging.CRITICAL, "p2pcdn.sockets"):
        run(test)


def test_the_last_words_arrive_though_the_client_was_still_talking() -> None:
    """A socket closed with something unread would reset the connection and lose them."""

    async def test() -> None:
        client, receiver = await joined(1000)
        await asyncio.get_running_loop().sock_sendall(client, frame(1, b"x" * 90_000))
        await until(lambda: receiver.gone)  # the coordinator knows at once
        assert await ended(client) == encode(8, b"\x03\xf1a message has at most 1000 bytes")
        client.close()

    run(test)


def test_a_ping_is_answered_and_a_close_is_returned() -> None:
    async def test() -> None:
        client, receiver = await joined()
        client.send(frame(PING, b"there?") + frame(8, b"\x03\xe8"))
        assert await ended(client) == encode(10, b"there?") + encode(8, b"\x03\xe8")
        assert receiver.gone
        client.close()

    run(test)


def test_a_reset_connection_is_noticed() -> None:
    async def test() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        server.setblocking(False)
        made: list[Receiver] = []
        reactor = Reactor.here()
        assert reactor is not None

        def opened(protocol: WebSocketProtocol) -> Receiver:
            made.append(Receiver(protocol))
            return made[0]

        reactor.adopt(server, WebSocketProtocol(opened, max_message_bytes=1000))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        await until(lambda: made[0].gone)
        made[0].protocol.deliver("to nobody")
        listener.close()

    run(test)


def test_messages_do_not_wait_for_one_another_in_the_kernel() -> None:
    """Nagle's algorithm would hold a second small message back for 40 ms."""

    async def talk() -> None:
        reactor = Reactor.here()
        assert reactor is not None
        # As `p2pcdn serve` and uvicorn make them: without a protocol's number.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        accepted.setblocking(False)
        assert not accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        reactor.adopt(accepted, WebSocketProtocol(lambda made: None, max_message_bytes=1000))
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        client.close()
        while accepted.fileno() >= 0:
            await asyncio.sleep(0.001)

    asyncio.run(talk())


def test_loops_that_end_leave_nothing_behind() -> None:
    for _ in range(3):

        async def test() -> None:
            client, receiver = await joined()
            client.close()
            await until(lambda: receiver.gone)

        run(test)
