"""The hashes are those of the file, or there are none."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcdn.media.hasher import FileChanged, SegmentHasher, hash_file, stamp_of
from p2pcdn.media.manifest import (
    MAX_SEGMENTS,
    Manifest,
    Refusal,
    content_key,
    segment_bytes_for,
)

KIB, MIB, GIB = 1024, 1024**2, 1024**3


def plain(data: bytes, segment: int) -> bytes:
    return b"".join(
        hashlib.sha256(data[at : at + segment]).digest() for at in range(0, len(data), segment)
    )


@given(st.binary(max_size=300), st.integers(1, 40), st.lists(st.integers(0, 90), max_size=30))
def test_hashes_do_not_depend_on_the_chunks_that_a_body_comes_in(
    data: bytes, segment: int, cuts: list[int]
) -> None:
    hasher = SegmentHasher(segment)
    at = 0
    for cut in [*cuts, len(data)]:
        hasher.update(data[at : at + cut])
        at += cut
    assert hasher.finish() == plain(data, segment)
    assert hasher.size == len(data)


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537, 262_144, 1_000_003])
def test_a_file_is_hashed_segment_by_segment(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(os.urandom(size))
    stamp = stamp_of(os.stat(path))
    assert stamp is not None
    *steps, digests = hash_file(path, stamp, 65_536)
    assert digests == plain(path.read_bytes(), 65_536)
    assert steps[-1] == size


def test_a_file_that_is_written_to_while_it_is_hashed_gives_no_hashes(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(os.urandom(2 * MIB))
    stamp = stamp_of(os.stat(path))
    assert stamp is not None
    steps = hash_file(path, stamp, 65_536)
    next(steps)
    with open(path, "r+b") as file:
        file.seek(MIB)
        file.write(b"changed")
    with pytest.raises(FileChanged):
        list(steps)


@pytest.mark.parametrize("size", [0, MIB, 3 * MIB])
def test_a_file_that_is_cut_or_grows_while_it_is_hashed_gives_no_hashes(
    tmp_path: Path, size: int
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(os.urandom(2 * MIB))
    stamp = stamp_of(os.stat(path))
    assert stamp is not None
    steps = hash_file(path, stamp, 65_536)
    next(steps)
    os.truncate(path, size)
    with pytest.raises(FileChanged):
        list(steps)


def test_a_file_replaced_by_another_while_it_is_hashed_gives_no_hashes(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(os.urandom(MIB))
    stamp = stamp_of(os.stat(path))
    assert stamp is not None
    steps = hash_file(path, stamp, 65_536)
    next(steps)
    (tmp_path / "new").write_bytes(os.urandom(MIB))
    os.replace(tmp_path / "new", path)
    with pytest.raises(FileChanged):
        list(steps)


def test_a_pipe_in_the_files_place_cannot_hold_the_thread(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x")
    stamp = stamp_of(os.stat(path))
    assert stamp is not None
    path.unlink()
    os.mkfifo(path)
    assert stamp_of(os.stat(path)) is None
    with pytest.raises(FileChanged):
        list(hash_file(path, stamp, 65_536))


def test_cancelling_closes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(os.urandom(MIB))
    stamp = stamp_of(os.stat(path))
    assert stamp is not None
    before = len(os.listdir("/proc/self/fd"))
    steps = hash_file(path, stamp, 65_536)
    next(steps)
    steps.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_large_file_is_hashed_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with open(path, "wb") as file:
        file.truncate(64 * MIB)  # sparse
    stamp = stamp_of(os.stat(path))
    assert stamp is not None
    tracemalloc.start()
    for _ in hash_file(path, stamp, 65_536):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MIB


@pytest.mark.parametrize(
    ("size", "wanted", "segment"),
    [
        (1, None, 64 * KIB),
        (64 * MIB, None, 64 * KIB),
        (64 * MIB + 1, None, 128 * KIB),
        (8_250_000, None, 64 * KIB),
        (4 * GIB, None, 4 * MIB),
        (60 * GIB, None, 4 * MIB),
        (GIB, 16 * KIB, 32 * KIB),
        (MIB, 16 * KIB, 16 * KIB),
        (1, 16 * MIB, 16 * MIB),
    ],
)
def test_segments_are_short_for_clips_and_few_for_films(
    size: int, wanted: int | None, segment: int
) -> None:
    assert segment_bytes_for(size, wanted) == segment


@given(st.integers(1, 2**46), st.one_of(st.none(), st.integers(14, 24).map(lambda n: 1 << n)))
def test_a_manifest_is_never_longer_than_its_bound(size: int, wanted: int | None) -> None:
    segment = segment_bytes_for(size, wanted)
    assert segment & (segment - 1) == 0
    assert -(-size // segment) <= MAX_SEGMENTS


def test_the_key_changes_with_the_path_and_with_every_byte() -> None:
    keys = {
        content_key("/a.mp4", b"1" * 32),
        content_key("/b.mp4", b"1" * 32),
        content_key("/a.mp4", b"2" * 32),
        content_key("/a.mp4", b"1" * 64),
    }
    assert len(keys) == 4
    assert all(len(key) == 32 and int(key, 16) >= 0 for key in keys)


def test_the_manifest_reads_as_the_protocol_says() -> None:
    manifest = Manifest("0" * 32, "/media/a.mp4", 3, "video/mp4", 65_536, b"\1" * 32)
    assert manifest.to_json(prefix="/site") == {
        "key": "0" * 32,
        "url": "/site/media/a.mp4",
        "size": 3,
        "type": "video/mp4",
        "segment_bytes": 65_536,
        "hashes": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
    }


def test_every_refusal_has_a_status_that_the_protocol_names() -> None:
    for code in ("unknown", "outside", "not-media", "protected", "too-large", "gone", "rate"):
        assert Refusal(code, "").status in (400, 403, 404, 429)
