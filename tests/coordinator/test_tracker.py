"""The WebTorrent tracker as its clients meet it, with a clock in hand."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcdn.coordinator.events import Disconnect, Text, Tick, Track

from .world import World

HASH = "".join(map(chr, range(236, 256)))  # bytes, one a character: not ASCII
OTHER = "x" * 20


def peer(name: str) -> str:
    return f"-PM0200-{name}".ljust(20, "\x00")


class Trackers(World):
    """Sockets of the tracker, by a name."""

    def open(self, name: str, *, address: str = "127.0.0.1", members: Any = None) -> None:
        link = self.link_of[name] = 500 + len(self.inbox)
        self.inbox[link] = []
        self.handle(Track(link, address, members))

    def tell(self, name: str, message: Any) -> list[Any]:
        """Send; returns all that came back to the sender meanwhile."""
        text = message if isinstance(message, str) else json.dumps(message)
        inbox = self.inbox[self.link_of[name]]
        before = len(inbox)
        self.handle(Text(self.link_of[name], text))
        return inbox[before:]

    def announce(self, name: str, *, torrent: str = HASH, **rest: Any) -> list[Any]:
        message = {"action": "announce", "info_hash": torrent, "peer_id": peer(name), **rest}
        return self.tell(name, message)

    def joined(self, *names: str) -> Trackers:
        for name in names:
            self.open(name)
            self.announce(name, event="started")
            self.got(name)
        return self

    def got(self, name: str) -> list[Any]:
        """What this one was sent since it was last asked."""
        inbox = self.inbox[self.link_of[name]]
        taken = list(inbox)
        inbox.clear()
        return taken


def offers(count: int, name: str = "o") -> list[Any]:
    return [
        {"offer": {"type": "offer", "sdp": f"{name}{n}"}, "offer_id": f"{name}{n}".ljust(20, "-")}
        for n in range(count)
    ]


def test_an_announcement_is_answered_with_the_size_of_the_swarm() -> None:
    world = Trackers().joined("anna")
    world.open("bert")
    assert world.announce("bert", event="started", left=0, offers=[], numwant=5) == [
        {"complete": 1, "incomplete": 1, "action": "announce", "interval": 60, "info_hash": HASH}
    ]


def test_each_offer_goes_to_one_other_member_at_random() -> None:
    world = Trackers().joined(*"abcdefgh", "asker")
    world.announce("asker", offers=offers(5), numwant=5)
    found = [m for name in "abcdefgh" for m in world.got(name)]
    assert sorted(m["offer"]["sdp"] for m in found) == ["o0", "o1", "o2", "o3", "o4"]
    assert all(len(world.got(name)) == 0 for name in "abcdefgh")
    assert found[0].keys() == {"action", "offer", "offer_id", "peer_id", "info_hash"}
    assert {(m["action"], m["peer_id"], m["info_hash"]) for m in found} == {
        ("announce", peer("asker"), HASH)
    }
    chosen: dict[str, int] = dict.fromkeys("abcdefgh", 0)
    for _ in range(200):
        world.now += 1
        world.announce("asker", offers=offers(1))
        for name in chosen:
            chosen[name] += len(world.got(name))
    assert min(chosen.values()) > 5, "somebody is never found"


def test_an_answer_finds_the_one_that_made_the_offer() -> None:
    world = Trackers().joined("anna", "bert", "carl")
    world.announce("bert", answer={"type": "answer", "sdp": "A"}, to_peer_id=peer("anna"),
                   offer_id="o" * 20)  # fmt: skip
    assert world.got("bert") == [], "an answer is not answered"
    assert world.got("carl") == []
    assert world.got("anna") == [
        {
            "action": "announce",
            "answer": {"type": "answer", "sdp": "A"},
            "offer_id": "o" * 20,
            "peer_id": peer("bert"),
            "info_hash": HASH,
        }
    ]


def test_swarms_know_nothing_of_each_other() -> None:
    world = Trackers().joined("anna")
    world.open("bert")
    world.announce("bert", torrent=OTHER, offers=offers(3))
    world.announce("bert", torrent=OTHER, answer={}, to_peer_id=peer("anna"), offer_id="o")
    assert world.got("anna") == []


def test_one_socket_serves_all_torrents_of_a_page() -> None:
    world = Trackers().joined("anna", "bert")
    for name in ("anna", "bert"):
        world.announce(name, torrent=OTHER)
    world.got("anna")
    world.announce("bert", torrent=OTHER, offers=offers(1))
    (message,) = world.got("anna")
    assert message["info_hash"] == OTHER
    world.drop("bert")
    assert [world.announce("anna", torrent=t)[0]["incomplete"] for t in (HASH, OTHER)] == [1, 1]


def test_who_stops_or_is_gone_gets_no_offers() -> None:
    world = Trackers().joined("anna", "bert", "carl")
    (last,) = world.announce("anna", event="stopped")
    world.got("anna")
    assert (last["complete"], last["incomplete"]) == (0, 2)
    world.drop("carl")
    world.announce("bert", offers=offers(5))
    (reply,) = world.got("bert")
    assert reply["incomplete"] == 1
    assert world.got("anna") == []


def test_a_scrape_tells_who_has_it_who_wants_it_and_who_got_it() -> None:
    world = Trackers().joined("anna", "bert", "carl")
    world.announce("anna", event="completed", left=0)
    world.announce("bert", left=0)
    (reply,) = world.tell("carl", {"action": "scrape", "info_hash": [HASH, OTHER]})[-1:]
    assert reply["action"] == "scrape"
    assert reply["files"] == {
        HASH: {"complete": 2, "incomplete": 1, "downloaded": 1},
        OTHER: {"complete": 0, "incomplete": 0, "downloaded": 0},
    }
    assert reply["flags"]["min_request_interval"] > 0
    (single,) = world.tell("carl", {"action": "scrape", "info_hash": HASH})[-1:]
    assert single["files"][HASH]["complete"] == 2


@pytest.mark.parametrize(
    "message",
    [
        "no JSON",
        "[]",
        "{}",
        {"action": "dance"},
        {"action": "announce"},
        {"action": "announce", "info_hash": "short", "peer_id": peer("a")},
        {"action": "announce", "info_hash": "\u0100" * 20, "peer_id": peer("a")},
        {"action": "announce", "info_hash": HASH, "peer_id": 20 * ["a"]},
        {"action": "announce", "info_hash": HASH, "peer_id": peer("a"), "answer": {}},
        {"action": "announce", "info_hash": HASH, "peer_id": peer("a"), "answer": {},
         "to_peer_id": peer("b"), "offer_id": None},
        {"action": "scrape"},
        {"action": "scrape", "info_hash": []},
        {"action": "scrape", "info_hash": [HASH] * 100},
    ],
)  # fmt: skip
def test_a_wrong_message_is_told_why_and_closes_nothing(message: Any) -> None:
    world = Trackers().joined("anna")
    (reply,) = world.tell("anna", message)
    assert reply["failure reason"] and reply["action"] in ("announce", "scrape")
    assert not world.closed
    assert world.announce("anna")[0]["incomplete"] == 1


def test_offers_that_are_none_are_left_out_and_the_rest_arrives() -> None:
    world = Trackers().joined("anna", "bert", "carl")
    strange: list[Any] = [None, 1, {}, {"offer": "sdp", "offer_id": "o"}, {"offer": {}}]
    world.announce("carl", offers=strange + offers(1))
    found = world.got("anna") + world.got("bert")
    assert [m["offer"]["sdp"] for m in found] == ["o0"]


def test_no_announcement_reaches_more_members_than_its_bound() -> None:
    names = [f"p{n}" for n in range(60)]
    world = Trackers().joined(*names, "asker")
    world.announce("asker", offers=offers(60), numwant=60)
    assert sum(len(world.got(name)) for name in names) == world.limits.tracker_offers
    world.announce("asker", offers=offers(5), numwant=2)
    assert sum(len(world.got(name)) for name in names) == 2


def test_a_client_that_comes_back_before_its_old_socket_is_gone_is_not_locked_out() -> None:
    world = Trackers().joined("anna", "bert")
    world.open("anna again")
    message = {"action": "announce", "info_hash": HASH, "peer_id": peer("anna")}
    (reply,) = world.tell("anna again", {**message, "offers": offers(5)})
    assert "failure reason" not in reply
    assert [m["peer_id"] for m in world.got("bert")] == [peer("anna")]
    assert world.got("anna") == [], "it was offered to itself"
    world.got("anna again")
    world.announce("bert", answer={}, to_peer_id=peer("anna"), offer_id="o")
    assert len(world.got("anna again")) == 1


def test_nobody_can_take_anothers_answers_away_by_claiming_its_peer_id() -> None:
    world = Trackers().joined("anna", "bert")
    for n in range(10):
        world.now += 1
        world.announce("anna")
        world.open(f"thief{n}")
        world.tell(f"thief{n}", {"action": "announce", "info_hash": HASH, "peer_id": peer("anna")})
    world.got("anna")
    world.announce("bert", answer={"sdp": "A"}, to_peer_id=peer("anna"), offer_id="o")
    assert [m["answer"] for m in world.got("anna")] == [{"sdp": "A"}]


def test_a_page_follows_no_more_torrents_than_its_bound_and_is_told() -> None:
    world = Trackers(torrents_per_socket=3, contents=4).joined("anna")
    replies = [world.announce("anna", torrent=c * 20)[0] for c in "bcd"]
    assert ["failure reason" in reply for reply in replies] == [False, False, True]
    assert replies[2]["info_hash"] == "d" * 20
    world.open("bert")
    replies = [world.announce("bert", torrent=c * 20)[0] for c in "def"]
    assert ["failure reason" in reply for reply in replies] == [False, True, True]
    assert world.core.counts()["torrents"] == 4


def test_a_flood_is_dropped_and_then_cut_off_while_others_go_on() -> None:
    world = Trackers(message_rate=1.0, message_burst=50.0, refusals=200).joined("anna", "bert")
    for _ in range(400):
        world.announce("anna", offers=offers(5))
        if world.link_of["anna"] in world.closed:
            break
    assert world.closed[world.link_of["anna"]] == 1008
    assert len(world.got("bert")) <= 50
    assert world.announce("bert")[0]["incomplete"] == 1


def test_the_bytes_that_one_client_makes_others_receive_are_bounded() -> None:
    world = Trackers(relay_rate=1000.0, relay_burst=10_000.0).joined("anna", "bert")
    for _ in range(20):
        big = [{"offer": {"sdp": "x" * 3000}, "offer_id": "o"}]
        world.announce("anna", offers=big)
    assert sum(len(m["offer"]["sdp"]) for m in world.got("bert")) <= 10_000


def test_too_many_connections_are_asked_to_come_later() -> None:
    world = Trackers(concurrent=2).joined("anna", "bert")
    world.open("carl")
    assert "failure reason" in world.got("carl")[0]
    assert world.closed == {world.link_of["carl"]: 1013}
    world.drop("anna")
    world.open("dora")
    assert world.announce("dora")[0]["incomplete"] == 2


def test_a_message_beyond_all_size_ends_the_socket() -> None:
    world = Trackers(message_bytes=5000).joined("anna")
    world.tell("anna", "x" * 5001)
    assert world.closed[world.link_of["anna"]] == 1009


def test_a_socket_that_lets_announcements_go_by_is_dropped() -> None:
    world = Trackers().joined("anna", "bert")
    for _ in range(4):
        world.now += world.limits.tracker_interval_s
        world.announce("bert")
        world.handle(Tick())
    assert world.closed == {world.link_of["anna"]: 1001}
    assert world.announce("bert")[0]["incomplete"] == 1


def test_another_coordinator_is_told_who_was_there() -> None:
    world = Trackers()
    world.open("anna", members=[[HASH, peer("anna"), True], [OTHER, peer("anna"), False]])
    world.open("bert")
    (reply,) = world.announce("bert", offers=offers(1))
    assert (reply["complete"], reply["incomplete"]) == (1, 1)
    assert len(world.got("anna")) == 1


def test_peers_of_the_coordinator_and_of_the_tracker_are_two_worlds() -> None:
    world = Trackers()
    world.connect(peer("anna").strip("\x00"))
    world.joined("bert")
    world.announce("bert", answer={}, to_peer_id=peer("anna"), offer_id="o")
    assert world.core.counts()["peers"] == 1
    assert world.core.counts()["tracker_sockets"] == 1
    world.tell("bert", {"type": "OFFER", "dst": peer("anna").strip("\x00"), "payload": 1})
    assert world.inbox[world.link_of[peer("anna").strip("\x00")]] == [{"type": "OPEN"}]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=24)
    | st.sampled_from([HASH, OTHER, peer("a"), peer("b"), "announce", "scrape", "stopped"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["offer", "offer_id", "sdp", "type"]), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
MESSAGES = st.text(string.printable, max_size=60) | st.fixed_dictionaries(
    {"action": st.sampled_from(["announce", "scrape"])},
    optional={
        "info_hash": st.sampled_from([HASH, OTHER, [HASH]]) | VALUES,
        "peer_id": st.sampled_from([peer("a"), peer("b")]) | VALUES,
        "to_peer_id": st.sampled_from([peer("a"), peer("b")]) | VALUES,
        "event": st.sampled_from(["started", "stopped", "completed"]) | VALUES,
        "left": VALUES,
        "numwant": VALUES,
        "offers": VALUES,
        "answer": VALUES,
        "offer_id": VALUES,
    },
)
STEPS = st.tuples(st.sampled_from("abcd"), st.just("gone") | st.just("wait") | MESSAGES)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_whatever_is_said_nothing_is_left_behind(steps: list[tuple[str, Any]]) -> None:
    world = Trackers()
    for name, step in steps:
        if name not in world.link_of:
            world.open(name)
        if step == "gone":
            world.handle(Disconnect(world.link_of.pop(name)))
        elif step == "wait":
            world.now += 70
            world.handle(Tick())
        elif world.link_of[name] not in world.closed:
            world.tell(name, step)
    assert all(code == 1001 for code in world.closed.values())
    for link in world.link_of.values():
        world.handle(Disconnect(link))
    counts = world.core.counts()
    assert counts["tracker_sockets"] == counts["torrents"] == 0
