"""`p2pcdn serve` in the place of npm's `peerjs` command, as a real process."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.servers.process import environment
from tests.web.coordinator_site import peerjs_pair

pytestmark = pytest.mark.server


class Serve:
    def __init__(self, process: subprocess.Popen[str], said: str) -> None:
        self.process = process
        self.said = said
        match = re.search(r"port: (\d+), path: (\S+)", said)
        assert match is not None, said
        self.port = int(match[1])
        self.path = "" if match[2] == "/" else match[2]

    def url(self, path: str, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def socket(self, id: str, **options: object) -> object:
        return connect(self.url(f"{self.path}/peerjs?key=peerjs&id={id}&token=t", "ws"), **options)  # type: ignore[arg-type]


@contextmanager
def serve(folder: Path, *arguments: str, **env: str) -> Iterator[Serve]:
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pcdn.cli", "serve", *arguments],
        cwd=folder, env=environment(folder, env), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield Serve(process, process.stdout.readline())
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with serve(tmp_path_factory.mktemp("serve"), "--port", "0") as made:
        yield made


def test_the_unmodified_peerjs_client_works_at_the_options_of_the_npm_command(
    tmp_path: Path,
) -> None:
    arguments = "--port 0 --path /peerjs --expire_timeout 1000 --aliveTimeout 30000 -c 10 -k peerjs"
    with serve(tmp_path, *arguments.split(), "--allow_discovery") as made:
        assert made.path == "/peerjs"
        assert peerjs_pair(made.port) == [
            "open", "echo hello", "peer-unavailable", "unavailable-id"
        ]  # fmt: skip
        assert httpx.get(made.url("/peerjs")).json()["name"] == "PeerJS Server"
        with made.socket("here") as here:  # type: ignore[attr-defined]
            assert json.loads(here.recv()) == {"type": "OPEN"}
            assert "here" in httpx.get(made.url("/peerjs/peerjs/peers")).json()


def test_by_default_it_stands_at_the_root_with_discovery_off_for_every_page(plain: Serve) -> None:
    assert httpx.get(plain.url("/")).json()["name"] == "PeerJS Server"
    assert httpx.get(plain.url("/peerjs/peers")).status_code == 401
    with plain.socket("a", origin="https://any.example") as a:  # type: ignore[attr-defined]
        assert json.loads(a.recv()) == {"type": "OPEN"}


def test_the_environment_gives_port_and_path_as_it_does_to_npm_s(tmp_path: Path) -> None:
    with serve(tmp_path, PORT="0", PEERSERVER_PATH="/deep/down") as made:
        assert made.path == "/deep/down"
        assert httpx.get(made.url("/deep/down/peerjs/id")).status_code == 200


def test_pages_that_are_not_named_are_kept_out(tmp_path: Path) -> None:
    named = ["--cors", "https://one.example", "https://two.example"]
    with serve(tmp_path, "--port", "0", *named) as made:
        for origin, type in (("https://two.example", "OPEN"), ("https://evil.example", "ERROR")):
            with made.socket("a", origin=origin) as a:  # type: ignore[attr-defined]
                assert json.loads(a.recv())["type"] == type


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_peers_are_told_to_come_back_when_it_is_stopped(
    tmp_path: Path, number: signal.Signals
) -> None:
    with serve(tmp_path, "--port", "0", "--host", "127.0.0.1") as made:
        with made.socket("a") as a:  # type: ignore[attr-defined]
            a.recv()
            made.process.send_signal(number)
            with pytest.raises(ConnectionClosed) as closed:
                a.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
        assert made.process.wait(20) == 0


def test_a_peer_that_never_says_good_bye_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    with (
        serve(tmp_path, "--port", "0") as made,
        socket.create_connection(("127.0.0.1", made.port)) as silent,
    ):
        silent.sendall(
            b"GET /peerjs?key=peerjs&id=s&token=t HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert silent.recv(12) == b"HTTP/1.1 101"
        made.process.terminate()
        assert made.process.wait(20) == 0


def test_health_and_readiness_can_be_asked(plain: Serve) -> None:
    assert httpx.get(plain.url("/health")).json() == {"status": "ok"}
    ready = httpx.get(plain.url("/ready"))
    assert ready.status_code == 200 and ready.json()["state"] == "local"


def test_tls_is_served_with_the_key_and_certificate_of_the_npm_options(tmp_path: Path) -> None:
    pair = [str(tmp_path / name) for name in ("key.pem", "cert.pem")]
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-keyout", pair[0], "-out", pair[1]],
        capture_output=True,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("openssl is not installed")
    with serve(tmp_path, "--port", "0", "--sslkey", pair[0], "--sslcert", pair[1]) as secure:
        url = secure.url("/peerjs/id", "https")
        assert httpx.get(url, verify=False).status_code == 200
        import ssl

        trusting = ssl.create_default_context(cafile=pair[1])
        trusting.check_hostname = False
        with connect(secure.url("/peerjs?key=peerjs&id=a&token=t", "wss"), ssl=trusting) as a:
            assert json.loads(a.recv()) == {"type": "OPEN"}
            a.send('{"type":"OFFER","dst":"a","payload":1}')
            assert json.loads(a.recv())["src"] == "a"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--port", "x"], "not a port"),
        (["--alive-timeout", "soon"], "milliseconds"),
        (["--path", "/a b"], "plain URL path"),
        (["--concurrent-limit", "0"], "concurrent_limit"),
        (["--sslkey", "nowhere.pem"], "--sslcert"),
        (["--cors", "not an origin"], "allowed_origins"),
        (["--host", "no.such.host.invalid"], "cannot listen"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_is_started(
    tmp_path: Path, arguments: list[str], text: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "p2pcdn.cli", "serve", "--port", "0", *arguments],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2
    assert text in done.stderr and "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_said_to_be(tmp_path: Path, plain: Serve) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "p2pcdn.cli", "serve", "--port", str(plain.port)],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2 and "cannot listen" in done.stderr


# --- HTTP by hand ------------------------------------------------------------------------


def raw(made: Serve, data: bytes) -> bytes:
    """What comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", made.port), timeout=30) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_requests_on_one_connection_are_answered_in_order(plain: Serve) -> None:
    one = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    other = b"POST /mailbox HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{"
    last = b"HEAD http://x/peerjs/id HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = raw(plain, one + other + one + last)
    assert [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+)", answer)] == [200, 400, 200, 200]
    assert answer.endswith(b"\r\n\r\n")  # HEAD has no body


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"NONSENSE\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # no Host
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 40_000 + b"\r\n\r\n", b"431"),
        (b"POST /mailbox HTTP/1.1\r\nHost: x\r\nContent-Length: 9, 8\r\n\r\n", b"400"),
        (b"POST /mailbox HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + b"x" * 300_000,
         b"413"),
        (b"POST /mailbox HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
         b"2\r\n{}\r\n0\r\n\r\n", b"200"),
        (b"GET /%ff%00/../x HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"GET /peerjs HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
         b"Sec-WebSocket-Version: 8\r\n\r\n", b"426"),
        (b"GET /other HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
         b"Sec-WebSocket-Version: 13\r\n\r\n", b"404"),
    ],
)  # fmt: skip
def test_odd_and_hostile_requests_get_their_status(
    plain: Serve, data: bytes, status: bytes
) -> None:
    try:
        answer = raw(plain, data)
    except (ConnectionResetError, BrokenPipeError):
        # The server had said what there is to say and closed before it had read everything.
        answer = b"HTTP/1.1 " + status
    assert answer.split(b" ")[1] == status, answer[:200]
    assert httpx.get(plain.url("/health")).status_code == 200


def test_frames_that_come_with_the_handshake_are_read(plain: Serve) -> None:
    mask = b"\0\0\0\0"
    text = b'{"type":"OFFER","dst":"early","payload":7}'
    with socket.create_connection(("127.0.0.1", plain.port), timeout=20) as connection:
        connection.sendall(
            b"GET /peerjs?key=peerjs&id=early&token=t HTTP/1.1\r\nHost: x\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            + bytes([0x81, 0x80 | len(text)]) + mask + text
        )  # fmt: skip
        got = b""
        while b'"payload":7' not in got:
            chunk = connection.recv(4096)
            assert chunk, got
            got += chunk


def test_a_thousand_half_requests_leave_it_serving(plain: Serve) -> None:
    half = []
    try:
        for _ in range(1000 if _descriptors() > 3000 else 200):
            connection = socket.create_connection(("127.0.0.1", plain.port))
            connection.sendall(b"GET /health HTT")
            half.append(connection)
        assert httpx.get(plain.url("/health"), timeout=30).status_code == 200
    finally:
        for connection in half:
            connection.close()


def _descriptors() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
