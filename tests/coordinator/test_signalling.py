"""PeerServer's protocol, event by event (npm `peer` 1.0.2)."""

from __future__ import annotations

import json
import sys

import pytest

from p2pcdn.coordinator.events import Connect, Text
from tests.coordinator.world import World


def test_a_new_peer_is_told_that_it_is_open(world: World) -> None:
    world.connect("alice")
    assert world.got("alice") == [{"type": "OPEN"}]


@pytest.mark.parametrize("type", ["OFFER", "ANSWER", "CANDIDATE", "LEAVE"])
def test_signalling_reaches_the_other_peer_with_the_true_sender(world: World, type: str) -> None:
    world.connect("alice")
    world.connect("bob")
    world.got("bob")
    world.say("alice", type, {"sdp": "v=0 \u00fc\U0001f600"}, dst="bob", src="mallory")
    assert world.got("bob") == [
        {"type": type, "src": "alice", "dst": "bob", "payload": {"sdp": "v=0 \u00fc\U0001f600"}}
    ]


def test_an_absent_payload_stays_absent_and_null_stays_null(world: World) -> None:
    world.connect("alice")
    world.connect("bob")
    world.got("bob")
    world.raw("alice", '{"type":"LEAVE","dst":"bob"}')
    world.raw("alice", '{"type":"LEAVE","dst":"bob","payload":null}')
    first, second = world.got("bob")
    assert "payload" not in first
    assert second["payload"] is None


def test_types_that_are_not_for_relaying_reach_nobody(world: World) -> None:
    world.connect("alice")
    world.connect("bob")
    world.got("bob")
    for type in ("EXPIRE", "OPEN", "ERROR", "ID-TAKEN", "REANNOUNCE", "nonsense", ""):
        world.say("alice", type, {"msg": "x"}, dst="bob")
    assert world.got("bob") == []


def test_another_token_cannot_take_an_id_that_is_in_use(world: World) -> None:
    world.connect("alice", "mine")
    thief = world.connect("alice", "other")
    assert world.inbox[thief] == [{"type": "ID-TAKEN", "payload": {"msg": "ID is taken"}}]
    assert thief in world.closed


def test_an_id_whose_socket_has_died_silently_can_be_had_again(world: World) -> None:
    old = world.connect("alice", "before the reload")
    world.later(15)
    new = world.connect("alice", "after the reload")
    assert world.inbox[new] == [{"type": "OPEN"}]
    assert old in world.closed


def test_the_same_token_moves_the_peer_to_its_new_socket(world: World) -> None:
    old = world.connect("alice")
    new = world.connect("alice")
    assert old in world.closed
    assert world.inbox[new] == [{"type": "OPEN"}]
    world.connect("bob")
    world.say("bob", "OFFER", {}, dst="alice")
    assert world.inbox[new][-1]["type"] == "OFFER"


def test_the_old_socket_that_closes_late_does_not_take_the_peer_with_it(world: World) -> None:
    old = world.connect("alice")
    world.connect("alice")
    world.link_of["old"] = old
    world.drop("old")
    assert world.core.counts()["peers"] == 1


@pytest.mark.parametrize(
    ("id", "token", "key", "text"),
    [
        ("", "t", "peerjs", "No id, token, or key supplied to websocket server"),
        ("a", "", "peerjs", "No id, token, or key supplied to websocket server"),
        ("a", "t", "", "No id, token, or key supplied to websocket server"),
        ("a", "t", "wrong", "Invalid key provided"),
    ],
)
def test_wrong_parameters_get_the_words_that_peerserver_uses(
    world: World, id: str, token: str, key: str, text: str
) -> None:
    world.inbox[1] = []
    world.handle(Connect(1, id, token, key, "127.0.0.1", False))
    assert world.inbox[1] == [{"type": "ERROR", "payload": {"msg": text}}]
    assert 1 in world.closed


@pytest.mark.parametrize("id", ["x" * 129, "line\nbreak", "\u00e9", "\ud800", " a", "a\0"])
def test_ids_that_could_not_be_written_down_are_refused(world: World, id: str) -> None:
    world.connect(id)
    assert world.got(id)[0]["type"] == "ERROR"
    assert world.core.counts()["peers"] == 0


def test_one_peer_too_many_is_told_so() -> None:
    world = World(concurrent=2)
    for id in "abc":
        world.connect(id)
    assert world.got("c") == [
        {"type": "ERROR", "payload": {"msg": "Server has reached its concurrent user limit"}}
    ]
    world.drop("a")
    world.connect("c")
    assert world.got("c") == [{"type": "OPEN"}]


def test_what_was_sent_before_a_peer_came_reaches_it_in_order(world: World) -> None:
    world.connect("alice")
    world.say("alice", "OFFER", 1, dst="bob")
    world.say("alice", "CANDIDATE", 2, dst="bob")
    world.later(4)
    world.connect("bob")
    assert [m.get("payload", m["type"]) for m in world.got("bob")] == ["OPEN", 1, 2]
    world.later(10)
    assert world.got("alice") == [{"type": "OPEN"}]


