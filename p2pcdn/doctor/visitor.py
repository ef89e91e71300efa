"""Plain HTTP as a browser speaks it, each request on a connection of its own.

A new connection each time is on purpose: in front of several server workers it may reach
another one, as the next visitor's would.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from p2pcdn.errors import P2PCDNError

__all__ = [
    "Answer",
    "Unreachable",
    "connect",
    "is_local",
    "join",
    "origin_of",
    "parse_url",
    "visit",
]

_AGENT = "Mozilla/5.0 (compatible; p2pcdn-doctor)"
_SAFE = "/?%!$&'()*+,;=:@-._~[]"
_MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Unreachable(P2PCDNError):
    """No HTTP answer was had; the message says why, `certificate` whether TLS was refused."""

    def __init__(self, message: str, *, certificate: bool = False) -> None:
        super().__init__(message)
        self.certificate = certificate


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response.

    Attributes:
        url: What was asked, after redirects.
        status: Of the response.
        headers: As they came.
        body: At most as many bytes as were wanted; decoded from gzip and deflate.
        cut: There was more than was wanted.
    """

    url: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    cut: bool = False

    def header(self, name: str) -> str:
        """All values of a header, joined; empty where there is none."""
        wanted = name.lower()
        return ", ".join(value for key, value in self.headers if key.lower() == wanted)

    @property
    def type(self) -> str:
        """The media type in lower case, without parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """The body as JSON, or None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def parse_url(url: str) -> SplitResult:
    """The parts of an http(s) URL.

    Raises:
        P2PCDNError: It is none.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise P2PCDNError(f"{url!r} is no URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise P2PCDNError(f"{url!r} is no page's address; it must begin with http:// or https://")
    return parts


def origin_of(url: str) -> str:
    """Scheme, host and port, as browsers write them into `Origin`."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host.isascii():
        with suppress(UnicodeError):
            host = host.encode("idna").decode()
    host = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def is_local(url: str) -> bool:
    """Whether browsers take the host for this machine, which makes http a secure context
    (Secure Contexts, section 3.1)."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    return host in ("localhost", "::1") or host.endswith(".localhost") or host.startswith("127.")


def join(base: str, url: str) -> str:
    """`url` as seen from `base`; empty where that is no address (`http://[`)."""
    try:
        joined = urljoin(base, url)
        _ = urlsplit(joined).port
    except ValueError:
        return ""
    return joined


def connect(url: str, *, timeout_s: float) -> socket.socket:
    """An open connection to the URL's host, with TLS where its scheme asks for it.

    Raises:
        Unreachable: Why there is none.
    """
    parts = parse_url(url.replace("ws", "http", 1) if url.startswith("ws") else url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        plain = socket.create_connection((host, port), timeout_s)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"{host}:{port} cannot be reached ({_why(error)})") from error
    if parts.scheme == "http":
        return plain
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        plain.close()
        raise Unreachable(
            f"the certificate of {host} is not valid: {error.verify_message}", certificate=True
        ) from error
    except OSError as error:
        plain.close()
        raise Unreachable(f"TLS with {host}:{port} failed ({_why(error)})") from error


def visit(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    most_bytes: int = 4 << 20,
    redirects: bool = False,
    timeout_s: float = 10.0,
    connected: Callable[[], object] = lambda: None,
) -> Answer:
    """One request, and with `redirects` those it leads to.

    Args:
        url: Absolute, http or https.
        method: GET, HEAD or POST.
        headers: Beside the usual ones of a browser.
        body: What to send.
        most_bytes: Read no more of the body than this.
        redirects: Follow them, as for a page.
        timeout_s: Longest silence of the server.
        connected: Called when the connection is there and nothing has been sent.

    Raises:
        Unreachable: There was no HTTP answer.
    """
    for _ in range(_MAX_REDIRECTS):
        answer = _once(url, method, dict(headers or {}), body, most_bytes, timeout_s, connected)
        if not redirects or answer.status not in _REDIRECTS or not answer.header("location"):
            return answer
        target = join(url, answer.header("location"))
        if urlsplit(target).scheme not in ("http", "https") or not urlsplit(target).hostname:
            raise Unreachable(f"{url} redirects to {answer.header('location')[:80]!r}, no address")
        url = target
    raise Unreachable(f"{url} redirects again and again")


def _once(
    url: str,
    method: str,
    headers: dict[str, str],
    body: bytes | None,
    most_bytes: int,
    timeout_s: float,
    connected: Callable[[], object],
) -> Answer:
    parts = parse_url(url)
    sock = connect(url, timeout_s=timeout_s)
    connected()
    # HTTPConnection would open a connection by itself; it only is to speak on ours.
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    connection.sock = sock
    target = quote(parts.path or "/", safe=_SAFE)
    target += "?" + quote(parts.query, safe=_SAFE) if parts.query else ""
    sent = {
        "Host": origin_of(url).partition("://")[2],
        "User-Agent": _AGENT,
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
        **headers,
    }
    try:
        connection.request(method, target, body=body, headers=sent)
        response = connection.getresponse()
        data = response.read(most_bytes + 1)
        fields = tuple(response.getheaders())
        answer = Answer(url, response.status, fields, data[:most_bytes], len(data) > most_bytes)
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise Unreachable(f"{url} gave no proper HTTP answer ({_why(error)})") from error
    finally:
        connection.close()
    return _decoded(answer, most_bytes)


def _decoded(answer: Answer, most_bytes: int) -> Answer:
    coding = answer.header("content-encoding").strip().lower()
    if coding not in ("gzip", "x-gzip", "deflate"):
        return answer
    body = answer.body
    with suppress(zlib.error):  # damaged: what could be read is what a browser sees
        for wbits in (47, -15) if coding == "deflate" else (31,):
            decoder = zlib.decompressobj(wbits)
            try:
                body = decoder.decompress(answer.body, most_bytes)
                break
            except zlib.error:
                continue
    return Answer(answer.url, answer.status, answer.headers, body, answer.cut)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, socket.gaierror):
        return "the name is not known"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it closed the connection"
    return str(error) or type(error).__name__
