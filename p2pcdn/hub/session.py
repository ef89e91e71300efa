"""Sockets' ends in the hub, and what is remembered of them in case their coordinator dies."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from p2pcdn.coordinator import Admission, Limits, Verdict
from p2pcdn.coordinator import messages as m
from p2pcdn.coordinator.events import Connect, Restore, Track
from p2pcdn.coordinator.tracker_messages import Announce, read

if TYPE_CHECKING:
    from p2pcdn.hub.engine import Engine

__all__ = ["Memory", "Session", "TrackerSession"]

# Only frames that look like these are parsed a second time. One that hides its type behind
# escapes is merely not restored.
_MEMORABLE = re.compile(r'"(?:ANNOUNCE|WITHDRAW|STREAM-ANNOUNCE|STREAM-WITHDRAW)"')


class Memory:
    """What a socket's peer has announced, as far as the coordinator accepted it."""

    __slots__ = ("_admission", "_limits", "contents", "streams")

    def __init__(self, limits: Limits, admission: Admission) -> None:
        self._limits = limits
        self._admission = admission
        self.contents: dict[str, m.Announce] = {}
        self.streams: set[tuple[str, str]] = set()

    def note(self, id: str, text: str) -> None:
        """Remember what `text` of the peer `id` changes."""
        if len(text) > self._limits.message_bytes or _MEMORABLE.search(text) is None:
            return
        message = m.parse(text)
        if message is None:
            return
        type, payload = message.get("type"), message.get("payload")
        if type == "ANNOUNCE":
            self._announce(id, payload)
        elif type == "WITHDRAW":
            self.contents.pop(m.read_content(payload) or "", None)
        elif type in ("STREAM-ANNOUNCE", "STREAM-WITHDRAW"):
            stream = m.read_stream(payload, self._limits)
            if stream is None:
                return
            name = (stream.stream, stream.role)
            if type == "STREAM-WITHDRAW":
                self.streams.discard(name)
            elif len(self.streams) < self._limits.streams_per_peer:
                self.streams.add(name)

    def _announce(self, id: str, payload: object) -> None:
        new = m.read_announce(payload, self._limits)
        # Restoring skips admission, so it happens here.
        if new is None or self._admission.check(new.token, new.content, id) is not Verdict.GOOD:
            self.contents.pop(m.read_content(payload) or "", None)
            return
        old = self.contents.get(new.content)
        if old is not None and old.segments == new.segments:
            new = m.Announce(
                new.content,
                None,
                new.segments,
                (old.have | new.have) & ~new.lost,
                0,
                old.upload if new.upload is None else new.upload,
                old.busy if new.busy is None else new.busy,
                old.line if new.line is None else new.line,
            )
        elif old is None and len(self.contents) >= self._limits.contents_per_peer:
            return
        self.contents[new.content] = new


class Session:
    """One attached socket. Made by `Hub.attach`; call `receive` per frame, `detach` at its end."""

    __slots__ = (
        "_closed",
        "_engine",
        "_memory",
        "address",
        "close",
        "deliver",
        "id",
        "key",
        "link",
        "loader",
        "opened",
        "since",
        "token",
    )

    def __init__(
        self,
        engine: Engine,
        link: int,
        *,
        id: str,
        token: str,
        key: str,
        address: str,
        loader: bool,
        since: float,
        deliver: Callable[[str | list[str]], None],
        close: Callable[[int, str], None],
    ) -> None:
        self._engine = engine
        self._memory: Memory | None = None
        self._closed = False
        self.link = link
        self.id = id
        self.token = token
        self.key = key
        self.address = address
        self.loader = loader
        self.since = since
        self.deliver = deliver
        self.close = close
        self.opened = False

    def receive(self, text: str) -> None:
        """Hand over one frame from the socket."""
        if self._closed:
            return
        engine = self._engine
        if engine.backend.forgetful:
            if self._memory is None:
                self._memory = Memory(engine.settings.limits, engine.settings.admission)
            self._memory.note(self.id, text)
        engine.text(self, text)

    def receive_all(self, texts: list[str]) -> None:
        """Hand over the frames that one read brought: what they cause leaves together."""
        if self._closed:
            return
        backend = self._engine.backend
        if backend.forgetful:
            for text in texts:
                self.receive(text)
        else:
            backend.submit_all(self.link, texts)

    def detach(self) -> None:
        """The socket is gone (or about to be closed by its owner)."""
        if not self._closed:
            self._closed = True
            self._engine.detach(self)

    def end(self) -> None:
        """The coordinator has closed this session: nothing more goes in."""
        self._closed = True

    def introduction(self) -> Connect | Restore:
        """What a coordinator that does not know this socket must be told."""
        if not self.opened:
            return Connect(self.link, self.id, self.token, self.key, self.address, self.loader)
        memory = self._memory
        return Restore(
            self.link,
            self.id,
            self.token,
            self.address,
            self.loader,
            self.since,
            []
            if memory is None
            else [
                [a.content, a.segments, format(a.have, "x"), a.upload, a.busy, a.line]
                for a in memory.contents.values()
            ],
            [] if memory is None else [list(name) for name in memory.streams],
        )


class TrackerSession:
    """One socket of the WebTorrent tracker. Made by `Hub.track`; used as a `Session` is."""

    __slots__ = (
        "_closed",
        "_engine",
        "_members",
        "address",
        "close",
        "deliver",
        "link",
        "opened",
    )

    def __init__(
        self,
        engine: Engine,
        link: int,
        *,
        address: str,
        deliver: Callable[[str | list[str]], None],
        close: Callable[[int, str], None],
    ) -> None:
        self._engine = engine
        self._members: dict[tuple[str, str], bool] = {}
        self._closed = False
        self.link = link
        self.address = address
        self.deliver = deliver
        self.close = close
        self.opened = False

    def receive(self, text: str) -> None:
        """Hand over one frame from the socket."""
        if self._closed:
            return
        if self._engine.backend.forgetful:
            self._note(text)
        self._engine.text(self, text)

    def receive_all(self, texts: list[str]) -> None:
        """Hand over the frames that one read brought."""
        for text in texts:
            self.receive(text)

    def detach(self) -> None:
        """The socket is gone (or about to be closed by its owner)."""
        if not self._closed:
            self._closed = True
            self._engine.detach(self)

    def end(self) -> None:
        """The coordinator has closed this session: nothing more goes in."""
        self._closed = True

    def introduction(self) -> Track:
        """What a coordinator that does not know this socket must be told."""
        members = [[*name, complete] for name, complete in self._members.items()]
        return Track(self.link, self.address, members)

    def _note(self, text: str) -> None:
        limits = self._engine.settings.limits
        message = read(text, limits) if len(text) <= limits.message_bytes else None
        if not isinstance(message, Announce):
            return
        name = (message.info_hash, message.peer_id)
        if message.event == "stopped":
            self._members.pop(name, None)
        elif name in self._members or len(self._members) < limits.torrents_per_socket:
            done = message.event == "completed" or message.left == 0
            self._members[name] = done or self._members.get(name, False)
