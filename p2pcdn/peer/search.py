"""What a peer says of its contents to the coordinator, and asks of it, and when again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from p2pcdn.peer.bits import runs_of
from p2pcdn.peer.content import Content
from p2pcdn.peer.wire import Run

__all__ = ["Searches"]

_LISTED = 12
_ANNOUNCE_S = 3.0
_MAX_RUNS = 256
_ASK_AGAIN_S = (4.0, 8.0, 15.0, 30.0)
"""SOURCES is asked again after these times while peers are few."""
_ENOUGH_PEERS = 3
_ANSWER_S = 1.5
_REFUSED_S = 5.0


@dataclass(slots=True)
class _Search:
    """One content."""

    check_at: float
    """When the site is asked again whether it is still the same."""
    renew_at: float
    """When its token must be replaced."""
    asked: int = 0
    asked_at: float = 0.0
    answered: bool = False


class Searches:
    """Announces contents and looks for peers that have them.

    Args:
        send: To the coordinator.
        busy: How much of our upload is in use, 0 to 1.
        now: Seconds, never going back.
        recheck_s: How often the site is asked about a content.
        network: The kind of network that we are on.
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any]], None],
        *,
        busy: Callable[[], float],
        now: Callable[[], float],
        recheck_s: float,
        network: str,
    ) -> None:
        self._network = network
        self._send, self._busy, self._now, self._recheck_s = send, busy, now, recheck_s
        self._searches: dict[Content, _Search] = {}
        self._announced_at = 0.0

    def add(self, content: Content) -> None:
        """A content was opened."""
        check_at = self._now() + self._recheck_s
        self._searches[content] = _Search(check_at, self._renewal(content.manifest.expires))

    def discard(self, content: Content) -> None:
        """A content was left."""
        self._searches.pop(content, None)
        self._send({"type": "WITHDRAW", "payload": {"content": content.key}})

    def opened(self) -> None:
        """The coordinator knows us, and nothing else of us."""
        for content, search in self._searches.items():
            self.announce(content, content.held)
            if search.asked:
                self.ask(content)

    def announce(self, content: Content, have: Iterable[int], lost: Iterable[int] = ()) -> None:
        """Say what is held, in as many messages as it takes."""
        have_runs, lost_runs = runs_of(have), runs_of(lost)
        content.gained.clear()
        content.lost.clear()
        for start in range(0, max(1, len(have_runs), len(lost_runs)), _MAX_RUNS):
            part = slice(start, start + _MAX_RUNS)
            self._announce(content, have_runs[part], lost_runs[part])

    def _announce(self, content: Content, have: tuple[Run, ...], lost: tuple[Run, ...]) -> None:
        payload = {
            "content": content.key,
            "token": content.manifest.token,
            "segments": content.held.size,
            "have": have,
            "info": {"upload": True, "busy": round(self._busy(), 2), "network": self._network},
        }
        if lost:
            payload["lost"] = lost
        self._send({"type": "ANNOUNCE", "payload": payload})

    def ask(self, content: Content) -> None:
        """Look for peers, unless nothing is missing."""
        search = self._searches.get(content)
        if search is None or content.complete:
            return
        search.asked += 1
        search.asked_at = self._now()
        payload = {
            "rid": content.number,
            "content": content.key,
            "token": content.manifest.token,
            "limit": _LISTED,
        }
        self._send({"type": "SOURCES", "payload": payload})

    def answered(self, payload: dict[str, Any]) -> tuple[Content, list[str]] | None:
        """What an answer to SOURCES is about, and the ids in it; None for nonsense."""
        peers = payload.get("peers")
        for content, search in self._searches.items():
            if content.number == payload.get("rid") and isinstance(peers, list):
                search.answered = True
                ids = [peer.get("id") for peer in peers if isinstance(peer, dict)]
                return content, [id for id in ids if isinstance(id, str)]
        return None

    def refused(self, payload: dict[str, Any]) -> None:
        """The coordinator did not take an announcement: perhaps the token is old."""
        for content, search in self._searches.items():
            if content.key == payload.get("content") and payload.get("reason") != "limit":
                search.renew_at = min(search.renew_at, self._now())
                search.check_at = min(search.check_at, self._now() + _REFUSED_S)

    def looking(self, content: Content) -> bool:
        """Whether peers are wanted for it."""
        search = self._searches.get(content)
        return search is not None and search.asked > 0 and not content.complete

    def unanswered(self, content: Content) -> bool:
        """Whether a first answer may still come."""
        search = self._searches.get(content)
        young = self._now() - content.opened_at < _ANSWER_S
        return search is not None and not search.answered and young

    def tick(self, *, room: bool) -> Iterator[Content]:
        """Called several times a second. Yields the contents that the site should be asked about.

        Args:
            room: Whether there is a place for one more link.
        """
        now = self._now()
        news = now - self._announced_at > _ANNOUNCE_S
        if news:
            self._announced_at = now
        for content, search in list(self._searches.items()):
            wait = _ASK_AGAIN_S[min(search.asked, len(_ASK_AGAIN_S)) - 1]
            few = room and content.stats().peers < _ENOUGH_PEERS
            if search.asked and few and now - search.asked_at > wait:
                self.ask(content)
            if news and content.gained | content.lost:
                self.announce(content, set(content.gained), set(content.lost))
            if now > min(search.check_at, search.renew_at):
                search.check_at, search.renew_at = now + 60.0, now + 60.0
                yield content

    def checked(self, content: Content, *, again_s: float = 0.0) -> None:
        """The site was asked; `content.manifest` is what it said last.

        Args:
            content: The content.
            again_s: Ask again not before this time.
        """
        if search := self._searches.get(content):
            search.check_at = self._now() + max(again_s, self._recheck_s)
            search.renew_at = self._renewal(content.manifest.expires)

    def _renewal(self, expires: float) -> float:
        left = max(0.0, min(expires - time.time(), 86_400.0))
        return self._now() + max(5.0, min(left - 60.0, left * 0.8))
