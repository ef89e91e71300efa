"""Several machines with one Redis: machines die, Redis dies, and visitors go on."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from p2pcdn.config import Config
from p2pcdn.errors import ConfigError
from p2pcdn.hub import Hub, open_hub
from tests.hub.people import Person, make_hub, run, until
from tests.servers.process import ROOT
from tests.servers.redis import Redis

pytestmark = pytest.mark.server


@pytest.fixture
def redis(run: Callable[[Any], Any]) -> Redis:
    return run(Redis)  # type: ignore[no-any-return]


@contextmanager
def node(folder: Path, id: str, url: str) -> Iterator[subprocess.Popen[str]]:
    """Another machine's process, when it is up."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.hub.worker", str(folder / id), id, url],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "redis"
        yield process
    finally:
        process.kill()
        process.communicate()


async def pair(folder: Path, redis: Redis, **settings: object) -> tuple[Hub, Hub]:
    hubs = [make_hub(folder / name, redis_url=redis.url, **settings) for name in ("one", "other")]
    for hub in hubs:
        await hub.start()
    return hubs[0], hubs[1]


def test_the_peers_of_a_killed_machine_vanish_within_nine_seconds(
    tmp_path: Path, redis: Redis
) -> None:
    async def test() -> None:
        hub = make_hub(tmp_path / "here", redis_url=redis.url)
        asker = await Person(hub, "asker").connect()
        with node(tmp_path, "doomed", redis.url) as process:
            await asker.finds("doomed")
            process.kill()
            # (Timed by the machine's own promise, not by this one's speed.)
            async with asyncio.timeout(9):
                while await hub.peers() != ["asker"] or await asker.sources():
                    await asyncio.sleep(0.1)
        await until(lambda: hub.snapshot()["peers"] == 1, "it is not counted any more")
        again = await Person(hub, "doomed", "another token").connect()
        await again.gets("OPEN")
        await hub.close()

    run(test)


def test_the_peers_of_a_machine_that_hangs_vanish_too(tmp_path: Path, redis: Redis) -> None:
    async def test() -> None:
        hub = make_hub(tmp_path / "here", redis_url=redis.url)
        asker = await Person(hub, "asker").connect()
        with node(tmp_path, "hangs", redis.url) as process:
            await asker.finds("hangs")
            process.send_signal(signal.SIGSTOP)
            await asker.finds()
            assert await hub.peers() == ["asker"]
            process.send_signal(signal.SIGCONT)
            async with asyncio.timeout(20):  # it registers them again
                while sorted(await hub.peers()) != ["asker", "hangs"]:
                    await asyncio.sleep(0.1)
            asker.say("OFFER", 1, dst="hangs")
            assert (await asker.gets("ANSWER"))["payload"] == 1
        await hub.close()

    run(test)


def test_messages_between_machines_arrive_in_order_at_most_once(
    tmp_path: Path, redis: Redis
) -> None:
    async def test() -> None:
        one, other = await pair(tmp_path, redis)
        alice = await Person(one, "alice").connect()
        bob = await Person(other, "bob").connect()
        await bob.gets("OPEN")
        for n in range(300):
            alice.say("CANDIDATE", n, dst="bob")
            if n % 7 == 0:
                await asyncio.sleep(0)
        await bob.gets("CANDIDATE", 300)
        alice.say("LEAVE", dst="bob")
        await bob.gets("LEAVE")
        assert [m["payload"] for m in bob.of("CANDIDATE")] == list(range(300))
        await one.close()
        await other.close()

    run(test)


def test_a_peer_that_joins_in_the_middle_gets_what_was_said_in_order(
    tmp_path: Path, redis: Redis
) -> None:
    """What waits in Redis, what is published and what is asked come on different connections."""

    async def test() -> None:
        one, other = await pair(tmp_path, redis)
        for round in range(10):
            alice = await Person(one, f"alice{round}").connect()
            await alice.gets("OPEN")
            bob = Person(other, f"bob{round}")
            joining = None
            for n in range(60):
                alice.say("CANDIDATE", n, dst=bob.id)
                if n == 20:
                    joining = asyncio.create_task(bob.connect())
                await asyncio.sleep(0.001 * random.random())
            assert joining is not None
            await joining
            await bob.gets("CANDIDATE", 60)
            assert [m["payload"] for m in bob.of("CANDIDATE")] == list(range(60))
        await one.close()
        await other.close()

    run(test)


def test_what_nobody_collects_expires_once_and_frees_redis(tmp_path: Path, redis: Redis) -> None:
    async def test() -> None:
        one, other = await pair(tmp_path, redis, expire_timeout=1)
        alice = await Person(one, "alice").connect()
        carol = await Person(other, "carol").connect()
        for n in range(3):
            alice.say("OFFER", n, dst="nobody")
        carol.say("OFFER", 4, dst="nobody")
        alice.say("LEAVE", dst="nobody")
        assert await alice.gets("EXPIRE") == {"type": "EXPIRE", "src": "nobody", "dst": "alice"}
        await carol.gets("EXPIRE")
        late = await Person(other, "nobody").connect()
        await late.gets("OPEN")
        assert await late.sources() == []
        assert len(alice.of("EXPIRE")) == 1 and [m["type"] for m in late.inbox][:1] == ["OPEN"]
        assert not late.of("OFFER")
        for n in range(100):  # more than may wait for one peer
            alice.say("OFFER", n, dst="absent")
        await alice.gets("EXPIRE", 30)
        await one.close()
        await other.close()

    run(test)