def test_a_sender_learns_once_that_its_messages_to_an_absent_peer_expired(world: World) -> None:
    world.connect("alice")
    world.connect("carol")
    world.say("alice", "OFFER", {}, dst="bob")
    world.later(3)
    world.say("alice", "CANDIDATE", {}, dst="bob")
    world.say("carol", "OFFER", {}, dst="bob")
    world.got("alice")
    world.got("carol")
    world.later(2)
    assert world.got("alice") == [{"type": "EXPIRE", "src": "bob", "dst": "alice"}]
    assert world.got("carol") == [{"type": "EXPIRE", "src": "bob", "dst": "carol"}]
    world.connect("bob")
    assert world.got("bob") == [{"type": "OPEN"}]


def test_a_leave_for_an_absent_peer_is_not_kept(world: World) -> None:
    world.connect("alice")
    world.say("alice", "LEAVE", dst="bob")
    world.connect("bob")
    assert world.got("bob") == [{"type": "OPEN"}]


def test_a_flood_to_absent_peers_takes_bounded_memory_and_expires_at_once() -> None:
    world = World(message_burst=1e9, relay_burst=1e12)
    world.connect("alice")
    for n in range(5000):
        world.say("alice", "OFFER", "x" * 1000, dst=f"nobody{n % 500}")
    assert world.core.counts()["absent"] <= world.limits.absent_per_sender
    assert {"type": "EXPIRE", "src": "nobody499", "dst": "alice"} in world.got("alice")


def test_leave_without_destination_ends_the_session(world: World) -> None:
    link = world.connect("alice")
    world.say("alice", "LEAVE")
    assert link in world.closed
    assert world.core.counts()["peers"] == 0


def test_bad_json_is_survived_and_the_next_message_arrives(world: World) -> None:
    world.connect("alice")
    world.connect("bob")
    world.got("bob")
    for text in (
        "", "{", "nonsense", "[]", "null", "1", '"x"', "\0", "[" * 60_000, "{" * 60_000,
        '{"type":NaN}', '{"type":"OFFER","dst":"bob","payload":1e999}', "9" * 5000,
        '{"type":["OFFER"],"dst":"bob"}', '{"type":"OFFER","dst":["bob"]}',
        '{"type":"OFFER","dst":"bob","payload":' + "[" * 30_000 + "]" * 30_000 + "}",
    ):  # fmt: skip
        world.raw("alice", text)
    assert [m for m in world.got("bob") if m["payload"] != 1] == []
    world.say("alice", "OFFER", 1, dst="bob")
    assert world.got("bob")[-1]["payload"] == 1


def test_a_lone_surrogate_does_not_break_the_receivers_frame(world: World) -> None:
    world.connect("alice")
    world.connect("bob")
    world.raw("alice", r'{"type":"OFFER","dst":"bob","payload":"\ud800"}')
    assert world.got("bob")[-1]["payload"] == "\ud800"


def test_a_message_over_the_limit_closes_its_sender_only(world: World) -> None:
    link = world.connect("alice")
    other = world.connect("bob")
    world.raw("alice", json.dumps({"type": "OFFER", "dst": "bob", "payload": "x" * 70_000}))
    assert world.closed == {link: 1009}
    assert len(world.inbox[other]) == 1


def test_a_flood_is_dropped_and_then_cut_off(world: World) -> None:
    link = world.connect("alice")
    world.connect("bob")
    for _ in range(450):
        world.say("alice", "OFFER", {}, dst="bob")
    assert len(world.got("bob")) == 1 + 400
    for _ in range(1000):
        if link in world.closed:
            break
        world.say("alice", "OFFER", {}, dst="bob")
    assert world.closed == {link: 1008}


def test_a_silent_client_is_dropped_after_the_alive_timeout_and_a_living_one_is_not(
    world: World,
) -> None:
    dead = world.connect("dead")
    world.connect("living")
    world.later(89, heartbeats=("living",))
    assert dead not in world.closed
    world.later(1, heartbeats=("living",))
    assert world.closed == {dead: 1008}
    assert world.core.counts()["peers"] == 1


def test_any_frame_counts_as_a_sign_of_life(world: World) -> None:
    link = world.connect("alice")
    for _ in range(4):
        world.later(80)
        world.raw("alice", "not json")
    assert link not in world.closed


def test_one_address_cannot_take_every_place() -> None:
    world = World(peers_per_address=3)
    for n in range(5):
        world.connect(f"flood{n}", address="93.184.216.34")
    world.connect("other", address="93.184.216.35")
    assert world.core.counts()["peers"] == 4
    assert world.got("other") == [{"type": "OPEN"}]


def test_peers_behind_a_proxy_that_hides_them_are_not_counted_as_one() -> None:
    world = World(peers_per_address=3)
    for n in range(20):
        world.connect(f"visitor{n}", address="10.0.0.1")
    assert world.core.counts()["peers"] == 20


def test_a_text_of_an_unknown_socket_does_nothing(world: World) -> None:
    world.handle(Text(99, '{"type":"HEARTBEAT"}'))
    assert world.inbox == {}


def test_a_peer_that_is_gone_leaves_no_memory_until_it_would_have_been_silent(
    world: World,
) -> None:
    """Visitors who come and go in seconds would pile up for the 90 s of the alive timeout."""
    world.connect("a")
    peer = world.core._peers["a"]
    world.drop("a")
    assert sys.getrefcount(peer) == 2  # ours, and that of the question itself
