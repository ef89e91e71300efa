"""A mailbox request whose answer got lost is sent again: nothing is said, or lost, twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcdn.coordinator.events import Post
from tests.coordinator.world import World


def post(world: World, *messages: Any, serial: int | None, again: bool = False) -> list[str]:
    """Types of what the mailbox peer `box` is answered."""
    world.handle(Post(1, "box", "t", "peerjs", "127.0.0.1", list(messages), False, serial, again))
    reply = world.replies[-1]
    world.wait = reply.wait
    return [text.split('"type":"')[1].split('"')[0] for text in reply.messages]


def offer(n: int) -> dict[str, Any]:
    return {"type": "OFFER", "dst": "victim", "payload": n}


def payloads(world: World) -> list[Any]:
    return [m["payload"] for m in world.got("victim") if m["type"] == "OFFER"]


@pytest.fixture
def world() -> World:
    world = World()
    world.connect("victim")
    return world


def test_a_request_that_comes_again_is_delivered_once(world: World) -> None:
    assert post(world, offer(1), serial=1) == ["OPEN"]
    assert post(world, offer(1), serial=1, again=True) == ["OPEN"]
    assert post(world, offer(2), offer(3), serial=2) == []
    assert post(world, offer(2), offer(3), serial=2, again=True) == []
    assert post(world, offer(4), serial=3) == []
    assert payloads(world) == [1, 2, 3, 4]


def test_what_was_in_a_lost_answer_comes_with_the_next_one_and_what_came_meanwhile_too(
    world: World,
) -> None:
    post(world, serial=1)
    world.say("victim", "ANSWER", 1, dst="box")
    assert post(world, serial=2) == ["ANSWER"]
    world.say("victim", "CANDIDATE", 2, dst="box")
    assert post(world, serial=2, again=True) == ["ANSWER", "CANDIDATE"]
    assert post(world, serial=2, again=True) == ["ANSWER", "CANDIDATE"]
    assert post(world, serial=3) == []


def test_a_request_that_was_overtaken_by_its_repetition_does_nothing(world: World) -> None:
    post(world, serial=1)
    post(world, offer(2), serial=2, again=True)
    post(world, offer(3), serial=3)
    world.say("victim", "ANSWER", 1, dst="box")
    assert post(world, offer(2), serial=2) == []
    assert payloads(world) == [2, 3]
    assert post(world, serial=4) == ["ANSWER"], "nobody read what the old one would have got"


def test_a_coordinator_that_does_not_know_the_peer_passes_nothing_on_twice(world: World) -> None:
    token, _ = world.admission.issue("a" * 32, "box")
    announce = {"type": "ANNOUNCE", "payload": {"content": "a" * 32, "token": token, "segments": 1,
                "have": [[0, 1]]}}  # fmt: skip
    assert post(world, offer(1), announce, serial=7, again=True) == ["OPEN"]
    assert payloads(world) == []
    assert world.core.counts()["contents"] == 1, "what concerns only the sender counts"
    assert post(world, offer(2), serial=8) == []
    assert payloads(world) == [2]


def test_a_request_that_failed_before_it_arrived_is_delivered_when_it_comes_again(
    world: World,
) -> None:
    post(world, serial=1)
    assert post(world, offer(2), serial=2, again=True) == []
    assert payloads(world) == [2]


def test_clients_that_do_not_count_are_served_as_ever(world: World) -> None:
    for n in range(3):
        post(world, offer(n), serial=None)
    assert payloads(world) == [0, 1, 2]


def test_leaving_works_whatever_the_number(world: World) -> None:
    post(world, serial=5)
    world.handle(Post(1, "box", "t", "peerjs", "127.0.0.1", [], True, 5, True))
    assert world.core.counts()["mailboxes"] == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.booleans(), st.sampled_from(["post", "say", "wait"])),
        max_size=40,
    )
)
def test_whatever_comes_again_order_is_kept_and_memory_given_back(
    steps: list[tuple[int, bool, str]],
) -> None:
    world = World()
    world.connect("victim")
    serial, said, heard = 0, 0, []
    for number, lost, step in steps:
        if step == "say":
            world.say("victim", "CANDIDATE", "x" * 100 * number, dst="box")
        elif step == "wait":
            world.later(0.5, heartbeats=("victim",))
        else:
            serial += 1
            batch = [offer(said + n) for n in range(number)]
            said += number
            post(world, *batch, serial=serial)
            if lost:
                post(world, *batch, serial=serial, again=True)
    heard = payloads(world)
    assert heard == list(range(said))
    world.later(30)
    assert world.core._mailboxes.bytes == 0


def test_many_idle_mailboxes_ask_less_often_and_are_still_alive_to_the_others() -> None:
    world = World()
    for n in range(200):
        world.post(f"idle{n}")
    assert world.wait == 4.0 < world.limits.silence_timeout_s
    # Who is about to make a connection is answered as quickly as ever.
    world.connect("victim")
    world.post("idle0", {"type": "OFFER", "dst": "victim", "payload": 1})
    assert world.wait == world.limits.wait_fast_s
    for n in range(150):
        world.post(f"idle{n}", leave=True)
    world.later(4)
    world.post("idle199")
    assert world.wait == world.limits.wait_slow_s
