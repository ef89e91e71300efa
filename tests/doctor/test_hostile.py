"""Servers that lie, break off, speak nonsense or cannot be trusted: a report, never a crash."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from p2pcdn.doctor import Report, examine
from tests.browser.driver import BrowserMissing
from tests.browser.fixtures import missing

Answering = Callable[[str], bytes]


@contextlib.contextmanager
def server(answer: Answering, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Answers each connection's first request line with bytes; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                if context is not None:
                    with context.wrap_socket(connection, server_side=True) as secure:
                        secure.recv(65536)
                        continue
                line = connection.recv(65536).partition(b"\r\n")[0].decode("latin-1")
                connection.sendall(answer(line.split(" ")[1] if " " in line else ""))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        thread.join()
        listener.close()


def page(body: bytes, kind: bytes = b"text/html") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (
        kind,
        len(body),
        body,
    )


def look(answer: Answering) -> Report:
    with server(answer) as port:
        report = examine(f"http://127.0.0.1:{port}/", timeout_s=1, wait_s=0)
    assert report.findings and report.as_text()
    return report


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\xff" * 100,
        b"HTTP/1.1 what\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_an_answer_that_is_none_is_reported_as_such(data: bytes) -> None:
    assert look(lambda path: data).exit_code == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<" * 5000,
        b"<!DOCTYPE html><video src='http://[broken'></video><video src='//:99999/'></video>",
        b"<!DOCTYPE html><script src='/p2pcdn/loader.js?v=1'></script><video data-src=:>",
        b"<!DOCTYPE html><base href='http://['><script src='/p2pcdn/loader.js?v=1'></script>",
    ],
)
def test_any_markup_is_survived(body: bytes) -> None:
    look(lambda path: page(body))


@pytest.mark.parametrize(
    "said",
    [b"[]", b"null", b"1e999", b'{"size":Infinity,"segment_bytes":-1,"hashes":7}', b"[" * 5000,
     b'{"messages":7}', b'{"messages":[7,{"type":1}]}', b'{"status":"ok"}',
     b'{"name":1,"messages":[{"type":"OPEN"}],"iceServers":[7,{"urls":7},{"urls":["turn:"]}]}'],
)  # fmt: skip
def test_any_json_is_survived(said: bytes) -> None:
    loader = (
        b'{const P2PCDN_CONFIG={"version":"1","coordinator":7,"scope":[],"socket":true,"ice":3};}'
    )
    worker = b'{const P2PCDN_WORKER={"version":null};}'
    html = (
        b"<!DOCTYPE html><script src='/p2pcdn/loader.js?v=1'></script>"
        b"<video data-src='/a.mp4'></video>"
    )

    def answer(path: str) -> bytes:
        if path == "/":
            return page(html)
        if path.startswith("/p2pcdn/loader.js"):
            return page(loader, b"text/javascript")
        if path.startswith("/p2pcdn/worker.js"):
            return page(worker, b"text/javascript")
        return page(said, b"application/json")

    assert look(answer).exit_code == 2


def test_a_certificate_that_browsers_refuse_is_named_as_the_reason(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        missing(BrowserMissing("openssl is not installed: apt-get install openssl"))
    subprocess.run(
        [str(openssl), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", tmp_path / "key", "-out", tmp_path / "cert"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with server(lambda path: b"", context) as port:
        report = examine(f"https://localhost:{port}/", timeout_s=5)
    (finding,) = report.findings
    assert finding.code == "certificate" and "Let's Encrypt" in finding.remedy
