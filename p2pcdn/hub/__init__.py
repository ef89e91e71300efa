"""The coordinator as the rest of the site sees it: one `Hub`, wherever the peers really are."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import importlib.util
import json
import os
import socket
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from p2pcdn.config import Config
from p2pcdn.coordinator import Admission, Limits, Ranker
from p2pcdn.coordinator.events import Call, List, Post
from p2pcdn.coordinator.streams import MayStream
from p2pcdn.errors import ConfigError
from p2pcdn.hub import wire
from p2pcdn.hub.elected import ElectedBackend
from p2pcdn.hub.engine import Engine, HubUnavailable, MakeBackend, Settings, local
from p2pcdn.hub.gate import Gate
from p2pcdn.hub.geo import Geo
from p2pcdn.hub.session import Session, TrackerSession

__all__ = [
    "Hub",
    "HubUnavailable",
    "MailboxReply",
    "MailboxRequest",
    "Session",
    "TrackerSession",
    "open_hub",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxRequest:
    """One POST of a mailbox peer. `messages` is whatever JSON it sent; `serial` and `again` as
    in `p2pcdn.coordinator.events.Post`."""

    id: str
    token: str
    key: str
    address: str = ""
    messages: list[Any]
    leave: bool = False
    serial: int | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class MailboxReply:
    """JSON texts for the peer, and the seconds after which it should ask again."""

    messages: list[str]
    wait: float


def open_hub(
    config: Config,
    *,
    secret: bytes,
    site: str,
    elected: bool = True,
    ranker: Ranker | None = None,
    may_stream: MayStream | None = None,
) -> Hub:
    """The hub of a site. Cheap and without I/O, so it may be made before a server forks.

    Args:
        config: The site's settings.
        secret: Signs admission tokens; the same in all of the site's processes.
        site: What tokens are bound to besides; any text that is the site's own.
        elected: Share one coordinator with the other processes of this machine.
        ranker: Orders lists of sources.
        may_stream: Which peers may announce themselves as streamers; default: all.
    """
    if config.redis_url is not None or config.secret is not None:
        # Known on several machines, whose folders may have different names.
        site = ""
    if config.redis_url is not None and importlib.util.find_spec("redis") is None:
        raise ConfigError('the option redis_url needs redis: pip install "p2pcdn[redis]"')
    # Whoever shares a coordinator must agree on all of this. The host name: a folder on a
    # network disk is seen by several machines, a Unix socket in it is not.
    same = (
        f"{wire.VERSION}|{site}|{config.folder()}|{config.coordinator_path}|"
        f"{config.peerjs_key}|{socket.gethostname()}|"
    )
    if config.redis_url is not None:
        same = f"{wire.VERSION}|{config.peerjs_key}|"
    name = hashlib.sha256(same.encode() + hashlib.sha256(secret).digest()).hexdigest()[:16]
    return Hub(
        Settings(
            limits=Limits.of(config),
            admission=Admission(secret, site),
            folder=config.folder(),
            name=f"hub-{name}",
            elected=elected,
            redis_url=config.redis_url,
            salt=hmac.digest(secret, b"p2pcdn networks 1", hashlib.sha256),
            ranker=ranker,
            may_stream=may_stream,
            locate=Geo(config.geo_databases) if config.geo_databases else None,
        ),
        Gate(config),
    )


class Hub:
    """Sessions and mailboxes of one site in this process.

    It starts by itself on the running loop at its first use, again after a fork, and again
    when that loop is closed and another one runs. Used on several loops at once, it behaves
    as several server workers do.
    """

    def __init__(self, settings: Settings, gate: Gate) -> None:
        self._settings = settings
        self.gate = gate
        """Who may stream: for those who hold the visitors' requests to ask."""
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._engines: list[Engine] = []
        self.on_report: Callable[[str, dict[str, Any]], None] | None = None
        """Called in one process with the peer id and each `REPORT` of a socket."""
        _hubs.add(self)

    async def start(self) -> None:
        """Find or become the coordinator. Not needed: first use does it."""
        await self._here().start()

    async def close(self, code: int = 1012, reason: str = "restarting") -> None:
        """Close the running loop's sessions and let another process coordinate.

        Args:
            code: What the sockets are closed with (RFC 6455, 7.4): 1012 where this server
                comes back, 1001 where it goes.
            reason: Likewise.
        """
        engine = self._here()
        await engine.close(code, reason)
        with self._lock:
            self._engines.remove(engine)
            self._engine = None

    async def attach(
        self,
        *,
        id: str,
        token: str,
        key: str,
        deliver: Callable[[str | list[str]], None],
        close: Callable[[int, str], None],
        address: str = "",
        loader: bool = False,
    ) -> Session:
        """Register a socket.

        Args:
            id: Peer id as the client gave it, unchecked; so are `token` and `key`.
            deliver: Sends one text frame, or several, to the socket; must not block. `OPEN`
                or the `ERROR` that turns the peer away arrives here, too.
            close: Closes the socket with a code and reason, after what was delivered.
            address: The client's IP address, where it is known.
            loader: It is p2pcdn's own loader.

        Returns:
            The session, to be fed with `receive(text)`, and `detach()` at the socket's end.
        """
        engine = self._here()
        if not engine.started:
            await engine.start()
        return engine.attach(
            id=id,
            token=token,
            key=key,
            address=address,
            loader=loader,
            deliver=deliver,
            close=close,
        )

    def attach_now(
        self,
        *,
        id: str,
        token: str,
        key: str,
        deliver: Callable[[str | list[str]], None],
        close: Callable[[int, str], None],
        address: str = "",
        loader: bool = False,
    ) -> Session:
        """`attach`, where nothing can be awaited; call `start` before."""
        return self._here().attach(
            id=id,
            token=token,
            key=key,
            address=address,
            loader=loader,
            deliver=deliver,
            close=close,
        )

    def track(
        self,
        *,
        deliver: Callable[[str | list[str]], None],
        close: Callable[[int, str], None],
        address: str = "",
    ) -> TrackerSession:
        """Register a socket of the WebTorrent tracker.

        Args:
            deliver, close, address: As for `attach`.

        Returns:
            The session, to be fed with `receive(text)`, and `detach()` at the socket's end.
        """
        engine = self._here()
        engine.begin()
        return engine.track(address=address, deliver=deliver, close=close)

    async def mailbox(self, request: MailboxRequest) -> MailboxReply:
        """Serve one request of a mailbox peer, on whichever worker it landed.

        Raises:
            HubUnavailable: No coordinator answered in time.
        """
        engine = self._here()
        if not engine.started:
            await engine.start()
        r = request
        reply = await engine.ask(
            lambda ticket, again: Post(
                ticket, r.id, r.token, r.key, r.address, r.messages, r.leave, r.serial,
                r.again or again,
            )
        )  # fmt: skip
        return MailboxReply(reply.messages, reply.wait)

    async def call(
        self, type: str, payload: dict[str, Any], *, id: str, token: str, address: str = ""
    ) -> list[dict[str, Any]]:
        """Say one message in the name of a peer that has a socket or mailbox elsewhere.

        Questions (`SOURCES`, `STREAMERS`) may come from anyone.

        Returns:
            The answers, decoded; none where the peer is unknown or has another token.

        Raises:
            HubUnavailable: No coordinator answered in time.
        """
        engine = self._here()
        if not engine.started:
            await engine.start()
        message = {"type": type, "payload": payload}
        reply = await engine.ask(lambda ticket, _: Call(ticket, id, token, address, message))
        return [json.loads(text) for text in reply.messages]

    async def peers(self) -> list[str]:
        """The ids of all peers.

        Raises:
            HubUnavailable: No coordinator answered in time.
        """
        engine = self._here()
        if not engine.started:
            await engine.start()
        return (await engine.ask(lambda ticket, _: List(ticket))).messages

    def issue_token(self, content: str, peer: str) -> tuple[str, int]:
        """An admission token for `peer` in the swarm of `content`, and its expiry (unix s)."""
        return self._settings.admission.issue(content, peer)

    def snapshot(self) -> dict[str, int | str]:
        """Counts of peers, contents and so on over all workers, and this one's `state`.

        `state`: `idle` (not used yet), `local`, `elected`, `connected`, `redis` or `looking`
        (for a coordinator, or for Redis: not healthy if it stays). Callable from any thread.
        """
        engine = self._engine
        if engine is None or not engine.started or engine.loop.is_closed():
            return {"state": "idle"}
        return {"state": engine.backend.state, **engine.backend.counts()}

    @property
    def healthy(self) -> bool:
        """Whether peers can be served: True, too, as long as none has come."""
        return self.snapshot()["state"] != "looking"

    def _here(self) -> Engine:
        loop = asyncio.get_running_loop()
        engine = self._engine
        if engine is not None and engine.loop is loop:
            return engine
        with self._lock:
            for engine in list(self._engines):
                if engine.loop.is_closed():
                    self._engines.remove(engine)
                    engine.backend.abandon()
                elif engine.loop is loop:
                    return engine
            engine = Engine(self._settings, self._reported, _backend_of(self._settings))
            self._engines.append(engine)
            self._engine = engine
            return engine

    def _reported(self, id: str, payload: dict[str, Any]) -> None:
        if self.on_report is not None:
            self.on_report(id, payload)

    def _forked(self) -> None:
        # The descriptors are the parent's, too: as long as a child has them open, nobody
        # sees the parent die.
        self._lock = threading.Lock()
        for engine in self._engines:
            engine.backend.abandon()
        _parents.extend(self._engines)
        self._engines = []
        self._engine = None


def _backend_of(settings: Settings) -> MakeBackend:
    if settings.redis_url is not None:
        # Imported only here: it needs an extra.
        from p2pcdn.hub.redis_backend import RedisBackend

        return RedisBackend
    return ElectedBackend if settings.elected else local


_hubs: weakref.WeakSet[Hub] = weakref.WeakSet()
_parents: list[Engine] = []


def _forked() -> None:
    for hub in list(_hubs):
        hub._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
