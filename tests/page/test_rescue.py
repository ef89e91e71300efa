"""A loader that cannot be had: the visitor must not be left with dead videos."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from p2pcdn.page.transform import PageOptions, plan

BODY = (
    b"<!doctype html><html><head><title>x</title></head><body>"
    b"<video id=a src=/a.webm></video>"
    b"<video id=b><source src=/no.mp4 type=video/x-unknown><source src=/b.webm></video>"
    b"<p data-src=/c></p><picture><source data-src=/d><img></picture></body></html>"
)


@pytest.fixture
def site() -> Iterator[Callable[[str], str]]:
    """A site whose loader answers 500; the path says which policy its page has."""
    policies = {
        "/plain": None,
        "/nonce": b"script-src 'nonce-Zm9v' 'strict-dynamic'",
        "/inline": b"script-src 'self' 'unsafe-inline'",
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = [(b"Content-Type", b"text/html; charset=utf-8")]
            if self.path not in policies:
                self.send_error(500)
                return
            if policies[self.path] is not None:
                headers.append((b"Content-Security-Policy", policies[self.path]))
            transform = plan(
                method="GET",
                page_url=f"http://{self.headers['Host']}{self.path}",
                request_headers=[],
                status=200,
                headers=headers,
                options=PageOptions(
                    loader_url="/p2pcdn/loader.js?v=1",
                    noscript_url="/p2pcdn/noscript.css",
                    shareable=lambda url: True,
                ),
            )
            assert transform is not None
            headers, body = transform.whole(BODY)
            assert b"data-src=/b.webm" in body
            self.send_response(200)
            for name, value in headers:
                self.send_header(name.decode(), value.decode())
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield lambda path: f"http://127.0.0.1:{server.server_address[1]}{path}"
        server.shutdown()
        thread.join()


@pytest.mark.browser
@pytest.mark.parametrize("browser", ["chromium", "firefox"])
@pytest.mark.parametrize("page", ["/plain", "/nonce", "/inline"])
def test_without_a_loader_every_video_gets_its_address_back(
    visit: Callable[..., Any], site: Callable[[str], str], browser: str, page: str
) -> None:
    visitor = visit(browser)
    visitor.goto(site(page))
    visitor.wait_for(
        "document.getElementById('a').currentSrc.endsWith('/a.webm')"
        " && document.getElementById('b').currentSrc.endsWith('/b.webm')"
    )
    assert visitor.eval("document.querySelectorAll('p[src], picture>[src]').length") == 0
