from __future__ import annotations

import json

import pytest

from tests.coordinator.world import CONTENT, World

OTHER = "f" * 32


def test_who_announced_a_content_is_named_to_who_asks(world: World) -> None:
    world.connect("alice")
    world.connect("bob")
    assert world.announce("alice", [[0, 3], [7, 1]]) == []
    assert world.sources("bob") == [{"id": "alice", "have": [[0, 3], [7, 1]]}]
    assert world.sources("alice") == []
    assert world.sources("bob", content=OTHER) == []


def test_announcements_add_up_and_evicted_segments_go(world: World) -> None:
    world.connect("alice")
    world.connect("bob")
    world.announce("alice", [[0, 3]])
    world.announce("alice", [[3, 2]])
    world.announce("alice", [], lost=[[1, 1]])
    assert world.sources("bob")[0]["have"] == [[0, 1], [2, 3]]


def test_the_peer_that_holds_what_is_wanted_comes_first(world: World) -> None:
    for id in ("a", "b", "c", "asker"):
        world.connect(id)
    world.announce("a", [[0, 5]])
    world.announce("b", [[5, 5]])
    world.announce("c", [])
    for _ in range(20):
        assert world.ids("asker", want=[[5, 2]])[0] == "b"
        world.now += 1
        for id in ("a", "b", "c"):
            world.say(id, "HEARTBEAT")


def test_equal_sources_share_the_load(world: World) -> None:
    ids = [f"seed{n}" for n in range(20)]
    for id in [*ids, "asker"]:
        world.connect(id)
    for id in ids:
        world.announce(id, [[0, 10]])
    named = [world.ids("asker", limit=1)[0] for _ in range(60)]
    assert len(set(named)) >= 15
    assert max(named.count(id) for id in ids) <= 8


def test_a_neighbour_is_preferred_and_no_address_is_ever_sent(world: World) -> None:
    world.connect("asker", address="93.184.216.34")
    world.connect("far", address="8.8.8.8")
    world.connect("near", address="93.184.216.35")
    world.announce("far", [[0, 10]])
    world.announce("near", [[0, 10]])
    firsts = []
    for _ in range(30):
        firsts.append(world.ids("asker")[0])
        world.later(1, heartbeats=("near", "far", "asker"))
    assert firsts.count("near") > 20
    everything = json.dumps(world.inbox)
    assert "93.184" not in everything and "8.8.8" not in everything


def test_a_peer_that_does_not_upload_is_not_named(world: World) -> None:
    world.connect("alice")
    world.connect("bob")
    world.announce("alice", [[0, 10]], info={"upload": False})
    assert world.sources("bob") == []
    world.announce("alice", [], info={"upload": True})
    assert world.ids("bob") == ["alice"]


def test_a_closed_peer_is_named_no_more(world: World) -> None:
    world.connect("alice")
    world.connect("bob")
    world.announce("alice", [[0, 10]])
    world.drop("alice")
    assert world.sources("bob") == []
    assert world.core.counts()["contents"] == 0


def test_a_silent_peer_is_named_no_more_after_five_seconds_and_asked_to_announce_again(
    world: World,
) -> None:
    world.connect("alice")
    world.connect("bob")
    world.announce("alice", [[0, 10]])
    world.later(4.75)
    assert world.ids("bob") == ["alice"]
    world.now += 0.25  # no tick in between
    assert world.ids("bob") == []
    world.later(0.25)
    assert world.core.counts()["contents"] == 0
    assert world.say("alice", "HEARTBEAT") == [{"type": "REANNOUNCE"}]
    assert world.say("alice", "HEARTBEAT") == []
    world.announce("alice", [[0, 10]])
    assert world.ids("bob") == ["alice"]


def test_heartbeats_keep_a_source_listed(world: World) -> None:
    world.connect("alice")
    world.connect("bob")
    world.announce("alice", [[0, 10]])
    for _ in range(10):
        world.later(2, heartbeats=("alice", "bob"))
    assert world.ids("bob") == ["alice"]


def test_withdrawing_leaves_one_swarm_only(world: World) -> None:
    world.connect("alice")
    world.connect("bob")
    world.announce("alice", [[0, 10]])
    world.announce("alice", [[0, 10]], content=OTHER)
    world.say("alice", "WITHDRAW", {"content": CONTENT})
    assert world.ids("bob") == []
    assert world.ids("bob", content=OTHER) == ["alice"]


