"""Compressed pages that stream, break, or explode."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcdn.page.coding import Coded
from tests.page.support import HEAD, rewrite, rewriter

PAGE = b"<!doctype html><head></head><video src=/a></video>" + bytes(
    random.Random(1).choices(b"abc <>", k=5000)
)
START = b"<!doctype html><head>"


def coded(coding: str = "gzip") -> Coded:
    return Coded(rewriter(), coding)


def decoded(data: bytes, wbits: int = 31) -> bytes:
    return zlib.decompressobj(wbits).decompress(data)


def test_a_page_that_streams_arrives_as_it_is_written() -> None:
    packer = zlib.compressobj(wbits=31)
    one = coded()
    first = packer.compress(START + b"<p>first") + packer.flush(zlib.Z_SYNC_FLUSH)
    out = one.feed(first)
    visitor = zlib.decompressobj(31)
    assert visitor.decompress(out) == START + HEAD + b"<p>first"
    out = one.feed(packer.compress(b"second") + packer.flush(zlib.Z_SYNC_FLUSH))
    assert visitor.decompress(out) == b"second"
    visitor.decompress(one.feed(packer.flush()) + one.close())
    assert visitor.eof


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 60), st.integers(1, 400))
def test_a_truncated_page_loses_nothing_that_could_be_decoded(lost: int, chunk: int) -> None:
    packed = gzip.compress(PAGE, mtime=0)
    packed = packed[: len(packed) - lost * 20]
    one = coded()
    out = b"".join(one.feed(packed[i : i + chunk]) for i in range(0, len(packed), chunk))
    out += one.close()
    readable = zlib.decompressobj(31)
    original = readable.decompress(packed)
    if not original:
        assert out == packed
        return
    visitor = zlib.decompressobj(31)
    assert visitor.decompress(out) == rewrite(original)
    assert visitor.eof == readable.eof


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2500), st.integers(1, 255), st.integers(1, 3000))
def test_a_damaged_page_ends_where_the_damage_is(at: int, flip: int, chunk: int) -> None:
    packed = bytearray(gzip.compress(PAGE, mtime=0))
    packed[at % len(packed)] ^= flip
    damaged = bytes(packed)
    readable = zlib.decompressobj(31)
    original = b""
    for index in range(len(damaged)):
        try:
            original += readable.decompress(damaged[index : index + 1])
        except zlib.error:
            break
    one = coded()
    out = b"".join(one.feed(damaged[i : i + chunk]) for i in range(0, len(damaged), chunk))
    out += one.close()
    if not rewriter().feed(original):  # nothing was settled yet: no harm in the original bytes
        assert out == damaged
    else:
        visitor = zlib.decompressobj(31)
        assert visitor.decompress(out) == rewrite(original)
        assert not visitor.eof or readable.eof


def test_what_is_not_compressed_at_all_passes_as_it_is() -> None:
    for coding in ("gzip", "deflate"):
        one = coded(coding)
        assert one.feed(PAGE) + one.feed(PAGE) + one.close() == PAGE + PAGE
        empty = coded(coding)
        assert empty.feed(b"") + empty.close() == b""
        tiny = coded(coding)
        assert tiny.feed(b"x") + tiny.close() == b"x"


def test_members_in_a_row_are_one_page_and_what_follows_them_stays() -> None:
    packed = gzip.compress(PAGE[:100]) + gzip.compress(PAGE[100:]) + b"trailing"
    for chunk in (1, 7, len(packed)):
        one = coded()
        out = b"".join(one.feed(packed[i : i + chunk]) for i in range(0, len(packed), chunk))
        out += one.close()
        visitor = zlib.decompressobj(31)
        assert visitor.decompress(out) == rewrite(PAGE)
        assert visitor.eof and visitor.unused_data == b"trailing"


@pytest.mark.parametrize("prefix", [b"", b"<!doctype html><video src=/a>", b"<!doctype html><!--"])
def test_a_bomb_costs_no_memory(prefix: bytes) -> None:
    bomb = gzip.compress(prefix + b"\0" * 40_000_000)
    one = coded()
    tracemalloc.start()
    size = sum(len(one.feed(bomb[i : i + 4096])) for i in range(0, len(bomb), 4096))
    size += len(one.close())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000
    assert size < 8 * len(bomb)
