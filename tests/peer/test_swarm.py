"""Python peers over a real site: what is fetched is right, whoever it comes from."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from p2pcdn.peer import Peer, PeerError
from p2pcdn.peer import peer as peer_module
from p2pcdn.peer.origin import ContentChanged
from p2pcdn.peer.peer import NotShared
from p2pcdn.peer.seeder import Seeder
from tests.peer.hostile import ANSWERS, ATTACKS, PASSED_OVER, HostilePeer
from tests.servers.process import environment
from tests.servers.proxy import Proxy
from tests.servers.python import Uvicorn
from tests.sites import media

pytestmark = pytest.mark.server

ONE = "/media/one.mp4"


def clip(name: str = "one.mp4") -> bytes:
    return (media.folder() / name).read_bytes()


def run(work: Coroutine[Any, Any, Any], timeout: float = 60) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(timeout):
            return await work

    return asyncio.run(bounded())


async def true(fine: Callable[[], bool]) -> None:
    while not fine():
        await asyncio.sleep(0.02)


def test_what_one_peer_seeds_another_fetches_without_the_origin(origin: Proxy) -> None:
    async def story() -> None:
        async with Peer(f"{origin.url}/watch/one") as seeder:
            content = await seeder.seed(ONE)
            await content.wait()
            paid = origin.sent(r"/media/one\.mp4")
            async with Peer(origin.url + "/watch/two") as visitor:
                assert await visitor.fetch(f"{origin.url}{ONE}") == clip()
                (stats,) = visitor.stats().contents
                assert (stats.from_peers, stats.from_origin) == (len(clip()), 0)
                assert seeder.stats().uploaded == len(clip())
            assert origin.sent(r"/media/one\.mp4") == paid

    run(story())


def test_without_any_peer_everything_comes_from_the_origin(origin: Proxy) -> None:
    async def story() -> None:
        async with Peer(f"{origin.url}/watch/one") as visitor:
            pieces = [piece async for piece in visitor.stream(ONE)]
            assert b"".join(pieces) == clip() and len(pieces) == 16
            (stats,) = visitor.stats().contents
            assert stats.from_origin == len(clip())

    run(story())


def test_a_site_whose_sockets_are_blocked_still_has_a_swarm_by_the_mailbox(
    origin: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.status(r"/peerjs/peerjs", 403)
    # What is asked of the origin until two mailboxes are linked must not be the whole clip.
    monkeypatch.setattr("p2pcdn.peer.content._LONE_RUN", 128 * 1024)

    async def story() -> None:
        async with Peer(f"{origin.url}/watch/one") as seeder:
            await (await seeder.seed(ONE)).wait()
            # An idle peer looks into its mailbox every two seconds; by then a quick origin would
            # have given everything.
            origin.paced, origin.bytes_per_s = r"^/media/", len(clip()) / 20
            async with Peer(f"{origin.url}/watch/one") as visitor:
                assert await visitor.fetch(ONE) == clip()
                (stats,) = visitor.stats().contents
                assert stats.from_peers > 0
                assert visitor.stats().transport == seeder.stats().transport == "mailbox"

    run(story())


def test_a_dead_coordinator_costs_the_peers_and_nothing_else(origin: Proxy) -> None:
    origin.status(r"/peerjs/", 502)

    async def story() -> None:
        async with Peer(f"{origin.url}/watch/one") as visitor:
            assert await visitor.fetch(ONE) == clip()
            assert visitor.stats().transport == "none" and visitor.trouble

    run(story())


def test_a_seeder_that_lost_its_coordinator_is_found_again(origin: Proxy) -> None:
    async def story() -> None:
        async with Peer(f"{origin.url}/watch/one") as seeder:
            await (await seeder.seed(ONE)).wait()
            await true(lambda: seeder.stats().transport == "websocket")
            origin.cut_now()
            await true(lambda: seeder.stats().transport == "none")
            await true(lambda: seeder.stats().transport == "websocket")
            async with Peer(f"{origin.url}/watch/one") as visitor:
                assert await visitor.fetch(ONE) == clip()
                (stats,) = visitor.stats().contents
                assert stats.from_peers > 0

    run(story())


def test_a_dead_origin_is_not_missed_where_peers_have_everything(origin: Proxy) -> None:
    async def story() -> None:
        async with Peer(f"{origin.url}/watch/one") as seeder:
            await (await seeder.seed(ONE)).wait()
            origin.status(r"/media/", 503)
            async with Peer(f"{origin.url}/watch/one") as visitor:
                assert await visitor.fetch(ONE) == clip()

    run(story())


def test_a_dead_origin_without_peers_is_said_and_not_waited_for(origin: Proxy) -> None:
    origin.status(r"/media/", 404)

    async def story() -> None:
        async with Peer(f"{origin.url}/watch/one") as visitor:
            with pytest.raises(PeerError, match="neither peers nor the origin"):
                await visitor.fetch(ONE)

    run(story())


def test_a_seeder_that_is_killed_midway_costs_no_byte(origin: Proxy, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "p2pcdn.cli", "seed", "--upload-limit", "200k",
         f"{origin.url}/watch/one"],
        env=environment(tmp_path), stderr=subprocess.PIPE, text=True,
    ) as seeder:  # fmt: skip
        assert seeder.stderr is not None
        try:
            for line in seeder.stderr:
                if line.startswith("1 of 1 contents"):
                    break

            async def story() -> None:
                async with Peer(f"{origin.url}/watch/one") as visitor:
                    fetching = asyncio.create_task(visitor.fetch(ONE))
                    while not any(c.from_peers for c in visitor.stats().contents):
                        await asyncio.sleep(0.01)
                    os.kill(seeder.pid, signal.SIGKILL)
                    assert await fetching == clip()
                    (stats,) = visitor.stats().contents
                    assert stats.from_peers > 0 and stats.from_origin > 0

            run(story())
        finally:
            seeder.kill()


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("silence", "slow drip") else ())
        for name in ATTACKS
    ],
)
def test_a_hostile_peer_spoils_nothing_and_is_dropped(attack: str, origin: Proxy) -> None:
    async def story() -> None:
        async with HostilePeer(attack, f"{origin.url}/watch/one") as liar:
            await (await liar.seed(ONE)).wait()
            await true(lambda: liar.stats().transport == "websocket")
            async with Peer(f"{origin.url}/watch/one") as visitor:
                assert await visitor.fetch(ONE) == clip()
                await true(lambda: liar.attacks > 0)
                if attack not in PASSED_OVER:
                    await true(lambda: not visitor.stats().links)
                    assert visitor._links.shuns(liar.id)
                (stats,) = visitor.stats().contents
                if attack in ANSWERS and attack not in ("too long", "replayed"):
                    assert stats.from_peers < len(clip()) // 4
                if attack in ("wrong bytes", "one wrong bit", "right bytes of another segment"):
                    assert stats.rejected > 0

    run(story())


def test_a_restart_fetches_nothing_again_and_believes_no_damaged_file(
    origin: Proxy, tmp_path: Path
) -> None:
    async def story() -> int:
        async with Peer(f"{origin.url}/watch/one", cache=tmp_path / "cache") as seeder:
            content = await seeder.seed(ONE)
            await content.wait()
            assert b"".join([piece async for piece in content.stream()]) == clip()
            return content.stats().from_origin

    assert run(story()) == len(clip())
    assert run(story()) == 0
    (folder,) = [place for place in (tmp_path / "cache").iterdir() if place.is_dir()]
    data = (folder / "3").read_bytes()
    (folder / "3").write_bytes(b"x" + data[1:])
    (folder / "5").write_bytes(b"short")
    assert run(story()) == 2 * len(data)


def test_a_small_store_serves_what_it_has_and_streams_the_rest(
    origin: Proxy, tmp_path: Path
) -> None:
    async def story() -> None:
        async with Peer(f"{origin.url}/watch/one", cache_limit=400_000) as seeder:
            content = await seeder.seed(ONE)
            await content.wait()
            assert content.full and 0 < content.held.count < content.held.size
            async with Peer(f"{origin.url}/watch/one", cache_limit=300_000) as visitor:
                assert await visitor.fetch(ONE) == clip()
                (stats,) = visitor.stats().contents
                assert stats.from_peers > 0 and stats.from_origin > 0
                assert visitor.store.used_bytes <= 300_000

    run(story())


def test_many_files_are_fetched_one_after_the_other_but_only_so_many_seeded(
    site: Callable[..., Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = site("starlette-uvicorn", ready=("watch/two", "two.mp4"))
    monkeypatch.setattr(peer_module, "MAX_CONTENTS", 1)

    async def story() -> None:
        async with Peer(f"{origin.url}/several") as visitor:
            for name in ("one.mp4", "two.mp4", "one.mp4"):
                assert await visitor.fetch(f"/media/{name}") == clip(name)
                assert len(visitor.contents) == 1
            await visitor.seed(ONE)
            with pytest.raises(PeerError, match="at most"):
                await visitor.open("/media/two.mp4")

    run(story())


def test_two_peers_do_not_share_a_cache_folder(origin: Proxy, tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(f"{origin.url}/watch/one", cache=tmp_path):
            with pytest.raises(PeerError, match="another process"):
                async with Peer(f"{origin.url}/watch/one", cache=tmp_path):
                    pass

    run(story())


@pytest.fixture
def own_media(tmp_path: Path, run: Callable[..., Any]) -> tuple[Proxy, Path]:
    """A site whose files the test may change."""
    folder = tmp_path / "media"
    folder.mkdir()
    shutil.copy(media.folder() / "one.mp4", folder)
    server = run(
        lambda: Uvicorn(
            "tests.sites.asgi_app:starlette",
            arguments=["--factory"],
            env={"SITE_MEDIA": str(folder)},
        )
    )
    return run(lambda: Proxy(server.url)), folder / "one.mp4"


def test_an_edited_file_is_fetched_anew_and_the_old_one_served_no_more(
    own_media: tuple[Proxy, Path],
) -> None:
    proxy, file = own_media
    edited = clip("two.mp4")

    async def story() -> None:
        async with Peer(f"{proxy.url}/watch/one", recheck_s=0.3) as peer:
            seeder = Seeder(peer, [ONE])
            going = asyncio.create_task(seeder.run())
            await true(lambda: seeder.settled)
            (old,) = peer.contents
            file.write_bytes(edited)
            await true(lambda: seeder.settled and old not in peer.contents)
            (new,) = peer.contents.values()
            assert b"".join([piece async for piece in new.stream()]) == edited
            assert {name[0] for name in peer.store._sizes} == {new.key}
            going.cancel()

    run(story())


def test_a_file_that_changes_while_it_is_fetched_is_never_a_mixture(
    own_media: tuple[Proxy, Path],
) -> None:
    proxy, file = own_media
    edited = clip("two.mp4")

    async def story() -> None:
        async with Peer(f"{proxy.url}/watch/one") as visitor:
            content = await visitor.open(ONE)
            file.write_bytes(edited)
            with pytest.raises(ContentChanged):
                _ = [piece async for piece in content.stream()]
            assert await visitor.fetch(ONE) == edited

    run(story())


def test_a_file_that_the_site_takes_back_is_served_no_more(own_media: tuple[Proxy, Path]) -> None:
    proxy, file = own_media

    async def story() -> None:
        async with Peer(f"{proxy.url}/watch/one", recheck_s=0.3) as peer:
            await (await peer.seed(ONE)).wait()
            file.unlink()
            await true(lambda: not peer.contents)

    run(story())


def test_what_the_site_never_showed_is_refused_with_a_hint(
    own_media: tuple[Proxy, Path],
) -> None:
    proxy, file = own_media
    (file.parent / "secret.mp4").write_bytes(clip())

    async def story() -> None:
        async with Peer(f"{proxy.url}/watch/one") as peer:
            with pytest.raises(NotShared, match="page"):
                await peer.open("/media/secret.mp4")
            with pytest.raises(PeerError, match="one site"):
                await peer.open("https://elsewhere.example/media/one.mp4")
            with pytest.raises(NotShared, match="a playlist"):
                await peer.seed("/media/hls/index.m3u8?x=1")

    run(story())


def test_the_sites_statistics_hear_what_the_peers_carried(origin: Proxy) -> None:
    async def story() -> None:
        async with Peer(f"{origin.url}/watch/one") as seeder:
            await (await seeder.seed(ONE)).wait()
            async with Peer(f"{origin.url}/watch/one") as visitor:
                assert hashlib.sha256(await visitor.fetch(ONE)).hexdigest() == media.sha256(
                    "one.mp4"
                )

    run(story())
    assert [e.status for e in origin.requests("/p2pcdn/report")] == [204, 204]
