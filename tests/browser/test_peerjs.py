"""npm `peerjs`, unmodified, in real browsers, on our coordinator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser.driver import Visitor
from tests.browser.fixtures import slow
from tests.browser.guests import guest_site, library
from tests.web.test_serve import serve

__all__ = ["guest_site"]

pytestmark = [pytest.mark.browser, pytest.mark.server]

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>PeerJS</title>
<video id="theirs" autoplay muted playsinline></video>
<script src="peerjs.min.js"></script>
<script>
const OPTIONS = {host: location.hostname, port: Number(location.port), path: "/peerjs",
                 config: {iceServers: []}};
window.events = [];
window.received = [];
function join(id, options = {}) {
  const all = {...OPTIONS, ...options};
  window.peer = id ? new Peer(id, all) : new Peer(all);
  peer.on("error", (error) => events.push(error.type));
  for (const name of ["open", "disconnected", "close"]) peer.on(name, () => events.push(name));
  peer.on("connection", keep);
  peer.on("call", (call) => {
    window.call = call;
    navigator.mediaDevices.getUserMedia({video: true, audio: true})
      .then((stream) => { call.answer(stream); show(call); });
  });
}
function keep(connection) {
  window.connection = connection;
  connection.on("data", (data) => received.push(data));
  connection.on("open", () => events.push("connection open"));
  connection.on("close", () => events.push("connection close"));
}
function show(call) {
  call.on("stream", (stream) => { theirs.srcObject = stream; });
  call.on("close", () => events.push("call close"));
}
async function dial(id) {
  const stream = await navigator.mediaDevices.getUserMedia({video: true, audio: true});
  window.call = peer.call(id, stream);
  show(call);
}
</script>
"""

# A camera and a microphone that are none, and nobody asked for leave.
CHROMIUM = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
FIREFOX = {"media.navigator.streams.fake": True, "media.navigator.permission.disabled": True}

PAIRS = [
    ("chromium", "chromium"),
    ("firefox", "chromium"),
    slow("chromium", "firefox"),
    slow("firefox", "firefox"),
]

SEES = "theirs.videoWidth > 0 && theirs.currentTime > 0.3"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("peerjs")
    (folder / "index.html").write_text(PAGE)
    library("peerjs/dist/peerjs.min.js", folder)
    return folder


@pytest.fixture
def guest(visit: Callable[..., Visitor]) -> Callable[..., Visitor]:
    """`guest(kind, url, id=None, **options)`: a visitor whose Peer is open."""

    def guest(kind: str, url: str, id: str | None = None, **options: Any) -> Visitor:
        more: dict[str, Any] = {"flags": CHROMIUM} if kind == "chromium" else {"prefs": FIREFOX}
        visitor = visit(kind, **more)
        visitor.goto(f"{url}/index.html")
        visitor.eval("(id, options) => join(id, options)", id, options)
        visitor.wait_for("peer.open")
        return visitor

    return guest


Guest = Callable[..., Visitor]
Site = Callable[..., str]


@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_data_and_a_video_call_pass_between_two_peers(
    one: str, two: str, folder: Path, guest_site: Site, guest: Guest
) -> None:
    url = guest_site(folder)
    anna, bert = guest(one, url), guest(two, url, "bert")
    assert len(anna.eval("peer.id")) == 36  # given by the server

    anna.eval("(() => keep(peer.connect('bert', {metadata: {a: 1}, reliable: true})))()")
    anna.wait_for("window.connection?.open")
    bert.wait_for("window.connection?.open")
    assert bert.eval("connection.metadata") == {"a": 1}
    anna.eval("(() => { connection.send({text: 'ü', list: [1, null, 2.5]}) })()")
    # More than one message of a data channel: peerjs cuts it up.
    anna.eval("(() => { connection.send(new Uint8Array(200000).fill(7)) })()")
    bert.wait_for("received.length === 2")
    assert bert.eval("received[0]") == {"text": "ü", "list": [1, None, 2.5]}
    assert bert.eval(
        "(() => { const b = new Uint8Array(received[1]); "
        "return [b.length, b.every((x) => x === 7)] })()"
    ) == [200000, True]
    bert.eval("(() => { connection.send('back') })()")
    anna.wait_for("received[0] === 'back'")

    anna.eval("dial('bert')")
    for visitor in (anna, bert):
        visitor.wait_for(SEES, timeout=40)
    anna.eval("(() => { call.close() })()")
    bert.wait_for("events.includes('call close')")
    anna.eval("(() => { connection.close() })()")
    bert.wait_for("events.includes('connection close')")
    assert anna.errors == [] and bert.errors == []


def test_what_peers_can_be_told_by_the_server(folder: Path, guest_site: Site, guest: Guest) -> None:
    """As npm's documentation has it: another path and key, ids, errors, discovery, reconnecting."""
    url = guest_site(folder, coordinator_path="/myapp", peerjs_key="mykey", allow_discovery="1")
    # "Check it: http://127.0.0.1:9000/myapp. It should return JSON with name, description and
    # website fields."
    told = httpx.get(f"{url}/myapp", follow_redirects=True).json()
    assert told.keys() == {"name", "description", "website"}
    options = {"path": "/myapp", "key": "mykey"}
    anna = guest("chromium", url, "someid", **options)
    bert = guest("chromium", url, **options)
    ids = bert.eval("new Promise((resolve) => peer.listAllPeers(resolve))")
    assert sorted(ids) == sorted(["someid", bert.eval("peer.id")])

    carl = bert.tab()
    carl.goto(f"{url}/index.html")
    carl.eval("(options) => join('someid', options)", options)
    carl.wait_for("events.includes('unavailable-id')")
    carl.eval("(options) => join('another', options)", {**options, "key": "wrong"})
    carl.wait_for("events.includes('server-error')")

    bert.eval("(() => keep(peer.connect('nobody')))()")
    bert.wait_for("events.includes('peer-unavailable')", timeout=30)
    anna.eval("(() => { peer.disconnect(); peer.reconnect() })()")
    anna.wait_for("events.filter((name) => name === 'open').length === 2")
    bert.eval("(() => keep(peer.connect('someid')))()")
    bert.wait_for("connection.open")
    anna.eval("(() => { peer.destroy() })()")
    bert.wait_for("events.includes('connection close')", timeout=30)
    bert.wait_for(
        "new Promise((resolve) => peer.listAllPeers(resolve)).then((ids) => ids.length === 1)"
    )


def test_p2pcdn_serve_stands_in_for_npms_command_also_for_pages_of_another_site(
    folder: Path, guest_site: Site, guest: Guest, tmp_path: Path
) -> None:
    # `peerjs --port 9000 --key peerjs --path /myapp`, and the page of npm's documentation.
    with serve(tmp_path, "--port", "0", "--key", "peerjs", "--path", "/myapp") as server:
        options = {"host": "localhost", "port": server.port, "path": "/myapp"}
        page = guest_site(folder)
        anna, bert = (guest("chromium", page, id, **options) for id in ("someid", "another"))
        anna.eval("(() => keep(peer.connect('another')))()")
        anna.wait_for("window.connection?.open")
        bert.eval("(() => { connection.send('hi!') })()")
        anna.wait_for("received[0] === 'hi!'")