@pytest.mark.parametrize("theft", ["none", "other peer", "other content", "expired", "garbled"])
def test_without_its_own_token_nobody_joins_a_swarm_or_learns_its_peers(
    world: World, theft: str
) -> None:
    world.connect("seed")
    world.announce("seed", [[0, 10]])
    world.connect("thief")
    token = {
        "none": None,
        "other peer": world.admission.issue(CONTENT, "seed")[0],
        "other content": world.admission.issue(OTHER, "thief")[0],
        "expired": world.admission.issue(CONTENT, "thief")[0],
        "garbled": world.admission.issue(CONTENT, "thief")[0][:-2] + "zz",
    }[theft]
    if theft == "expired":
        for _ in range(1801):
            world.now += 2
            world.wall += 2
            world.say("seed", "HEARTBEAT")
            world.say("thief", "HEARTBEAT")
    body = {"content": CONTENT, "token": token, "segments": 10, "have": [[0, 10]], "rid": "r"}
    (refused,) = world.say("thief", "ANNOUNCE", body)
    assert refused == {
        "type": "REFUSED",
        "payload": {"content": CONTENT, "reason": "expired" if theft == "expired" else "token"},
    }
    (answer,) = world.say("thief", "SOURCES", body)
    assert answer["payload"] == {"rid": "r", "content": CONTENT, "peers": []}
    world.connect("honest")
    assert world.ids("honest") == ["seed"]


@pytest.mark.parametrize(
    "change",
    [
        {"content": "x"}, {"content": 5}, {"segments": 0}, {"segments": -1}, {"segments": 1e3},
        {"segments": True}, {"segments": 1 << 40}, {"have": {}}, {"have": [[0]]},
        {"have": [[0, 0]]}, {"have": [[-1, 2]]}, {"have": [[9, 2]]}, {"have": [["0", 1]]},
        {"have": [[0, 1]] * 600}, {"have": "all"}, {"lost": 5}, {"have": [[True, True]]},
    ],
)  # fmt: skip
def test_a_malformed_announcement_is_refused_and_lists_nobody(
    world: World, change: dict[str, object]
) -> None:
    world.connect("alice")
    token, _ = world.admission.issue(CONTENT, "alice")
    good = {"content": CONTENT, "token": token, "segments": 10, "have": [[0, 1]]}
    (refused,) = world.say("alice", "ANNOUNCE", {**good, **change})
    assert refused["type"] == "REFUSED"
    assert refused["payload"]["reason"] == "malformed"
    assert world.core.counts()["contents"] == 0


@pytest.mark.parametrize("payload", [None, [], "x", {}, {"content": 1}, {"want": [[1]]}])
def test_a_malformed_question_is_answered_with_an_empty_list(world: World, payload: object) -> None:
    world.connect("alice")
    (answer,) = world.say("alice", "SOURCES", payload)
    assert answer["payload"]["peers"] == []


def test_a_peer_joins_a_bounded_number_of_swarms(world: World) -> None:
    world.connect("alice")
    for n in range(40):
        world.announce("alice", [], content=f"{n:032x}")
    assert world.core.counts()["contents"] == world.limits.contents_per_peer
    assert world.got("alice")[-1]["payload"]["reason"] == "limit"


def test_a_list_from_a_huge_swarm_looks_at_a_few_peers_only() -> None:
    world = World()
    looked: list[int] = []
    ranker = world.core._contents._ranker

    class Counting:
        def rank(self, candidates, *, limit, random):  # type: ignore[no-untyped-def]
            looked.append(len(candidates))
            return ranker.rank(candidates, limit=limit, random=random)

    world.core._contents._ranker = Counting()
    for n in range(2000):
        world.connect(f"p{n}")
        world.announce(f"p{n}", [[0, 10]])
    assert len(world.ids("p0", limit=1000)) == world.limits.listed
    assert looked[0] <= world.limits.sampled


def test_leaving_one_of_many_keeps_the_others_listed(world: World) -> None:
    for n in range(50):
        world.connect(f"p{n}")
        world.announce(f"p{n}", [[0, 10]])
    for n in range(0, 50, 2):
        world.drop(f"p{n}")
    world.connect("asker")
    assert sorted(world.ids("asker", limit=64)) == sorted(f"p{n}" for n in range(1, 50, 2))


def test_a_report_is_handed_on_with_the_true_sender(world: World) -> None:
    world.connect("alice")
    world.say("alice", "REPORT", {"peer": 5})
    world.say("alice", "REPORT", "nonsense")
    assert [(r.id, r.payload) for r in world.reports] == [("alice", {"peer": 5})]
