"""The same cases against the real npm `peer` and against ours: a client sees no difference."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.web.coordinator_site import ROOT, client, peerjs_pair, serve

pytestmark = pytest.mark.server


@pytest.fixture(scope="module", params=["npm peer", "websockets-sansio", "wrapped", "own"])
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if request.param != "npm peer":
        folder: Path = tmp_path_factory.mktemp("site")
        with serve(folder, ws=request.param, expire_timeout=1, concurrent_limit=4) as port:
            yield port
        return
    node = shutil.which("node")
    if node is None or not (ROOT / "tests/browser/node_modules/peer").exists():
        pytest.skip("needs Node and npm's `peer` in tests/browser/node_modules")
    process = subprocess.Popen(
        [node, str(ROOT / "tests/web/peerserver.mjs")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def url(port: int, path: str) -> str:
    return f"http://127.0.0.1:{port}/peerjs{path}"


def test_the_root_says_what_this_is(port: int) -> None:
    answer = httpx.get(url(port, "/"))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json() == {
        "name": "PeerJS Server",
        "description": "A server side element to broker connections between PeerJS clients.",
        "website": "https://peerjs.com/",
    }


@pytest.mark.parametrize("path", ["", "/peerjs/id", "/peerjs/id/"])
def test_a_slash_at_the_end_is_not_asked_for(port: int, path: str) -> None:
    assert httpx.get(url(port, path)).status_code == 200


@pytest.mark.parametrize("key", ["peerjs", "whatever"])
def test_an_id_is_a_fresh_uuid_whatever_the_key(port: int, key: str) -> None:
    first, second = (httpx.get(url(port, f"/{key}/id?ts=1")) for _ in range(2))
    assert first.status_code == 200
    assert first.headers["content-type"].lower() == "text/html; charset=utf-8"
    assert uuid.UUID(first.text).version == 4
    assert first.text != second.text


def test_discovery_is_off(port: int) -> None:
    answer = httpx.get(url(port, "/peerjs/peers"))
    assert (answer.status_code, answer.text) == (401, "Unauthorized")


@pytest.mark.parametrize("path", ["/", "/peerjs/id", "/peerjs/peers"])
def test_other_origins_may_read_the_answers_errors_too(port: int, path: str) -> None:
    answer = httpx.get(url(port, path), headers={"Origin": "https://other.example"})
    assert answer.headers["access-control-allow-origin"] == "https://other.example"
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-origin" not in httpx.get(url(port, path)).headers


def test_a_preflight_is_granted(port: int) -> None:
    answer = httpx.options(
        url(port, "/peerjs/id"),
        headers={
            "Origin": "https://other.example",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "x-mine",
        },
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://other.example"
    assert "GET" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "x-mine"


def test_an_unknown_path_is_not_found(port: int) -> None:
    assert httpx.get(url(port, "/peerjs/nothing/here")).status_code == 404


@pytest.mark.parametrize(
    ("id", "token", "key", "text"),
    [
        (None, "t", "peerjs", "No id, token, or key supplied to websocket server"),
        ("a", None, "peerjs", "No id, token, or key supplied to websocket server"),
        ("a", "t", None, "No id, token, or key supplied to websocket server"),
        ("a", "t", "wrong", "Invalid key provided"),
    ],
)
def test_wrong_parameters_are_named_and_the_socket_closed(
    port: int, id: str | None, token: str | None, key: str | None, text: str
) -> None:
    with client(port, id, token, key, opened=False) as socket:
        assert socket.hear() == {"type": "ERROR", "payload": {"msg": text}}
        with pytest.raises(ConnectionClosed):
            socket.hear()


def test_a_taken_id_is_said_to_be_taken(port: int) -> None:
    with client(port, "a", "one"), client(port, "a", "other", opened=False) as second:
        assert second.hear() == {"type": "ID-TAKEN", "payload": {"msg": "ID is taken"}}
        with pytest.raises(ConnectionClosed):
            second.hear()


def test_the_concurrent_limit_is_said(port: int) -> None:
    with client(port, "a"), client(port, "b"), client(port, "c"), client(port, "d"):  # noqa: SIM117
        with client(port, "e", opened=False) as one_more:
            assert one_more.hear() == {
                "type": "ERROR",
                "payload": {"msg": "Server has reached its concurrent user limit"},
            }


@pytest.mark.parametrize("type", ["OFFER", "ANSWER", "CANDIDATE", "LEAVE"])
def test_messages_are_relayed_with_the_true_sender(port: int, type: str) -> None:
    with client(port, "a") as a, client(port, "b") as b:
        a.say(type, dst="b", src="forged", payload={"deep": [1, None, "\u00fc\U0001f600"]})
        assert b.hear() == {
            "type": type,
            "src": "a",
            "dst": "b",
            "payload": {"deep": [1, None, "\u00fc\U0001f600"]},
        }


def test_an_absent_payload_stays_absent_and_null_stays_null(port: int) -> None:
    with client(port, "a") as a, client(port, "b") as b:
        a.say("LEAVE", dst="b")
        a.say("LEAVE", dst="b", payload=None)
        assert b.hear() == {"type": "LEAVE", "src": "a", "dst": "b"}
        assert b.hear() == {"type": "LEAVE", "src": "a", "dst": "b", "payload": None}


def test_binary_frames_are_read_as_text(port: int) -> None:
    with client(port, "a") as a, client(port, "b") as b:
        a.socket.send(b'{"type":"OFFER","dst":"b","payload":1}')
        assert b.hear()["payload"] == 1


def test_heartbeats_and_unknown_types_are_not_answered_or_relayed(port: int) -> None:
    with client(port, "a") as a, client(port, "b") as b:
        a.say("HEARTBEAT")
        a.say("SOMETHING", dst="b")
        a.say("OPEN", dst="b")
        assert b.quiet()
        assert a.quiet()


def test_what_came_before_the_peer_waits_for_it(port: int) -> None:
    with client(port, "a") as a:
        a.say("OFFER", dst="later", payload=1)
        a.say("CANDIDATE", dst="later", payload=2)
        a.say("LEAVE", dst="later")
        assert a.quiet()
        with client(port, "later") as later:
            assert [later.hear()["payload"], later.hear()["payload"]] == [1, 2]
            assert later.quiet()


def test_what_nobody_collects_expires_once_for_each_pair(port: int) -> None:
    with client(port, "a") as a, client(port, "b") as b:
        for n in range(3):
            a.say("CANDIDATE", dst="nobody", payload=n)
        b.say("OFFER", dst="nobody", payload={})
        assert a.hear() == {"type": "EXPIRE", "src": "nobody", "dst": "a"}
        assert b.hear() == {"type": "EXPIRE", "src": "nobody", "dst": "b"}
        assert a.quiet() and b.quiet()


def test_the_same_token_moves_the_id_to_the_new_socket(port: int) -> None:
    with (
        client(port, "a", "mine"),
        client(port, "a", "mine", opened=False) as second,
        client(port, "b") as b,
    ):
        b.say("OFFER", dst="a", payload=1)
        assert second.hear_until("OFFER")["payload"] == 1


def test_a_closed_socket_frees_its_id(port: int) -> None:
    for token in ("first", "second"):
        for _ in range(100):
            with client(port, "a", token, opened=False) as a:
                if a.hear() == {"type": "OPEN"}:
                    break
        else:
            pytest.fail("the id stayed taken")


def test_the_unmodified_peerjs_client_opens_data_connections(port: int) -> None:
    assert peerjs_pair(port) == ["open", "echo hello", "peer-unavailable", "unavailable-id"]
