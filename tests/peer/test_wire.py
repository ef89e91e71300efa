"""The codec: a Python peer and a browser must read and write the same bytes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcdn.peer import wire
from p2pcdn.peer.bits import Bits, runs_of
from p2pcdn.peer.wire import Message, WireError, decode, encode

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "wire.json").read_text())
# What the vectors, as TypeScript, call some fields.
_NAMES = {"cap_kib": "capKiB", "data": "bytes"}


def _named(vectors: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in vectors]


def _plain(message: Message) -> dict[str, Any]:
    """The vectors' form of a message: names for types, hex for bytes."""

    def value(found: Any) -> Any:
        if isinstance(found, bytes):
            return found.hex()
        if isinstance(found, tuple):
            return [list(item) if isinstance(item, tuple) else item for item in found]
        return found

    plain = {
        _NAMES.get(field.name, field.name): value(getattr(message, field.name))
        for field in dataclasses.fields(message)
    }
    return {"type": type(message).__name__.upper(), **plain}


@pytest.mark.parametrize("vector", _named(VECTORS["messages"]))
def test_what_a_browser_writes_is_read_as_it_was_meant(vector: dict[str, Any]) -> None:
    message = decode(bytes.fromhex(vector["hex"]))
    assert message is not None
    assert _plain(message) == vector["message"]


@pytest.mark.parametrize("vector", _named(VECTORS["messages"]))
def test_what_is_read_is_written_with_the_same_bytes(vector: dict[str, Any]) -> None:
    message = decode(bytes.fromhex(vector["hex"]))
    assert message is not None
    assert encode(message).hex() == vector["hex"]


@pytest.mark.parametrize("vector", _named(VECTORS["ignored"]))
def test_a_message_of_a_later_version_does_not_end_a_link(vector: dict[str, Any]) -> None:
    assert decode(bytes.fromhex(vector["hex"])) is None


@pytest.mark.parametrize("vector", _named(VECTORS["malformed"]))
def test_a_message_that_no_honest_peer_sends_ends_the_link(vector: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        decode(bytes.fromhex(vector["hex"]))


u8, u16, u32 = st.integers(0, 2**8 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
runs = st.lists(
    st.integers(0, wire.MAX_SEGMENTS - 1).flatmap(
        lambda first: st.tuples(st.just(first), st.integers(1, wire.MAX_SEGMENTS - first))
    ),
    max_size=8,
).map(tuple)
keys = st.binary(min_size=16, max_size=16).map(bytes.hex)
ids = st.from_regex(r"[A-Za-z0-9]{1,8}([ _-][A-Za-z0-9]{1,8}){0,3}", fullmatch=True)


@st.composite
def joins(draw: st.DrawFn) -> wire.Join:
    segments = draw(st.integers(1, 300))
    held = draw(st.sets(st.integers(0, segments - 1)))
    bits = Bits(segments)
    for segment in held:
        bits.put(segment, True)
    return wire.Join(draw(u16), draw(keys), segments, bytes(bits))


messages = st.one_of(
    st.builds(wire.Hello, st.booleans(), u32, u8),
    joins(),
    st.builds(wire.Have, u16, runs),
    st.builds(wire.Unhave, u16, runs),
    st.builds(wire.Claim, u16, runs),
    st.builds(wire.Request, u16, u32, u32, u32, st.integers(1, 2**32 - 1)),
    st.builds(wire.Data, u32, u32, st.binary(min_size=1, max_size=400)),
    st.builds(wire.Reject, u32, st.integers(1, 255)),
    st.builds(wire.Cancel, u32),
    st.builds(wire.Leave, u16),
    st.builds(wire.Peers, u16, st.lists(ids, max_size=5).map(tuple)),
    st.builds(wire.Ping, u32),
    st.builds(wire.Pong, u32),
)


@given(messages)
def test_every_message_arrives_as_it_was_sent(message: Message) -> None:
    assert decode(encode(message)) == message


@given(messages, st.data())
def test_a_damaged_message_is_refused_or_means_what_its_bytes_say(
    message: Message, data: st.DataObject
) -> None:
    frame = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(u8)
    cut = bytes(frame[: data.draw(st.integers(0, len(frame)))])
    _read_or_refused(cut)


@given(st.binary(max_size=80))
def test_random_bytes_are_read_ignored_or_refused_never_anything_else(frame: bytes) -> None:
    _read_or_refused(frame)


def _read_or_refused(frame: bytes) -> None:
    try:
        message = decode(frame)
    except WireError:
        return
    if message is not None and not isinstance(message, wire.Hello):
        assert encode(message) == frame


@pytest.mark.parametrize("length", [wire.MAX_MESSAGE + 1, 1 << 20])
def test_a_giant_frame_is_refused_unread_even_of_an_unknown_type(length: int) -> None:
    with pytest.raises(WireError):
        decode(b"\xff" * length)


def test_what_does_not_fit_its_field_is_not_written() -> None:
    with pytest.raises(WireError):
        encode(wire.Ping(1 << 32))
    with pytest.raises(WireError):
        encode(wire.Join(0, "no key", 8, b"\0"))
    with pytest.raises(WireError):
        encode(wire.Join(0, "00", 8, b"\0"))


@given(st.sets(st.integers(0, 99)))
def test_a_bitfield_counts_and_lists_what_was_put_into_it(held: set[int]) -> None:
    bits = Bits(100)
    assert all(bits.put(segment, True) for segment in held)
    again = Bits(100, bytes(bits))
    assert set(again) == held and again.count == len(held)
    assert {s for first, count in runs_of(again) for s in range(first, first + count)} == held
    assert not bits.put(100, True) and 100 not in bits and -1 not in bits
