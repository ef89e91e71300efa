"""A worker dies, is forked, or finds no place to meet: peers go on talking."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest

from p2pcdn.coordinator import Candidate, DefaultRanker
from p2pcdn.hub import HubUnavailable, place
from tests.hub.people import CONTENT, Person, make_hub, run, until

pytestmark = pytest.mark.lengthy

ROOT = Path(__file__).parents[2]


@contextmanager
def worker(folder: Path, id: str) -> Iterator[subprocess.Popen[str]]:
    """Another server worker, in a real process, when it is up."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.hub.worker", str(folder), id],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() in ("elected", "connected")
        yield process
    finally:
        process.kill()
        process.communicate()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_when_the_elected_process_is_killed_sockets_of_the_others_stay_connected_and_listed(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        with worker(tmp_path, "dies") as elected, worker(tmp_path, "lives"):
            hub = make_hub(tmp_path)
            alice = await Person(hub, "alice").connect()
            alice.announce([[0, 5]])
            assert hub.snapshot()["state"] == "connected"
            await alice.finds("dies", "lives")
            alice.say("OFFER", 1, dst="lives")
            await alice.gets("ANSWER", 1)
            kill(elected)
            alice.say("OFFER", 2, dst="nobody in particular")
            await alice.finds("lives")
            alice.say("OFFER", 3, dst="lives")
            assert (await alice.gets("ANSWER", 2))["payload"] == 3
            assert alice.closed is None
            assert alice.of("REANNOUNCE") == [] and len(alice.of("OPEN")) == 1
            # What alice herself had announced survived as well.
            bob = await Person(hub, "bob").connect()
            await bob.finds("alice", "lives")
            await hub.close()

    run(test)


def test_when_all_die_one_after_the_other_the_last_one_serves(tmp_path: Path) -> None:
    async def test() -> None:
        with worker(tmp_path, "a") as a, worker(tmp_path, "b") as b, worker(tmp_path, "c") as c:
            hub = make_hub(tmp_path)
            alice = await Person(hub, "alice").connect()
            await alice.finds("a", "b", "c")
            for process in (a, b, c):
                kill(process)
            await alice.finds()
            assert hub.snapshot()["state"] == "elected"
            with ExitStack() as stack:
                # (In a thread: this loop has to answer the new worker.)
                await asyncio.to_thread(stack.enter_context, worker(tmp_path, "d"))
                await alice.finds("d")
            await hub.close()

    run(test)


def test_a_mailbox_peer_is_told_to_announce_again_after_a_takeover(tmp_path: Path) -> None:
    async def test() -> None:
        with worker(tmp_path, "dies") as elected:
            hub = make_hub(tmp_path)
            box = Person(hub, "box")
            await box.post(box.announcement([[0, 10]]))
            kill(elected)
            await box.post()
            assert [m["type"] for m in box.inbox] == ["OPEN", "OPEN"]
            await box.post(box.announcement([[0, 10]]))
            asker = Person(hub, "asker")
            await asker.post(asker.question())
            peers = asker.of("SOURCES")[0]["payload"]["peers"]
            assert [peer["id"] for peer in peers] == ["box"]
            await hub.close()

    run(test)


def test_requests_during_a_takeover_are_answered(tmp_path: Path) -> None:
    async def test() -> None:
        with worker(tmp_path, "dies") as elected:
            hub = make_hub(tmp_path)
            await hub.start()
            posts = [asyncio.create_task(Person(hub, f"p{n}").post()) for n in range(10)]
            kill(elected)
            posts += [asyncio.create_task(Person(hub, f"q{n}").post()) for n in range(10)]
            await asyncio.gather(*posts)
            await hub.close()

    run(test)


def test_an_announcement_without_a_token_is_not_smuggled_in_by_a_takeover(tmp_path: Path) -> None:
    async def test() -> None:
        with worker(tmp_path, "dies") as elected:
            hub = make_hub(tmp_path)
            thief = await Person(hub, "thief").connect()
            payload = {"content": CONTENT, "token": "x" * 32, "segments": 10, "have": [[0, 10]]}
            thief.say("ANNOUNCE", payload)
            await thief.gets("REFUSED")
            kill(elected)
            alice = await Person(hub, "alice").connect()
            await alice.finds()
            assert hub.snapshot()["state"] == "elected"
            assert hub.snapshot()["contents"] == 0
            await hub.close()

    run(test)


def test_withdrawn_contents_and_streams_come_back_as_they_were(tmp_path: Path) -> None:
    async def test() -> None:
        with worker(tmp_path, "dies") as elected:
            hub = make_hub(tmp_path)
            alice = await Person(hub, "alice").connect()
            other = "f" * 32
            alice.announce([[0, 3]])
            alice.announce([[3, 3]])
            alice.announce([[0, 1]], content=other)
            alice.say("WITHDRAW", {"content": other})
            alice.say("STREAM-ANNOUNCE", {"stream": "s", "role": "main"})
            alice.say("STREAM-ANNOUNCE", {"stream": "s", "role": "secondary"})
            alice.say("STREAM-WITHDRAW", {"stream": "s", "role": "secondary"})
            bob = await Person(hub, "bob").connect()
            await bob.finds("alice", "dies")
            kill(elected)
            await bob.finds("alice")
            assert bob.of("SOURCES")[-1]["payload"]["peers"] == [{"id": "alice", "have": [[0, 6]]}]
            assert await bob.sources(other) == []
            for role, ids in (("main", ["alice"]), ("secondary", [])):
                (answer,) = await hub.call(
                    "STREAMERS", {"stream": "s", "role": role}, id="", token=""
                )
                assert [peer["id"] for peer in answer["payload"]["peers"]] == ids
            await hub.close()

    run(test)


def test_a_takeover_does_not_forget_on_what_network_a_peer_is(tmp_path: Path) -> None:
    lines: dict[str, str] = {}

    class Looking(DefaultRanker):
        def rank(
            self, candidates: Sequence[Candidate], *, limit: int, random: Random
        ) -> Sequence[Candidate]:
            lines.update((c.id, c.line) for c in candidates)
            return super().rank(candidates, limit=limit, random=random)

    async def test() -> None:
        with worker(tmp_path, "dies") as elected:
            hub = make_hub(tmp_path, ranker=Looking())
            alice = await Person(hub, "alice").connect()
            alice.announce([[0, 3]], info={"upload": True, "network": "wifi"})
            alice.announce([[3, 3]])
            bob = await Person(hub, "bob").connect()
            await bob.finds("alice", "dies")
            assert not lines, "it was another process that ranked"
            kill(elected)
            await bob.finds("alice")
            assert lines == {"alice": "wifi"}
            await hub.close()

    run(test)


def test_a_graceful_end_of_the_elected_worker_moves_everybody(tmp_path: Path) -> None:
    async def test() -> None:
        first, second = make_hub(tmp_path), make_hub(tmp_path)
        await first.start()
        bob = await Person(second, "bob").connect()
        await bob.gets("OPEN")
        bob.announce([[0, 10]])
        await first.close()
        alice = await Person(second, "alice").connect()
        await alice.finds("bob")
        assert second.snapshot()["state"] == "elected"
        await second.close()

    run(test)


def test_a_hub_made_before_the_fork_serves_in_the_children(tmp_path: Path) -> None:
    # In a process of its own: forking the test runner, with its threads, is not safe.
    script = f"""
import asyncio, os, sys
from pathlib import Path
from tests.hub.people import Person, make_hub

hub = make_hub(Path({str(tmp_path)!r}))
mine, theirs = os.pipe(), os.pipe()
child = os.fork()

async def serve(id, finds, done, wait):
    person = await Person(hub, id).connect()
    person.announce([[0, 10]])
    await person.finds(finds)
    os.write(done, b"x")
    await asyncio.to_thread(os.read, wait, 1)

if child:
    asyncio.run(serve("a", "b", mine[1], theirs[0]))
    os.waitpid(child, 0)
    print("found")
else:
    asyncio.run(serve("b", "a", theirs[1], mine[0]))
    os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "found\n", done.stderr


def test_a_child_of_the_elected_worker_does_not_keep_its_place_after_its_death(
    tmp_path: Path,
) -> None:
    # A worker that forks (a process pool) and is killed: the child must hold neither the
    # lock nor the connections.
    script = f"""
import asyncio, os, sys, time
from pathlib import Path
from tests.hub.people import Person, make_hub

async def main():
    hub = make_hub(Path({str(tmp_path)!r}))
    await Person(hub, "dies").connect()
    await asyncio.to_thread(sys.stdin.readline)
    if os.fork() == 0:
        os.write(1, b"forked %d\\n" % os.getpid())
        time.sleep(60)
    await asyncio.sleep(60)

asyncio.run(main())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    child = 0
    try:

        async def test() -> None:
            nonlocal child
            hub = make_hub(tmp_path)
            while not any(tmp_path.glob("*.sock")):
                await asyncio.sleep(0.01)
            alice = await Person(hub, "alice").connect()
            await alice.gets("OPEN")
            assert hub.snapshot()["state"] == "connected"
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            line = await asyncio.to_thread(process.stdout.readline)  # type: ignore[union-attr]
            child = int(line.split()[1])
            kill(process)
            await until(lambda: hub.snapshot()["state"] == "elected", "the place is taken over")
            await hub.close()

        run(test)
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.communicate()


def test_each_new_event_loop_starts_anew(tmp_path: Path) -> None:
    hub = make_hub(tmp_path)

    async def test() -> None:
        alice = await Person(hub, "alice").connect()
        await alice.gets("OPEN")
        assert hub.snapshot()["state"] == "elected"

    for _ in range(3):  # without close(), as a test client does it
        run(test)
    assert hub.snapshot() == {"state": "idle"}


def test_two_event_loops_of_one_process_share_a_coordinator(tmp_path: Path) -> None:
    hub = make_hub(tmp_path)
    stop, up = threading.Event(), threading.Event()

    async def other() -> None:
        person = await Person(hub, "other").connect()
        person.announce([[0, 10]])
        up.set()
        while not stop.is_set():
            await asyncio.sleep(0.01)
        await hub.close()

    thread = threading.Thread(target=lambda: asyncio.run(other()))
    thread.start()

    async def here() -> None:
        assert await asyncio.to_thread(up.wait, 30)
        alice = await Person(hub, "alice").connect()
        await alice.finds("other")
        stop.set()
        await alice.finds()
        await hub.close()

    try:
        run(here)
    finally:
        stop.set()
        thread.join()


def test_a_folder_that_cannot_be_written_gives_a_coordinator_of_its_own_and_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "file" / "folder"
    (tmp_path / "file").write_text("in the way")
    # A path too long for a Unix socket would take them to another folder.
    monkeypatch.setattr(place, "_MOST_PATH_BYTES", len(str(folder)) + 100)

    async def test() -> None:
        hub = make_hub(folder)
        alice = await Person(hub, "alice").connect()
        bob = await Person(hub, "bob").connect()
        alice.say("OFFER", {}, dst="bob")
        await bob.gets("OFFER")
        assert hub.snapshot()["state"] == "local"
        assert hub.healthy
        await hub.close()

    with caplog.at_level(logging.WARNING, "p2pcdn"):
        run(test)
    (warning,) = caplog.records
    assert "data_dir" in warning.getMessage()


def test_a_long_folder_name_does_not_keep_workers_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = tempfile.mkdtemp(prefix="t")
    monkeypatch.setattr(tempfile, "tempdir", short)

    async def test() -> None:
        folder = tmp_path / ("long" * 40)
        first, second = make_hub(folder), make_hub(folder)
        await first.start()
        await second.start()
        assert (first.snapshot()["state"], second.snapshot()["state"]) == ("elected", "connected")
        (made,) = Path(short).iterdir()
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
        await second.close()
        await first.close()

    run(test)


def test_a_short_folder_that_somebody_else_prepared_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    short = Path(tempfile.mkdtemp(prefix="t"))
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    trap = short / f"p2pcdn-{os.getuid()}"
    trap.mkdir()
    trap.chmod(0o777)

    async def test() -> None:
        hub = make_hub(tmp_path / ("long" * 40))
        await hub.start()
        assert hub.snapshot()["state"] == "local"
        assert list(trap.iterdir()) == []
        await hub.close()

    run(test)
    assert "alone" in caplog.text


def test_the_socket_is_for_this_user_only(tmp_path: Path) -> None:
    async def test() -> None:
        hub = make_hub(tmp_path)
        await hub.start()
        for file in (*tmp_path.glob("*.sock"), *tmp_path.glob("*.lock")):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        await hub.close()

    run(test)


def test_sites_with_other_secrets_do_not_share_a_coordinator(tmp_path: Path) -> None:
    async def test() -> None:
        one = make_hub(tmp_path)
        other = make_hub(tmp_path, peerjs_key="another")
        await one.start()
        await other.start()
        assert one.snapshot()["state"] == other.snapshot()["state"] == "elected"
        await other.close()
        await one.close()

    run(test)


def test_a_stranger_on_the_unix_socket_is_cut_off_and_harms_nobody(tmp_path: Path) -> None:
    async def test() -> None:
        hub = make_hub(tmp_path)
        alice = await Person(hub, "alice").connect()
        (path,) = tmp_path.glob("*.sock")
        for data in (b"GET / HTTP/1.1\r\n\r\n" * 9, b"\xff" * 100, b"\x07" + b"\0" * 30):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(data)
            while await reader.read(1000):
                pass
            writer.close()
        assert (await alice.sources()) == []
        await hub.close()

    run(test)


def test_without_an_answer_a_question_fails_with_a_clear_error(tmp_path: Path) -> None:
    async def test() -> None:
        with worker(tmp_path, "hangs") as elected:
            hub = make_hub(tmp_path)
            await hub.start()
            elected.send_signal(signal.SIGSTOP)
            with pytest.raises(HubUnavailable, match="ask again"):
                await hub.peers()
            elected.send_signal(signal.SIGCONT)
            assert json.dumps(await hub.peers()) == '["hangs"]'
            await hub.close()

    run(test)
