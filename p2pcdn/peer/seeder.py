"""`Seeder`: keeps a list of contents in their swarms, whatever happens to the site."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from p2pcdn.peer import PeerError
from p2pcdn.peer.content import Content
from p2pcdn.peer.peer import MAX_CONTENTS, NotShared, Peer
from p2pcdn.peer.site import read_page

__all__ = ["Seeder", "Seeding", "find_targets"]

log = logging.getLogger("p2pcdn.peer")

_TURN_S = 0.25
_RETRY_S = 15.0
_LONGEST_RETRY_S = 300.0


@dataclass(slots=True, eq=False)
class Seeding:
    """One URL that is to be seeded."""

    target: str
    content: Content | None = None
    trouble: str | None = None
    """Why it is not served, while it is not."""
    retry_at: float = 0.0
    retry_s: float = _RETRY_S
    opening: asyncio.Task[Content] | None = None

    @property
    def settled(self) -> bool:
        """Whether all of it is here, or as much as there is place for."""
        return self.content is not None and not self.content.closed and self.content.settled

    @property
    def reason(self) -> str | None:
        """Why not all of it is served, where that is known."""
        return self.trouble or (self.content.trouble if self.content is not None else None)

    @property
    def stuck(self) -> bool:
        """Whether there is little hope for more of it now."""
        if self.content is None or self.content.closed:
            return self.trouble is not None
        return not self.content.settled and self.content.failing


async def find_targets(peer: Peer, urls: Sequence[str]) -> list[str]:
    """The paths of the media that these URLs stand for: a page stands for its videos.

    Raises:
        PeerError: A URL does not answer, is of another site, or is a page without a video;
            or they are too many.
    """
    targets: dict[str, None] = {}
    for number, url in enumerate(urls):
        page = peer.page if number == 0 else await read_page(peer.http, str(_full(peer, url)))
        if not page.html:
            targets[peer.site.target(_full(peer, url))] = None
            continue
        if not page.videos:
            raise PeerError(
                f"{url} is a page that shows no video of its own site; give the URL of a media "
                "file, or of a page with a <video>"
            )
        for video in page.videos:
            targets[peer.site.target(video)] = None
    if len(targets) > MAX_CONTENTS:
        raise PeerError(
            f"{len(targets)} contents are more than the {MAX_CONTENTS} that one peer can share; "
            "start several, each with some of the URLs"
        )
    return list(targets)


def _full(peer: Peer, url: str) -> httpx.URL:
    return peer.site.mount.join(url)


class Seeder:
    """Seeds contents one after the other and goes on doing so.

    A file that was edited is fetched anew, one that the site stops sharing is served no more
    and asked for again after a while.

    Args:
        peer: The peer that serves them.
        targets: Paths on its site.
    """

    def __init__(self, peer: Peer, targets: Sequence[str]) -> None:
        self.peer = peer
        self.seedings = [Seeding(target) for target in targets]

    @property
    def settled(self) -> bool:
        """Whether everything that can be had is here."""
        return all(seeding.settled for seeding in self.seedings)

    async def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Seed until `until()` is true (asked several times a second), or for ever.

        Raises:
            PeerError: What is to be seeded can never be.
        """
        try:
            while not until():
                for seeding in self.seedings:
                    self._turn(seeding)
                await asyncio.sleep(_TURN_S)
        finally:
            tasks = [s.opening for s in self.seedings if s.opening is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _turn(self, seeding: Seeding) -> None:
        content, now = seeding.content, self.peer.now()
        if content is not None:
            if not content.closed:
                return
            log.info("%s: %s", seeding.target, content.trouble or "not shared any more")
            seeding.trouble, seeding.content = content.trouble, None
        if seeding.opening is not None:
            if seeding.opening.done():
                opening, seeding.opening = seeding.opening, None
                self._opened(seeding, opening, now)
        elif now >= seeding.retry_at:
            # A site that is still hashing a long file is waited for, but not by the others.
            seeding.opening = asyncio.get_running_loop().create_task(self.peer.seed(seeding.target))

    def _opened(self, seeding: Seeding, opening: asyncio.Task[Content], now: float) -> None:
        try:
            seeding.content = opening.result()
        except NotShared as error:
            if seeding.trouble != str(error):
                log.warning("%s", error)
            seeding.trouble = str(error)
            seeding.retry_at = now + seeding.retry_s
            seeding.retry_s = min(_LONGEST_RETRY_S, 2 * seeding.retry_s)
        else:
            seeding.trouble, seeding.retry_s = None, _RETRY_S
