"""Do the STUN and TURN servers of the site's settings answer, and take the credentials?"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from p2pcdn.doctor import stun
from p2pcdn.doctor.assets import Loader
from p2pcdn.doctor.findings import Report
from p2pcdn.doctor.visitor import Unreachable, visit
from p2pcdn.errors import P2PCDNError

__all__ = ["check_ice", "ice_of"]

_PORTS = {"stun": 3478, "turn": 3478, "stuns": 5349, "turns": 5349}
_URL = re.compile(
    r"(stuns?|turns?):(\[[0-9a-fA-F:.]+\]|[^:?/@\s]+)(?::(\d{1,5}))?(?:\?transport=(udp|tcp))?",
    re.IGNORECASE,
)
_RESEND_S = 0.5  # RFC 8489, section 6.2.1: doubled each time
_UDP = bytes((17, 0, 0, 0))
_OPEN_PORTS = "Check its address, that it runs, and that firewalls let its port through"


class _Fails(P2PCDNError):
    pass


@dataclass(frozen=True, slots=True)
class _Server:
    url: str
    scheme: str
    host: str
    port: int
    transport: str
    username: str | None = None
    credential: str | None = None


class _Line(Protocol):
    """To a server: send a request, get its answer."""

    def ask(self, data: bytes, transaction: bytes) -> stun.Message: ...


def ice_of(loader: Loader, *, timeout_s: float) -> tuple[list[Any], bool]:
    """What a visitor is told: RTCIceServers with fresh credentials, and whether to use TURN alone.

    From `{mount}/ice`, else from the loader's own settings.
    """
    ice, relay_only = loader.settings.get("ice"), loader.settings.get("relayOnly") is True
    with contextlib.suppress(Unreachable):
        found = visit(loader.beside("ice?peer=doctor"), timeout_s=timeout_s).json()
        if isinstance(found, dict) and isinstance(found.get("iceServers"), list):
            ice = found["iceServers"]
    return ice if isinstance(ice, list) else [], relay_only


def check_ice(report: Report, ice: list[Any], *, relay_only: bool, timeout_s: float) -> None:
    """Ask every STUN and TURN server of a list of RTCIceServers."""
    servers = list(_servers(report, ice))
    turn = [server for server in servers if server.scheme.startswith("turn")]
    if relay_only and not turn:
        report.problem(
            "turn-missing",
            "`relay_only` is set, but visitors are told of no TURN server: no link ever opens.",
            "Name a TURN server with `username` and `credential` in `ice_servers`.",
        )
    if not servers:
        report.warning(
            "ice-none",
            "No STUN or TURN server is configured: only visitors of one local network find each "
            "other.",
            "That is right for a local network. For the internet name one in `ice_servers`, or "
            "leave that setting out for public STUN servers.",
        )
    for server in servers:
        try:
            with _line(server, timeout_s) as line:
                if server.scheme.startswith("turn"):
                    _allocate(report, server, line)
                else:
                    _bind(report, server, line)
        except (_Fails, OSError) as error:
            _unreachable(report, server, str(error) or type(error).__name__, relay_only)


def _unreachable(report: Report, server: _Server, why: str, relay_only: bool) -> None:
    if server.scheme.startswith("turn"):
        tell = report.problem if relay_only else report.warning
        lost = "no link opens" if relay_only else "visitors behind strict firewalls get no link"
        tell(
            "turn-unreachable",
            f"The TURN server {server.url} does not answer from here ({why}): {lost}.",
            f"{_OPEN_PORTS}, and those of its relays (coturn: min-port to max-port, UDP).",
        )
    else:
        report.warning(
            "stun-unreachable",
            f"The STUN server {server.url} does not answer from here ({why}): visitors behind "
            "routers do not find each other by it.",
            f"{_OPEN_PORTS} (UDP). If only this machine is cut off, try from another.",
        )


def _bind(report: Report, server: _Server, line: _Line) -> None:
    transaction = stun.transaction_id()
    answer = line.ask(stun.Message(stun.BINDING, transaction).encode(), transaction)
    address = stun.mapped_address(answer)
    if answer.failed or address is None:
        raise _Fails(f"it refuses with {stun.error_code(answer)}")
    report.ok("stun", f"The STUN server {server.url} answers (it sees this machine as {address}).")


def _allocate(report: Report, server: _Server, line: _Line) -> None:
    wanted = (stun.REQUESTED_TRANSPORT, _UDP)
    transaction = stun.transaction_id()
    answer = line.ask(stun.Message(stun.ALLOCATE, transaction, (wanted,)).encode(), transaction)
    if answer.succeeded:
        report.warning(
            "turn-open",
            f"The TURN server {server.url} relays for anybody, without credentials.",
            "Let it ask for credentials (coturn: lt-cred-mech, or use-auth-secret): others will "
            "find it and use it.",
        )
        return
    realm, nonce = answer.get(stun.REALM), answer.get(stun.NONCE)
    if stun.error_code(answer) != 401 or realm is None or nonce is None:
        raise _Fails(f"it refuses with {stun.error_code(answer)}")
    if server.username is None or server.credential is None:
        report.problem(
            "turn-credentials",
            f"The TURN server {server.url} asks for credentials (401), and visitors are given "
            "none: they cannot use it.",
            "Give it `username` and `credential` in `ice_servers`, or set `turn_secret`.",
        )
        return
    user = server.username.encode()
    key = hashlib.md5(b":".join((user, realm, server.credential.encode()))).digest()
    proof = ((stun.USERNAME, user), (stun.REALM, realm), (stun.NONCE, nonce))
    transaction = stun.transaction_id()
    request = stun.Message(stun.ALLOCATE, transaction, (wanted, *proof))
    answer = line.ask(request.encode(key=key), transaction)
    code = stun.error_code(answer)
    if answer.succeeded:
        transaction = stun.transaction_id()
        gone = stun.Message(stun.REFRESH, transaction, ((stun.LIFETIME, bytes(4)), *proof))
        with contextlib.suppress(_Fails, OSError):
            line.ask(gone.encode(key=key), transaction)
        report.ok("turn", f"The TURN server {server.url} takes the credentials and relays.")
    elif code == 401:
        report.problem(
            "turn-credentials",
            f"The TURN server {server.url} does not take the credentials that visitors are given "
            "(401).",
            "Correct `username` and `credential` in `ice_servers`, or make `turn_secret` the same "
            "word as the TURN server's (coturn: static-auth-secret); both clocks must be right.",
        )
    else:
        words = {486: "its quota is used up", 508: "it has no ports left", 403: "it forbids it"}
        report.warning(
            "turn-refuses",
            f"The TURN server {server.url} takes the credentials but relays nothing ({code}"
            f"{', ' + words[code] if code in words else ''}).",
            "Look into its log and raise its limits (coturn: user-quota, total-quota, min-port, "
            "max-port).",
        )


# --- addresses ------------------------------------------------------------------------------


def _servers(report: Report, ice: list[Any]) -> Iterator[_Server]:
    for entry in ice:
        if not isinstance(entry, dict):
            continue
        urls = entry.get("urls", [])
        for url in urls if isinstance(urls, list) else [urls]:
            match = _URL.fullmatch(str(url))
            if match is None:
                report.problem(
                    "ice-url",
                    f"{url} is no address of a STUN or TURN server.",
                    "Write it as stun:host:port, turn:host:port?transport=udp or "
                    "turns:host:port in `ice_servers`.",
                )
                continue
            scheme = match[1].lower()
            usual = "tcp" if scheme.endswith("s") else "udp"
            yield _Server(
                url=str(url),
                scheme=scheme,
                host=match[2].strip("[]"),
                port=int(match[3] or _PORTS[scheme]),
                transport=(match[4] or usual).lower(),
                username=_text(entry.get("username")),
                credential=_text(entry.get("credential")),
            )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


# --- lines ----------------------------------------------------------------------------------


@contextlib.contextmanager
def _line(server: _Server, timeout_s: float) -> Iterator[_Line]:
    if server.transport == "udp" and not server.scheme.endswith("s"):
        kind, _, _, _, address = socket.getaddrinfo(
            server.host, server.port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(kind, socket.SOCK_DGRAM) as sock:
            sock.connect(address)
            yield _Datagrams(sock, timeout_s)
        return
    with socket.create_connection((server.host, server.port), timeout_s) as sock:
        if server.scheme.endswith("s"):
            with ssl.create_default_context().wrap_socket(
                sock, server_hostname=server.host
            ) as secure:
                yield _Stream(secure, timeout_s)
        else:
            yield _Stream(sock, timeout_s)


class _Datagrams:
    """Over UDP: said again until it is answered."""

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        self._socket, self._timeout_s = sock, timeout_s

    def ask(self, data: bytes, transaction: bytes) -> stun.Message:
        end = time.monotonic() + self._timeout_s
        patience = _RESEND_S
        while (left := end - time.monotonic()) > 0:
            try:
                self._socket.send(data)
                self._socket.settimeout(min(patience, left))
                answer = stun.decode(self._socket.recv(65536))
            except TimeoutError:
                patience *= 2
                continue
            except ConnectionRefusedError:
                raise _Fails("nothing listens there") from None
            if answer is not None and answer.transaction == transaction:
                return answer
        raise _Fails("no answer in time")


class _Stream:
    """Over TCP or TLS: messages one after another, framed by their own length."""

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        self._socket, self._timeout_s = sock, timeout_s

    def ask(self, data: bytes, transaction: bytes) -> stun.Message:
        self._socket.settimeout(self._timeout_s)
        self._socket.sendall(data)
        while True:
            head = self._exactly(20)
            answer = stun.decode(head + self._exactly(int.from_bytes(head[2:4], "big")))
            if answer is None:
                raise _Fails("it does not speak STUN")
            if answer.transaction == transaction:
                return answer

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                part = self._socket.recv(count - len(data))
            except TimeoutError:
                raise _Fails("no answer in time") from None
            if not part:
                raise _Fails("it closed the connection")
            data += part
        return data
