"""The same cases on npm's own tracker and on ours: a WebTorrent client sees no difference."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.web.coordinator_site import ROOT, serve

pytestmark = pytest.mark.server

PACKAGE = ROOT / "tests/browser/node_modules/bittorrent-tracker"
HASH = "".join(map(chr, range(236, 256)))


@pytest.fixture(scope="module", params=["npm bittorrent-tracker", "websockets-sansio", "own"])
def tracker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if request.param != "npm bittorrent-tracker":
        with serve(tmp_path_factory.mktemp("site"), ws=request.param) as port:
            yield f"ws://127.0.0.1:{port}/peerjs/tracker"
        return
    process = subprocess.Popen(
        [node(), str(ROOT / "tests/web/trackerserver.mjs")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield f"ws://127.0.0.1:{int(process.stdout.readline())}/"
    finally:
        process.kill()
        process.communicate()


def node() -> str:
    found = shutil.which("node")
    if found is None or not PACKAGE.exists():
        pytest.skip("needs Node and npm's `bittorrent-tracker` in tests/browser/node_modules")
    return found


def client(address: str, **options: Any) -> ClientConnection:
    return connect(address, compression=None, close_timeout=1, **options)


def say(socket: ClientConnection, **message: Any) -> None:
    socket.send(json.dumps(message))


def hear(socket: ClientConnection) -> Any:
    return json.loads(socket.recv(timeout=10))


def test_two_unmodified_clients_meet_talk_finish_and_leave(tracker: str) -> None:
    done = subprocess.run(
        [node(), str(ROOT / "tests/web/tracker_pair.mjs"), tracker],
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "first 0 1",
        "second 2",
        "heard hello",
        "ids true true",
        "completed 1",
        "scrape 1 1",
        "stopped 1",
    ], done.stderr[-2000:]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"action":"x"}', '{"action":"announce","info_hash":"short","peer_id":"short"}'],
)
def test_a_wrong_message_is_answered_and_the_socket_stays_open(tracker: str, text: str) -> None:
    with client(tracker) as socket:
        socket.send(text)
        assert hear(socket)["failure reason"]
        say(socket, action="announce", info_hash=HASH, peer_id="p" * 20, event="started")
        reply = hear(socket)
        assert reply["action"] == "announce" and reply["info_hash"] == HASH
        assert reply["interval"] > 0
        say(socket, action="announce", info_hash=HASH, peer_id="p" * 20, event="stopped")
        assert hear(socket)["incomplete"] == 0


def test_offers_and_answers_have_the_reference_s_members(tracker: str) -> None:
    with client(tracker) as anna, client(tracker) as bert:
        say(anna, action="announce", info_hash=HASH, peer_id="a" * 20, event="started")
        assert hear(anna)["incomplete"] == 1
        offer = {"offer": {"type": "offer", "sdp": "v=0"}, "offer_id": "\xff" * 20}
        say(bert, action="announce", info_hash=HASH, peer_id="b" * 20, offers=[offer], numwant=1)
        assert hear(bert)["incomplete"] == 2
        assert hear(anna) == {
            "action": "announce", "info_hash": HASH, "peer_id": "b" * 20, **offer
        }  # fmt: skip
        answer = {"answer": {"type": "answer", "sdp": "v=0"}, "offer_id": "\xff" * 20}
        say(
            anna, action="announce", info_hash=HASH, peer_id="a" * 20, to_peer_id="b" * 20, **answer
        )
        assert hear(bert) == {
            "action": "announce", "info_hash": HASH, "peer_id": "a" * 20, **answer
        }  # fmt: skip
        for socket, name in ((anna, "a"), (bert, "b")):
            say(socket, action="announce", info_hash=HASH, peer_id=name * 20, event="stopped")
            hear(socket)


def test_pages_of_another_site_are_turned_away(tmp_path: Any) -> None:
    with (
        serve(tmp_path, allowed_origins=("https://shop.example",)) as port,
        client(f"ws://127.0.0.1:{port}/peerjs/tracker", origin="https://shop.example") as friend,
        client(f"ws://127.0.0.1:{port}/peerjs/tracker", origin="https://else.example") as stranger,
    ):
        say(friend, action="announce", info_hash=HASH, peer_id="a" * 20)
        assert hear(friend)["incomplete"] == 1
        assert "allowed_origins" in hear(stranger)["failure reason"]
        with pytest.raises(ConnectionClosed):
            hear(stranger)


def test_a_message_larger_than_the_site_allows_ends_its_socket_alone(tmp_path: Any) -> None:
    with (
        serve(tmp_path, max_message_bytes=4096) as port,
        client(f"ws://127.0.0.1:{port}/peerjs/tracker") as good,
        client(f"ws://127.0.0.1:{port}/peerjs/tracker") as bad,
    ):
        bad.send("x" * 5000)
        with pytest.raises(ConnectionClosed):
            hear(bad)
        say(good, action="announce", info_hash=HASH, peer_id="a" * 20)
        assert hear(good)["incomplete"] == 1
