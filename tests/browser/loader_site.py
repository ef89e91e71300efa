"""A small site for the page side alone: rewritten pages, a manifest, a static route with Range.

The loader here is the shipped one with an engine that only knows the origin
(js/test/support/origin-engine.ts), so that what fails is the page side's fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, Router
from starlette.types import Receive, Scope, Send

from p2pcdn.config import Config
from p2pcdn.page import inject
from p2pcdn.web.assets import Assets

ROOT = Path(__file__).parents[2]
_PART_BYTES = 196_608
EARLY = f"bytes=0-{_PART_BYTES - 1}"
"""What the worker asks for a player before the engine is there; no player ends its range."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One request for media that reached the origin."""

    path: str
    range: str | None
    by_engine: bool
    """Asked by the engine in the page, not by the player or the worker."""
    destination: str


def build_loader(folder: Path) -> Path:
    """The shipped loader, worker and panel, around the origin-only engine."""
    node = shutil.which("node")
    assert node is not None
    subprocess.run(
        [node, "build.mjs", "--out", str(folder), "--engine", "test/support/origin-engine.ts"],
        cwd=ROOT / "js",
        check=True,
        capture_output=True,
    )
    return folder


def make_video(path: Path, seconds: int = 12) -> Path:
    """A video whose picture counts, with sound, index in front."""
    subprocess.run(
        [
            *("ffmpeg", "-v", "error", "-y"),
            *("-f", "lavfi", "-i", f"testsrc2=s=320x180:r=25:d={seconds}"),
            *("-f", "lavfi", "-i", f"sine=440:d={seconds}"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-b:v", "700k", "-g", "25"),
            *("-pix_fmt", "yuv420p", "-c:a", "aac", "-movflags", "+faststart", str(path)),
        ],
        check=True,
    )
    return path


def _is_part(range: str | None) -> bool:
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", range or "")
    return match is not None and all(
        at % _PART_BYTES == 0 for at in (int(match[1]), int(match[2]) + 1)
    )


@dataclass
class LoaderSite:
    """Pages and files of one test; change them at any time."""

    assets_folder: Path
    config: Config = field(default_factory=lambda: Config(ice_servers=()))
    pages: dict[str, str] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    scripts: dict[str, str] = field(default_factory=dict)
    without_manifest: set[str] = field(default_factory=set)
    refuse_engine: bool = False
    """The origin hangs for the engine, but not for a player."""
    assets_gone: bool = False
    """The site was deployed without us."""
    loader_waits: bool = False
    """The loader is asked for and does not come."""
    gone: set[str] = field(default_factory=set)
    """Paths that answer 404 from now on."""
    hits: list[Hit] = field(default_factory=list)
    url: str = ""

    def page(
        self, path: str, body: str, *, loader: bool = True, begin: bool = False, html: str = ""
    ) -> str:
        """Put up a page as the server's rewriting leaves it; returns its URL.

        `begin`: with the code that need not wait for the loader. Each such page asks for a version
        of the loader of its own, which no browser has kept.
        """
        self.assets = getattr(self, "assets", None) or self._assets()
        own = f".{len(self.pages)}" if begin else ""
        source = f"/p2pcdn/loader.js?v={self.assets.version}{own}"
        entry = inject.script(source, nonce=None, inline=False, begin=begin).decode()
        script = entry if loader else ""
        self.pages[path] = (
            f"<!doctype html><html {html}><head>{script}<meta charset=utf-8>"
            f"<title>page</title></head><body>{body}</body></html>"
        )
        return self.url + path

    def direct(self, path: str) -> list[Hit]:
        """Requests for a file that went past the engine (and past the worker in its place).

        Not those of the worker and the page that give a player its first parts before the engine
        is there.
        """
        return [
            hit
            for hit in self.hits
            if hit.path == path and not hit.by_engine and not _is_part(hit.range)
        ]

    def _assets(self) -> Assets:
        return Assets(self.config, socket=False, folder=self.assets_folder)

    @contextlib.contextmanager
    def running(self) -> Iterator[LoaderSite]:
        self.assets = self._assets()
        app = Starlette(
            routes=[
                Route("/p2pcdn/manifest", self._manifest),
                Mount("/p2pcdn", app=self._ours),
                Route("/media/{name}", self._media),
                Route("/{path:path}", self._page),
            ]
        )
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://localhost:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield self
        finally:
            server.should_exit = server.force_exit = True
            thread.join()
            listener.close()

    async def _ours(self, scope: Scope, receive: Receive, send: Send) -> None:
        while self.loader_waits and scope["path"].endswith("/loader.js"):
            await asyncio.sleep(0.02)
        if self.assets_gone:
            await Response(status_code=404)(scope, receive, send)
        else:
            await Router(self.assets.routes())(scope, receive, send)

    async def _page(self, request: Request) -> Response:
        path = request.url.path
        if path in self.gone:
            return Response(status_code=404)
        if path in self.scripts:
            return Response(self.scripts[path], media_type="text/javascript")
        if path not in self.pages:
            return Response(status_code=404)
        return HTMLResponse(self.pages[path], headers=self.headers.get(path))

    async def _manifest(self, request: Request) -> Response:
        path = request.query_params["url"].partition("?")[0]
        if path not in self.files or path in self.without_manifest:
            return JSONResponse({"error": "unknown", "message": "not here"}, status_code=404)
        size = len(self.files[path])
        return JSONResponse({"key": "00" * 16, "size": size, "type": "video/mp4", "url": path})

    async def _media(self, request: Request) -> Response:
        path = request.url.path
        wanted = request.headers.get("range")
        engine = "x-test-engine" in request.headers
        destination = request.headers.get("sec-fetch-dest", "")
        self.hits.append(Hit(path, wanted, engine, destination))
        if path not in self.files or path in self.gone:
            return Response(status_code=404)
        if engine and self.refuse_engine:
            while not await request.is_disconnected():
                await asyncio.sleep(0.05)
            return Response(status_code=404)
        body = self.files[path]
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "")
        headers = {"Accept-Ranges": "bytes"}
        if not match:
            headers["Content-Length"] = str(len(body))
            return StreamingResponse(_pieces(body), headers=headers, media_type="video/mp4")
        first = int(match[1])
        last = min(int(match[2] or len(body) - 1), len(body) - 1)
        if first > last:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{len(body)}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        headers["Content-Length"] = str(last + 1 - first)
        return StreamingResponse(
            _pieces(body[first : last + 1]), 206, headers=headers, media_type="video/mp4"
        )


async def _pieces(body: bytes) -> Iterator[bytes]:  # type: ignore[misc]
    for start in range(0, len(body), 65536):
        yield body[start : start + 65536]
        await asyncio.sleep(0)


def noise(size: int) -> bytes:
    """Bytes that no compression or repetition can fake."""
    return os.urandom(size)
