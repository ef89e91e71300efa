"""What each message of a peer means."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from p2pcdn.coordinator import messages as m
from p2pcdn.coordinator.absent import Absent
from p2pcdn.coordinator.admission import Admission, Verdict
from p2pcdn.coordinator.contents import Contents
from p2pcdn.coordinator.events import Action, Report, Send, Sends
from p2pcdn.coordinator.limits import Limits
from p2pcdn.coordinator.peers import Mailboxes, Network, Peer
from p2pcdn.coordinator.ranking import Area
from p2pcdn.coordinator.streams import Streams

__all__ = ["Speech"]

# EXPIRE is the coordinator's own: PeerServer relays a client's, so that anyone can make
# anyone believe that a peer is gone.
_RELAYED = frozenset({"OFFER", "ANSWER", "CANDIDATE", "LEAVE"})
_LIST_COST = 5.0
_FORGIVEN = 3
_MOST_BLAMED = 16

Handler = Callable[[Peer, object, float, list[str], list[Action]], None]


class Speech:
    """The handlers of messages, over the tables that `Coordinator` owns."""

    def __init__(
        self,
        limits: Limits,
        admission: Admission,
        peers: dict[str, Peer],
        contents: Contents,
        streams: Streams,
        absent: Absent,
        mailboxes: Mailboxes,
    ) -> None:
        self._limits = limits
        self._admission = admission
        self._peers = peers
        self._contents = contents
        self._streams = streams
        self._absent = absent
        self._mailboxes = mailboxes
        # What is said to peers that are not here, where other coordinators may have them:
        # (src, dst, text, keep it for one that is absent).
        self.forward: Callable[[str, str, str, bool], None] | None = None
        self.relayed = 0
        self.answered = 0
        self.refused = 0
        self._handlers: dict[str, Handler] = {
            "ANNOUNCE": self._announce,
            "WITHDRAW": self._withdraw,
            "SOURCES": self._sources,
            "STREAM-ANNOUNCE": self._stream_announce,
            "STREAM-WITHDRAW": self._stream_withdraw,
            "STREAMERS": self._streamers,
            "REPORT": self._report,
        }

    def hear(
        self,
        peer: Peer,
        message: dict[str, Any] | None,
        now: float,
        answers: list[str],
        actions: list[Action],
    ) -> bool:
        """One message (None: unreadable) of `peer`.

        Args:
            answers: Gets what `peer` is told in return.
            actions: Gets what is to be done for others.

        Returns:
            Whether the peer says that it leaves for good.
        """
        limits = self._limits
        type = message.get("type") if message is not None else None
        cost = _LIST_COST if type == "SOURCES" or type == "STREAMERS" else 1.0
        if message is None or not peer.bucket.take(
            cost, rate=limits.message_rate, burst=limits.message_burst, now=now
        ):
            self._refuse(peer)
            return False
        # A flood, too, gets a message through now and then: that must not wipe the slate.
        peer.refused = max(0, peer.refused - _FORGIVEN)
        if not isinstance(type, str):
            return False
        if type in _RELAYED:
            return self._relay(peer, type, message, now, answers, actions)
        handler = self._handlers.get(type)
        if handler is not None:
            handler(peer, message.get("payload"), now, answers, actions)
        return False

    def relays(self, message: dict[str, Any]) -> bool:
        """Whether a message is for another peer."""
        type, dst = message.get("type"), message.get("dst")
        return isinstance(type, str) and type in _RELAYED and isinstance(dst, str) and dst != ""

    def ask(
        self,
        id: str,
        network: Network | None,
        message: dict[str, Any],
        now: float,
        answers: list[str],
    ) -> None:
        """A question of someone who need not be registered (REST)."""
        payload = message.get("payload")
        if message.get("type") == "SOURCES":
            answers.append(self._source_list(id, network, payload, now))
        elif message.get("type") == "STREAMERS":
            answers.append(self._streamer_list(payload, now))

    def deliver(self, peer: Peer, text: str, actions: list[Action]) -> bool:
        """Bring `text` to a peer; False where its mailbox is full."""
        if peer.link is not None:
            actions.append(Send(peer.link, text))
            return True
        return peer.mailbox is not None and self._mailboxes.put(peer.mailbox, text)

    # --- signalling ----------------------------------------------------------------------

    def pass_on(self, peer: Peer, texts: list[str], now: float) -> list[Action] | None:
        """The quick way for what is nearly all of the traffic: OFFER, ANSWER and CANDIDATE from
        socket to socket, in the very shape in which npm's `peerjs` and our loader write them.

        The payload is copied unread. Whatever it is, the trusted members stand behind it: in
        JSON.parse the last of equal names wins, and a payload that opens or closes too much
        makes a text that nobody can parse.

        Returns:
            None, and nothing was done, where any of `texts` must go the other way.
        """
        limits, peers = self._limits, self._peers
        src = peer.quoted or _quoted(peer)
        actions: list[Action] = []
        last: Peer | None = None
        out: list[str] = []
        answered: list[Peer] = []
        size = 0
        for text in texts:
            if len(text) > limits.message_bytes:
                return None
            if text.startswith('{"type":"CANDIDATE",'):
                type, start = "CANDIDATE", 20
            elif text.startswith('{"type":"OFFER",'):
                type, start = "OFFER", 16
            elif text.startswith('{"type":"ANSWER",'):
                type, start = "ANSWER", 17
            else:
                return None
            if text.startswith('"payload":', start):
                at = text.rfind(',"dst":"')
                if at < 0 or not text.endswith('"}'):
                    return None
                payload, target = text[start + 10 : at], peers.get(text[at + 8 : -2])
            elif text.startswith('"dst":"', start):
                at = text.find('"', start + 7)
                if not text.startswith(',"payload":', at + 1) or text[-1] != "}":
                    return None
                payload, target = text[at + 12 : -1], peers.get(text[start + 7 : at])
            else:
                return None
            if target is None or target.link is None:
                return None
            dst = target.quoted or _quoted(target)
            if len(dst) != len(target.id) + 2:  # escapes: the same text means something else
                return None
            made = f'{{"payload":{payload},"type":"{type}","src":{src},"dst":{dst}}}'
            if target is not last:
                last = target
                out = []
                actions.append(Sends(target.link, out))
            out.append(made)
            size += len(made)
            if type == "ANSWER":
                answered.append(target)
        count = len(texts)
        if not peer.relayed.take(
            size, rate=limits.relay_rate, burst=limits.relay_burst, now=now
        ) or not peer.bucket.take(
            count, rate=limits.message_rate, burst=limits.message_burst, now=now
        ):
            return None
        if peer.refused:
            peer.refused = max(0, peer.refused - _FORGIVEN * count)
        self.relayed += count
        for target in answered:
            self.answered += 1
            peer.meet(target.id)
            target.meet(peer.id)
        return actions

    def _relay(
        self,
        peer: Peer,
        type: str,
        message: dict[str, Any],
        now: float,
        answers: list[str],
        actions: list[Action],
    ) -> bool:
        dst = message.get("dst")
        if not isinstance(dst, str) or not dst:
            return type == "LEAVE"
        out = {"type": type, "src": peer.id, "dst": dst}
        if "payload" in message:
            out["payload"] = message["payload"]
        text = m.encode(out)
        # Escapes make it up to three times as long as the UTF-8 it came as.
        if text is None or len(text) > 3 * self._limits.message_bytes:
            self._refuse(peer)
            return False
        if not peer.relayed.take(
            len(text), rate=self._limits.relay_rate, burst=self._limits.relay_burst, now=now
        ):
            self._refuse(peer)
            return False
        if peer.mailbox is not None:
            peer.mailbox.fast_until = now + self._limits.fast_for_s
        target = self._peers.get(dst)
        if target is not None:
            if target.mailbox is not None:
                target.mailbox.fast_until = now + self._limits.fast_for_s
            kept = self.deliver(target, text, actions)
            self.relayed += kept
            if kept and type == "ANSWER":
                self.answered += 1
                peer.meet(target.id)
                target.meet(peer.id)
        elif self.forward is not None:
            kept = True
            if m.valid_id(dst):
                self.relayed += 1
                if type == "ANSWER":
                    self.answered += 1
                    peer.meet(dst)
                self.forward(peer.id, dst, text, type != "LEAVE")
        else:
            # A LEAVE for someone who is not there has nothing to tell.
            kept = type == "LEAVE" or (
                m.valid_id(dst) and self._absent.put(src=peer.id, dst=dst, text=text, now=now)
            )
        if not kept:
            answers.append(m.expire(src=dst[:128], dst=peer.id))
        return False

    def _refuse(self, peer: Peer) -> None:
        peer.refused += 1
        self.refused += 1

    # --- contents ------------------------------------------------------------------------

    def _announce(
        self, peer: Peer, payload: object, now: float, answers: list[str], actions: list[Action]
    ) -> None:
        message = m.read_announce(payload, self._limits)
        reason = "malformed"
        if message is not None:
            verdict = self._admission.check(message.token, message.content, peer.id)
            reason = verdict.value
            if verdict is Verdict.GOOD:
                peer.loader = True
                for id, measure in message.links:
                    linked = self._peers.get(id)
                    if linked is not None and linked.quality is not None:
                        linked.quality.measured(peer.id, measure)
                if self._contents.announce(peer, message):
                    return
                reason = "limit"
        self.refused += 1
        # What a peer may no longer announce it may no longer be listed for.
        content = m.read_content(payload)
        if content is not None:
            self._contents.withdraw(peer, content)
        answers.append(_say("REFUSED", {"content": content, "reason": reason}))

    def _withdraw(
        self, peer: Peer, payload: object, now: float, answers: list[str], actions: list[Action]
    ) -> None:
        content = m.read_content(payload)
        if content is not None:
            self._contents.withdraw(peer, content)

    def _sources(
        self, peer: Peer, payload: object, now: float, answers: list[str], actions: list[Action]
    ) -> None:
        if peer.mailbox is not None:
            peer.mailbox.fast_until = now + self._limits.fast_for_s
        answers.append(self._source_list(peer.id, peer.network, payload, now, peer.area))

    def _source_list(
        self,
        id: str,
        network: Network | None,
        payload: object,
        now: float,
        area: Area | None = None,
    ) -> str:
        message = m.read_sources(payload, self._limits)
        if message is None:
            content = m.read_content(payload)
            return _say("SOURCES", {"rid": m.read_rid(payload), "content": content, "peers": []})
        peers: list[dict[str, Any]] = []
        if self._admission.check(message.token, message.content, id) is Verdict.GOOD:
            peers = self._contents.sources(message, asker=id, network=network, now=now, area=area)
        return _say("SOURCES", {"rid": message.rid, "content": message.content, "peers": peers})

    # --- streams -------------------------------------------------------------------------

    def _stream_announce(
        self, peer: Peer, payload: object, now: float, answers: list[str], actions: list[Action]
    ) -> None:
        message = m.read_stream(payload, self._limits)
        if message is None or not self._streams.announce(peer, message.stream, message.role):
            self.refused += 1
            answer = {
                "stream": None if message is None else message.stream,
                "reason": "malformed" if message is None else "limit",
            }
            answers.append(_say("REFUSED", answer))
        elif message.rid is not None:
            answers.append(self._streamer_list(payload, now))

    def _stream_withdraw(
        self, peer: Peer, payload: object, now: float, answers: list[str], actions: list[Action]
    ) -> None:
        message = m.read_stream(payload, self._limits)
        if message is not None:
            self._streams.withdraw(peer, message.stream, message.role)
            if message.rid is not None:
                answers.append(self._streamer_list(payload, now))

    def _streamers(
        self, peer: Peer, payload: object, now: float, answers: list[str], actions: list[Action]
    ) -> None:
        answers.append(self._streamer_list(payload, now))

    def _streamer_list(self, payload: object, now: float) -> str:
        message = m.read_stream(payload, self._limits)
        if message is None:
            return _say("STREAMERS", {"rid": m.read_rid(payload), "peers": []})
        ids = self._streams.streamers(message.stream, message.role, limit=message.limit, now=now)
        return _say(
            "STREAMERS",
            {
                "rid": message.rid,
                "stream": message.stream,
                "role": message.role,
                "peers": [{"id": id} for id in ids],
            },
        )

    # --- counters ------------------------------------------------------------------------

    def _report(
        self, peer: Peer, payload: object, now: float, answers: list[str], actions: list[Action]
    ) -> None:
        if isinstance(payload, dict):
            bad = payload.get("bad")
            for id in bad[:_MOST_BLAMED] if isinstance(bad, list) else ():
                liar = self._peers.get(id) if isinstance(id, str) else None
                if liar is not None and liar.quality is not None:
                    liar.quality.blamed(peer.id)
            actions.append(Report(peer.id, payload))


def _quoted(peer: Peer) -> str:
    peer.quoted = json.dumps(peer.id)
    return peer.quoted


def _say(type: str, payload: dict[str, Any]) -> str:
    text = m.encode({"type": type, "payload": payload})
    assert text is not None  # made of our own values
    return text
