"""The coordinator: events in, actions out. No I/O, no clock, no randomness of its own.

Everything it knows is soft: a peer that is dropped is told so when it speaks again
(`OPEN` or `REANNOUNCE`) and announces itself anew. Wire protocol: docs/coordinator.md.
"""

from __future__ import annotations

import heapq
import hmac
from collections.abc import Callable
from random import Random
from typing import Any

from p2pcdn.coordinator import messages as m
from p2pcdn.coordinator.absent import Absent
from p2pcdn.coordinator.admission import Admission
from p2pcdn.coordinator.contents import Contents
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
    Restore,
    Send,
    Text,
    Tick,
    Track,
)
from p2pcdn.coordinator.limits import Limits
from p2pcdn.coordinator.peers import Addresses, Mailbox, Mailboxes, Peer, network_of
from p2pcdn.coordinator.ranking import DefaultRanker, Locate, Ranker
from p2pcdn.coordinator.speech import Speech
from p2pcdn.coordinator.streams import MayStream, Streams
from p2pcdn.coordinator.tracker import Tracker

__all__ = ["Coordinator"]


class Coordinator:
    """Who is here, who has what, who may talk to whom.

    Args:
        limits: Bounds and timeouts.
        admission: Checks the tokens of `ANNOUNCE` and `SOURCES`.
        ranker: Orders lists of sources.
        may_stream: Which peers may announce themselves as streamers; default: all.
        locate: Whose network an address is in; default: nobody knows.
        random: For sampling and ranking.
    """

    def __init__(
        self,
        limits: Limits,
        admission: Admission,
        *,
        ranker: Ranker | None = None,
        may_stream: MayStream | None = None,
        locate: Locate | None = None,
        random: Random | None = None,
    ) -> None:
        random = random or Random()
        self._limits = limits
        self._locate = locate
        self._peers: dict[str, Peer] = {}
        self._links: dict[int, Peer] = {}
        self._addresses = Addresses(limits)
        self._mailboxes = Mailboxes(limits)
        self._absent = Absent(limits)
        self._contents = Contents(limits, ranker or DefaultRanker(), random)
        self._streams = Streams(limits, random, may_stream)
        self._tracker = self._new_tracker(limits, self._addresses, random)
        self._speech = Speech(
            limits,
            admission,
            self._peers,
            self._contents,
            self._streams,
            self._absent,
            self._mailboxes,
        )
        # One entry a peer (others are stale): looked at only when its time has come. By its id: a
        # peer that is gone must not stay in memory until then.
        self._due: list[tuple[float, int, str]] = []
        self._pushes = 0
        self._expired = 0
        self._handlers: dict[type[Event], Callable[[Any, float], list[Action]]] = {
            Connect: self._connect,
            Restore: self._restore,
            Track: self._tracker.connect,
            Text: self._text,
            Disconnect: self._disconnect,
            Post: self._post,
            Call: self._call,
            List: self._list,
            Tick: self._tick,
        }

    def _new_tracker(self, limits: Limits, addresses: Addresses, random: Random) -> Tracker:
        return Tracker(limits, addresses, random)

    def handle(self, event: Event, now: float) -> list[Action]:
        """What is to be done about `event` at the monotonic time `now`."""
        return self._handlers[type(event)](event, now)

    def hear_all(self, link: int, texts: list[str], now: float) -> list[Action]:
        """`handle` a `Text` of each: what one read of a socket brought."""
        peer = self._links.get(link)
        if peer is None:
            return []
        if not peer.forgotten and (
            peer.network is None or self._addresses.may_speak(peer.network, len(texts), now=now)
        ):
            actions = self._speech.pass_on(peer, texts, now)
            if actions is not None:
                peer.seen = now
                return actions
        actions = []
        for text in texts:
            actions += self._text(Text(link, text), now)
        return actions

    def counts(self) -> dict[str, int]:
        """How many of everything, for statistics."""
        return {
            "peers": len(self._peers),
            "sockets": len(self._links),
            "mailboxes": len(self._peers) - len(self._links),
            "contents": len(self._contents),
            "streams": len(self._streams),
            "absent": len(self._absent),
            "links_made": self._speech.answered,
            "relayed": self._speech.relayed,
            "refused": self._speech.refused,
            "expired": self._expired,
            **self._tracker.counts(),
        }

    # --- sockets -------------------------------------------------------------------------

    def _connect(self, event: Connect, now: float) -> list[Action]:
        link = event.link
        if not (event.id and event.token and event.key):
            return _turned_away(link, m.MISSING)
        actions: list[Action] = []
        peer = self._peers.get(event.id)
        problem = self._problem(event.id, event.token, event.key, event.address, now)
        if problem is not None:
            return _turned_away(link, problem)
        if peer is not None and not _same(peer.token, event.token):
            self._remove(peer, actions, close="id taken over")
            peer = None
        if peer is None:
            peer = self._register(event.id, event.token, event.address, event.loader, now)
        waiting = self._attach(peer, link, now, actions)
        actions.append(Send(link, m.OPEN))
        actions += [Send(link, text) for text in waiting]
        return actions

    def _restore(self, event: Restore, now: float) -> list[Action]:
        actions: list[Action] = []
        peer = self._peers.get(event.id)
        if peer is not None and peer.link != event.link:
            # Two sockets of one id: the owner of the token is who had it first, and of two
            # sockets of the same owner the newer one is in use.
            if _same(peer.token, event.token):
                if event.since <= peer.since:
                    return [Close(event.link, 1000, "replaced")]
            elif peer.since <= event.since:
                return _turned_away(event.link, m.ID_TAKEN)
            else:
                self._remove(peer, actions, close="id taken over")
                peer = None
        if peer is None:
            peer = self._register(event.id, event.token, event.address, event.loader, now)
        peer.since = min(now, event.since)
        waiting = self._attach(peer, event.link, now, actions)
        for content, segments, have, upload, busy, line in event.announcements:
            self._contents.announce(
                peer, m.Announce(content, None, segments, int(have, 16), 0, upload, busy, line)
            )
        for stream, role in event.streams:
            self._streams.announce(peer, stream, role)
        self._watch(peer)
        return actions + [Send(event.link, text) for text in waiting]

    def _text(self, event: Text, now: float) -> list[Action]:
        link = event.link
        peer = self._links.get(link)
        if peer is None:
            return self._tracker.hear(link, event.text, now)
        actions: list[Action] = []
        answers: list[str] = []
        self._touch(peer, now, answers)
        if len(event.text) > self._limits.message_bytes:
            self._remove(peer, actions)
            return [*actions, Close(link, 1009, "message too big")]
        left = self._hear(peer, m.parse(event.text), now, answers, actions)
        actions[:0] = [Send(link, answer) for answer in answers]
        if left:
            self._remove(peer, actions, close="left", code=1000)
        elif peer.refused > self._limits.refusals:
            self._remove(peer, actions, close="too many messages")
        return actions

    def _disconnect(self, event: Disconnect, now: float) -> list[Action]:
        peer = self._links.get(event.link)
        if peer is not None:
            self._remove(peer, [])
        else:
            self._tracker.disconnect(event.link)
        return []

    # --- mailboxes and REST --------------------------------------------------------------

    def _post(self, event: Post, now: float) -> list[Action]:
        limits = self._limits
        problem = self._problem(event.id, event.token, event.key, event.address, now)
        if problem is not None:
            return [Reply(event.ticket, [problem], limits.wait_slow_s)]
        actions: list[Action] = []
        answers: list[str] = []
        peer = self._peers.get(event.id)
        if event.leave and (peer is None or not _same(peer.token, event.token)):
            return [Reply(event.ticket, [])]
        if peer is not None and not _same(peer.token, event.token):
            self._remove(peer, actions, close="id taken over")
            peer = None
        if peer is None:
            peer = self._register(event.id, event.token, event.address, True, now)
        # Who handled it the first time, if not this coordinator, may have passed on all of it.
        passed_on = event.again and peer.mailbox is None
        if peer.mailbox is None and not event.leave:
            answers += [m.OPEN, *self._attach(peer, None, now, actions)]
        self._touch(peer, now, answers)
        mailbox = peer.mailbox
        if mailbox is not None and not event.leave and _old(event, mailbox):
            if event.serial == mailbox.serial:
                answers += [*mailbox.held, *self._mailboxes.take(mailbox)]
                self._mailboxes.hold(mailbox, answers)
            # (What is older still was overtaken by its repetition: nobody waits for it.)
            return [*actions, Reply(event.ticket, answers, self._pause(mailbox, now))]
        left = event.leave
        for message in event.messages[: limits.post_messages]:
            if type(message) is not dict or not (passed_on and self._speech.relays(message)):
                left |= self._hear(
                    peer, message if type(message) is dict else None, now, answers, actions
                )
        if mailbox is None or left:
            self._remove(peer, actions, close="left", code=1000)
            return [*actions, Reply(event.ticket, answers)]
        answers += self._mailboxes.take(mailbox)
        if event.serial is not None:
            mailbox.serial = event.serial
            self._mailboxes.hold(mailbox, answers)
        return [*actions, Reply(event.ticket, answers, self._pause(mailbox, now))]

    def _pause(self, mailbox: Mailbox, now: float) -> float:
        limits = self._limits
        if now < mailbox.fast_until:
            return limits.wait_fast_s
        mailboxes = len(self._peers) - len(self._links)
        return max(limits.wait_slow_s, min(limits.wait_most_s, mailboxes / limits.polls_per_s))

    def _call(self, event: Call, now: float) -> list[Action]:
        answers: list[str] = []
        actions: list[Action] = []
        peer = self._peers.get(event.id)
        if peer is not None and _same(peer.token, event.token):
            pending: list[str] = []
            self._touch(peer, now, pending)
            for text in pending:
                self._speech.deliver(peer, text, actions)
            self._hear(peer, event.message, now, answers, actions)
        else:
            network = network_of(event.address)
            if self._addresses.may_speak(network, 5, now=now):
                self._speech.ask(event.id, network, event.message, now, answers)
            if not answers:
                answers.append(m.UNKNOWN)
        return [*actions, Reply(event.ticket, answers)]

    def _list(self, event: List, now: float) -> list[Action]:
        return [Reply(event.ticket, list(self._peers))]

    # --- time ----------------------------------------------------------------------------

    def _tick(self, event: Tick, now: float) -> list[Action]:
        actions = self._tracker.tick(now)
        for src, dst in self._absent.expire(now):
            sender = self._peers.get(src)
            if sender is not None:
                self._expired += 1
                self._speech.deliver(sender, m.expire(src=dst, dst=src), actions)
        while self._due and self._due[0][0] <= now:
            due, _, id = heapq.heappop(self._due)
            peer = self._peers.get(id)
            if peer is None or peer.due != due:
                continue
            silent = now - peer.seen
            if (peer.announced or peer.streams) and silent >= self._limits.silence_timeout_s:
                self._contents.forget(peer)
                self._streams.forget(peer)
                peer.forgotten = True
            if silent >= self._alive_timeout(peer):
                self._remove(peer, actions, close="silent")
            else:
                peer.due = float("inf")
                self._watch(peer)
        return actions

    def _alive_timeout(self, peer: Peer) -> float:
        limits = self._limits
        return limits.alive_timeout_s if peer.mailbox is None else limits.mailbox_timeout_s

    def _watch(self, peer: Peer) -> None:
        """See to it that a tick looks at `peer` when its next timeout may have come."""
        timeout = self._alive_timeout(peer)
        if peer.announced or peer.streams:
            timeout = min(timeout, self._limits.silence_timeout_s)
        due = peer.seen + timeout
        if due < peer.due:
            peer.due = due
            self._pushes += 1
            heapq.heappush(self._due, (due, self._pushes, peer.id))

    # --- peers ---------------------------------------------------------------------------

    def _problem(self, id: str, token: str, key: str, address: str, now: float) -> str | None:
        """Why this client cannot have this id, as the message that tells it; or None."""
        if key != self._limits.key:
            return m.INVALID_KEY
        if not m.valid_id(id) or not m.valid_token(token):
            return m.error("Invalid id or token: up to 128 printable ASCII characters")
        peer = self._peers.get(id)
        if peer is None:
            if len(self._peers) >= self._limits.concurrent:
                return m.LIMIT
            if not self._addresses.may_connect(network_of(address), now=now):
                return m.error("Too many connections from this address")
        elif not _same(peer.token, token) and now - peer.seen < self._limits.stale_timeout_s:
            return m.ID_TAKEN
        return None

    def _register(self, id: str, token: str, address: str, loader: bool, now: float) -> Peer:
        peer = Peer(id, token, address, loader=loader, limits=self._limits, now=now)
        if self._locate is not None and peer.network is not None:
            peer.area = self._locate(address)
        self._peers[id] = peer
        self._addresses.joined(peer.network)
        return peer

    def _attach(self, peer: Peer, link: int | None, now: float, actions: list[Action]) -> list[str]:
        """Give `peer` a socket, or a mailbox (None); returns what waited for it."""
        waiting: list[str] = []
        if peer.link is not None and peer.link != link:
            del self._links[peer.link]
            actions.append(Close(peer.link, 1000, "replaced"))
        if peer.mailbox is not None:
            waiting = self._mailboxes.take(peer.mailbox)
            self._mailboxes.drop(peer.mailbox)
        peer.link = link
        if link is None:
            peer.mailbox = Mailbox()
        else:
            peer.mailbox = None
            self._links[link] = peer
        peer.seen = now
        self._watch(peer)
        return waiting + self._absent.take(peer.id)

    def _remove(
        self, peer: Peer, actions: list[Action], *, close: str = "", code: int = 1008
    ) -> None:
        self._contents.forget(peer)
        self._streams.forget(peer)
        del self._peers[peer.id]
        self._addresses.left(peer.network)
        if peer.mailbox is not None:
            self._mailboxes.take(peer.mailbox)
            self._mailboxes.drop(peer.mailbox)
        if peer.link is not None:
            del self._links[peer.link]
            if close:
                actions.append(Close(peer.link, code, close))

    def _touch(self, peer: Peer, now: float, answers: list[str]) -> None:
        peer.seen = now
        if peer.forgotten:
            peer.forgotten = False
            answers.append(m.REANNOUNCE)

    def _hear(
        self,
        peer: Peer,
        message: dict[str, Any] | None,
        now: float,
        answers: list[str],
        actions: list[Action],
    ) -> bool:
        """One message of a peer; True where it says that it leaves."""
        if not self._addresses.may_speak(peer.network, 1, now=now):
            peer.refused += 1
            return False
        left = self._speech.hear(peer, message, now, answers, actions)
        self._watch(peer)
        return left


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(
        a.encode("utf-8", "surrogatepass"), b.encode("utf-8", "surrogatepass")
    )


def _old(event: Post, mailbox: Mailbox) -> bool:
    """Whether a request was handled before."""
    return (
        event.serial is not None and mailbox.serial is not None and event.serial <= mailbox.serial
    )


def _turned_away(link: int, message: str) -> list[Action]:
    return [Send(link, message), Close(link, 1008, "refused")]
