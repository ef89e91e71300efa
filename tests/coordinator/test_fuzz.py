"""Anything may come in; nothing may be raised, and nobody else may notice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pcdn.coordinator.events import Call, Post, Text
from tests.coordinator.world import CONTENT, World

TYPES = [
    "OFFER", "ANSWER", "CANDIDATE", "LEAVE", "EXPIRE", "HEARTBEAT", "ANNOUNCE", "WITHDRAW",
    "SOURCES", "STREAM-ANNOUNCE", "STREAM-WITHDRAW", "STREAMERS", "REPORT", "OPEN", "nonsense",
]  # fmt: skip
FIELDS = [
    "type", "dst", "src", "payload", "content", "token", "segments", "have", "lost", "want",
    "info", "upload", "busy", "rid", "limit", "stream", "role",
]  # fmt: skip

_numbers = st.one_of(
    st.integers(-(2**70), 2**70), st.integers(-2, 12), st.floats(), st.just(10**400)
)
_texts = st.one_of(st.text(max_size=40), st.sampled_from([CONTENT, "main", "victim", "x" * 5000]))
_leaves = st.one_of(st.none(), st.booleans(), _numbers, _texts)
_json = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.one_of(st.sampled_from(FIELDS), st.text(max_size=5)), inner, max_size=8),
    ),
    max_leaves=25,
)
_runs = st.lists(st.lists(st.integers(-1, 12), min_size=1, max_size=3), max_size=8)
_payloads = st.one_of(
    _json,
    st.fixed_dictionaries(
        {},
        optional={
            "content": st.one_of(st.just(CONTENT), _leaves),
            "token": st.one_of(st.just("GOOD"), _leaves),
            "segments": st.one_of(st.integers(1, 12), _leaves),
            "have": st.one_of(_runs, _json),
            "lost": st.one_of(_runs, _json),
            "want": st.one_of(_runs, _json),
            "info": _json,
            "rid": _leaves,
            "limit": _leaves,
            "stream": st.one_of(st.just("s"), _leaves),
            "role": st.one_of(st.sampled_from(["main", "secondary"]), _leaves),
        },
    ),
)
_messages = st.fixed_dictionaries(
    {"type": st.one_of(st.sampled_from(TYPES), _leaves)},
    optional={
        "payload": _payloads,
        "dst": st.one_of(st.sampled_from(["victim", "mallory", "nobody"]), _leaves),
        "src": _leaves,
    },
)

_quick = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # fmt: skip


def _world() -> World:
    world = World()
    world.connect("victim")
    world.announce("victim", [[0, 10]])
    world.connect("mallory")
    return world


def _good(world: World, message: Any) -> Any:
    """Put a real token where one is asked for, so that what comes behind it is reached."""
    payload = message.get("payload") if isinstance(message, dict) else None
    if isinstance(payload, dict) and payload.get("token") == "GOOD":
        payload["token"] = world.admission.issue(CONTENT, "mallory")[0]
    return message


def _undisturbed(world: World, *senders: str) -> None:
    """The victim is connected, heard, and listed; its inbox holds only what is true."""
    assert world.link_of["victim"] not in world.closed
    for message in world.got("victim"):
        if message["type"] in ("OFFER", "ANSWER", "CANDIDATE", "LEAVE"):
            assert message["src"] in senders
        else:
            assert message["type"] in ("OPEN", "EXPIRE"), message
    world.connect("asker")
    assert "victim" in world.ids("asker")
    world.say("asker", "OFFER", "hello", dst="victim")
    assert world.got("victim")[-1]["payload"] == "hello"


@_quick
@given(st.lists(st.one_of(st.text(max_size=200), _json.map(repr)), max_size=10))
def test_any_text_is_survived(texts: list[str]) -> None:
    world = _world()
    for text in texts:
        world.handle(Text(world.link_of["mallory"], text))
    _undisturbed(world, "mallory")


@_quick
@given(st.lists(_messages, max_size=12))
def test_any_json_is_survived_and_reaches_the_victim_with_its_true_sender(
    messages: list[Any],
) -> None:
    world = _world()
    for message in messages:
        if "mallory" not in world.link_of or world.link_of["mallory"] in world.closed:
            world.connect("mallory")
        world.handle(Text(world.link_of["mallory"], json.dumps(_good(world, message))))
    _undisturbed(world, "mallory")


@_quick
@given(
    st.lists(
        st.tuples(st.lists(st.one_of(_messages, _json), max_size=6), st.booleans()), max_size=6
    ),
    st.one_of(st.just("mallory"), st.text(max_size=10)),
    st.one_of(st.just("t"), st.text(max_size=10)),
)  # fmt: skip
def test_any_mailbox_request_is_answered(
    posts: list[tuple[list[Any], bool]], id: str, token: str
) -> None:
    world = _world()
    for messages, leave in posts:
        world.post(id, *[_good(world, m) for m in messages], token=token, leave=leave)
        assert 0 <= world.wait < world.limits.silence_timeout_s
    if id != "victim":
        _undisturbed(world, "mallory", id)


@_quick
@given(st.text(max_size=10), st.text(max_size=10), _messages)
def test_any_rest_call_is_answered(id: str, token: str, message: dict[str, Any]) -> None:
    world = _world()
    for caller, secret in ((id, token), ("mallory", "t")):
        world.handle(Call(1, caller, secret, "127.0.0.1", _good(world, dict(message))))
        for text in world.replies[-1].messages:
            assert json.loads(text)["type"]
    _undisturbed(world, "mallory")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["connect", "drop", "announce", "offer", "post", "wait", "ask"]),
            st.integers(0, 5),
            st.integers(0, 5),
        ),
        max_size=80,
    )
)
def test_whatever_happens_the_tables_agree_and_empty_themselves(
    steps: list[tuple[str, int, int]],
) -> None:
    world = World()
    for step, a, b in steps:
        id = f"p{a}"
        socket = id in world.link_of and world.link_of[id] not in world.closed
        if step == "connect":
            world.connect(id)
        elif step == "wait":
            world.later(b)
        elif step == "post":
            token, _ = world.admission.issue(CONTENT, id)
            payload = {"content": CONTENT, "token": token, "segments": 4, "have": [[0, 1]]}
            world.post(id, {"type": "ANNOUNCE", "payload": payload}, leave=b == 0)
        elif not socket:
            continue
        elif step == "drop":
            world.drop(id)
            world.closed[world.link_of.pop(id)] = 1000
        elif step == "announce":
            world.announce(id, [[0, b]] if b else [], content=f"{b:032x}")
        elif step == "offer":
            world.say(id, "OFFER", b, dst=f"p{b}")
        elif step == "ask":
            token, _ = world.admission.issue(CONTENT, id)
            world.say(id, "SOURCES", {"content": CONTENT, "token": token})
        counts = world.core.counts()
        assert counts["mailboxes"] >= 0 and counts["sockets"] <= counts["peers"]
    world.later(100)
    counts = world.core.counts()
    for table in ("peers", "sockets", "mailboxes", "contents", "streams", "absent"):
        assert counts[table] == 0, table
    core = world.core
    assert core._mailboxes.bytes == 0 and core._absent.bytes == 0
    assert core._absent._senders == {} and core._due == []


@pytest.mark.slow
def test_a_long_attack_leaves_no_trace() -> None:
    """100,000 hostile messages of 200 peers: all that they made is bounded, and goes."""
    world = World()
    world.connect("victim")
    token = world.admission.issue(CONTENT, "victim")[0]
    for n in range(200):
        world.connect(f"m{n}", address=f"93.184.216.{n % 4}")
    for n in range(100_000):
        id = f"m{n % 200}"
        if world.link_of[id] in world.closed:
            world.connect(id, address=f"93.184.216.{n % 4}")
        kind = n % 7
        if kind < 3:
            message: Any = {"type": "OFFER", "dst": f"absent{n}", "payload": "x" * 500}
        elif kind == 3:
            message = {"type": "ANNOUNCE", "payload": {"content": f"{n:032x}", "token": token,
                       "segments": 9, "have": []}}  # fmt: skip
        elif kind == 4:
            message = {"type": "STREAM-ANNOUNCE", "payload": {"stream": f"s{n}"}}
        elif kind == 5:
            message = {"type": "SOURCES", "payload": {"content": CONTENT, "token": token}}
        else:
            message = {"type": "CANDIDATE", "dst": "victim", "payload": n}
        world.handle(Text(world.link_of[id], json.dumps(message)))
        world.inbox[world.link_of[id]].clear()
        if n % 500 == 0:
            world.later(0.25, heartbeats=("victim",))
    limits, counts = world.limits, world.core.counts()
    assert counts["absent"] <= 200 * limits.absent_per_sender
    assert world.core._absent.bytes <= limits.absent_total_bytes
    assert counts["streams"] <= 200 * limits.streams_per_peer
    assert counts["contents"] == 0
    assert world.link_of["victim"] not in world.closed
    for n in range(200):
        if world.link_of[f"m{n}"] not in world.closed:
            world.drop(f"m{n}")
    world.later(6, heartbeats=("victim",))
    counts = world.core.counts()
    assert counts["peers"] == 1 and counts["absent"] == counts["streams"] == 0


@_quick
@given(st.lists(st.one_of(_json, _messages), max_size=8), st.booleans())
def test_a_post_event_of_any_shape_is_answered(messages: list[Any], leave: bool) -> None:
    world = _world()
    for id in ("", "victim", "mallory", "\ud800", "new"):
        world.handle(Post(3, id, "not the victim's", "peerjs", "::1%x", messages, leave))
        assert world.replies[-1].ticket == 3
    _undisturbed(world, "mallory", "new")
