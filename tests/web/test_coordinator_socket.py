"""Where ours is better than PeerServer, over real sockets."""

from __future__ import annotations

import json
import socket as sockets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.web.coordinator_site import CONTENT, client, peerjs_pair, serve

pytestmark = pytest.mark.server


@pytest.fixture(scope="module", params=["websockets-sansio", "wrapped", "own"])
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serve(
        tmp_path_factory.mktemp("site"), ws=request.param, allowed_origins=("https://friend.example",)
    ) as port:  # fmt: skip
        yield port


def token(port: int, peer: str) -> str:
    query = {"content": CONTENT, "peer": peer}
    return str(httpx.get(f"http://127.0.0.1:{port}/token", params=query).json())


def state(port: int) -> dict[str, Any]:
    return dict(httpx.get(f"http://127.0.0.1:{port}/state").json())


def test_a_reconnecting_client_is_told_that_it_is_open_and_its_old_socket_is_closed(
    port: int,
) -> None:
    with client(port, "a") as old, client(port, "a"), pytest.raises(ConnectionClosed):
        old.hear()


def test_the_unmodified_peerjs_client_reconnects(port: int) -> None:
    """PeerServer often leaves it waiting: a socket that returns early gets no OPEN there."""
    assert peerjs_pair(port, "reconnect")[-2:] == ["reconnected", "open again"]


def test_bad_json_neither_ends_the_server_nor_wedges_its_sender(port: int) -> None:
    with client(port, "a") as a, client(port, "b") as b:
        for bad in ("{", "", "[[[[", "\0", b"\xff\xfe", b"", "[" * 60_000, '{"type":{}}', "null"):
            a.socket.send(bad)
        a.say("OFFER", dst="b", payload=1)
        assert b.hear()["payload"] == 1


def test_a_client_cannot_make_another_believe_that_a_peer_is_gone(port: int) -> None:
    with client(port, "a") as a, client(port, "b") as b:
        a.say("EXPIRE", dst="b", src="c")
        assert b.quiet()
        a.say("OFFER", dst="b", payload=1)
        assert b.hear() == {"type": "OFFER", "src": "a", "dst": "b", "payload": 1}


def test_too_big_a_message_closes_its_sender_and_only_it(port: int) -> None:
    with client(port, "a") as a, client(port, "b") as b:
        a.say("OFFER", dst="b", payload="x" * 70_000)
        with pytest.raises(ConnectionClosed) as closed:
            a.hear()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
        assert b.quiet()


def test_size_is_counted_in_bytes(port: int) -> None:
    with client(port, "a") as a:
        a.socket.send(json.dumps({"type": "X", "payload": "\u20ac" * 30_000}, ensure_ascii=False))
        with pytest.raises(ConnectionClosed):
            a.hear()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "x"])
def test_a_page_of_another_site_is_turned_away(port: int, origin: str) -> None:
    with client(port, "a", opened=False, origin=origin) as a:
        answer = a.hear()
        assert answer["type"] == "ERROR" and "another site" in answer["payload"]["msg"]
        with pytest.raises(ConnectionClosed):
            a.hear()


@pytest.mark.parametrize("origin", ["https://friend.example", "own", "proxied"])
def test_own_pages_named_friends_and_pages_behind_a_proxy_are_let_in(
    port: int, origin: str
) -> None:
    headers = {"X-Forwarded-Host": "www.site.example"} if origin == "proxied" else {}
    origin = {"own": f"http://127.0.0.1:{port}", "proxied": "https://www.site.example"}.get(
        origin, origin
    )
    with client(port, "a", origin=origin, additional_headers=headers):
        pass


def test_sources_are_found_and_gone_when_the_socket_closes(port: int) -> None:
    with client(port, "asker") as asker:
        question = {"rid": 5, "content": CONTENT, "token": token(port, "asker"), "limit": 8}
        with client(port, "seed") as seed:
            payload = {"content": CONTENT, "token": token(port, "seed"), "segments": 4}
            seed.say("ANNOUNCE", payload={**payload, "have": [[0, 4]]})
            assert seed.quiet()
            asker.say("SOURCES", payload=question)
            assert asker.hear()["payload"] == {
                "rid": 5,
                "content": CONTENT,
                "peers": [{"id": "seed", "have": [[0, 4]]}],
            }
        for _ in range(100):
            asker.say("SOURCES", payload=question)
            if asker.hear()["payload"]["peers"] == []:
                break
        else:
            pytest.fail("a closed peer is still named")


@pytest.mark.parametrize("ws", ["websockets-sansio", "wsproto", "wrapped"])
def test_a_site_that_left_compression_on_talks_to_browsers_all_the_same(
    tmp_path_factory: pytest.TempPathFactory, ws: str
) -> None:
    """As uvicorn is without options, and as browsers offer it."""
    with serve(tmp_path_factory.mktemp("site"), ws=ws, deflate=True) as port:
        query = "key=peerjs&token=t&version=1&id="
        with (
            connect(f"ws://127.0.0.1:{port}/peerjs/peerjs?{query}a") as a,
            connect(f"ws://127.0.0.1:{port}/peerjs/peerjs?{query}b") as b,
        ):
            assert json.loads(a.recv(10)) == json.loads(b.recv(10)) == {"type": "OPEN"}
            for n in range(3):
                a.send(json.dumps({"type": "OFFER", "payload": "x" * 2000 + str(n), "dst": "b"}))
                assert json.loads(b.recv(10))["payload"][2000:] == str(n)


@pytest.mark.parametrize("ws", ["websockets-sansio", "wsproto"])
def test_uvicorn_lets_go_of_sockets_and_still_stops(
    tmp_path_factory: pytest.TempPathFactory, ws: str
) -> None:
    with serve(tmp_path_factory.mktemp("site"), ws=ws) as port, client(port, "a") as a:
        assert a.quiet()
        # uvicorn has forgotten them: it pings nobody and counts nobody.
        assert state(port)["sockets"] == 1
    # (Leaving `serve` waits for uvicorn to end.)


def test_without_a_token_nobody_is_named(port: int) -> None:
    with client(port, "a") as a:
        a.say("ANNOUNCE", payload={"content": CONTENT, "segments": 4, "have": []})
        assert a.hear() == {"type": "REFUSED", "payload": {"content": CONTENT, "reason": "token"}}


def test_a_peer_that_does_not_read_is_dropped_and_the_others_go_on(port: int) -> None:
    with client(port, "fast") as fast:
        with connect(
            f"ws://127.0.0.1:{port}/peerjs/peerjs?key=peerjs&id=slow&token=t",
            compression=None, close_timeout=0, ping_interval=None, max_queue=(1, 0),
        ) as slow:  # fmt: skip
            # A tiny window, and nothing is read from it.
            slow.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
            for n in range(300):
                if state(port)["peers"] == 1:
                    break
                name = f"flood{n}"
                with client(port, name) as one:
                    for _ in range(15):
                        one.say("OFFER", dst="slow", payload="x" * 60_000)
                    one.echo()  # all of it has arrived
            else:
                pytest.fail("the slow peer was never dropped")
        assert fast.quiet()


def test_a_thousand_hostile_frames_leave_the_others_undisturbed(port: int) -> None:
    before = state(port)["absent"]
    with client(port, "victim") as victim:
        with client(port, "mallory") as mallory, pytest.raises(ConnectionClosed):
            for n in range(20_000):
                mallory.say("OFFER", dst=f"nobody{n}", payload="x")
            while True:
                mallory.hear()
        assert victim.quiet()
    for _ in range(100):
        if state(port)["peers"] == 0:
            break
    assert state(port)["absent"] <= before + 128
