"""What a page of one machine showed is known to all that share a Redis; signed URLs stay secret."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pcdn.media import known as known_module
from p2pcdn.media import machines as machines_module
from p2pcdn.media.known import KnownUrls
from p2pcdn.media.machines import Machines
from p2pcdn.media.store import SEEN, SERVED, Store
from tests.servers.redis import Redis

pytestmark = pytest.mark.server


@pytest.fixture
def redis(run: Callable[[Any], Any]) -> Redis:
    return run(Redis)  # type: ignore[no-any-return]


@pytest.fixture
def machine(tmp_path: Path, redis: Redis) -> Iterator[Callable[..., KnownUrls]]:
    """`machine(name)`: the known URLs of a machine with a folder of its own."""
    made: list[tuple[KnownUrls, Store]] = []

    def machine(name: str, secret: bytes = b"the site's") -> KnownUrls:
        store = Store(tmp_path / f"{name}.sqlite")
        made.append((KnownUrls(store, machines=Machines(redis.url, secret)), store))
        return made[-1][0]

    yield machine
    for known, store in made:
        known.close()
        store.close()


def carried(known: KnownUrls) -> None:
    waiting = known.carried
    if waiting is not None:
        waiting.result(20)


@pytest.mark.parametrize("how", [SEEN, SERVED])
def test_when_the_page_leaves_every_machine_knows_its_videos(
    machine: Callable[..., KnownUrls], how: int
) -> None:
    one, other = machine("one"), machine("other")
    one.note("/media/a.mp4?signature=secret", how)
    carried(one)
    assert other.anywhere("/media/a.mp4?signature=secret")
    assert not other.anywhere("/media/b.mp4")


def test_a_site_with_another_secret_knows_nothing_of_it(machine: Callable[..., KnownUrls]) -> None:
    one, stranger = machine("one"), machine("stranger", b"another's")
    one.note("/media/a.mp4", SEEN)
    carried(one)
    assert not stranger.anywhere("/media/a.mp4")


def test_no_url_is_readable_in_redis(machine: Callable[..., KnownUrls], redis: Redis) -> None:
    one = machine("one")
    one.note("/media/a.mp4?signature=verysecret", SEEN)
    carried(one)
    from redis import Redis as Client

    with Client.from_url(redis.url) as client:
        keys = list(client.scan_iter())
        kept = b"".join(client.dump(key) or b"" for key in keys)
    assert keys
    assert b"verysecret" not in kept and b"a.mp4" not in kept
    assert all(b"secret" not in key for key in keys)


def test_a_redis_that_was_emptied_is_told_again(
    machine: Callable[..., KnownUrls], redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_module, "_LOOK_AFTER_S", 0.1)
    monkeypatch.setattr(machines_module, "_AGAIN_AFTER_S", 0.1)
    one, other = machine("one"), machine("other")
    one.note("/media/before.mp4", SEEN)
    carried(one)
    redis.kill()
    one.note("/media/meanwhile.mp4", SEEN)
    carried(one)  # the page is not held up for ever
    assert not other.anywhere("/media/before.mp4")
    redis.start()
    wait = threading.Event()
    for target in ("/media/before.mp4", "/media/meanwhile.mp4"):
        for _ in range(400):
            if other.anywhere(target):
                break
            wait.wait(0.05)
        else:
            pytest.fail(f"{target} was not told again")


def test_a_redis_that_hangs_costs_one_look_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, says nothing
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        machines = Machines(url, b"s")
        connected = []
        original = machines._connected
        machines._connected = lambda: (connected.append(1), original())[1]  # type: ignore[method-assign]
        with caplog.at_level(logging.WARNING, "p2pcdn"):
            for _ in range(50):
                assert not machines.known(b"x" * 16)
        machines.close()
    assert len(connected) < 10, "asked anew each time"
    assert len([r for r in caplog.records if "Redis" in r.getMessage()]) == 1


def test_a_flood_of_served_urls_does_not_push_out_what_pages_show(
    machine: Callable[..., KnownUrls], redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines_module, "_MOST", {SEEN: 50, SERVED: 20})
    machines = Machines(redis.url, b"s")
    assert machines.remember((b"page%d" % n, SEEN) for n in range(30))
    for start in range(0, 300, 10):
        assert machines.remember((b"made up %d" % n, SERVED) for n in range(start, start + 10))
    assert all(machines.known(b"page%d" % n) for n in range(30))
    assert not machines.known(b"made up 0")
    assert machines.known(b"made up 299")
    machines.close()
