"""What viewers cost a site that can give them no WebSocket, while nothing happens.

    python -m tests.bench.bench_mailbox [--viewers 200] [--batches 12]

Each asks for its mailbox every two seconds, as the coordinator tells it to. Measured is the
processor time of the whole server for one such request, the least of several batches (what else
the machine does makes it more, never less), beside one that the server answers without an app.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
from pathlib import Path

from tests.servers.process import Server
from tests.servers.python import Gunicorn, Uvicorn

_SITES = {
    "gunicorn sync": lambda: Gunicorn("tests.sites.flask_app:wrapped()", workers=2),
    "gunicorn gthread": lambda: Gunicorn(
        "tests.sites.flask_app:wrapped()", workers=2, worker_class="gthread", threads=4
    ),
    "uvicorn": lambda: Uvicorn("tests.sites.asgi_app:starlette", arguments=["--factory"]),
}


def _tree(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += _tree(int(child))
    return found


def _cpu_s(server: Server) -> float:
    assert server.process is not None
    total = 0
    for pid in _tree(server.process.pid):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def _ask(server: Server, method: str, path: str, body: str = "") -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return connection.getresponse().read()


def _measure(server: Server, viewers: int, batches: int) -> tuple[float, float, float]:
    """Seconds of one request that is none of ours, of one to the mailbox, and the pause told."""
    wait_s = 0.0
    plain, mailbox = [], []
    for serial in range(batches):
        cpu = _cpu_s(server)
        for _ in range(100):
            _ask(server, "GET", "/nothing-here")
        plain.append((_cpu_s(server) - cpu) / 100)
        cpu = _cpu_s(server)
        for number in range(viewers):
            body = {"id": f"v{number}", "token": "t", "key": "peerjs", "messages": []}
            said = _ask(server, "POST", "/peerjs/mailbox", json.dumps({**body, "serial": serial}))
            wait_s = json.loads(said)["wait"]
        mailbox.append((_cpu_s(server) - cpu) / viewers)
    return min(plain), min(mailbox), wait_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--batches", type=int, default=12)
    args = parser.parse_args()
    for name, make in _SITES.items():
        with make() as server:
            plain, mailbox, wait_s = _measure(server, args.viewers, args.batches)
        share = mailbox * args.viewers / wait_s
        print(
            f"{name:17} {1e6 * plain:5.0f} us for a 404 of the app, {1e6 * mailbox:5.0f} us for a "
            f"mailbox; {args.viewers} idle viewers, one request each per {wait_s:g} s: {share:.1%} "
            f"of a core   asked: < 5 % {'reached' if share < 0.05 else 'NOT REACHED'}"
        )


if __name__ == "__main__":
    main()
