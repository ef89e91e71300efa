"""Two real uvicorn workers, one coordinator, and the death of one of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.web.coordinator_site import CONTENT, Client, client, serve_workers

pytestmark = pytest.mark.server


def fresh_state(port: int) -> dict[str, object]:
    # A connection of its own each time, so that the kernel may pick the other worker.
    return dict(httpx.get(f"http://127.0.0.1:{port}/state").json())


def both(port: int) -> dict[str, int]:
    """The process ids of the workers by what they are."""
    found: dict[str, int] = {}
    end = time.monotonic() + 30
    while len(found) < 2 and time.monotonic() < end:
        # A mailbox wakes the hub of whichever worker it lands on.
        body = {"id": "wake", "token": "t", "key": "peerjs", "messages": [], "leave": True}
        httpx.post(f"http://127.0.0.1:{port}/peerjs/mailbox", json=body)
        state = fresh_state(port)
        if state["state"] in ("elected", "connected"):
            found[str(state["state"])] = int(str(state["pid"]))
    assert len(found) == 2, found
    return found


def ask(socket: Client, port: int) -> list[str]:
    query = {"content": CONTENT, "peer": socket.id}
    token = httpx.get(f"http://127.0.0.1:{port}/token", params=query).json()
    socket.say("SOURCES", payload={"rid": 1, "content": CONTENT, "token": token})
    return [peer["id"] for peer in socket.hear_until("SOURCES")["payload"]["peers"]]


def announce(socket: Client, port: int) -> None:
    query = {"content": CONTENT, "peer": socket.id}
    token = httpx.get(f"http://127.0.0.1:{port}/token", params=query).json()
    payload = {"content": CONTENT, "token": token, "segments": 4, "have": [[0, 4]]}
    socket.say("ANNOUNCE", payload=payload)


def test_visitors_on_different_workers_find_each_other_also_after_one_worker_is_killed(
    tmp_path: Path,
) -> None:
    with serve_workers(tmp_path, 2, silence_timeout=20) as port, contextlib.ExitStack() as stack:
        workers = both(port)
        people: dict[str, Client] = {}
        # A stopped worker accepts nobody, so half of them land on each.
        for kind, ids in (("elected", "abcd"), ("connected", "efgh")):
            other = workers["connected" if kind == "elected" else "elected"]
            os.kill(other, signal.SIGSTOP)
            for id in ids:
                people[id] = stack.enter_context(client(port, id, opened=False))
            os.kill(other, signal.SIGCONT)
        for person in people.values():
            assert person.hear() == {"type": "OPEN"}
        ids = [*people]
        for person in people.values():
            announce(person, port)
        asker = people["a"]
        while sorted(ask(asker, port)) != sorted(ids[1:]):
            pass
        for id in ids[1:]:
            asker.say("OFFER", dst=id, payload=id)
            assert people[id].hear() == {"type": "OFFER", "src": "a", "dst": id, "payload": id}

        os.kill(workers["elected"], signal.SIGKILL)
        # The kernel closes the sockets of the dead worker; the others' must stay open.
        alive = {}
        for id, person in people.items():
            with contextlib.suppress(ConnectionClosed):
                person.echo()
                alive[id] = person
        assert sorted(alive) == ["e", "f", "g", "h"]
        (first, *others) = alive.values()
        while sorted(ask(first, port)) != sorted(other.id for other in others):
            pass
        for other in others:
            first.say("OFFER", dst=other.id, payload=2)
            assert other.hear_until("OFFER")["src"] == first.id
        # A visitor of the dead worker reconnects, wherever, and is found again.
        lost = "a"
        again = stack.enter_context(client(port, lost))
        announce(again, port)
        while lost not in ask(first, port):
            pass


def test_a_request_that_was_under_way_when_its_worker_was_killed_is_not_passed_on_twice(
    tmp_path: Path,
) -> None:
    """A mailbox peer has no answer, and asks the other worker the same."""
    with serve_workers(tmp_path, 2, silence_timeout=20) as port, contextlib.ExitStack() as stack:
        workers = both(port)

        def landing_on(kind: str) -> Callable[[], None]:
            """Whoever connects until the result is called lands on this worker."""
            other = workers["connected" if kind == "elected" else "elected"]
            os.kill(other, signal.SIGSTOP)
            return lambda: os.kill(other, signal.SIGCONT)

        def request(serial: int, payload: Any, **more: Any) -> bytes:
            offer = {"type": "OFFER", "dst": "bob", "payload": payload}
            box = {"id": "box", "token": "t", "key": "peerjs", "messages": [offer], **more}
            body = json.dumps({**box, "serial": serial}).encode()
            return (
                f"POST /peerjs/mailbox HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n"
            ).encode() + body

        def post(serial: int, payload: Any, **more: Any) -> Any:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(request(serial, payload, **more))
                answer = b""
                while data := connection.recv(65536):
                    answer += data
            return json.loads(answer.partition(b"\r\n\r\n")[2])

        go_on = landing_on("connected")
        bob = stack.enter_context(client(port, "bob", opened=False))
        go_on()
        assert bob.hear() == {"type": "OPEN"}
        go_on = landing_on("elected")
        post(1, "first")
        under_way = socket.create_connection(("127.0.0.1", port), timeout=30)
        go_on()
        assert bob.hear()["payload"] == "first"
        under_way.sendall(request(2, "under way"))
        assert bob.hear()["payload"] == "under way"
        os.kill(workers["elected"], signal.SIGKILL)
        under_way.close()  # nobody reads what it may have answered
        while True:
            with contextlib.suppress(OSError, ValueError):
                said = post(2, "under way", again=True)
                if "messages" in said and said.get("wait"):
                    break
        post(3, "after")
        assert bob.hear()["payload"] == "after"
