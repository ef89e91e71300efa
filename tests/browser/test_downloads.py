"""Large downloads and pictures that the `include` setting names."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import ENV
from tests.browser.eyes import Watch, tap
from tests.servers.proxy import Proxy
from tests.servers.python import Uvicorn

pytestmark = [pytest.mark.browser, pytest.mark.server]

PAGE = '<!DOCTYPE html><html><head><title>Files</title></head><body id="player"></body></html>'
SHOW = """(url) => new Promise((done, fail) => {
  const image = new Image();
  image.onload = () => done(image.naturalWidth);
  image.onerror = fail;
  image.src = url;
  document.body.append(image);
})"""
DOWNLOAD = """async (url) => {
  const response = await fetch(url);
  const digest = await crypto.subtle.digest("SHA-256", await response.arrayBuffer());
  return response.status + " " + [...new Uint8Array(digest)]
    .map((byte) => byte.toString(16).padStart(2, "0")).join("");
}"""


def picture(width: int, height: int) -> bytes:
    """A Windows bitmap of noise, 24 bits a pixel; `width` is a multiple of 4."""
    pixels = random.Random(5).randbytes(3 * width * height)
    fields = [(40, 4), (width, 4), (height, 4), (1, 2), (24, 2), (0, 4), (len(pixels), 4)]
    info = b"".join(value.to_bytes(length, "little") for value, length in fields) + bytes(16)
    size, start = 54 + len(pixels), 54
    head = b"BM" + size.to_bytes(4, "little") + bytes(4) + start.to_bytes(4, "little")
    return head + info + pixels


def test_downloads_and_pictures_come_from_other_visitors_where_the_site_says_so(
    tmp_path: Path, run: Callable[..., Any], watch: Callable[..., Watch]
) -> None:
    download = random.Random(6).randbytes(2_000_000)
    (tmp_path / "index.html").write_text(PAGE)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/update.bin").write_bytes(download)
    (tmp_path / "files/map.bmp").write_bytes(picture(400, 300))
    (tmp_path / "other.bin").write_bytes(download)
    env = {
        "SITE_FOLDER": str(tmp_path),
        "P2PCDN_INCLUDE": "/files/*",
        "P2PCDN_ALWAYS_INJECT": "1",
    }
    server = run(
        lambda: Uvicorn("tests.sites.guests:asgi", arguments=["--factory"], env={**ENV, **env})
    )
    proxy: Proxy = run(lambda: Proxy(server.url, bytes_per_s=1_000_000))
    tap(proxy)

    sums = {name: hashlib.sha256(download).hexdigest() for name in ("update.bin", "other.bin")}
    cost = []
    for _ in range(2):
        visitor = watch(proxy)
        visitor.visitor.goto(f"{proxy.localhost}/index.html")
        # Without a video the loader begins when the page is done.
        visitor.visitor.wait_for("!!navigator.serviceWorker.controller")
        visitor.shared()
        before = proxy.sent("/files/")
        got = visitor.visitor.eval(DOWNLOAD, "files/update.bin")
        assert got == f"200 {sums['update.bin']}"
        assert visitor.visitor.eval(SHOW, "files/map.bmp") == 400
        cost.append(proxy.sent("/files/") - before)
        # What the setting does not name is none of our business.
        assert visitor.visitor.eval(DOWNLOAD, "other.bin") == f"200 {sums['other.bin']}"
        assert [span.network for span in visitor.spans("update.bin")] == [False]
        assert [span.network for span in visitor.spans("map.bmp")] == [False]
        assert visitor.spans("other.bin") == []
    print(f"{cost} bytes from the origin for {len(download) + 360_054}")
    assert cost[0] <= 1.1 * (len(download) + 360_054)
    assert cost[1] < cost[0] / 2
    assert visitor.received > len(download) / 2
