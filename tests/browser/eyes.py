"""Watching a video from the outside.

Three witnesses that are no part of p2pcdn:

* the *tap*: a few lines that the proxy puts in front of worker.js and that copy, span by span,
  the very bytes that the worker's answers hand to the browser's media stack;
* the *channels*: a script that runs before the page's own and counts what every RTCDataChannel
  carries;
* the *player*: the media element's own events, from the first to the last.
"""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from typing import Any

import httpx

from tests.browser.driver import Visitor
from tests.servers.proxy import Proxy
from tests.sites import media

__all__ = ["EYES", "Span", "Watch", "tap", "warm"]

# Counts channels' bytes and the player's events. In every page, before its own scripts.
EYES = """(() => {
  const eyes = (window.eyes = {received: 0, sent: 0, opened: 0, waiting: [], errors: [], ended: 0});
  const size = (data) => data.byteLength ?? data.size ?? data.length;
  if (window.RTCPeerConnection) {
    const create = RTCPeerConnection.prototype.createDataChannel;
    RTCPeerConnection.prototype.createDataChannel = function (...rest) {
      const channel = create.apply(this, rest);
      channel.addEventListener("open", () => eyes.opened++);
      channel.addEventListener("message", ({data}) => { eyes.received += size(data); });
      return channel;
    };
    const send = RTCDataChannel.prototype.send;
    RTCDataChannel.prototype.send = function (data) {
      send.call(this, data);
      eyes.sent += size(data);
    };
  }
  const started = new WeakSet();
  addEventListener("playing", (e) => started.add(e.target), true);
  addEventListener("emptied", (e) => started.delete(e.target), true);
  addEventListener("seeking", (e) => started.delete(e.target), true);
  const ahead = ({buffered, currentTime}) => {
    for (let i = 0; i < buffered.length; i++)
      if (buffered.start(i) <= currentTime + 0.1 && currentTime < buffered.end(i))
        return buffered.end(i) - currentTime;
    return 0;
  };
  // Waiting for the first frame, or for the place that was sought, is no stall; waiting with
  // seconds of video at hand is a busy machine.
  addEventListener("waiting", ({target: video}) => {
    const at = video.currentTime;
    if (!(video instanceof HTMLMediaElement)) return; // a player's own event of that name
    if (!started.has(video) || at > video.duration - 0.3 || ahead(video) > 1) return;
    const stall = {at, ahead: ahead(video), since: performance.now(), seconds: null};
    eyes.waiting.push(stall);
    const over = () => { stall.seconds = (performance.now() - stall.since) / 1000; };
    video.addEventListener("playing", over, {once: true});
  }, true);
  addEventListener("error", (e) => {
    if (e.target instanceof HTMLMediaElement && e.target.error)
      eyes.errors.push(`${e.target.error.code} ${e.target.error.message}`);
  }, true);
  addEventListener("ended", () => eyes.ended++, true);
})()"""

_TAP = """{
  const spans = [];
  const respond = FetchEvent.prototype.respondWith;
  FetchEvent.prototype.respondWith = function (answer) {
    respond.call(this, Promise.resolve(answer).then((response) => copy(this.request, response)));
  };
  const copy = (request, response) => {
    const {status, headers, body, type} = response;
    const range = /^bytes (\\d+)-/.exec(headers.get("content-range") ?? "");
    const span = {url: request.url, status, network: type !== "default", chunks: [],
                  start: range ? Number(range[1]) : 0, destination: request.destination};
    spans.push(span);
    if (span.network || !body) return response;
    const reader = body.getReader();
    const copied = new ReadableStream({
      async pull(controller) {
        const {done, value} = await reader.read();
        if (done) return controller.close();
        span.chunks.push(value.slice());
        controller.enqueue(value);
      },
      cancel: (reason) => reader.cancel(reason),
    }, {highWaterMark: 0});
    return new Response(copied, {status, headers});
  };
  addEventListener("message", ({data, ports}) => {
    if (data && data.test === "tap") ports[0].postMessage(spans);
  });
}
"""

_READ_TAP = """async () => {
  const worker = navigator.serviceWorker && navigator.serviceWorker.controller;
  if (!worker) return [];
  const {port1, port2} = new MessageChannel();
  const spans = await new Promise((resolve) => {
    port1.onmessage = ({data}) => resolve(data);
    worker.postMessage({test: "tap"}, [port2]);
    setTimeout(resolve, 5000, []);
  });
  const text = async (chunks) => new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1] ?? "");
    reader.readAsDataURL(new Blob(chunks));
  });
  return Promise.all(spans.map(async ({chunks, ...span}) => ({...span, data: await text(chunks)})));
}"""


def tap(proxy: Proxy) -> None:
    """Put the tap in front of every worker.js that goes through a proxy from now on."""
    proxy.change(r"/worker\.js", lambda body: _TAP.encode() + body)


