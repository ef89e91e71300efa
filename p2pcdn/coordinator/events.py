"""What goes into the coordinator (events) and what comes out (actions).

A *link* is the hub's number for a socket, a *ticket* the hub's number for a question that
waits for a `Reply`. The coordinator only hands both back. Everything here is made of texts,
numbers and lists, so that a hub can pass it between processes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = [
    "Action",
    "Call",
    "Close",
    "Connect",
    "Disconnect",
    "Event",
    "List",
    "Post",
    "Reply",
    "Report",
    "Restore",
    "Send",
    "Sends",
    "Text",
    "Tick",
    "Track",
]


class Connect(NamedTuple):
    """A socket was opened. `loader`: it is our own loader, not a plain PeerJS client."""

    link: int
    id: str
    token: str
    key: str
    address: str
    loader: bool


class Restore(NamedTuple):
    """A socket that another coordinator knew, with all it had announced.

    Comes from the site's own server workers only, so it is believed: `announcements` are
    `[content, segments, held cells in hex, upload, busy, network]`, `streams` `[stream, role]`.
    """

    link: int
    id: str
    token: str
    address: str
    loader: bool
    since: float
    announcements: list[list[Any]]
    streams: list[list[str]]


class Track(NamedTuple):
    """A socket of the WebTorrent tracker was opened. Not None: another coordinator knew it,
    with `members` of `[info hash, peer id, complete]`; that is believed, as `Restore` is.
    """

    link: int
    address: str
    members: list[list[Any]] | None


class Text(NamedTuple):
    """One frame from a socket."""

    link: int
    text: str


class Disconnect(NamedTuple):
    """A socket is gone."""

    link: int


class Post(NamedTuple):
    """One request of a mailbox peer. `messages` is any parsed JSON.

    `serial` counts the peer's requests, None where it does not count them. `again`: no answer to
    this one arrived before, so another coordinator may have handled it already.
    """

    ticket: int
    id: str
    token: str
    key: str
    address: str
    messages: list[Any]
    leave: bool
    serial: int | None = None
    again: bool = False


class Call(NamedTuple):
    """One message of a peer that came as a REST request: its answer is the `Reply`."""

    ticket: int
    id: str
    token: str
    address: str
    message: dict[str, Any]


class List(NamedTuple):
    """Which peers are there (PeerServer's discovery)."""

    ticket: int


class Tick(NamedTuple):
    """Time has passed."""


class Send(NamedTuple):
    """Send one text frame to a socket."""

    link: int
    text: str


class Sends(NamedTuple):
    """Send several text frames to a socket."""

    link: int
    texts: list[str]


class Close(NamedTuple):
    """Close a socket, after what was sent to it before."""

    link: int
    code: int
    reason: str


class Reply(NamedTuple):
    """The answer to `Post`, `Call` or `List`: texts, and when a mailbox should ask again."""

    ticket: int
    messages: list[str]
    wait: float = 0.0


class Report(NamedTuple):
    """Counters that a peer reported about itself, unchecked."""

    id: str
    payload: dict[str, Any]


Event = Connect | Restore | Track | Text | Disconnect | Post | Call | List | Tick
Action = Send | Sends | Close | Reply | Report
