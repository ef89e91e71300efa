"""The hub on one event loop: its sessions, its open questions, and its backend."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2pcdn.coordinator import Admission, Coordinator, Limits, Locate, Ranker
from p2pcdn.coordinator.events import (
    Action,
    Close,
    Connect,
    Disconnect,
    Event,
    Reply,
    Report,
    Send,
    Sends,
    Text,
    Track,
)
from p2pcdn.coordinator.federated import FederatedCoordinator
from p2pcdn.coordinator.streams import MayStream
from p2pcdn.errors import P2PCDNError
from p2pcdn.hub.backend import Backend, LocalBackend, Perform
from p2pcdn.hub.session import Session, TrackerSession

__all__ = ["ANSWER_S", "Engine", "HubUnavailable", "Settings"]

log = logging.getLogger("p2pcdn.coordinator")

ANSWER_S = 2.0
"""A question waits for its reply for so long."""
_MOST_NUMBERS = 1 << 32


class HubUnavailable(P2PCDNError):
    """The coordinator did not answer in time: it is being replaced, or overloaded."""


class _Lost(HubUnavailable):
    """The coordinator died with the question in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a hub is made of. `name` tells hubs apart that share a folder or a Redis, `salt`
    hides networks from those who can read that."""

    limits: Limits
    admission: Admission
    folder: Path
    name: str
    elected: bool = True
    redis_url: str | None = None
    salt: bytes = b""
    ranker: Ranker | None = None
    may_stream: MayStream | None = None
    locate: Locate | None = None

    def coordinator(self) -> Coordinator:
        """A new, empty coordinator."""
        return Coordinator(
            self.limits,
            self.admission,
            ranker=self.ranker,
            may_stream=self.may_stream,
            locate=self.locate,
        )

    def federated(self) -> FederatedCoordinator:
        """The same, as one of several."""
        return FederatedCoordinator(
            self.limits,
            self.admission,
            ranker=self.ranker,
            may_stream=self.may_stream,
            locate=self.locate,
            salt=self.salt,
        )


class Engine:
    """See the module; made and used on one running loop only."""

    def __init__(
        self,
        settings: Settings,
        report: Callable[[str, dict[str, Any]], None],
        make_backend: MakeBackend,
    ) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self._report = report
        self._sessions: dict[int, Session | TrackerSession] = {}
        self._questions: dict[int, asyncio.Future[Reply]] = {}
        self._numbers = itertools.count(1)
        self._starting: asyncio.Task[None] | None = None
        self.started = False
        self.backend = make_backend(
            settings, self.perform, self._introductions, self._fail_questions
        )

    async def start(self) -> None:
        """Return when the backend takes events."""
        self.begin()
        if self._starting is not None:
            await asyncio.shield(self._starting)

    def begin(self) -> None:
        """Start, and do not wait for it."""
        if not self.started and self._starting is None:
            self._starting = self.loop.create_task(self._start())

    async def _start(self) -> None:
        try:
            await self.backend.start()
            self.started = True
        finally:
            self._starting = None

    async def close(self, code: int, reason: str) -> None:
        """Close the sockets, then the backend."""
        for session in list(self._sessions.values()):
            session.detach()
            session.close(code, reason)
        await self.backend.close()
        self._fail_questions()
        self.started = False

    # --- in ------------------------------------------------------------------------------

    def attach(
        self,
        *,
        id: str,
        token: str,
        key: str,
        address: str,
        loader: bool,
        deliver: Callable[[str | list[str]], None],
        close: Callable[[int, str], None],
    ) -> Session:
        """Register a socket. What comes of it (OPEN or ERROR) is delivered."""
        session = Session(
            self,
            self._number(self._sessions),
            id=id,
            token=token,
            key=key,
            address=address,
            loader=loader,
            since=time.monotonic(),
            deliver=deliver,
            close=close,
        )
        self._sessions[session.link] = session
        self.backend.submit(Connect(session.link, id, token, key, address, loader))
        return session

    def track(
        self,
        *,
        address: str,
        deliver: Callable[[str | list[str]], None],
        close: Callable[[int, str], None],
    ) -> TrackerSession:
        """Register a socket of the WebTorrent tracker."""
        number = self._number(self._sessions)
        session = TrackerSession(self, number, address=address, deliver=deliver, close=close)
        self._sessions[number] = session
        self.backend.submit(Track(number, address, None))
        return session

    def text(self, session: Session | TrackerSession, text: str) -> None:
        """A frame of a session."""
        self.backend.submit(Text(session.link, text))

    def detach(self, session: Session | TrackerSession) -> None:
        """A session's socket is gone."""
        if self._sessions.pop(session.link, None) is not None:
            self.backend.submit(Disconnect(session.link))

    async def ask(self, question: Callable[[int, bool], Event]) -> Reply:
        """Submit the event that `question` makes of a ticket and wait for its reply.

        Args:
            question: Told, too, whether the same was asked before of a coordinator that died:
                what that one knew is gone, but what it sent to others may have arrived.

        Raises:
            HubUnavailable: There was none in time.
        """
        try:
            return await self._ask(lambda ticket: question(ticket, False))
        except _Lost:
            return await self._ask(lambda ticket: question(ticket, True))

    async def _ask(self, question: Callable[[int], Event]) -> Reply:
        ticket = self._number(self._questions)
        future: asyncio.Future[Reply] = self.loop.create_future()
        self._questions[ticket] = future

        def late() -> None:
            if not future.done():
                future.set_exception(
                    HubUnavailable("the coordinator did not answer; ask again in a moment")
                )

        timer: asyncio.TimerHandle | None = None
        try:
            self.backend.submit(question(ticket))
            if not future.done():
                timer = self.loop.call_later(ANSWER_S, late)
            return await future
        finally:
            del self._questions[ticket]
            if timer is not None:
                timer.cancel()

    def _number(self, used: dict[int, Any]) -> int:
        while True:
            number = next(self._numbers) % _MOST_NUMBERS
            if number not in used:
                return number

    # --- out -----------------------------------------------------------------------------

    def perform(self, actions: Iterable[Action]) -> None:
        """Do what the coordinator says; frames in a row for one socket go out together."""
        if type(actions) is list and len(actions) == 1 and type(actions[0]) is Sends:
            self._deliver(*actions[0])  # nearly all of the traffic
            return
        link, texts = -1, [""]
        for action in actions:
            kind = type(action)
            if kind is Send:
                assert isinstance(action, Send)
                if action.link == link:
                    texts.append(action.text)
                    continue
                self._deliver(link, texts)
                link, texts = action.link, [action.text]
                continue
            if kind is Sends:
                assert isinstance(action, Sends)
                self._deliver(link, texts)
                link, texts = action
                continue
            self._deliver(link, texts)
            link = -1
            if isinstance(action, Close):
                session = self._sessions.pop(action.link, None)
                if session is not None:
                    session.end()
                    session.close(action.code, action.reason)
            elif isinstance(action, Reply):
                future = self._questions.get(action.ticket)
                if future is not None and not future.done():
                    future.set_result(action)
            elif isinstance(action, Report):
                try:
                    self._report(action.id, action.payload)
                except Exception:
                    log.exception("a report could not be counted")
        self._deliver(link, texts)

    def _deliver(self, link: int, texts: list[str]) -> None:
        session = self._sessions.get(link) if link >= 0 else None
        if session is not None:
            session.opened = True
            session.deliver(texts[0] if len(texts) == 1 else texts)

    def _introductions(self) -> Iterable[Event]:
        return [session.introduction() for session in self._sessions.values()]

    def _fail_questions(self) -> None:
        for future in self._questions.values():
            if not future.done():
                future.set_exception(_Lost("the coordinator was lost; ask again"))


MakeBackend = Callable[
    [Settings, Perform, Callable[[], Iterable[Event]], Callable[[], None]], Backend
]
"""Makes a backend of the settings, where actions go, what tells a new coordinator about this
process's sockets, and what to call when a coordinator is lost with the questions in it."""


def local(
    settings: Settings,
    perform: Perform,
    introductions: Callable[[], Iterable[Event]],
    lost: Callable[[], None],
) -> Backend:
    """The backend of a single process."""
    return LocalBackend(settings.coordinator(), perform)
