"""Bytes that peers say they received, held against bytes that others say they sent. Pure.

Every verified byte from a peer was sent by another page of the same swarm, which reports it
as `uploaded`. So a claim of received bytes is *open* until sent bytes of other views cover
it; what is still open after `WINDOW_S` is counted as unconfirmed, and never as saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["TOLERANCE", "WINDOW_S", "Entry", "Match", "match"]

WINDOW_S = 600
TOLERANCE = 1.05
"""Sent bytes count for a little more: a page that was killed never reports its last ones."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one view said about one content within one minute, as far as it is open."""

    ts: int
    view: bytes
    received: int
    sent: int


@dataclass(frozen=True, slots=True)
class Match:
    """`credited`: confirmed bytes by minute; `left`: the entries that stay open."""

    credited: Mapping[int, int]
    left: tuple[Entry, ...]


def match(entries: Iterable[Entry]) -> Match:
    """Cover received bytes by bytes that *other* views sent, the oldest first.

    No view can vouch for itself: the total is the largest flow from senders to receivers
    that has no edge from a view to itself.
    """
    entries = sorted(entries, key=lambda entry: entry.ts)
    received: dict[bytes, int] = {}
    sent: dict[bytes, int] = {}
    for entry in entries:
        received[entry.view] = received.get(entry.view, 0) + entry.received
        sent[entry.view] = sent.get(entry.view, 0) + entry.sent
    all_received, all_sent = sum(received.values()), sum(sent.values())
    may_receive = {view: min(n, all_sent - sent[view]) for view, n in received.items()}
    may_send = {view: min(n, all_received - received[view]) for view, n in sent.items()}
    flow = min(sum(may_receive.values()), sum(may_send.values()))

    to_receive = to_send = flow
    credited: dict[int, int] = {}
    left = []
    for entry in entries:
        taken = min(entry.received, may_receive[entry.view], to_receive)
        given = min(entry.sent, may_send[entry.view], to_send)
        may_receive[entry.view] -= taken
        may_send[entry.view] -= given
        to_receive -= taken
        to_send -= given
        if taken:
            credited[entry.ts] = credited.get(entry.ts, 0) + taken
        if entry.received > taken or entry.sent > given:
            left.append(Entry(entry.ts, entry.view, entry.received - taken, entry.sent - given))
    return Match(credited, tuple(left))
