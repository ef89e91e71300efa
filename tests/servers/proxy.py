"""A reverse proxy that sees from the outside what the origin really sent, and can break things.

    with Proxy(server.url) as proxy:
        proxy.status("/peerjs", 502)
        ...
        assert proxy.sent("/media/one.mp4") == size

Body bytes are counted as they go on to the visitor, with small socket buffers on both sides, so
that a response that the browser cancels is counted by what left and not by what it promised.
One upstream connection a request; WebSockets are spliced.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import h11

__all__ = ["Exchange", "Proxy", "Rule"]

_CHUNK = 16 * 1024
_BUFFER = 64 * 1024
_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade"}


@dataclass
class Exchange:
    """One request and what was answered."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    response: dict[str, str] = field(default_factory=dict)
    sent: int = 0
    """Body bytes that went on to the visitor."""
    complete: bool = False
    upgraded: bool = False
    at: float = field(default_factory=time.monotonic)


@dataclass(eq=False)
class Rule:
    """What befalls requests whose path (with query) matches; `times` of them, or all."""

    pattern: re.Pattern[str]
    action: str
    status: int = 0
    body: bytes = b""
    number: float = 0
    change: Callable[[bytes], bytes] | None = None
    times: int | None = None
    hits: int = 0


class Proxy:
    """A proxy on an ephemeral port in front of `upstream` ("http://127.0.0.1:port").

    Args:
        bytes_per_s: What all bodies together may take per second; None: no limit. With `paced`
            only those of requests whose path matches it.
        latency_s: Time that every request waits before it goes on.
    """

    def __init__(
        self, upstream: str, *, bytes_per_s: float | None = None, latency_s: float = 0
    ) -> None:
        parts = urlsplit(upstream)
        assert parts.hostname is not None and parts.port is not None
        self._upstream = (parts.hostname, parts.port)
        self._prefix = parts.path.rstrip("/")
        self.bytes_per_s, self.latency_s = bytes_per_s, latency_s
        self.paced = ""
        self.down = False
        self.exchanges: list[Exchange] = []
        self._rules: list[Rule] = []
        self._free_at = 0.0
        self._socket = _tcp()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(256)
        self.port: int = self._socket.getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    # --- what a test reads ---------------------------------------------------------------

    @property
    def url(self) -> str:
        """The site as its visitors reach it, with the upstream's prefix."""
        return f"http://127.0.0.1:{self.port}{self._prefix}"

    @property
    def localhost(self) -> str:
        """The same by name: another origin, and as secure a context."""
        return f"http://localhost:{self.port}{self._prefix}"

    def requests(self, pattern: str = "") -> list[Exchange]:
        """The requests whose path and query match (`re.search`), in order."""
        return [e for e in list(self.exchanges) if re.search(pattern, e.path)]

    def sent(self, pattern: str = "") -> int:
        """Body bytes of all answers to matching requests."""
        return sum(exchange.sent for exchange in self.requests(pattern))

    def reset(self) -> None:
        """Forget the counts."""
        self.exchanges = []

    # --- what a test breaks --------------------------------------------------------------

    def status(
        self, pattern: str, status: int, *, body: bytes = b"", times: int | None = None
    ) -> Rule:
        """Answer with a status of our own (the request never reaches the origin)."""
        return self._add(Rule(re.compile(pattern), "status", status, body, times=times))

    def hang(self, pattern: str, *, times: int | None = None) -> Rule:
        """Never answer."""
        return self._add(Rule(re.compile(pattern), "hang", times=times))

    def delay(self, pattern: str, seconds: float, *, times: int | None = None) -> Rule:
        """Answer later."""
        return self._add(Rule(re.compile(pattern), "delay", number=seconds, times=times))

    def cut(self, pattern: str, after_bytes: int, *, times: int | None = None) -> Rule:
        """Reset the connection after so many body bytes; 0: before the status line."""
        return self._add(Rule(re.compile(pattern), "cut", number=after_bytes, times=times))

    def change(
        self, pattern: str, change: Callable[[bytes], bytes], *, times: int | None = None
    ) -> Rule:
        """Replace the body, e.g. corrupt it or put a script in front."""
        return self._add(Rule(re.compile(pattern), "change", change=change, times=times))

    def remove(self, *rules: Rule) -> None:
        """Take rules back; without arguments all of them."""
        gone = rules or tuple(self._rules)
        self._rules = [rule for rule in self._rules if rule not in gone]

    def cut_now(self) -> None:
        """Reset every connection that is open now, sockets included."""
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._tasks])

    def _add(self, rule: Rule) -> Rule:
        self._rules = [*self._rules, rule]
        return rule

    # --- the proxy itself ----------------------------------------------------------------

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)
        self._socket.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self._socket, limit=_BUFFER)
        await self._stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self.down:
                await _Connection(self, reader, writer).serve()
        except (OSError, h11.ProtocolError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()  # a cut is a reset; what was due has been drained

    def _rule(self, path: str) -> Rule | None:
        for rule in reversed(self._rules):
            if rule.pattern.search(path) and (rule.times is None or rule.hits < rule.times):
                rule.hits += 1
                return rule
        return None

    async def _pace(self, size: int) -> None:
        if self.bytes_per_s is None:
            return
        now = self._loop.time()
        self._free_at = max(now, self._free_at) + size / self.bytes_per_s
        await asyncio.sleep(self._free_at - now)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connection = _tcp()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        connection.setblocking(False)
        try:
            await self._loop.sock_connect(connection, self._upstream)
            return await asyncio.open_connection(sock=connection, limit=_BUFFER)
        except BaseException:
            connection.close()
            raise


class _Connection:
    """A visitor's connection: requests one after another, until one of them must end it."""

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.proxy, self.reader, self.writer = proxy, reader, writer
        self.visitor = h11.Connection(h11.SERVER)
        writer.transport.set_write_buffer_limits(high=_BUFFER)  # type: ignore[attr-defined]

    async def serve(self) -> None:
        while True:
            event = await _next(self.visitor, self.reader)
            if not isinstance(event, h11.Request):
                return
            await self._exchange(event)
            if self.visitor.our_state is not h11.DONE or self.visitor.their_state is not h11.DONE:
                # The end of an answer that ends its connection: close in order, not by reset.
                self.writer.write_eof()
                await _drained(self.writer, self.reader)
                return
            self.visitor.start_next_cycle()

    async def _exchange(self, request: h11.Request) -> None:
        proxy = self.proxy
        path = request.target.decode("latin-1")
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in request.headers}
        exchange = Exchange(request.method.decode(), path, headers)
        proxy.exchanges.append(exchange)
        rule = proxy._rule(path)
        if proxy.latency_s:
            await asyncio.sleep(proxy.latency_s)
        if rule is not None:
            match rule.action:
                case "hang":
                    await self.reader.read()  # until the visitor gives up
                    raise ConnectionResetError
                case "delay":
                    await asyncio.sleep(rule.number)
                case "cut" if rule.number == 0:
                    raise ConnectionResetError
                case "status":
                    await self._own_answer(rule, exchange)
                    return
        try:
            reader, writer = await proxy._connect()
        except OSError:
            await self._own_answer(
                Rule(re.compile(""), "status", 502, b"the origin is down"), exchange
            )
            return
        try:
            if "upgrade" in headers:
                exchange.upgraded = True
                await self._splice(request, reader, writer)
            else:
                await self._forward(request, exchange, rule, reader, writer)
        finally:
            writer.transport.abort()

    async def _own_answer(self, rule: Rule, exchange: Exchange) -> None:
        while not isinstance(await _next(self.visitor, self.reader), h11.EndOfMessage):
            pass
        exchange.status = rule.status
        await self._send(
            h11.Response(
                status_code=rule.status,
                headers=[("Content-Length", str(len(rule.body))), ("Cache-Control", "no-store")],
            )
        )
        if rule.body and exchange.method != "HEAD":
            await self._send(h11.Data(data=rule.body))
        await self._send(h11.EndOfMessage())

    async def _forward(
        self,
        request: h11.Request,
        exchange: Exchange,
        rule: Rule | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        origin = h11.Connection(h11.CLIENT)
        changing = rule is not None and rule.action == "change"
        drop = _HOP | ({b"accept-encoding", b"if-none-match"} if changing else set())
        headers = [(k, v) for k, v in request.headers if k not in drop]
        out = h11.Request(
            method=request.method,
            target=request.target,
            headers=[*headers, ("Connection", "close")],
        )
        writer.write(origin.send(out) or b"")
        while not isinstance(event := await _next(self.visitor, self.reader), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise ConnectionResetError
            writer.write(origin.send(h11.Data(data=event.data)) or b"")
            await writer.drain()
        writer.write(origin.send(h11.EndOfMessage()) or b"")
        await writer.drain()

        while isinstance(answer := await _next(origin, reader), h11.InformationalResponse):
            pass
        if not isinstance(answer, h11.Response):
            raise ConnectionResetError
        exchange.status = answer.status_code
        exchange.response = {k.decode("latin-1"): v.decode("latin-1") for k, v in answer.headers}
        head = [(k, v) for k, v in answer.headers if k not in _HOP]
        if changing and exchange.method != "HEAD" and answer.status_code == 200:
            assert rule is not None and rule.change is not None
            body = rule.change(b"".join([data async for data in _body(origin, reader)]))
            kept = [(k, v) for k, v in head if k not in {b"content-length", b"transfer-encoding"}]
            head = [*kept, (b"content-length", str(len(body)).encode())]
            await self._send(h11.Response(status_code=200, headers=head))
            await self._count(body, exchange, None)
        else:
            await self._send(h11.Response(status_code=answer.status_code, headers=head))
            async for data in _body(origin, reader):
                await self._count(data, exchange, rule)
        exchange.complete = True
        await self._send(h11.EndOfMessage())

    async def _count(self, data: bytes, exchange: Exchange, rule: Rule | None) -> None:
        if rule is not None and rule.action == "cut" and exchange.sent + len(data) > rule.number:
            data = data[: max(0, int(rule.number) - exchange.sent)]
            if data:
                await self._send(h11.Data(data=data))
                exchange.sent += len(data)
            raise ConnectionResetError
        if re.search(self.proxy.paced, exchange.path):
            await self.proxy._pace(len(data))
        await self._send(h11.Data(data=data))
        exchange.sent += len(data)

    async def _send(self, event: h11.Event) -> None:
        self.writer.write(self.visitor.send(event) or b"")
        await self.writer.drain()

    async def _splice(
        self, request: h11.Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = [b" ".join((request.method, request.target, b"HTTP/1.1"))]
        head += [name + b": " + value for name, value in request.headers.raw_items()]
        writer.write(b"\r\n".join(head) + b"\r\n\r\n" + self.visitor.trailing_data[0])
        up = asyncio.ensure_future(_pipe(self.reader, writer))
        down = asyncio.ensure_future(_pipe(reader, self.writer))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            await _settle(self.writer)
        finally:
            for half in (up, down):
                half.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
        raise ConnectionResetError


def _tcp() -> socket.socket:
    # asyncio switches Nagle's algorithm off only where the protocol is named; with it, a head and
    # its body would be 40 ms apart.
    return socket.socket(proto=socket.IPPROTO_TCP)


async def _next(connection: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(_CHUNK))
    return event


async def _body(connection: h11.Connection, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while not isinstance(event := await _next(connection, reader), h11.EndOfMessage):
        if not isinstance(event, h11.Data):
            raise ConnectionResetError
        yield bytes(event.data)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()


async def _settle(writer: asyncio.StreamWriter) -> None:
    writer.transport.set_write_buffer_limits(high=0)  # type: ignore[attr-defined]
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        await asyncio.wait_for(writer.drain(), 2)


async def _drained(writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> None:
    await _settle(writer)
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        await asyncio.wait_for(reader.read(), 2)
