"""The cases of RFC 6455 for the frames that we read and write ourselves."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode

from p2pcdn.sockets.frames import Close, Decoder, Ping, Pong, ProtocolError, encode


def frame(
    opcode: int, payload: bytes = b"", *, final: bool = True, mask: bool = True, rsv: int = 0
) -> bytes:
    """A client's frame, written independently of the code under test."""
    first = (0x80 if final else 0) | rsv << 4 | opcode
    size = len(payload)
    flag = 0x80 if mask else 0
    if size < 126:
        head = bytes([first, flag | size])
    elif size < 1 << 16:
        head = bytes([first, flag | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, flag | 127]) + size.to_bytes(8, "big")
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


@given(
    texts=st.lists(st.text(max_size=300), max_size=6),
    cuts=st.lists(st.integers(0, 3000), max_size=8),
)
def test_messages_arrive_whole_however_the_network_cuts_them(
    texts: list[str], cuts: list[int]
) -> None:
    wire = b"".join(frame(1, text.encode()) for text in texts)
    edges = sorted({0, len(wire), *(cut % (len(wire) + 1) for cut in cuts)})
    decoder = Decoder(1 << 20)
    got = [
        event for start, end in itertools.pairwise(edges) for event in decoder.feed(wire[start:end])
    ]
    assert got == texts


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_every_length_form_is_read_and_written(size: int) -> None:
    payload = b"x" * size
    assert Decoder(1 << 20).feed(frame(1, payload)) == ["x" * size]
    client = FrameProtocol(client=True, extensions=[])
    client.receive_bytes(encode(1, payload))
    received = list(client.received_frames())
    assert all(part.opcode is Opcode.TEXT for part in received)
    assert "".join(part.payload for part in received) == "x" * size


def test_fragments_are_joined_and_control_frames_may_stand_between_them() -> None:
    wire = (
        frame(1, b"Hel", final=False)
        + frame(9, b"are you there")
        + frame(0, b"lo \xc3", final=False)  # a character cut in two
        + frame(10, b"yes")
        + frame(0, b"\xa4")
    )
    assert Decoder(100).feed(wire) == [Ping(b"are you there"), Pong(b"yes"), "Hello ä"]


def test_binary_frames_are_read_as_text() -> None:
    assert Decoder(100).feed(frame(2, b"{}")) == ["{}"]
    assert Decoder(100).feed(frame(2, b"{", final=False) + frame(0, b"}")) == ["{}"]
    assert Decoder(100).feed(frame(2, b"\xff{")) == ["\ufffd{"]


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (frame(1, b"x", mask=False), 1002),
        (frame(1, b"x", rsv=4), 1002),
        (frame(3, b"x"), 1002),
        (frame(7), 1002),
        (frame(11), 1002),
        (frame(15), 1002),
        (frame(9, b"x" * 126), 1002),
        (frame(9, b"x", final=False), 1002),
        (frame(0, b"x"), 1002),
        (frame(1, b"x", final=False) + frame(1, b"y"), 1002),
        (frame(1, b"\xff"), 1007),
        (frame(1, b"\xed\xa0\x80"), 1007),  # a lone surrogate
        (frame(1, b"\xc3", final=False) + frame(0, b"\x28"), 1007),
        (frame(8, b"x"), 1002),
        (frame(8, (1005).to_bytes(2, "big")), 1002),
        (frame(8, (999).to_bytes(2, "big")), 1002),
        (frame(8, (5000).to_bytes(2, "big")), 1002),
        (frame(8, (1000).to_bytes(2, "big") + b"\xff"), 1007),
        (frame(1, b"x" * 101), 1009),
        (frame(1, b"x" * 60, final=False) + frame(0, b"x" * 60), 1009),
        (b"\x81\xff" + (1 << 62).to_bytes(8, "big"), 1009),
    ],
    ids=itertools.count(),
)
def test_what_the_standard_forbids_closes_with_its_code(wire: bytes, code: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        Decoder(100).feed(wire)
    assert caught.value.code == code


def test_messages_before_a_broken_frame_are_not_lost() -> None:
    with pytest.raises(ProtocolError) as caught:
        Decoder(100).feed(frame(1, b"good") + frame(3))
    assert caught.value.events == ["good"]


def test_nothing_is_read_after_a_close() -> None:
    decoder = Decoder(100)
    assert decoder.feed(frame(8, (1001).to_bytes(2, "big") + b"bye") + frame(1, b"late")) == [
        Close(1001, "bye")
    ]
    assert decoder.feed(frame(1, b"later")) == []
    assert Decoder(100).feed(frame(8)) == [Close(1005, "")]


def test_empty_fragments_without_end_do_not_fill_the_memory() -> None:
    decoder = Decoder(100)
    with pytest.raises(ProtocolError) as caught:
        decoder.feed(frame(1, final=False) + frame(0, final=False) * 5000)
    assert caught.value.code == 1009


@given(st.binary(max_size=400))
def test_arbitrary_bytes_give_events_or_a_protocol_error(data: bytes) -> None:
    decoder = Decoder(1000)
    try:
        for event in decoder.feed(data):
            assert isinstance(event, str | Ping | Pong | Close)
    except ProtocolError as error:
        assert error.code in (1002, 1007, 1009)
