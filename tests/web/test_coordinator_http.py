"""The mailbox and the REST part over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.web.coordinator_site import CONTENT, client, serve

pytestmark = pytest.mark.server


@pytest.fixture(scope="module", params=["websockets-sansio", "own"])
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serve(
        tmp_path_factory.mktemp("site"),
        ws=request.param,
        allowed_origins=("https://friend.example",),
    ) as port:
        yield port


@pytest.fixture
def http(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as made:
        yield made


def token(http: httpx.Client, peer: str) -> str:
    return str(http.get("/token", params={"content": CONTENT, "peer": peer}).json())


def post(http: httpx.Client, id: str, *messages: Any, **more: Any) -> dict[str, Any]:
    body = {"id": id, "token": "t", "key": "peerjs", "messages": list(messages), **more}
    answer = http.post("/peerjs/mailbox", json=body)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return dict(answer.json())


def leave(http: httpx.Client, id: str) -> None:
    """As sendBeacon does it."""
    body = json.dumps({"id": id, "token": "t", "key": "peerjs", "messages": [], "leave": True})
    answer = http.post("/peerjs/mailbox", content=body, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 200


def types(answer: dict[str, Any]) -> list[str]:
    return [message["type"] for message in answer["messages"]]


def test_a_mailbox_peer_and_a_socket_peer_make_a_connection(port: int, http: httpx.Client) -> None:
    with client(port, "socket") as other:
        assert types(post(http, "box")) == ["OPEN"]
        post(http, "box", {"type": "OFFER", "dst": "socket", "payload": {"sdp": 1}})
        assert other.hear() == {
            "type": "OFFER", "src": "box", "dst": "socket", "payload": {"sdp": 1}
        }  # fmt: skip
        other.say("ANSWER", dst="box", payload=2)
        assert other.quiet()
        (answer,) = post(http, "box")["messages"]
        assert answer == {"type": "ANSWER", "src": "socket", "dst": "box", "payload": 2}
        leave(http, "box")


def test_polling_is_quick_while_a_connection_is_made_and_slow_but_alive_otherwise(
    http: httpx.Client,
) -> None:
    idle = post(http, "box")["wait"]
    assert 1 <= idle < 5
    assert post(http, "box", {"type": "OFFER", "dst": "other", "payload": 1})["wait"] <= 0.2
    assert post(http, "box")["wait"] <= 0.2
    leave(http, "box")


def test_what_comes_for_a_mailbox_makes_its_next_poll_a_quick_one(http: httpx.Client) -> None:
    post(http, "a")
    post(http, "b")
    post(http, "a", {"type": "OFFER", "dst": "b", "payload": 1})
    answer = post(http, "b")
    assert types(answer) == ["OFFER"] and answer["wait"] <= 0.2
    leave(http, "a")
    leave(http, "b")


def test_a_page_that_goes_away_is_listed_no_more(http: httpx.Client) -> None:
    payload = {"content": CONTENT, "token": token(http, "a"), "segments": 4, "have": [[0, 4]]}
    post(http, "a", {"type": "ANNOUNCE", "payload": payload})
    question = {
        "type": "SOURCES", "payload": {"rid": 1, "content": CONTENT, "token": token(http, "b")}
    }  # fmt: skip
    listed = post(http, "b", question)["messages"][-1]["payload"]["peers"]
    assert listed == [{"id": "a", "have": [[0, 4]]}]
    leave(http, "a")
    assert post(http, "b", question)["messages"][-1]["payload"]["peers"] == []
    leave(http, "b")


def test_nobody_else_reads_or_ends_a_mailbox(http: httpx.Client) -> None:
    post(http, "a")
    post(http, "b", {"type": "OFFER", "dst": "a", "payload": "private"})
    assert types(post(http, "a", token="stolen")) == ["ID-TAKEN"]
    post(http, "a", token="stolen", leave=True)
    assert types(post(http, "a")) == ["OFFER"]
    leave(http, "a")
    leave(http, "b")


def test_a_socket_peer_whose_page_sends_a_beacon_is_gone(port: int, http: httpx.Client) -> None:
    with client(port, "a"):
        leave(http, "a")
        with client(port, "a", "another"):
            pass


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b"\xff\xfe\xfd", 400),
        (b"[" * 100_000, 400), (b'{"messages": {}}', 400), (b"x" * 300_000, 413),
        (b"9" * 10_000, 400),
        (b"{}", 200), (b'{"id":5,"token":[],"key":{}}', 200),
    ],
)  # fmt: skip
def test_a_malformed_request_is_refused_with_a_reason(
    http: httpx.Client, body: bytes, status: int
) -> None:
    answer = http.post("/peerjs/mailbox", content=body)
    assert answer.status_code == status
    if status == 200:
        assert types(answer.json()) == ["ERROR"]
    else:
        assert answer.json()["message"]
        assert answer.json()["messages"] == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_the_mailbox_takes_only_posts(http: httpx.Client, method: str) -> None:
    assert http.request(method, "/peerjs/mailbox").status_code == 404


@pytest.mark.parametrize("path", ["/mailbox", f"/peerjs/contents/{CONTENT}/sources"])
def test_a_page_of_another_site_is_refused(http: httpx.Client, path: str) -> None:
    for origin, status in (("https://evil.example", 403), ("https://friend.example", (200, 404))):
        body = {"id": "x", "token": "t", "key": "peerjs", "messages": []}
        answer = http.post(f"/peerjs{path}", json=body, headers={"Origin": origin})
        assert answer.status_code in (status if isinstance(status, tuple) else (status,))
    leave(http, "x")


def test_a_preflight_does_not_let_a_page_claim_another_host(http: httpx.Client) -> None:
    asked = {"Access-Control-Request-Headers": "content-type, X-Forwarded-Host"}
    answer = http.options("/peerjs/mailbox", headers={"Origin": "https://evil.example", **asked})
    assert answer.headers["access-control-allow-headers"] == "content-type"


# --- REST --------------------------------------------------------------------------------


def sources(http: httpx.Client, id: str, **query: Any) -> Any:
    query = {"id": id, "token": "t", "admission": token(http, id), **query}
    return http.get(f"/peerjs/peerjs/contents/{CONTENT}/sources", params=query).json()["peers"]


def test_a_source_is_announced_listed_and_withdrawn(port: int, http: httpx.Client) -> None:
    path = f"/peerjs/peerjs/contents/{CONTENT}/sources"
    with client(port, "a"):
        body = {"id": "a", "token": "t", "admission": token(http, "a"), "segments": 8}
        answer = http.post(path, json={**body, "have": [[0, 4]]})
        assert answer.status_code == 200
        assert sources(http, "reader") == [{"id": "a", "have": [[0, 4]]}]
        assert sources(http, "reader", want="[[0,2]]", limit=1) == [{"id": "a", "have": [[0, 4]]}]
        assert sources(http, "reader", limit=0) == []
        assert http.delete(path, params={"id": "a", "token": "t"}).status_code == 200
        assert sources(http, "reader") == []


@pytest.mark.parametrize("role", ["main", "secondary"])
def test_a_streamer_is_announced_listed_and_withdrawn(
    port: int, http: httpx.Client, role: str
) -> None:
    path = f"/peerjs/peerjs/streams/live/show/{role}"
    me = {"id": "a", "token": "t"}
    with client(port, "a") as a:
        assert http.post(path, json=me).json() == {"peers": [{"id": "a"}]}
        assert http.get(path).json() == {"peers": [{"id": "a"}]}
        other = "main" if role == "secondary" else "secondary"
        assert http.get(f"/peerjs/peerjs/streams/live/show/{other}").json() == {"peers": []}
        a.say("STREAMERS", payload={"rid": "x", "stream": "live/show", "role": role})
        assert a.hear()["payload"] == {
            "rid": "x", "stream": "live/show", "role": role, "peers": [{"id": "a"}]
        }  # fmt: skip
        assert http.delete(path, params=me).json() == {"peers": []}
        http.post(path, json=me)
    for _ in range(200):
        if http.get(path).json() == {"peers": []}:
            break
    else:
        pytest.fail("a streamer that has gone is still listed")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", f"contents/{CONTENT}/sources", {"id": "nobody", "token": "t"}, 404),
        ("POST", f"contents/{CONTENT}/sources", {"id": "a", "token": "wrong"}, 404),
        ("POST", f"contents/{CONTENT}/sources", {"id": "a", "token": "t", "segments": 4}, 403),
        ("POST", f"contents/{CONTENT}/sources", {"id": "a", "token": "t"}, 400),
        ("POST", "contents/xyz/sources", {"id": "a", "token": "t", "segments": 4}, 400),
        ("POST", "streams/x/main", {"id": "nobody", "token": "t"}, 404),
        ("POST", "streams/x/king", {"id": "a", "token": "t"}, 404),
        ("POST", "streams/x/main", [], 400),
    ],
)
def test_a_wrong_call_is_refused_with_an_empty_list(
    port: int, http: httpx.Client, method: str, path: str, body: Any, status: int
) -> None:
    with client(port, "a"):
        answer = http.request(method, f"/peerjs/peerjs/{path}", json=body)
        assert answer.status_code == status
        assert answer.json()["peers"] == []
        assert answer.json()["message"]


def test_the_api_key_is_checked(http: httpx.Client) -> None:
    answer = http.get("/peerjs/wrong/streams/x/main")
    assert answer.status_code == 401 and answer.json()["peers"] == []


@pytest.mark.parametrize("query", ["want=x", "want=[[[[", "limit=-1", "limit=99999999", "a=%ff"])
def test_strange_queries_get_an_answer(http: httpx.Client, query: str) -> None:
    answer = http.get(f"/peerjs/peerjs/contents/{CONTENT}/sources?{query}")
    assert answer.status_code in (200, 400)
    assert answer.json()["peers"] == []


def test_discovery_can_be_allowed(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        serve(tmp_path_factory.mktemp("site"), allow_discovery=True) as port,
        client(port, "a"),
        client(port, "b"),
    ):
        ids = httpx.get(f"http://127.0.0.1:{port}/peerjs/peerjs/peers").json()
        assert sorted(ids) == ["a", "b"]