def test_redis_may_die_and_come_back_in_the_middle_of_a_conversation(
    tmp_path: Path, redis: Redis
) -> None:
    async def test() -> None:
        one, other = await pair(tmp_path, redis)
        alice = await Person(one, "alice").connect()
        neighbour = await Person(one, "neighbour").connect()
        bob = await Person(other, "bob").connect()
        alice.announce([[0, 10]])
        await bob.finds("alice")
        redis.kill()
        await until(lambda: not one.healthy and not other.healthy, "the loss is noticed")
        # Each machine goes on with its own visitors; of the others nobody is named.
        neighbour.say("OFFER", 1, dst="alice")
        assert (await alice.gets("OFFER"))["payload"] == 1
        await neighbour.finds("alice")
        await bob.finds()
        newcomer = await Person(other, "newcomer").connect()
        await newcomer.gets("OPEN")
        newcomer.announce([[0, 5]])
        box = Person(one, "box")
        await box.post()
        assert box.of("OPEN")
        redis.start()
        await until(lambda: one.healthy and other.healthy, "Redis is found again")
        for person in (alice, bob, neighbour, newcomer):
            person.say("HEARTBEAT")
            assert person.closed is None
        alice.announce([[0, 10]])
        newcomer.announce([[0, 5]])
        await bob.finds("alice", "newcomer")
        await neighbour.finds("alice", "newcomer")
        bob.say("ANSWER", 2, dst="alice")
        assert (await alice.gets("ANSWER"))["payload"] == 2
        await one.close()
        await other.close()

    run(test)


def test_an_id_that_moved_while_redis_was_away_is_one_peer_again(
    tmp_path: Path, redis: Redis
) -> None:
    async def test() -> None:
        one, other = await pair(tmp_path, redis)
        old = await Person(one, "a").connect()
        await old.gets("OPEN")
        redis.kill()
        await until(lambda: not one.healthy and not other.healthy, "the loss is noticed")
        new = await Person(other, "a").connect()
        await new.gets("OPEN")
        redis.start()
        await until(
            lambda: (old.closed is None) != (new.closed is None), "one of the two sockets closes"
        )
        await until(lambda: one.healthy and other.healthy, "Redis is found again")
        assert await one.peers() == ["a"]
        await one.close()
        await other.close()

    run(test)


def test_a_site_starts_without_redis_and_finds_it_later(tmp_path: Path, redis: Redis) -> None:
    async def test() -> None:
        redis.kill()
        hub = make_hub(tmp_path, redis_url=redis.url)
        alice = await Person(hub, "alice").connect()
        await alice.gets("OPEN")
        assert hub.snapshot()["state"] == "looking" and not hub.healthy
        redis.start()
        await until(lambda: hub.healthy, "Redis is found")
        other = make_hub(tmp_path / "other", redis_url=redis.url)
        thief = await Person(other, "alice", "stolen").connect()
        await thief.gets("ID-TAKEN")
        await other.close()
        await hub.close()

    run(test)


def test_a_machine_that_says_good_bye_leaves_nothing_behind(tmp_path: Path, redis: Redis) -> None:
    async def test() -> None:
        one, other = await pair(tmp_path, redis)
        alice = await Person(one, "alice").connect()
        alice.announce([[0, 10]])
        bob = await Person(other, "bob").connect()
        await bob.finds("alice")
        await one.close()
        assert await other.peers() == ["bob"]
        await bob.finds()
        await other.close()

    run(test)


