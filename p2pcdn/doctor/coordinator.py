"""Can visitors reach the coordinator, and one another through it?

Two made-up visitors come in through whatever stands in front of the site: over a WebSocket,
over the POST mailbox, and one over each. They send what browsers send, `Origin` included.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from p2pcdn.doctor.assets import Loader
from p2pcdn.doctor.findings import Report
from p2pcdn.doctor.people import People, messages_of
from p2pcdn.doctor.visitor import Answer, Unreachable, visit
from p2pcdn.doctor.websocket import ClientSocket, Refused, Silent

__all__ = ["check_coordinator"]

_ROUNDS = 2
_AT_ONCE = 8
_SETTLE_S = 0.2

_NGINX = (
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    'proxy_set_header Connection "upgrade";'
)
_LIBRARY = (
    "uvicorn has WebSockets only with a library for them: pip install websockets (the extra "
    "`cli` brings one). If it is there, uvicorn runs with --ws none."
)
_PATH = "Send everything below the coordinator's path (default /peerjs/) to the app"
_HOST = (
    "Let the web server in front keep the visitor's Host (nginx: `proxy_set_header Host "
    "$http_host;`), or name the site's origin in the `allowed_origins` setting."
)


def check_coordinator(report: Report, loader: Loader, *, timeout_s: float) -> None:
    """Try the coordinator that the loader names."""
    check = _Check(report, loader, timeout_s)
    if not check.there():
        return
    if not check.workers():
        return  # whether two visitors meet is then a matter of luck
    socket = check.sockets() if loader.settings.get("socket") else check.no_sockets()
    if check.mailboxes(needed=not socket) and socket:
        check.across()


class _Check:
    def __init__(self, report: Report, loader: Loader, timeout_s: float) -> None:
        self.report = report
        self.people = People(loader, timeout_s)
        self.base = self.people.base
        self.timeout_s = timeout_s

    # --- plain requests ----------------------------------------------------------------

    def there(self) -> bool:
        """`GET /` and two fresh ids."""
        try:
            answer = visit(self.base, timeout_s=self.timeout_s)
            ids = [
                visit(
                    f"{self.base}{self.people.key}/id",
                    headers=self.people.fetch,
                    timeout_s=self.timeout_s,
                )
                for _ in range(2)
            ]
        except Unreachable as error:
            self.report.problem(
                "coordinator",
                f"The coordinator cannot be reached: {error}.",
                f"{_PATH}; look into the site's log.",
            )
            return False
        said = answer.json()
        if answer.status != 200 or not isinstance(said, dict) or "name" not in said:
            self.report.problem(
                "coordinator",
                f"The coordinator's address answers {answer.status}{_server(answer)}: {self.base}",
                f"{_PATH}, unchanged. "
                + (
                    "A 502 or 504 means that the web server in front does not get through to it."
                    if answer.status in (502, 503, 504)
                    else "No cache or static folder may catch it."
                ),
            )
            return False
        if any(answer.status != 200 for answer in ids):
            self.report.problem(
                "coordinator",
                f"The coordinator gives no ids ({ids[0].status}, {ids[1].status}).",
                f"{_PATH}, unchanged; look into the site's log.",
            )
            return False
        if ids[0].body == ids[1].body:
            self.report.problem(
                "coordinator-cached",
                "Two visitors were given the same id: something in front of the site caches the "
                "coordinator's answers.",
                "Let the web server or CDN keep nothing below the coordinator's path.",
            )
            return False
        self.report.ok("coordinator", f"The coordinator answers at {self.base}")
        return True

    # --- WebSockets --------------------------------------------------------------------

    def no_sockets(self) -> bool:
        self.report.warning(
            "websocket-none",
            "The site's server can hold no WebSockets, so visitors ask over HTTP every 2 seconds.",
            "It works. To spare those requests run the site on gunicorn (sync or gthread "
            "workers) or on an ASGI server such as uvicorn with `websockets` installed; with "
            "Django on ASGI wrap the application in asgi.py: `P2PCDN(get_asgi_application())`.",
        )
        return False

    def sockets(self) -> bool:
        """Whether two visitors with a WebSocket each hear one another."""
        try:
            with self.people.socket() as (one, _), self.people.socket() as (two, other):
                if not self.heard(one, two, other):
                    return False
                compressed = one.compressed
        except Refused as error:
            by = f" by {error.server}" if error.server else ""
            if error.status in (403, 401):
                remedy = f"Something in front refuses it. {_HOST}"
            elif error.server.startswith("uvicorn"):
                remedy = _LIBRARY
            else:
                remedy = f"Let the web server in front pass upgrades on. nginx: {_NGINX}"
            self.report.warning(
                "websocket",
                f"A WebSocket is refused: {error}{by}. Visitors fall back to asking over HTTP "
                "every 2 seconds.",
                remedy,
            )
            return False
        except (Unreachable, Silent) as error:
            self.report.warning(
                "websocket",
                f"A WebSocket does not work: {error}. Visitors fall back to asking over HTTP every "
                "2 seconds.",
                f"Let everything in front pass upgrades on and keep idle sockets open. nginx: "
                f"{_NGINX}",
            )
            return False
        self.report.ok(
            "websocket",
            "Two visitors reach each other over WebSockets (an offer arrived)."
            + (
                " The server compresses messages, which costs it about 100 KiB a visitor (uvicorn: "
                "--ws-per-message-deflate false)."
                if compressed
                else ""
            ),
        )
        return True

    def heard(self, one: ClientSocket, two: ClientSocket, other: str) -> bool:
        for socket in (one, two):
            opened = socket.hear("OPEN")
            if opened.get("type") != "OPEN":
                payload = opened.get("payload")
                said = str(payload.get("msg") if isinstance(payload, dict) else opened.get("type"))
                foreign = "another site" in said
                self.report.warning(
                    "coordinator-origin" if foreign else "websocket-error",
                    f"The coordinator refuses WebSockets of this site's own pages: {said}",
                    _HOST if foreign else "Look into the site's log.",
                )
                return False
        proof = secrets.token_hex(8)
        one.say({"type": "OFFER", "dst": other, "payload": {"doctor": proof}})
        offer = two.hear("OFFER")
        if offer.get("payload") != {"doctor": proof}:
            raise Unreachable("an offer arrived changed")
        return True

    # --- mailbox -----------------------------------------------------------------------

    def mailboxes(self, *, needed: bool) -> bool:
        """Whether two visitors with a mailbox each hear one another."""
        one, two = self.people.person(), self.people.person()
        try:
            answer = self.people.post(one)
            self.people.post(two)
        except Unreachable as error:
            return self.mailbox_fails(str(error), needed=needed)
        said = answer.json()
        if answer.status == 403:
            self.report.problem(
                "coordinator-origin",
                "The coordinator takes this site's own pages for another site's: "
                f"{said.get('message', '') if isinstance(said, dict) else answer.status}",
                _HOST,
            )
            return False
        if answer.status != 200 or not isinstance(said, dict) or not said.get("messages"):
            return self.mailbox_fails(f"it answers {answer.status}{_server(answer)}", needed=needed)
        try:
            offer = self.pass_on(one, two)
        finally:
            self.people.leave(one, two)
        if not offer:
            return self.mailbox_fails(
                "a message from one visitor never reached another", needed=True
            )
        if "no-store" not in answer.header("cache-control").lower() or answer.header("age"):
            self.report.warning(
                "mailbox-cached",
                "Something in front of the site changes the cache headers of the mailbox.",
                "Let the web server or CDN keep nothing below the coordinator's path.",
            )
        self.report.ok("mailbox", "Two visitors reach each other over HTTP (the mailbox).")
        return True

    def mailbox_fails(self, why: str, *, needed: bool) -> bool:
        text = f"The mailbox, the way without WebSockets, does not work: {why}."
        remedy = f"{_PATH}, POST included; look into the site's log."
        if needed:
            self.report.problem("mailbox", text, remedy)
        else:
            self.report.warning("mailbox", text, remedy)
        return False

    def pass_on(self, one: dict[str, str], two: dict[str, str]) -> bool:
        """Whether an offer of one arrives at the other."""
        proof = secrets.token_hex(8)
        offer: dict[str, Any] = {"type": "OFFER", "dst": two["id"], "payload": {"doctor": proof}}
        try:
            self.people.post(one, offer)
            return self.people.arrives(two, offer["payload"])
        except Unreachable:
            return False

    # --- several server workers --------------------------------------------------------

    def workers(self) -> bool:
        """Whether whoever answers is the same coordinator each time (or cannot be asked)."""
        me = self.people.person()
        try:
            if self.people.post(me).status != 200:
                return True  # the mailbox's own findings say more
            forgotten = sum(map(self.forgotten, [me] * _ROUNDS))
        except Unreachable:
            return True
        finally:
            self.people.leave(me)
        if forgotten:
            self.report.problem(
                "workers",
                "The site's server workers do not share one coordinator: a visitor whom one of "
                "them knows is unknown to another.",
                "Give all of them one `data_dir` that they can write, as the same user; look for "
                "`p2pcdn.hub` in the site's log. Several machines do not share one by themselves: "
                "see docs/deployment.md.",
            )
            return False
        self.report.ok(
            "workers",
            f"{_ROUNDS * _AT_ONCE} new connections met one and the same coordinator.",
        )
        return True

    def forgotten(self, person: dict[str, str]) -> int:
        """How many of several simultaneous requests met a coordinator that knew nothing.

        A server worker that has a connection leaves the next one to another: so all connect
        before the first one speaks.
        """
        barrier = threading.Barrier(_AT_ONCE)

        def together() -> None:
            with contextlib.suppress(threading.BrokenBarrierError):
                barrier.wait(self.timeout_s)
                time.sleep(_SETTLE_S)

        def ask(_: int) -> bool:
            answer = self.people.post(person, connected=together)
            return any(message.get("type") == "OPEN" for message in messages_of(answer))

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return sum(pool.map(ask, range(_AT_ONCE)))

    def across(self) -> None:
        """Whether a visitor with a WebSocket reaches one with a mailbox."""
        person = self.people.person()
        proof = {"doctor": secrets.token_hex(8)}
        try:
            self.people.post(person)
            with self.people.socket() as (socket, _):
                socket.hear("OPEN")
                socket.say({"type": "OFFER", "dst": person["id"], "payload": proof})
                met = self.people.arrives(person, proof)
        except (Unreachable, Refused, Silent):
            met = False
        finally:
            self.people.leave(person)
        if not met:
            self.report.warning(
                "mailbox-across",
                "A visitor with a WebSocket does not reach one who asks over HTTP.",
                "The two ways must lead to the same site: look at how the web server in front "
                "treats upgrades and POST below the coordinator's path.",
            )


def _server(answer: Answer) -> str:
    server = answer.header("server")
    return f" (says {server[:40]})" if server else ""
