"""The elected process dies with a mailbox request in hand: what it passed on is not said twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from p2pcdn.coordinator.events import Reply
from p2pcdn.hub import wire
from tests.hub.people import Person, make_hub, run
from tests.hub.test_takeover import kill, worker

_REPLY = wire.encode(Reply(1, []))[0]


class Between:
    """Stands between a worker and the elected process, and can keep a reply to itself."""

    def __init__(self) -> None:
        self.at_reply: Callable[[], None] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far, near = await asyncio.open_unix_connection(self.behind)
        up = asyncio.ensure_future(self._pipe(reader, near))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await far.readexactly(9)
                body = await far.readexactly(int.from_bytes(head[5:], "big"))
                if head[0] == _REPLY and self.at_reply is not None:
                    self.at_reply()
                    self.at_reply = None
                    break
                writer.write(head + body)
                await writer.drain()
        up.cancel()
        near.close()
        writer.close()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)

    @contextlib.asynccontextmanager
    async def standing(self, folder: Path) -> AsyncIterator[None]:
        (path,) = folder.glob("*.sock")
        self.behind = path.rename(path.with_suffix(".behind"))
        server = await asyncio.start_unix_server(self.serve, path)
        try:
            yield
        finally:
            server.close()


def offer(n: int) -> dict[str, Any]:
    return {"type": "OFFER", "dst": "bob", "payload": n}


def test_an_offer_that_the_dying_process_passed_on_is_not_passed_on_again_by_its_successor(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        between = Between()
        with worker(tmp_path, "dies") as elected:
            theirs = make_hub(tmp_path)
            bob = await Person(theirs, "bob").connect()
            await bob.gets("OPEN")
            async with between.standing(tmp_path):
                hub = make_hub(tmp_path)
                box = Person(hub, "box")
                await box.post(offer(1), serial=1)
                await bob.gets("OFFER")
                killed = []
                between.at_reply = lambda: (kill(elected), killed.append(1))  # type: ignore[func-returns-value]
                await box.post(offer(2), serial=2)
                assert killed, "it died with the answer in hand"
            # The successor was asked the same, and knew nothing of box; nor whether bob had heard.
            assert len(box.of("OPEN")) == 2
            for n in (3, 4):
                await box.post(offer(n), serial=n)
            await bob.gets("OFFER", 4)
            # A client whose own connection broke, too, says it again.
            await box.post(offer(4), serial=4, again=True)
            await box.post(offer(5), serial=5)
            await bob.gets("OFFER", 5)
            assert [m["payload"] for m in bob.of("OFFER")] == [1, 2, 3, 4, 5]
            assert bob.closed is None
            await hub.close()
            await theirs.close()

    run(test)


def test_a_request_that_the_dying_process_never_saw_is_delivered(tmp_path: Path) -> None:
    async def test() -> None:
        with worker(tmp_path, "dies") as elected:
            theirs, hub = make_hub(tmp_path), make_hub(tmp_path)
            bob = await Person(theirs, "bob").connect()
            await bob.gets("OPEN")
            box = Person(hub, "box")
            await box.post(serial=1)
            kill(elected)
            states = {"elected", "connected"}
            while {str(one.snapshot()["state"]) for one in (hub, theirs)} != states:
                await asyncio.sleep(0.01)
            await box.post(offer(1), serial=2)
            await bob.gets("OFFER")
            assert [m["payload"] for m in bob.of("OFFER")] == [1]
            await hub.close()
            await theirs.close()

    run(test)