@dataclass(frozen=True, slots=True)
class Span:
    """One answer of the worker to the browser's media stack."""

    path: str
    start: int
    status: int
    network: bool
    """The worker handed the request on to the network: these bytes are not ours."""
    data: bytes


class Watch:
    """A visitor who watches a video; `player` names the element in the page."""

    def __init__(self, visitor: Visitor, proxy: Proxy, player: str = "player") -> None:
        self.visitor, self.proxy, self.player = visitor, proxy, player

    def open(self, page: str, *, host: str = "localhost") -> Watch:
        """Open a page and wait until its video has a source again."""
        base = self.proxy.localhost.replace("localhost", host, 1)
        self.visitor.goto(f"{base}/{page}")
        self.visitor.wait_for(f"!!document.getElementById({json.dumps(self.player)})?.currentSrc")
        return self

    def shared(self) -> Watch:
        """Wait until the page's bytes go through the worker (the loader's own word)."""
        self.visitor.wait_for("window.p2pcdn && p2pcdn.whyDirect() === null")
        return self

    def why(self) -> str | None:
        """Why the loader lets this page, or its video, play direct."""
        value: str | None = self.visitor.eval(
            f"window.p2pcdn ? p2pcdn.whyDirect({self.player}.currentSrc) : 'no loader'"
        )
        return value

    def play(self, rate: float = 4) -> Watch:
        self.visitor.eval(
            f"(() => {{ {self.player}.playbackRate = {rate}; return {self.player}.play() }})()"
        )
        return self

    def until(self, seconds: float, *, timeout: float = 40) -> Watch:
        """Wait until the video is this far."""
        self.visitor.wait_for(
            f"{self.player}.currentTime >= {seconds} || {self.player}.ended", timeout=timeout
        )
        return self

    def end(self, *, timeout: float = 60) -> Watch:
        """Wait until the video has played to its end."""
        self.visitor.wait_for(f"{self.player}.ended", timeout=timeout)
        return self

    def seek(self, seconds: float) -> Watch:
        self.visitor.eval(
            f"""new Promise((done) => {{
              {self.player}.addEventListener("seeked", () => done(), {{once: true}});
              {self.player}.currentTime = {seconds};
            }})"""
        )
        return self

    # --- what was seen ---------------------------------------------------------------------

    @property
    def eyes(self) -> dict[str, Any]:
        value: dict[str, Any] = self.visitor.eval("window.eyes")
        return value

    @property
    def received(self) -> int:
        """Bytes that came over data channels."""
        return int(self.eyes["received"])

    @property
    def stalls(self) -> list[dict[str, float]]:
        """Where, and for how long, the player waited for bytes in the middle of its play."""
        value: list[dict[str, float]] = self.eyes["waiting"]
        return value

    def no_error(self) -> None:
        """The visitor saw none: not in the player, and no script of the page failed."""
        assert self.eyes["errors"] == []
        assert self.visitor.eval(f"{self.player}.error") is None
        errors = [note.text for note in self.visitor.errors]
        # Firefox's console reports a seek, which cancels the answer that was under way.
        cancelled = "A ServiceWorker intercepted the request and encountered an unexpected error"
        assert [text for text in errors if cancelled not in text] == []

    def spans(self, name: str) -> list[Span]:
        """What the worker handed to the media stack for a file."""
        found = []
        for span in self.visitor.eval(f"({_READ_TAP})()"):
            path = httpx.URL(span["url"]).path
            if path.endswith("/" + name):
                data = base64.b64decode(span["data"])
                found.append(Span(path, span["start"], span["status"], span["network"], data))
        return found

    def delivered(self, name: str, *, whole: bool = True) -> None:
        """Every byte that the worker handed to the player is the file's byte at its place; with
        `whole` they are all of the file's bytes."""
        file = (media.folder() / name).read_bytes()
        got = bytearray(len(file))
        spans = self.spans(name)
        assert spans, "the worker answered no media request"
        for span in spans:
            end = span.start + len(span.data)
            assert span.data == file[span.start : end], f"wrong bytes from {span.start}"
            got[span.start : end] = b"\x01" * len(span.data)
        if whole:
            assert not any(span.network for span in spans)
            assert got.count(0) == 0, f"{got.count(0)} bytes never came through the worker"


def warm(proxy: Proxy, page: str, name: str) -> None:
    """Have the origin hash a clip before anybody comes, as on a site that has had visitors."""
    with httpx.Client(timeout=20) as client:
        client.get(f"{proxy.url}/{page}").raise_for_status()
        path = httpx.URL(proxy.url).path.rstrip("/") + f"/media/{name}"
        end = time.monotonic() + 30
        while True:
            answer = client.get(
                f"{proxy.url}/p2pcdn/manifest", params={"url": path, "peer": "warm"}
            )
            if answer.status_code == 200:
                break
            # 404: the server worker that is asked has not heard yet of what another one served.
            assert answer.status_code in (202, 404), answer.text
            assert time.monotonic() < end, f"the manifest was never ready: {answer.text}"
            time.sleep(0.05)
    proxy.reset()
