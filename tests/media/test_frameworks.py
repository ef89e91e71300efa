"""The same cases through every framework: what the site serves is found and hashed right."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import xxhash

from p2pcdn.config import Config
from p2pcdn.media.library import Library
from p2pcdn.media.manifest import Manifest, Pending, Refusal

from .sites import SITES, Site, settled_clock, undo_django

SIZE = 300_007
SEGMENT = 64 * 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "a film.mp4").write_bytes(random.Random(1).randbytes(SIZE))
    (folder / "empty.mp4").touch()
    (folder / "notes.txt").write_text("no video")
    return folder


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, folder: Path) -> Iterator[Site]:
    yield SITES[request.param](folder)
    undo_django()


def library_of(site: Site, folder: Path | None = None, **options: Any) -> Library:
    return Library(
        Config(**options),
        site.origin,
        folder=folder,
        shareable=lambda path: True,
        clock=settled_clock,
    )


async def settled(
    ask: Callable[[], Awaitable[Manifest | Pending | Refusal]],
) -> Manifest | Refusal:
    """Ask until the answer is no longer "not yet"."""
    while True:
        found = await ask()
        if not isinstance(found, Pending):
            return found
        await asyncio.sleep(0.01)


def digests(data: bytes, segment: int = SEGMENT) -> bytes:
    return b"".join(
        hashlib.sha256(data[at : at + segment]).digest() for at in range(0, len(data), segment)
    )


def test_a_video_that_a_page_showed_gets_the_manifest_of_its_own_bytes(
    site: Site, folder: Path, tmp_path: Path
) -> None:
    library = library_of(site, tmp_path / "data")
    library.seen(["/media/a%20film.mp4"])
    found = asyncio.run(settled(lambda: library.manifest("/media/a%20film.mp4")))
    library.close()
    data = (folder / "a film.mp4").read_bytes()
    hashes = digests(data, found.segment_bytes) if isinstance(found, Manifest) else b""
    key = xxhash.xxh3_128_hexdigest(b"/media/a film.mp4\0" + hashlib.sha256(hashes).digest())
    assert isinstance(found, Manifest), found
    assert found.hashes == hashes
    assert (found.key, found.url, found.size, found.type) == (
        key,
        "/media/a%20film.mp4",
        SIZE,
        "video/mp4",
    )


def test_the_file_is_found_without_reading_the_body_where_the_framework_names_it(
    site: Site, folder: Path
) -> None:
    async def ask() -> Path | None:
        answer = await site.origin.open("/media/a%20film.mp4")
        await answer.aclose()
        return answer.path

    wanted = folder / "a film.mp4" if site.names_file else None
    assert asyncio.run(ask()) == wanted


def test_the_body_is_the_file_even_when_the_path_is_known(site: Site, folder: Path) -> None:
    async def read() -> bytes:
        answer = await site.origin.open("/media/a%20film.mp4")
        try:
            return b"".join([chunk async for chunk in answer.chunks()])
        finally:
            await answer.aclose()

    found = asyncio.run(read())
    assert found in (b"", (folder / "a film.mp4").read_bytes())
    if not site.names_file:
        assert len(found) == SIZE


def test_an_edited_video_gets_a_new_content_key_and_the_old_one_is_gone(
    site: Site, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pcdn.media.library._ASK_AGAIN_S", 0.0)
    library = library_of(site, tmp_path / "data")
    target = "/media/a%20film.mp4"
    library.seen([target])

    async def story() -> list[Manifest | Refusal]:
        before = await settled(lambda: library.manifest(target))
        path = folder / "a film.mp4"
        path.write_bytes(b"other" + path.read_bytes()[5:])
        os.utime(path, (1_700_000_000, 1_700_000_000))
        after = await settled(lambda: library.manifest(target))
        return [before, after]

    before, after = asyncio.run(story())
    library.close()
    assert isinstance(before, Manifest) and isinstance(after, Manifest)
    assert before.key != after.key
    assert after.hashes == digests((folder / "a film.mp4").read_bytes(), after.segment_bytes)


def test_a_deleted_video_is_no_longer_shared(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pcdn.media.library._ASK_AGAIN_S", 0.0)
    library = library_of(site)
    target = "/media/a%20film.mp4"
    library.seen([target])

    async def story() -> Manifest | Refusal:
        assert isinstance(await settled(lambda: library.manifest(target)), Manifest)
        (folder / "a film.mp4").unlink()
        return await settled(lambda: library.manifest(target))

    found = asyncio.run(story())
    library.close()
    assert isinstance(found, Refusal) and found.code in ("unknown", "gone")


@pytest.mark.parametrize(
    ("name", "code"),
    [("missing.mp4", "unknown"), ("notes.txt", "not-media"), ("empty.mp4", "empty")],
)
def test_what_cannot_be_shared_is_refused_with_its_reason(
    site: Site, folder: Path, name: str, code: str
) -> None:
    library = library_of(site)
    library.seen([f"/media/{name}"])
    found = asyncio.run(settled(lambda: library.manifest(f"/media/{name}")))
    library.close()
    if code == "not-media" and not site.knows_types:  # these apps call everything a video
        assert isinstance(found, Manifest)
    else:
        assert isinstance(found, Refusal) and found.code == code, found


def test_a_hundred_visitors_at_once_cost_the_site_one_sub_request(
    site: Site, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pcdn.media.library._ASK_AGAIN_S", 600.0)
    opened = 0
    real = site.origin.open

    async def counting(*args: Any, **named: Any) -> Any:
        nonlocal opened
        opened += 1
        return await real(*args, **named)

    site.origin.open = counting  # type: ignore[method-assign]
    library = library_of(site, tmp_path / "data")
    target = "/media/a%20film.mp4"
    library.seen([target])

    async def crowd() -> list[Any]:
        return await asyncio.gather(
            *(settled(lambda: library.manifest(target)) for _ in range(100))
        )

    found = asyncio.run(crowd())
    library.close()
    assert len({manifest.key for manifest in found}) == 1
    assert opened == 1


def test_no_file_and_no_thread_stays_behind(site: Site, folder: Path) -> None:
    def open_files() -> set[str]:
        found = set()
        for descriptor in os.listdir("/proc/self/fd"):
            try:
                found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
            except OSError:
                continue
        return found

    library = library_of(site)
    library.seen(["/media/a%20film.mp4"])

    async def ask() -> None:
        await settled(lambda: library.manifest("/media/a%20film.mp4"))
        while str(folder / "a film.mp4") in open_files() or any(
            thread.name == "p2pcdn-origin" for thread in threading.enumerate()
        ):
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(ask(), 20))
    library.close()