def test_a_machine_ends_also_when_it_says_good_bye_in_the_middle_of_a_heartbeat(
    tmp_path: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a cancellation lost in its writing nor its answer, "you are forgotten", keep it."""
    monkeypatch.setattr("p2pcdn.hub.redis_link.HEARTBEAT_S", 0)

    async def test() -> None:
        for n in range(20):
            hub = make_hub(tmp_path / str(n), redis_url=redis.url)
            await hub.start()
            await asyncio.sleep(0.0005 * n)  # heartbeats are always under way
            async with asyncio.timeout(10):
                await hub.close()

    run(test)


def test_redis_never_learns_a_token_or_an_address(tmp_path: Path, redis: Redis) -> None:
    async def test() -> None:
        one, other = await pair(tmp_path, redis)
        alice = Person(one, "alice", "the-secret-token")
        await alice.connect(address="203.0.113.77")
        alice.announce([[0, 10]])
        bob = await Person(other, "bob").connect()
        await bob.finds("alice")
        from redis import Redis as Client

        with Client.from_url(redis.url) as client:
            kept = b"".join(client.dump(key) or b"" for key in client.scan_iter())
        assert b"alice" in kept
        assert b"203.0.113" not in kept and b"secret-token" not in kept
        await one.close()
        await other.close()

    run(test)


def test_near_peers_of_other_machines_are_known_to_be_near(tmp_path: Path, redis: Redis) -> None:
    class Nearest:
        def rank(self, candidates, *, limit, random):  # type: ignore[no-untyped-def]
            return sorted(candidates, key=lambda c: -c.closeness)[:limit]

    async def test() -> None:
        config = [Config(data_dir=str(tmp_path / n), redis_url=redis.url) for n in "ab"]
        one, other = (open_hub(c, secret=b"s", site="", ranker=Nearest()) for c in config)
        for name, address in (("far", "198.18.0.1"), ("near", "8.8.8.8"), ("same", "8.8.8.1")):
            person = await Person(one, name).connect(address=address)
            person.announce([[0, 10]])
        asker = await Person(other, "asker").connect(address="8.8.8.1")
        async with asyncio.timeout(20):
            while (found := await asker.sources()) != ["same", "near", "far"]:
                assert len(found) < 3, found
        await one.close()
        await other.close()

    run(test)


def test_the_kinds_of_networks_of_other_machines_count_too(tmp_path: Path, redis: Redis) -> None:
    class Wired:
        def rank(self, candidates, *, limit, random):  # type: ignore[no-untyped-def]
            kinds = ["ethernet", "wifi", "unknown", "cellular"]
            return sorted(candidates, key=lambda c: kinds.index(c.line))[:limit]

    async def test() -> None:
        one = make_hub(tmp_path / "one", redis_url=redis.url)
        other = make_hub(tmp_path / "other", redis_url=redis.url, ranker=Wired())
        for kind in ("cellular", "unknown", "ethernet", "wifi"):
            person = await Person(one, f"on-{kind}").connect()
            person.announce([[0, 10]], info={"network": kind})
        asker = await Person(other, "asker").connect()
        expected = ["on-ethernet", "on-wifi", "on-unknown", "on-cellular"]
        async with asyncio.timeout(20):
            while (found := await asker.sources()) != expected:
                assert len(found) < 4, found
        await one.close()
        await other.close()

    run(test)


def test_sites_with_other_secrets_share_a_redis_and_nothing_else(
    tmp_path: Path, redis: Redis
) -> None:
    async def test() -> None:
        one, other = (
            open_hub(
                Config(data_dir=str(tmp_path / name), redis_url=redis.url),
                secret=name.encode(), site="",
            )
            for name in ("a", "b")
        )  # fmt: skip
        alice = await Person(one, "alice").connect()
        await alice.gets("OPEN")
        assert await other.peers() == []
        await one.close()
        await other.close()

    run(test)


def test_five_hundred_viewers_who_join_on_two_machines_are_all_answered(
    tmp_path: Path, redis: Redis
) -> None:
    async def test() -> None:
        one, other = await pair(tmp_path, redis)
        people = [Person((one, other)[n % 2], f"p{n}") for n in range(500)]
        await asyncio.gather(*(person.connect() for person in people))
        for person in people:
            person.announce([[0, 10]])
        async with asyncio.timeout(30):
            mixed = 0.0
            while mixed < 0.5:  # that share of the lists names peers of both machines
                answers = await asyncio.gather(*(person.sources() for person in people))
                assert all(len(ids) == 16 for ids in answers)
                both = [len({int(id[1:]) % 2 for id in ids}) == 2 for ids in answers]
                mixed = sum(both) / len(both)
        await one.close()
        await other.close()

    run(test)


def test_without_the_redis_package_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"p2pcdn\[redis\]"):
        make_hub(tmp_path, redis_url="redis://127.0.0.1:1/0")


def test_a_forked_child_does_not_keep_its_parent_alive(tmp_path: Path, redis: Redis) -> None:
    """A preloaded app is forked: as long as a child holds the parent's connection, Redis would
    believe that somebody listens."""
    code = (
        "import asyncio, os, sys, time\n"
        "from pathlib import Path\n"
        "from tests.hub.people import Person, make_hub\n"
        "async def main():\n"
        "    hub = make_hub(Path(sys.argv[1]), redis_url=sys.argv[2])\n"
        "    await Person(hub, 'parent').connect()\n"
        "    while await hub.peers() != ['parent']: pass\n"
        "    if os.fork() == 0:\n"
        "        print('child', os.getpid(), flush=True)\n"
        "        time.sleep(60)\n"
        "        os._exit(0)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), redis.url],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    child = int(process.stdout.readline().split()[1])

    async def test() -> None:
        hub = make_hub(tmp_path / "other", redis_url=redis.url)
        alice = await Person(hub, "alice").connect()
        await alice.gets("OPEN")
        process.kill()
        start = time.monotonic()
        while "parent" in await hub.peers():
            await asyncio.sleep(0.1)
            assert time.monotonic() - start < 60
        await hub.close()

    try:
        run(test)
    finally:
        process.kill()
        import os

        os.kill(child, signal.SIGKILL)
        process.wait()
        process.stdout.close()
