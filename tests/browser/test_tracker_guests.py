"""npm p2p-media-loader with hls.js, unmodified, on our WebTorrent tracker."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.driver import Visitor
from tests.browser.guests import guest_site, library
from tests.servers.process import program

__all__ = ["guest_site"]

pytestmark = [pytest.mark.browser, pytest.mark.server]

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>HLS</title>
<video id="player" muted controls></video>
<script src="hls.min.js"></script>
<script type="importmap">
{"imports": {"p2p-media-loader-core": "./p2p-media-loader-core.es.js"}}
</script>
<script type="module">
import { HlsJsP2PEngine } from "./p2p-media-loader-hlsjs.es.js";
window.bytes = {http: 0, p2p: 0};
window.peers = 0;
window.problems = [];
const HlsWithP2P = HlsJsP2PEngine.injectMixin(window.Hls);
const hls = new HlsWithP2P({
  maxBufferLength: 10,
  p2p: {
    core: {
      announceTrackers: [`ws://${location.host}/peerjs/tracker`],
      rtcConfig: {iceServers: []},
      swarmId: "a film",
    },
    onHlsJsCreated(hls) {
      const engine = hls.p2pEngine;
      engine.addEventListener("onPeerConnect", () => window.peers++);
      engine.addEventListener("onChunkDownloaded", (length, source) => {
        window.bytes[source] += length;
      });
      for (const name of ["onTrackerError", "onTrackerWarning"])
        engine.addEventListener(name, ({error, warning}) => {
          window.problems.push(String(error ?? warning));
        });
    },
  },
});
hls.loadSource("film/index.m3u8");
hls.attachMedia(document.getElementById("player"));
</script>
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("hls")
    (folder / "index.html").write_text(PAGE)
    library("hls.js/dist/hls.min.js", folder)
    library("p2p-media-loader-core/dist/p2p-media-loader-core.es.js", folder)
    library("p2p-media-loader-hlsjs/dist/p2p-media-loader-hlsjs.es.js", folder)
    (folder / "film").mkdir()
    subprocess.run(
        [program("ffmpeg"), "-v", "error", "-f", "lavfi",
         "-i", "testsrc2=s=160x90:r=10:d=60,noise=alls=40:allf=t", "-c:v", "libx264",
         "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-b:v", "200k", "-g", "20",
         "-hls_time", "2", "-hls_playlist_type", "vod", str(folder / "film/index.m3u8")],
        check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return folder


def test_two_viewers_of_an_hls_stream_exchange_it(
    folder: Path, guest_site: Callable[[Path], str], visit: Callable[..., Visitor]
) -> None:
    url = guest_site(folder) + "/index.html"
    first = visit("chromium")
    first.goto(url)
    # Both stay where they are: p2p-media-loader fetches ahead while the player waits.
    first.wait_for("bytes.http > 400000", timeout=60)
    assert first.eval("bytes.p2p") == 0
    second = visit("chromium")
    second.goto(url)
    second.wait_for("peers > 0", timeout=40)
    second.wait_for("bytes.p2p > 100000", timeout=60)
    second.eval("player.play()")
    second.wait_for("player.currentTime > 3", timeout=40)
    for visitor in (first, second):
        assert visitor.eval("problems") == []
        assert visitor.errors == []
