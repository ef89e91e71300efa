"""Several machines, one coordinator: each process is a node with its own peers, Redis knows
which node has whom.

A message for another node's peer is handed over by one script (look up, publish, or keep for
an absent peer); lists are made of the node's own peers and of a random few that the others
announced. While Redis cannot be reached every node serves its own peers alone; afterwards it
registers them again. Nobody's socket is closed for it.

Here: events in, actions out. Whose an id is: `redis_ids`; whom the others have: `redis_lists`;
requests for another node's peers: `redis_owners`; messages from node to node: `redis_relay`, and
questions: `redis_questions`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from p2pcdn.coordinator import messages as m
from p2pcdn.coordinator.events import (
    Action,
    Call,
    Close,
    Connect,
    Disconnect,
    Event,
    List,
    Post,
    Reply,
    Send,
    Text,
    Tick,
)
from p2pcdn.hub.backend import Perform
from p2pcdn.hub.engine import Settings
from p2pcdn.hub.redis_ids import Ids
from p2pcdn.hub.redis_link import Link
from p2pcdn.hub.redis_lists import Lists, index_of
from p2pcdn.hub.redis_others import Others
from p2pcdn.hub.redis_owners import Owners
from p2pcdn.hub.redis_questions import Questions
from p2pcdn.hub.redis_relay import Relay, frame_of

__all__ = ["RedisBackend"]

log = logging.getLogger("p2pcdn.hub")

_TICK_S = 0.25
_START_S = 5.0
_MOST_JOINING = 64
_RENEW_BEATS = 40


class RedisBackend:
    """See the module, and `p2pcdn.hub.engine.MakeBackend` for the arguments."""

    forgetful = False

    def __init__(
        self,
        settings: Settings,
        perform: Perform,
        introductions: Callable[[], Iterable[Event]],
        lost: Callable[[], None],
    ) -> None:
        assert settings.redis_url is not None
        self._limits = settings.limits
        self._core = settings.federated()
        self._perform = perform
        self._link = Link(
            settings.redis_url,
            f"p2pcdn:{{{settings.name}}}:",
            up=self._up,
            down=self._down,
            frame=self._frame,
            counts=lambda: json.dumps(self._core.counts()),
            beaten=self._beaten,
        )
        self._joining: dict[int, list[Event]] = {}
        """Links whose id is being claimed, and what came from them meanwhile."""
        self._questions = Questions(self._link)
        self._lists = Lists(settings.limits, self._core, self._link)
        self._ids = Ids(
            settings.limits, self._core, self._link, self._questions,
            arrived=self._arrived,
            deliver=lambda src, dst, text: self._deliver(src, dst, text, 0),
            frame=lambda id, text: frame_of("", id, text, 1),
        )  # fmt: skip
        self._owners = Owners(
            settings.limits, self._core, self._link, self._questions, self._ids, self._lists,
            local=self._local,
            performed=self._performed,
            told=lambda: self._told(time.monotonic()),
        )  # fmt: skip
        self._relay = Relay(settings.limits, self._core, self._link, self._performed)
        self._others = Others(self._link)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def state(self) -> str:
        """See `Backend`."""
        return "redis" if self._link.node else "looking"

    async def start(self) -> None:
        """See `Backend`. After 5 s without Redis it returns, too."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        self._link.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                await self._link.ready.wait()

    async def close(self) -> None:
        """See `Backend`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._link.close()

    def abandon(self) -> None:
        """See `Backend`."""
        self._link.abandon()

    def counts(self) -> dict[str, int]:
        """See `Backend`: over all nodes, the others as of the last heartbeat."""
        mine = self._core.counts()
        return self._others.together(mine) if self._link.node else mine

    # --- in ------------------------------------------------------------------------------

    def submit(self, event: Event) -> None:
        """See `Backend`."""
        if isinstance(event, Text):
            queued = self._joining.get(event.link)
            if queued is None:
                self._lists.informed(event, self._local)
            elif len(queued) < _MOST_JOINING:
                queued.append(event)
        elif isinstance(event, Disconnect):
            if self._joining.pop(event.link, None) is None:
                self._local(event)
        elif not self._link.node:
            self._local(event)
        elif isinstance(event, Connect):
            if self._core.has(event.id) or not self._owners.sensible(event):
                self._local(event)
            else:
                self._joining[event.link] = []
                self._ids.claim(event.id, event.token, lambda free: self._joined(event, free))
        elif isinstance(event, Post):
            self._lists.informed(event, self._owners.post)
        elif isinstance(event, Call):
            self._lists.informed(event, self._owners.call)
        elif isinstance(event, List):
            self._link.call("list", done=lambda ids: self._listed(event, ids))
        else:
            self._local(event)

    def submit_all(self, link: int, texts: list[str]) -> None:
        """See `Backend`."""
        if link in self._joining or self._lists.asks(texts):
            for text in texts:
                self.submit(Text(link, text))
            return
        now = time.monotonic()
        try:
            actions = self._core.hear_all(link, texts, now)
        except Exception:
            log.exception("the coordinator failed at Text")
            return
        self._told(now)
        self._performed(actions)

    def _joined(self, event: Connect, free: bool) -> None:
        queued = self._joining.pop(event.link, None)
        if queued is None:  # hung up meanwhile
            self._ids.settled(event.id)
        elif not free:
            turned_away: list[Action] = [
                Send(event.link, m.ID_TAKEN), Close(event.link, 1008, "refused")
            ]  # fmt: skip
            self._performed(turned_away)
        else:
            self._local(event)
            for text in queued:
                self.submit(text)

    def _listed(self, event: List, ids: Any) -> None:
        if isinstance(ids, Exception):
            self._local(event)
        else:
            self._performed([Reply(event.ticket, [id.decode() for id in ids])])

    # --- the coordinator here ------------------------------------------------------------

    def _local(self, event: Event) -> None:
        now = time.monotonic()
        try:
            actions = self._core.handle(event, now)
        except Exception:  # one peer's message must not end everybody's service
            log.exception("the coordinator failed at %s", type(event).__name__)
            return
        told = self._told(now)
        if isinstance(event, (Connect, Post)):
            self._ids.settled(event.id)
        if told and isinstance(event, (Post, Call)):
            # Who is answered finds done what it asked for, on any node.
            self._link.after(lambda: self._performed(actions))
        else:
            self._performed(actions)

    def _performed(self, actions: list[Action]) -> None:
        here = self._questions.divert(actions)
        if here:
            self._perform(here)

    def _told(self, now: float) -> bool:
        """Tell the others what changed; False: nothing could be told."""
        journal = self._core.take_journal()
        if journal is None:
            return False
        link, node = self._link, self._link.node
        if not node:
            for forward in journal.forwards:
                self._performed(self._core.keep(forward, now))
            return False
        for id in journal.peers:
            if not self._core.has(id):
                link.call("release", node, id)
            elif not self._ids.unsettled(id):
                link.call("claim", node, id, self._core.proof(id), "", done=self._reclaimed(id))
        for table, id in journal.entries:
            self._publish(table, id, now)
        for forward in journal.forwards:
            self._relay.send(forward, 0)
        for signal in journal.signals:
            self._relay.signal(signal)
        return True

    def _publish(self, table: str, id: str, now: float) -> None:
        entry = self._core.entry(table, id, now)
        node, index = self._link.node, index_of(table)
        if table.startswith("w:"):
            id = node  # of a swarm the others know how many are where
        if entry is None:
            self._link.call("drop", node, table, index, id)
        else:
            self._link.call("put", node, table, index, id, entry)

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        now = time.monotonic()
        self._local(Tick())
        self._relay.tick(now)
        self._questions.tick(now)

    # --- Redis comes and goes ------------------------------------------------------------

    def _up(self) -> None:
        now = time.monotonic()
        self._core.take_journal()
        for id in self._core.ids():
            self._link.call(
                "claim", self._link.node, id, self._core.proof(id), "", done=self._reclaimed(id)
            )
        for table, id in self._core.entries():
            self._publish(table, id, now)

    def _down(self) -> None:
        self._others.lost()
        self._ids.lost()
        self._questions.lost()

    def _reclaimed(self, id: str) -> Callable[[Any], None]:
        def done(answer: Any) -> None:
            if isinstance(answer, Exception):
                return
            if answer[0]:
                self._arrived(answer[1])
            else:
                # While this node was away the peer came back on another one.
                self._performed(self._core.evict(id))
                self._told(time.monotonic())

        return done

    def _beaten(self, answer: Any) -> None:
        self._others.beaten(answer)
        if self._others.beats % _RENEW_BEATS == 0:
            self._renew()

    def _renew(self) -> None:
        by_index: dict[str, set[str]] = {}
        for table, _ in self._core.entries():
            by_index.setdefault(index_of(table), set()).add(table)
        for index, found in by_index.items():
            some = list(found)
            for first in range(0, len(some), 500):
                self._link.call("renew", index, *some[first : first + 500])

    # --- from other nodes ----------------------------------------------------------------

    def _arrived(self, frames: Iterable[bytes]) -> None:
        for frame in frames:
            self._frame(frame)

    def _frame(self, data: bytes) -> None:
        """Something from another node (or from what waited for a peer)."""
        head, _, body = data.partition(b"\n")
        kind, *fields = head.decode().split("\t")
        if kind == "d":
            hops, src, dst = fields
            self._deliver(src, dst, body.decode("utf-8", "surrogatepass"), int(hops))
        elif kind == "t":
            self._performed(self._core.signalled(fields[0], json.loads(body)))
        elif kind == "r":
            self._questions.answered(int(fields[0]), json.loads(body))
        elif kind == "q":
            self._owners.questioned(fields[0], int(fields[1]), json.loads(body))

    def _deliver(self, src: str, dst: str, text: str, hops: int) -> None:
        if self._ids.awaits(src, dst, text):
            return
        now = time.monotonic()
        found, actions = self._core.deliver(src, dst, text, now)
        if found:
            self._performed(actions)
            self._told(now)
        else:
            self._relay.missed(src, dst, text, hops)
