"""The three ways by which the film reaches its viewers."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.bench.swarm.film import HLS, NAME, Film
from tests.browser.driver import BrowserMissing
from tests.browser.eyes import warm
from tests.servers.process import ROOT, program
from tests.servers.proxy import Proxy
from tests.servers.python import Uvicorn
from tests.servers.reaper import forget, kill_group, remember

__all__ = ["SYSTEMS", "Standing", "standing"]

SYSTEMS = {
    "plain": "a plain <video>",
    "p2pcdn": "the same page through p2pcdn",
    "p2pml": "npm p2p-media-loader with hls.js, all settings but the tracker its own",
}
_MODULES = ROOT / "tests" / "browser" / "node_modules"
_LIBRARIES = (
    "hls.js/dist/hls.min.js",
    "p2p-media-loader-core/dist/p2p-media-loader-core.es.min.js",
    "p2p-media-loader-hlsjs/dist/p2p-media-loader-hlsjs.es.min.js",
)
# The player of tests/sites' "autoplay" page, with the library's own instructions followed.
_P2PML_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>HLS</title>
<style>video {{ width: 320px; height: 180px }}</style>
<script src="hls.min.js"></script>
<script type="importmap">
{{"imports": {{"p2p-media-loader-core": "./p2p-media-loader-core.es.min.js"}}}}
</script>
</head>
<body>
<video id="player" autoplay muted playsinline></video>
<script type="module">
import {{ HlsJsP2PEngine }} from "./p2p-media-loader-hlsjs.es.min.js";
window.chunks = {{}};
const HlsWithP2P = HlsJsP2PEngine.injectMixin(window.Hls);
const hls = new HlsWithP2P({{
  p2p: {{
    core: {{announceTrackers: ["{tracker}"], rtcConfig: {{iceServers: []}}}},
    onHlsJsCreated(hls) {{
      hls.p2pEngine.addEventListener("onChunkDownloaded", (length, source) => {{
        chunks[source] = (chunks[source] ?? 0) + length;
      }});
    }},
  }},
}});
hls.loadSource("{hls}/index.m3u8");
hls.attachMedia(document.getElementById("player"));
</script>
</body>
</html>
"""
_WORKERS = 2


@dataclass(frozen=True, slots=True)
class Standing:
    """A site that serves the film, and how to count what left it."""

    proxy: Proxy
    page: str
    """Where the viewers go."""
    media: str
    """Which requests are the film's (a pattern on their path)."""
    size: int
    """Bytes of one copy, in this system's own form."""


@contextlib.contextmanager
def standing(system: str, film: Film) -> Iterator[Standing]:
    """Starts a system's site, with all that it needs, as one that has had visitors.

    Raises:
        Missing: A program or an npm package is not installed.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="p2pcdn-bench-")))
        app, page, media, size = "plain", "/autoplay", f"^/media/{NAME}", film.size
        if system == "p2pml":
            page, media, size = "/media/p2pml.html", f"^/media/{HLS}/", film.hls_size
            shutil.copytree(film.folder / HLS, folder / HLS)
            _libraries(folder)
            html = _P2PML_PAGE.format(tracker=stack.enter_context(_tracker()), hls=HLS)
            (folder / "p2pml.html").write_text(html, encoding="utf-8")
        else:
            shutil.copy(film.folder / NAME, folder)
            app = "starlette" if system == "p2pcdn" else "plain"
        site = stack.enter_context(
            Uvicorn(
                f"tests.sites.asgi_app:{app}",
                workers=_WORKERS,
                arguments=["--factory", "--no-access-log"],
                env={"SITE_MEDIA": str(folder)},
            )
        )
        proxy = stack.enter_context(Proxy(site.url))
        with httpx.Client(timeout=20) as client:
            for _ in range(4 * _WORKERS):  # each server worker's first answer is a slow one
                client.get(proxy.url + page).raise_for_status()
        if system == "p2pcdn":
            warm(proxy, page.lstrip("/"), NAME)
        proxy.reset()
        yield Standing(proxy, proxy.url + page, media, size)


def _libraries(folder: Path) -> None:
    for path in _LIBRARIES:
        if not (_MODULES / path).exists():
            raise BrowserMissing(f"{path} is missing: npm ci --prefix tests/browser")
        shutil.copy(_MODULES / path, folder)


@contextlib.contextmanager
def _tracker() -> Iterator[str]:
    """npm bittorrent-tracker's own server; its URL."""
    process = subprocess.Popen(
        [program("node", "nodejs"), str(ROOT / "tests" / "web" / "trackerserver.mjs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    remember(process.pid)
    assert process.stdin is not None and process.stdout is not None
    try:
        port = int(process.stdout.readline())
        yield f"ws://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(3)
        kill_group(process.pid)
        process.wait()
        process.stdout.close()
        forget(process.pid)
