"""Several machines, one coordinator: each process is a node with its own peers, Redis knows
which node has whom.

A message for another node's peer is handed over by one script (look up, publish, or keep for
an absent peer); lists are made of the node's own peers and of a random few that the others
announced. While Redis cannot be reached every node serves its own peers alone; afterwards it
registers them again. Nobody's socket is closed for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

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
from p2pcdn.coordinator.federated import Forward, proof_of, tables_of
from p2pcdn.hub.backend import Perform
from p2pcdn.hub.engine import ANSWER_S, Settings
from p2pcdn.hub.redis_link import Link
from p2pcdn.hub.redis_waiting import Waiting

__all__ = ["RedisBackend"]

log = logging.getLogger("p2pcdn.hub")

_TICK_S = 0.25
_START_S = 5.0
_ASK_S = 1.5
_FAR_TICKET = 1 << 32
_LOOKED_UP = 32
_MOST_JOINING = 64
_MOST_ASKED = 2000
_RENEW_BEATS = 40
_Asks = TypeVar("_Asks", Text, Post, Call)
_QUESTION = re.compile(r'"(?:SOURCES|STREAM[A-Z-]*)"')


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
        self._arriving: dict[str, list[tuple[str, str, str]]] = {}
        """Ids that are being claimed, and what already came for them."""
        self._unsettled: set[str] = set()
        """Ids that were claimed for a peer that the coordinator here has not seen yet."""
        self._looking: dict[str, list[Callable[[], None]]] = {}
        """Tables that are being asked about, and who waits for that."""
        self._waiting = Waiting(settings.limits)
        self._tickets = itertools.count()
        self._asked: OrderedDict[int, tuple[float, Callable[[Any], None]]] = OrderedDict()
        self._far_tickets: dict[int, tuple[str, int]] = {}
        self._others: dict[str, int] = {}
        self._beats = 0
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
        if not self._link.node:
            return mine
        counts = {name: count + self._others.get(name, 0) for name, count in mine.items()}
        for name in ("contents", "streams"):
            counts[name] = max(mine[name], self._others.get(name, 0))
        return counts

    def submit(self, event: Event) -> None:
        """See `Backend`."""
        if isinstance(event, Text):
            queued = self._joining.get(event.link)
            if queued is None:
                self._informed(event, self._local)
            elif len(queued) < _MOST_JOINING:
                queued.append(event)
        elif isinstance(event, Disconnect):
            if self._joining.pop(event.link, None) is None:
                self._local(event)
        elif not self._link.node:
            self._local(event)
        elif isinstance(event, Connect):
            if self._core.has(event.id) or not self._sensible(event):
                self._local(event)
            else:
                self._joining[event.link] = []
                self._claim(event.id, event.token, lambda free: self._joined(event, free))
        elif isinstance(event, Post):
            self._informed(event, self._post)
        elif isinstance(event, Call):
            self._informed(event, self._call)
        elif isinstance(event, List):
            self._link.call("list", done=lambda ids: self._listed(event, ids))
        else:
            self._local(event)

    def submit_all(self, link: int, texts: list[str]) -> None:
        """See `Backend`."""
        if link in self._joining or any(_QUESTION.search(text) for text in texts):
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
            self._settled(event.id)
        if told and isinstance(event, (Post, Call)):
            # Who is answered finds done what it asked for, on any node.
            self._link.after(lambda: self._performed(actions))
        else:
            self._performed(actions)

    def _performed(self, actions: list[Action]) -> None:
        if self._far_tickets:
            here: list[Action] = []
            for action in actions:
                far = None
                if isinstance(action, Reply):
                    far = self._far_tickets.pop(action.ticket, None)
                if far is None:
                    here.append(action)
                else:
                    assert isinstance(action, Reply)
                    self._answer(*far, [action.messages, action.wait])
            actions = here
        if actions:
            self._perform(actions)

    def _told(self, now: float) -> bool:
        """Tell the others what changed; False: nothing."""
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
            elif id not in self._unsettled:
                link.call("claim", node, id, self._core.proof(id), "", done=self._reclaimed(id))
        for table, id in journal.entries:
            self._publish(table, id, now)
        for forward in journal.forwards:
            self._relay(forward, 0)
        return True

    def _publish(self, table: str, id: str, now: float) -> None:
        entry = self._core.entry(table, id, now)
        index = "contents" if table.startswith("c:") else "streams"
        if entry is None:
            self._link.call("drop", self._link.node, table, index, id)
        else:
            self._link.call("put", self._link.node, table, index, id, entry)

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        now = time.monotonic()
        self._local(Tick())
        for dst, frames in self._waiting.expire(now):
            self._take_back(dst, frames)
        while self._asked and next(iter(self._asked.values()))[0] < now:
            _, (_, done) = self._asked.popitem(last=False)
            done(None)

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
        self._others = {}
        self._unsettled.clear()
        self._far_tickets.clear()
        asked, self._asked = self._asked, OrderedDict()
        for _, done in asked.values():
            done(None)

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
        _, dead, contents, streams, counts, _ = answer
        for node in dead:
            log.info("server worker %s is gone", node.decode())
            self._link.call("reap", node)
        others: dict[str, int] = {}
        me = self._link.node.encode()
        for node, text in zip(counts[::2], counts[1::2], strict=True):
            if node != me and node not in dead:
                with contextlib.suppress(ValueError, TypeError):
                    for name, count in json.loads(text).items():
                        others[name] = others.get(name, 0) + int(count)
        others["contents"], others["streams"] = contents, streams
        self._others = others
        self._beats += 1
        if self._beats % _RENEW_BEATS == 0:
            tables = {table for table, _ in self._core.entries()}
            for index, kind in (("contents", "c:"), ("streams", "s:")):
                some = [table for table in tables if table.startswith(kind)]
                for first in range(0, len(some), 500):
                    self._link.call("renew", index, *some[first : first + 500])

    # --- ids -----------------------------------------------------------------------------

    def _sensible(self, event: Connect | Post) -> bool:
        """Worth a question to Redis; what is not, the coordinator here turns away."""
        return event.key == self._limits.key and m.valid_id(event.id) and m.valid_token(event.token)

    def _claim(self, id: str, token: str, done: Callable[[bool], None]) -> None:
        """Make an id this node's; `done(False)`: it is another client's."""
        link, proof = self._link, proof_of(token)
        self._arriving.setdefault(id, [])

        def finish(free: bool, waiting: Iterable[bytes] = ()) -> None:
            arrived = self._arriving.pop(id, [])
            if free and link.node:
                self._unsettled.add(id)
            done(free)
            self._arrived(waiting)
            for src, dst, text in arrived:
                self._deliver(src, dst, text, 0)

        def claimed(answer: Any) -> None:
            if isinstance(answer, Exception):
                finish(True)  # without Redis this node is alone
            elif answer[0]:
                finish(True, answer[1])
            else:
                value = answer[1]
                node, _, holder = value.decode().partition("|")
                self._ask(
                    node,
                    ["claim", id, proof],
                    lambda reply: contested(reply, value, holder == proof),
                )

        def contested(reply: Any, value: bytes, same: bool) -> None:
            free, waiting = reply if reply is not None else (same, [])
            if not free:
                finish(False)
                return

            def forced(answer: Any) -> None:
                if isinstance(answer, Exception) or not answer[0]:
                    finish(isinstance(answer, Exception))
                else:
                    finish(True, [_frame_of("", id, text, 1) for text in waiting] + answer[1])

            # What the owner gave up is released, or will be: ours stands either way.
            link.call("claim", link.node, id, proof, value, done=forced)

        link.call("claim", link.node, id, proof, "", done=claimed)

    def _settled(self, id: str) -> None:
        """The coordinator here has decided about a client whose id was claimed."""
        if id in self._unsettled:
            self._unsettled.discard(id)
            if not self._core.has(id):
                self._link.call("release", self._link.node, id)

    def _joined(self, event: Connect, free: bool) -> None:
        queued = self._joining.pop(event.link, None)
        if queued is None:  # hung up meanwhile
            self._settled(event.id)
        elif not free:
            turned_away: list[Action] = [
                Send(event.link, m.ID_TAKEN), Close(event.link, 1008, "refused")
            ]  # fmt: skip
            self._performed(turned_away)
        else:
            self._local(event)
            for text in queued:
                self.submit(text)

    # --- requests that came to this node, whoever has their peer -------------------------

    def _post(self, event: Post) -> None:
        def claimed(free: bool) -> None:
            if free:
                self._local(event)
            else:
                self._performed([Reply(event.ticket, [m.ID_TAKEN], self._limits.wait_slow_s)])

        def unknown() -> None:
            if event.leave:
                self._local(event)
            else:
                self._claim(event.id, event.token, claimed)

        if not self._link.node or self._core.has(event.id) or not self._sensible(event):
            self._local(event)
        else:
            self._ask_owner(event, unknown)

    def _call(self, event: Call) -> None:
        if not self._link.node or self._core.has(event.id) or not m.valid_id(event.id):
            self._local(event)
        else:
            self._ask_owner(event, lambda: self._local(event))

    def _ask_owner(self, event: Post | Call, unknown: Callable[[], None]) -> None:
        """Let the node that has a peer handle its request; without one: `unknown`."""

        def found(value: Any) -> None:
            if isinstance(value, Exception) or not value:
                unknown()
                return
            node = value.decode().partition("|")[0]
            if node == self._link.node:
                self._local(event)
                return
            kind = "post" if isinstance(event, Post) else "call"
            self._ask(node, [kind, *event[1:]], answered)

        def answered(reply: Any) -> None:
            if reply is None:
                unknown()
            else:
                self._performed([Reply(event.ticket, *reply)])

        self._link.call("where", event.id, done=found)

    def _listed(self, event: List, ids: Any) -> None:
        if isinstance(ids, Exception):
            self._local(event)
        else:
            self._performed([Reply(event.ticket, [id.decode() for id in ids])])

    # --- lists ---------------------------------------------------------------------------

    def _informed(self, event: _Asks, then: Callable[[_Asks], None]) -> None:
        """Handle an event when it is known whom the others have, where it asks that."""
        now = time.monotonic()
        tables = self._tables(event) if self._link.node else set()
        missing = {table for table in tables if not self._core.fresh(table, now)}
        if not missing or len(self._looking) >= _MOST_ASKED:
            then(event)
            return
        left = len(missing)

        def looked() -> None:
            nonlocal left
            left -= 1
            if not left:
                then(event)

        for table in missing:
            waiting = self._looking.get(table)
            if waiting is None:
                self._looking[table] = [looked]
                self._look(table)
            else:
                waiting.append(looked)

    def _look(self, table: str) -> None:
        def found(answer: Any) -> None:
            if not isinstance(answer, Exception):
                texts = [item.decode() for item in answer]
                pairs = zip(texts[::2], texts[1::2], strict=True)
                self._core.elsewhere(table, pairs, time.monotonic())
            for looked in self._looking.pop(table, []):
                looked()

        index = "contents" if table.startswith("c:") else "streams"
        self._link.call("look", self._link.node, table, index, _LOOKED_UP, done=found)

    def _tables(self, event: Text | Post | Call) -> set[str]:
        messages: list[Any] = []
        if isinstance(event, Text):
            text = event.text
            if len(text) <= self._limits.message_bytes and _QUESTION.search(text):
                messages = [m.parse(text)]
        elif isinstance(event, Call):
            messages = [event.message]
        elif isinstance(event, Post):
            messages = event.messages[:8]
        found = (tables_of(message, self._limits) for message in messages)
        return {table for table in found if table is not None}

    # --- messages ------------------------------------------------------------------------

    def _relay(self, forward: Forward, hops: int) -> None:
        src, dst, text, keep = forward
        frame = _frame_of(src, dst, text, hops)

        def done(answer: Any) -> None:
            if answer == 1 or answer == 3:
                return
            if answer == 2 and self._waiting.put(src, dst, frame, time.monotonic()):
                return
            if answer == 2:
                self._link.call("unqueue", dst, frame)
            # Full, or it may have been lost: nobody says it again but its sender.
            self._performed(self._core.expired(src, dst))

        self._link.call(
            "relay", dst, frame,
            self._limits.absent_messages if keep else 0,
            int(1000 * self._limits.expire_timeout_s) + 2000,
            done=done,
        )  # fmt: skip

    def _take_back(self, dst: str, frames: list[tuple[str, bytes]]) -> None:
        """Messages for an absent peer are too old: who sent them is told, once."""

        def taken(gone: Any) -> None:
            if isinstance(gone, Exception) or gone:
                for src in dict.fromkeys(src for src, _ in frames):
                    self._performed(self._core.expired(src, dst))

        self._link.call("unqueue", dst, *(frame for _, frame in frames), done=taken)

    def _arrived(self, frames: Iterable[bytes]) -> None:
        for frame in frames:
            self._frame(frame)

    def _deliver(self, src: str, dst: str, text: str, hops: int) -> None:
        arriving = self._arriving.get(dst)
        if arriving is not None:
            if len(arriving) < self._limits.absent_messages:
                arriving.append((src, dst, text))
            return
        now = time.monotonic()
        found, actions = self._core.deliver(src, dst, text, now)
        if found:
            self._performed(actions)
            self._told(now)
        elif not hops and src and self._link.node:
            # It has just gone; our own word of that precedes this question.
            self._relay(Forward(src, dst, text, False), 1)

    def _frame(self, data: bytes) -> None:
        """Something from another node (or from what waited for a peer)."""
        head, _, body = data.partition(b"\n")
        kind, *fields = head.decode().split("\t")
        if kind == "d":
            hops, src, dst = fields
            self._deliver(src, dst, body.decode("utf-8", "surrogatepass"), int(hops))
        elif kind == "r":
            asked = self._asked.pop(int(fields[0]), None)
            if asked is not None:
                asked[1](json.loads(body))
        elif kind == "q":
            self._questioned(fields[0], int(fields[1]), json.loads(body))

    # --- from node to node ---------------------------------------------------------------

    def _ask(self, node: str, question: list[Any], done: Callable[[Any], None]) -> None:
        """Ask another node; `done(None)` where no answer comes."""
        if len(self._asked) >= _MOST_ASKED:
            done(None)
            return
        ticket = next(self._tickets)
        self._asked[ticket] = time.monotonic() + _ASK_S, done
        head = f"q\t{self._link.node}\t{ticket}\n".encode()

        def told(answer: Any) -> None:
            if answer != 1:
                asked = self._asked.pop(ticket, None)
                if asked is not None:
                    asked[1](None)

        self._link.call("tell", node, head + json.dumps(question).encode(), done=told)

    def _answer(self, node: str, ticket: int, answer: Any) -> None:
        self._link.call("tell", node, f"r\t{ticket}\n".encode() + json.dumps(answer).encode())

    def _questioned(self, node: str, ticket: int, question: list[Any]) -> None:
        kind, *fields = question
        if kind == "claim":
            id, proof = fields
            now = time.monotonic()
            free, waiting, actions = self._core.give_up(id, proof, now)
            self._performed(actions)
            self._told(now)
            self._answer(node, ticket, [free, waiting])
            return
        if not self._core.has(fields[0]) or len(self._far_tickets) >= _MOST_ASKED:
            self._answer(node, ticket, None)  # it has just gone
            return
        mine = _FAR_TICKET + next(self._tickets)
        self._far_tickets[mine] = node, ticket
        loop = asyncio.get_running_loop()
        loop.call_later(ANSWER_S, lambda: self._far_tickets.pop(mine, None))
        if kind == "post":
            self._informed(Post(mine, *fields), self._local)
        else:
            self._informed(Call(mine, *fields), self._local)


def _frame_of(src: str, dst: str, text: str, hops: int) -> bytes:
    return f"d\t{hops}\t{src}\t{dst}\n{text}".encode("utf-8", "surrogatepass")
