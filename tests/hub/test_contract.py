"""The same promises wherever the coordinator runs: every case in every arrangement."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from p2pcdn.hub import Hub
from tests.hub.people import Person, make_hub, run, until
from tests.servers.fixtures import made
from tests.servers.redis import Redis

pytestmark = pytest.mark.lengthy

Pair = tuple[Hub, Hub]


@asynccontextmanager
async def _one(folder: Path) -> AsyncIterator[Pair]:
    hub = make_hub(folder, elected=False)
    yield hub, hub
    await hub.close()


@asynccontextmanager
async def _elected(folder: Path) -> AsyncIterator[Pair]:
    elected, connected = make_hub(folder), make_hub(folder)
    await elected.start()
    await connected.start()
    assert elected.snapshot()["state"] == "elected"
    assert connected.snapshot()["state"] == "connected"
    yield elected, connected
    await connected.close()
    await elected.close()


@asynccontextmanager
async def _turned(folder: Path) -> AsyncIterator[Pair]:
    async with _elected(folder) as (elected, connected):
        yield connected, elected


@asynccontextmanager
async def _both_connected(folder: Path) -> AsyncIterator[Pair]:
    async with _elected(folder) as (_, one):
        other = make_hub(folder)
        await other.start()
        yield one, other
        await other.close()


@asynccontextmanager
async def _redis(folder: Path) -> AsyncIterator[Pair]:
    """As two machines have them; a real redis-server."""
    with made(Redis) as server:
        one = make_hub(folder / "one", redis_url=server.url)
        other = make_hub(folder / "other", redis_url=server.url)
        await one.start()
        await other.start()
        assert one.snapshot()["state"] == other.snapshot()["state"] == "redis"
        yield one, other
        await other.close()
        await one.close()


@pytest.fixture
def everyone(monkeypatch: pytest.MonkeyPatch) -> list[Hub]:
    """All hubs of the test, also those that it is not handed."""
    hubs: list[Hub] = []
    real = make_hub

    def recording(folder: Path, **settings: Any) -> Hub:
        hubs.append(real(folder, **settings))
        return hubs[-1]

    monkeypatch.setattr("tests.hub.test_contract.make_hub", recording)
    return hubs


@pytest.fixture(
    params=[_one, _elected, _turned, _both_connected, _redis], ids=lambda f: f.__name__[1:]
)
def contract(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    """Runs a case with two hubs, as two server workers have them."""

    def perform(case: Callable[[Hub, Hub], Awaitable[None]]) -> None:
        async def all_of_it() -> None:
            async with request.param(tmp_path) as (one, other):
                await case(one, other)

        run(all_of_it)

    return perform


Contract = Callable[[Callable[[Hub, Hub], Awaitable[None]]], None]


def test_two_peers_signal_each_other_in_order(contract: Contract) -> None:
    async def case(one: Hub, other: Hub) -> None:
        alice = await Person(one, "alice").connect()
        bob = await Person(other, "bob").connect()
        await alice.gets("OPEN")
        await bob.gets("OPEN")
        for n in range(50):
            alice.say("CANDIDATE", n, dst="bob")
        await bob.gets("CANDIDATE", 50)
        assert [m["payload"] for m in bob.of("CANDIDATE")] == list(range(50))
        assert {m["src"] for m in bob.of("CANDIDATE")} == {"alice"}
        bob.say("ANSWER", "\u00fc\U0001f600", dst="alice")
        assert (await alice.gets("ANSWER"))["payload"] == "\u00fc\U0001f600"

    contract(case)


def test_a_source_is_found_and_forgotten_when_it_hangs_up(contract: Contract) -> None:
    async def case(one: Hub, other: Hub) -> None:
        alice = await Person(one, "alice").connect()
        bob = await Person(other, "bob").connect()
        alice.announce([[0, 10]])
        await bob.finds("alice")
        alice.hang_up()
        await bob.finds()

    contract(case)


def test_an_id_is_one_peer_over_all_workers(contract: Contract) -> None:
    async def case(one: Hub, other: Hub) -> None:
        alice = await Person(one, "alice", "mine").connect()
        await alice.gets("OPEN")
        thief = await Person(other, "alice", "stolen").connect()
        await thief.gets("ID-TAKEN")
        await until(lambda: thief.closed is not None, "the thief is cut off")
        again = await Person(other, "alice", "mine").connect()
        await again.gets("OPEN")
        await until(lambda: alice.closed is not None, "the old socket is closed")
        bob = await Person(one, "bob").connect()
        bob.say("OFFER", {}, dst="alice")
        await again.gets("OFFER")

    contract(case)


def test_messages_for_a_peer_that_comes_a_moment_later_wait(contract: Contract) -> None:
    async def case(one: Hub, other: Hub) -> None:
        alice = await Person(one, "alice").connect()
        alice.say("OFFER", 1, dst="bob")
        alice.say("CANDIDATE", 2, dst="bob")
        alice.announce([[0, 1]])
        asker = await Person(other, "asker").connect()
        await asker.finds("alice")
        bob = await Person(other, "bob").connect()
        await bob.gets("CANDIDATE")
        assert [m["type"] for m in bob.inbox] == ["OPEN", "OFFER", "CANDIDATE"]

    contract(case)


def test_a_mailbox_peer_is_served_by_any_worker(contract: Contract) -> None:
    async def case(one: Hub, other: Hub) -> None:
        socket = await Person(one, "socket").connect()
        box = Person(one, "box")
        await box.post(box.announcement([[0, 10]]))
        assert box.inbox == [{"type": "OPEN"}]
        assert await socket.sources() == ["box"]
        socket.say("OFFER", {"sdp": 1}, dst="box")
        await socket.sources()  # the offer has arrived when this is answered
        wait = await box.post(hub=other)
        assert box.inbox[-1]["src"] == "socket" and wait < 0.5
        await box.post({"type": "ANSWER", "dst": "socket", "payload": 2}, hub=other)
        assert (await socket.gets("ANSWER"))["payload"] == 2
        await box.post(leave=True, hub=other)
        await socket.finds()

    contract(case)


def test_two_mailbox_peers_find_each_other(contract: Contract) -> None:
    async def case(one: Hub, other: Hub) -> None:
        alice, bob = Person(one, "alice"), Person(other, "bob")
        await alice.post(alice.announcement([[0, 10]]))
        await bob.post(bob.question())
        assert [p["id"] for p in bob.of("SOURCES")[0]["payload"]["peers"]] == ["alice"]
        await bob.post({"type": "OFFER", "dst": "alice", "payload": "o"})
        async with asyncio.timeout(10):
            while not alice.of("OFFER"):  # on the way from machine to machine, perhaps
                await alice.post()
        assert alice.of("OFFER")[0]["payload"] == "o"

    contract(case)


def test_rest_calls_and_discovery_see_the_peers_of_every_worker(contract: Contract) -> None:
    async def case(one: Hub, other: Hub) -> None:
        alice = await Person(one, "alice").connect()
        await alice.gets("OPEN")
        payload = {"stream": "s", "role": "main", "rid": 0}
        (answer,) = await other.call("STREAM-ANNOUNCE", payload, id="alice", token="t")
        assert answer["payload"]["peers"] == [{"id": "alice"}]
        (answer,) = await other.call("STREAM-ANNOUNCE", payload, id="alice", token="stolen")
        assert answer["type"] == "ERROR"
        assert await other.peers() == ["alice"]
        assert await one.peers() == ["alice"]

    contract(case)


def test_counts_reach_every_worker(contract: Contract) -> None:
    async def case(one: Hub, other: Hub) -> None:
        people = [await Person(hub, f"p{n}").connect() for n, hub in enumerate((one, other) * 3)]
        for person in people:
            person.announce([[0, 1]])
        for hub in (one, other):
            await until(lambda hub=hub: hub.snapshot().get("peers") == 6, "six peers are counted")
            assert hub.snapshot()["contents"] == 1
            assert hub.healthy

    contract(case)


def test_reports_of_any_worker_are_counted_once(contract: Contract, everyone: list[Hub]) -> None:
    async def case(one: Hub, other: Hub) -> None:
        reports: list[tuple[str, object]] = []
        for hub in everyone:
            hub.on_report = lambda id, payload: reports.append((id, payload))
        alice = await Person(one, "alice").connect()
        alice.say("REPORT", {"peer": 5})
        await until(lambda: bool(reports), "a report arrives")
        assert reports == [("alice", {"peer": 5})]

    contract(case)


def test_garbage_of_one_peer_harms_no_other(contract: Contract) -> None:
    async def case(one: Hub, other: Hub) -> None:
        alice = await Person(one, "alice").connect()
        bob = await Person(other, "bob").connect()
        assert alice.session is not None
        for text in ("", "{", "\ud800", "[" * 50_000, '{"type":"ANNOUNCE","payload":[]}', "\0"):
            alice.session.receive(text)
        mallory = Person(one, "mallory")
        await mallory.post("x", 5, None, [], {"type": 1}, {"type": "OFFER", "dst": {}})
        bob.say("OFFER", {}, dst="alice")
        await alice.gets("OFFER")

    contract(case)


def test_many_peers_at_once_are_all_answered(contract: Contract) -> None:
    async def case(one: Hub, other: Hub) -> None:
        people = [Person((one, other)[n % 2], f"p{n}") for n in range(100)]
        await asyncio.gather(*(person.connect() for person in people))
        for person in people:
            person.announce([[0, 10]])
        answers = await asyncio.gather(*(person.sources() for person in people))
        assert all(len(ids) >= 1 for ids in answers[1:])

    contract(case)
