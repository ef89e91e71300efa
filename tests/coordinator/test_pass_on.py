"""The quick way of messages that are passed on unread: nobody can speak as another on it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcdn.coordinator.events import Close, Send, Sends
from tests.coordinator.world import World

TYPES = ("OFFER", "ANSWER", "CANDIDATE")
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
ODD_IDS = ["alice", 'a"b', "a\\u0062", "back\\slash", "x y", '","src":"victim', "{}", "a'b"]


def world(*ids: str) -> World:
    made = World()
    for id in ids:
        made.connect(id)
    return made


def heard(made: World, id: str, *texts: str) -> list[tuple[int, str]]:
    """What `id` says in one read, and what comes of it: (link, text), `Close` left out."""
    sent: list[tuple[int, str]] = []
    for action in made.core.hear_all(made.link_of[id], list(texts), made.now):
        if isinstance(action, Send):
            sent.append((action.link, action.text))
        elif isinstance(action, Sends):
            sent += [(action.link, text) for text in action.texts]
        else:
            assert isinstance(action, Close)
    return sent


def as_peerjs(type: str, payload: str, dst: str) -> str:
    return f'{{"type":"{type}","payload":{payload},"dst":{json.dumps(dst)}}}'


def as_loader(type: str, payload: str, dst: str) -> str:
    return f'{{"type":"{type}","dst":{json.dumps(dst)},"payload":{payload}}}'


@given(type=st.sampled_from(TYPES), payload=VALUES, ascii=st.booleans())
@pytest.mark.parametrize("shape", [as_peerjs, as_loader])
def test_a_message_arrives_as_it_was_said(shape: Any, type: str, payload: Any, ascii: bool) -> None:
    made = world("alice", "bob")
    text = shape(type, json.dumps(payload, ensure_ascii=ascii), "bob")
    ((link, got),) = heard(made, "alice", text)
    assert link == made.link_of["bob"]
    assert json.loads(got) == {"type": type, "src": "alice", "dst": "bob", "payload": payload}
    assert made.core.counts()["relayed"] == 1


_PIECES = st.sampled_from(
    ['"', "\\", "{", "}", "[", "]", ",", ":", '"src":"victim"', '"type":"OPEN"', '"payload":',
     '"dst":"bob"', ',"dst":"', '"}', "1", "null", " ", "\n", '"x":{"y":1', "\\u0022"]
)  # fmt: skip


@given(
    type=st.sampled_from(TYPES),
    payload=st.lists(_PIECES | st.text(max_size=3), max_size=12).map("".join),
)
@pytest.mark.parametrize("shape", [as_peerjs, as_loader])
def test_no_payload_whatever_makes_a_peer_believe_in_another_sender(
    shape: Any, type: str, payload: str
) -> None:
    """What comes out is either no JSON at all, or says who it is truly from."""
    made = world("alice", "bob", "victim")
    for link, got in heard(made, "alice", shape(type, payload, "bob")):
        try:
            message = json.loads(got)
        except ValueError:
            continue
        assert link in (made.link_of["bob"], made.link_of["alice"])
        assert message["type"] in (type, "EXPIRE", "REFUSED", "REANNOUNCE")
        if link == made.link_of["bob"]:
            assert (message["src"], message["dst"]) == ("alice", "bob")


@pytest.mark.parametrize("src", ODD_IDS)
@pytest.mark.parametrize("dst", ODD_IDS)
def test_ids_with_quotes_and_backslashes_are_themselves(src: str, dst: str) -> None:
    made = world(*ODD_IDS)
    ((link, got),) = heard(made, src, as_peerjs("OFFER", "1", dst))
    assert link == made.link_of[dst]
    assert json.loads(got) == {"type": "OFFER", "src": src, "dst": dst, "payload": 1}


def test_an_id_that_looks_like_another_in_escapes_is_not_it() -> None:
    made = world("alice", "ab", "a\\u0062")
    ((link, _),) = heard(made, "alice", '{"type":"OFFER","payload":1,"dst":"a\\u0062"}')
    assert link == made.link_of["ab"]


def test_a_burst_stays_in_order_and_together_whatever_stands_between() -> None:
    made = world("alice", "bob", "carol")
    texts = [as_peerjs("CANDIDATE", str(n), "bob" if n % 5 else "carol") for n in range(20)]
    for link, dst in ((made.link_of["bob"], "bob"), (made.link_of["carol"], "carol")):
        made.now += 10
        got = [json.loads(text)["payload"] for to, text in heard(made, "alice", *texts)
               if to == link]  # fmt: skip
        assert got == [n for n in range(20) if ("bob" if n % 5 else "carol") == dst]
    mixed = [texts[1], '{"type":"HEARTBEAT"}', "{", texts[2], '{"type":"OFFER","dst":"bob"}']
    got = [json.loads(text) for _, text in heard(made, "alice", *mixed)]
    assert [message.get("payload") for message in got] == [1, 2, None]


def test_the_quick_way_has_the_same_limits() -> None:
    made = world("alice", "bob")
    text = as_peerjs("CANDIDATE", '"x"', "bob")
    passed = sum(len(heard(made, "alice", *[text] * 10)) for _ in range(100))
    assert passed == made.limits.message_burst
    made = world("alice", "bob")
    big = as_peerjs("CANDIDATE", '"' + "x" * 60_000 + '"', "bob")
    passed = sum(len(heard(made, "alice", big)) for _ in range(40))
    assert passed == made.limits.relay_burst // 60_000
    made = world("alice", "bob")
    assert not heard(made, "alice", as_peerjs("OFFER", '"' + "x" * 70_000 + '"', "bob"))
    assert "alice" not in made.core._peers  # as for any other message of that size


def test_a_flood_on_the_quick_way_is_cut_off() -> None:
    made = world("alice", "bob")
    text = as_peerjs("CANDIDATE", '"x"', "bob")
    for _ in range(200):
        for action in made.core.hear_all(made.link_of["alice"], [text] * 10, made.now):
            if isinstance(action, Close):
                return
    pytest.fail("it was never cut off")


def test_who_is_silent_towards_the_tables_and_then_signals_is_asked_to_announce_again() -> None:
    made = world("alice", "bob")
    made.say("alice", "STREAM-ANNOUNCE", {"stream": "s", "role": "main"})
    made.later(8)
    got = heard(made, "alice", as_peerjs("OFFER", "1", "bob"))
    assert [json.loads(text)["type"] for _, text in got] == ["REANNOUNCE", "OFFER"]


def test_a_mailbox_peer_gets_what_a_socket_peer_says() -> None:
    made = world("alice")
    made.post("box")
    assert heard(made, "alice", as_peerjs("OFFER", "1", "box")) == []
    assert made.post("box")[0]["payload"] == 1
