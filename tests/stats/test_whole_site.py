"""A real site behind P2PCDN: what its visitors got is what its owner reads."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from p2pcdn import P2PCDN

SIZE = 700_000


@contextlib.contextmanager
def running(app: Any) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        assert server.started
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    media = tmp_path / "media"
    media.mkdir()
    (media / "a.mp4").write_bytes(os.urandom(SIZE))
    app = Starlette(
        routes=[
            Route("/", lambda _: HTMLResponse(
                "<!doctype html><head></head><video src='/media/a.mp4'></video>")),
            Mount("/media", StaticFiles(directory=media)),
        ]
    )  # fmt: skip
    with running(P2PCDN(app, data_dir=str(tmp_path / "data"), stats_token="owner")) as base:
        yield base


def test_the_origins_count_and_the_loaders_reports_meet_under_one_content(site: str) -> None:
    with httpx.Client(base_url=site, timeout=20) as http:
        assert "data-src" in http.get("/").text
        question = {"url": "/media/a.mp4", "peer": "visitor-1"}
        deadline = time.monotonic() + 60
        while (answer := http.get("/p2pcdn/manifest", params=question)).status_code == 202:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        manifest = answer.json()
        assert manifest["size"] == SIZE, manifest

        first = http.get("/media/a.mp4", headers={"Range": "bytes=0-499999"})
        second = http.get("/media/a.mp4?t=2", headers={"Range": "bytes=500000-699999"})
        sent = len(first.content) + len(second.content)
        assert sent == SIZE

        for view, numbers in (
            ("visitor-one", {"from_origin": SIZE, "uploaded": SIZE, "startup_ms": 90}),
            ("visitor-two", {"from_peers": SIZE, "startup_ms": 110}),
            ("a-liar-here", {"from_peers": 3 * SIZE}),
        ):
            content = {"key": manifest["key"], "url": "/lie.mp4", "watched_s": 7, **numbers}
            report = {"view": view, "seq": 1, "contents": [content]}
            assert http.post("/p2pcdn/report", json=report).status_code == 204

        owner = {"Authorization": "Bearer owner"}
        found = http.get("/p2pcdn/stats", headers=owner).json()
        totals = found["totals"]
        assert [c["path"] for c in found["contents"]] == ["/media/a.mp4"]
        assert abs(totals["origin_counted"] - totals["origin_reported"]) <= 0.02 * sent
        # The liar and the honest visitor together are believed no more than what was sent.
        assert totals["from_peers"] <= SIZE * 1.05
        assert found["notes"] == []
        assert "p2pcdn_views_total 3\n" in http.get("/p2pcdn/metrics", headers=owner).text
        assert http.get("/p2pcdn/dashboard?token=owner").status_code == 200


def test_what_comes_over_the_coordinator_is_bounded_and_only_counters_are_taken_for_counters(
    tmp_path: Path,
) -> None:
    app: Any = P2PCDN(Starlette(), data_dir=str(tmp_path))
    parts = app.site.parts
    heard = parts.hub.on_report
    heard("peer-1", {"content": "c" * 32, "bad": ["peer-9"]})  # about a peer, not about a view
    assert parts.recorder.summary(0).dropped == {}
    for seq in range(50):
        heard("peer-1", {"view": "view-0001", "seq": seq, "contents": [], "direct": {"error": 1}})
    heard("peer-2", {"view": "view-0002", "seq": 1, "contents": [], "direct": {"insecure": 1}})
    summary = parts.recorder.summary(0)
    assert summary.direct == {"error": 1, "insecure": 1}
    assert 35 <= summary.dropped["too many reports"] <= 40
    parts.recorder.close()
