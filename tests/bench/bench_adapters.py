"""What the middleware costs a request, beside the same app without it, in one run.

    python -m tests.bench.bench_adapters

Microseconds a request: the best of many rounds, the app with and without p2pcdn in turn.
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from p2pcdn import P2PCDN

_ROUNDS = 30
_FILL = b"<p>Lorem <b>ipsum</b> dolor sit amet, <a href='/x?y=z'>consetetur</a></p>\n"
PLAIN_PAGE = b"<!doctype html><html><head><title>t</title></head><body>" + _FILL * (
    50_000 // len(_FILL)
)
VIDEO_PAGE = PLAIN_PAGE + b'<video controls src="/media/a.mp4"></video></body></html>'
JSON = b'{"answer": 42}'
CASES = {
    "JSON, 14 bytes": ("application/json", JSON, 1.0),
    "page, 50 kB": ("text/html; charset=utf-8", PLAIN_PAGE, 30.0),
    "page with video, 50 kB": ("text/html; charset=utf-8", VIDEO_PAGE, 350.0),
}


def wsgi_call(type: str, body: bytes, wrap: bool) -> Callable[[], None]:
    headers = [("Content-Type", type), ("Content-Length", str(len(body)))]

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(headers))
        return [body]

    called: Any = P2PCDN(app) if wrap else app
    environ = {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/page", "QUERY_STRING": "",
        "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost", "HTTP_ACCEPT": "*/*", "HTTP_USER_AGENT": "bench",
        "HTTP_ACCEPT_ENCODING": "identity", "HTTP_COOKIE": "a=b",
        "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(), "wsgi.multithread": False,
    }  # fmt: skip

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        return None

    def call() -> None:
        result = called(environ, start_response)
        for _ in result:
            pass
        if hasattr(result, "close"):
            result.close()

    return call


def asgi_call(type: str, body: bytes, wrap: bool) -> Callable[[], None]:
    headers = [(b"content-type", type.encode()), (b"content-length", b"%d" % len(body))]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body})

    called: Any = P2PCDN(app) if wrap else app
    scope = {
        "type": "http", "method": "GET", "path": "/page", "raw_path": b"/page", "root_path": "",
        "query_string": b"", "scheme": "http", "http_version": "1.1", "asgi": {"version": "3.0"},
        "headers": [(b"host", b"localhost"), (b"accept", b"*/*"), (b"user-agent", b"bench"),
                    (b"accept-encoding", b"identity"), (b"cookie", b"a=b")],
    }  # fmt: skip

    async def send(message: Any) -> None:
        pass

    async def receive() -> Any:
        return {"type": "http.request"}

    # The first page waits until all server workers know its video: that needs a real loop.
    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    asyncio.run(called(scope, receive, send))
    asyncio._set_running_loop(running)

    # No event loop in the rounds: it is not what is measured.
    def call() -> None:
        coroutine = called(scope, receive, send)
        try:
            coroutine.send(None)
        except StopIteration:
            return
        raise RuntimeError("the app waited")

    return call


def best(call: Callable[[], None], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls * 1e6


def main() -> int:
    missed = 0
    print(f"{'':10} {'':24} {'without':>9} {'with':>9} {'added us':>9} {'asked':>6}")
    with tempfile.TemporaryDirectory() as folder:
        import os

        os.environ["P2PCDN_DATA_DIR"] = folder
        for protocol, make in (("WSGI", wsgi_call), ("ASGI", asgi_call)):
            for name, (type, body, asked) in CASES.items():
                bare, wrapped = make(type, body, False), make(type, body, True)
                calls = 20_000 if body is JSON else 200
                rounds = _ROUNDS if body is JSON else 40
                best(wrapped, 10)
                pairs = [(best(bare, calls), best(wrapped, calls)) for _ in range(rounds)]
                low, high = min(p[0] for p in pairs), min(p[1] for p in pairs)
                missed += high - low > asked
                print(
                    f"{protocol:10} {name:24} {low:9.2f} {high:9.2f} {high - low:9.2f} {asked:6.0f}"
                )
    print("all reached" if not missed else f"{missed} missed")
    return 0


if __name__ == "__main__":
    # `seen` hands work to a loop under ASGI: one has to be there, though nothing runs on it.
    loop = asyncio.new_event_loop()
    asyncio.events._set_running_loop(loop)
    sys.exit(main())
