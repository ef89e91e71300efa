"""`Peer`: a visitor without a browser. It joins a site's swarms, fetches and seeds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from aiortc import RTCConfiguration

from p2pcdn import __version__
from p2pcdn.coordinator.messages import NETWORKS
from p2pcdn.media.playlist import is_playlist
from p2pcdn.peer import PeerError, wire
from p2pcdn.peer.client import Client, Identity
from p2pcdn.peer.content import Content, ContentStats
from p2pcdn.peer.link import Link
from p2pcdn.peer.links import Links, rtc_configuration
from p2pcdn.peer.manifest import Later, Manifest, Refused, ask_manifest
from p2pcdn.peer.origin import ContentChanged
from p2pcdn.peer.report import Reporter
from p2pcdn.peer.search import Searches
from p2pcdn.peer.site import Page, Site, find_site
from p2pcdn.peer.store import Store
from p2pcdn.peer.uploader import Uploader

__all__ = ["MAX_CONTENTS", "NotShared", "Peer", "PeerStats"]

log = logging.getLogger("p2pcdn.peer")

_TICK_S = 0.15
MAX_CONTENTS = 32
"""No coordinator and no link takes more of one peer."""
_EXCHANGED = 8
_EXCHANGE_S = 20.0
_JOIN_S = 1.0
_SHUN_LIAR_S = 600.0
_PATIENCE_S = 120.0
"""How long a manifest that is being made is waited for."""


class NotShared(PeerError):
    """The site does not share this content (now)."""


@dataclass(frozen=True, slots=True)
class LinkStats:
    """One open link; bytes, and the round trip in seconds."""

    id: str
    received: int
    sent: int
    rtt: float | None


@dataclass(frozen=True, slots=True)
class PeerStats:
    """A snapshot. `transport`: "websocket", "mailbox" or "none"."""

    id: str
    transport: str
    links: tuple[LinkStats, ...]
    contents: tuple[ContentStats, ...]
    uploaded: int


class Peer:
    """A peer of one site.

        async with Peer("https://films.example/") as peer:
            data = await peer.fetch("/media/one.mp4")

    Args:
        site_url: Any URL of the site: a page or a media file.
        mount: Path of the site's `mount` setting; default: it is found.
        cache: Folder for segments that outlives the process; default: memory only.
        cache_limit: Most bytes of segments, on disk or in memory.
        upload_limit: Most bytes per second sent to peers; None: as fast as they take it.
        max_links: Links that are asked for; half as many again are accepted.
        recheck_s: How often the site is asked whether a content is still the same.
        id: Peer id; default: a random one.
        network: The kind of network it is on: `ethernet`, `wifi`, `cellular`, `slow` or `unknown`.
            Nothing is guessed: nobody can know a server's line from the inside.

    Raises:
        PeerError: On entering: there is no p2pcdn at the URL, or the folder cannot be used.
    """

    def __init__(
        self,
        site_url: str,
        *,
        mount: str | None = None,
        cache: str | Path | None = None,
        cache_limit: int = 256 * 1024 * 1024,
        upload_limit: int | None = None,
        max_links: int = 32,
        recheck_s: float = 30.0,
        id: str | None = None,
        network: str = "unknown",
    ) -> None:
        self.site_url = site_url
        self.id = id or secrets.token_hex(16)
        if not wire.is_peer_id(self.id):
            raise PeerError(f"{self.id!r} is no peer id: letters and digits, at most 64")
        if network not in NETWORKS:
            raise PeerError(f"{network!r} is no kind of network: {', '.join(NETWORKS)}")
        self.page: Page
        """What was found behind `site_url`."""
        self.site: Site
        self.store: Store
        self.http: httpx.AsyncClient
        self.contents: dict[str, Content] = {}
        """The contents that are shared now, by key."""
        self.uploader = self._make_uploader(upload_limit)
        self.cap_kib = self.uploader.cap_kib
        self._mount, self._cache, self._cache_limit = mount, cache, cache_limit
        self._max_links = max_links
        self._searches = Searches(
            lambda message: self._client.send(message),
            busy=self._busy,
            now=self.now,
            recheck_s=recheck_s,
            network=network,
        )
        self._opening = asyncio.Lock()
        self._exchanged: dict[tuple[str, str], float] = {}
        self._numbers = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._links: Links
        self._client: Client
        self._stack = contextlib.AsyncExitStack()
        self._closing = False

    # --- for callers -------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            agent = {"User-Agent": f"p2pcdn-peer/{__version__}"}
            timeout = httpx.Timeout(15.0, pool=None)
            self.http = await stack.enter_async_context(
                httpx.AsyncClient(headers=agent, timeout=timeout, follow_redirects=True)
            )
            folder = Path(self._cache).expanduser() if self._cache is not None else None
            self.store = Store(self._cache_limit, folder, evicted=self._evicted)
            stack.callback(self.store.close)
            self.site, self.page = await find_site(self.http, self.site_url, self._mount)
            self._links = Links(self.id, self._rtc(self.site.ice), self._max_links, self)
            self._client = Client(
                self.site.coordinator,
                Identity(self.id, secrets.token_hex(16), self.site.key),
                self.http,
                opened=self._searches.opened,
                heard=self._heard,
                socket=self.site.socket,
            )
            self._client.start()
            self._reporter = Reporter(self.http, self.site.mount.join("report"), self.stats)
            self._go(self._ticking())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        try:
            for task in list(self._tasks):
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
            await self._reporter.send(final=True)
            for content in list(self.contents.values()):
                await content.close()
            self.uploader.stop()
            await self._links.close()
            await self._client.close()
        finally:
            await self._stack.aclose()

    async def open(self, url: str) -> Content:
        """Join the swarm of a content: what is held of it is served, nothing is fetched.

        Args:
            url: URL or path of a media file of this site.

        Raises:
            NotShared: The site does not share it.
            PeerError: The URL is of another site, or 32 contents are being seeded already.
        """
        target = self.site.target(url)
        async with self._opening:
            for content in self.contents.values():
                if content.target == target:
                    return content
        manifest = await self._manifest(target)
        async with self._opening:
            found = self.contents.get(manifest.key)
            if found is not None:
                # The same bytes, perhaps under a newly signed URL.
                found.target, found.url = target, self.site.mount.join(target)
                return found
            await self._make_place()
            return self._enter(target, manifest)

    async def seed(self, url: str) -> Content:
        """Fetch a content as far as the store takes it, and serve it until this peer ends.

        Returns at once; `await content.wait()` returns when all of it is here.

        Raises:
            NotShared, PeerError: As `open`.
        """
        content = await self.open(url)
        content.seeding = True
        self._searches.ask(content)
        content.poke()
        return content

    async def fetch(self, url: str) -> bytes:
        """The bytes of a content: from peers where there are any, verified, else from the origin.

        Raises:
            NotShared, PeerError: As `open`, or neither peers nor the origin give it.
        """
        for attempt in (1, 2):
            try:
                return b"".join([piece async for piece in self.stream(url)])
            except ContentChanged:  # the file was edited in the midst of it
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    async def stream(self, url: str) -> AsyncIterator[bytes]:
        """The same piece by piece, in order, with no more in memory than `cache_limit`."""
        content = await self.open(url)
        self._searches.ask(content)
        async for piece in content.stream():
            yield piece

    def stats(self) -> PeerStats:
        """What this peer does now."""
        return PeerStats(
            self.id,
            self._client.transport,
            tuple(LinkStats(k.id, k.received, k.sent, k.rtt) for k in self._links),
            tuple(content.stats() for content in self.contents.values()),
            self.uploader.sent_bytes,
        )

    @property
    def trouble(self) -> str | None:
        """Why there is no coordinator, while there is none."""
        return self._client.trouble if self._client.transport == "none" else None

    # --- contents ----------------------------------------------------------------------------

    async def _manifest(self, target: str) -> Manifest:
        if is_playlist(target.partition("?")[0]):
            raise NotShared(
                f"{target} is a playlist: its segments are shared by the visitors who watch it, "
                "and cannot be seeded."
            )
        end = self.now() + _PATIENCE_S
        while True:
            answer = await self._ask(target)
            if isinstance(answer, Manifest):
                return answer
            if isinstance(answer, Refused):
                hint = ""
                if answer.code == "unknown":
                    hint = " Open a page that shows it first, or give that page's URL."
                raise NotShared(f"{target} is not shared: {answer.message}{hint}")
            if self.now() > end:
                raise NotShared(f"{target} has no manifest: {answer.reason}; try again later")
            await asyncio.sleep(answer.after_s)

    async def _ask(self, target: str) -> Manifest | Later | Refused:
        answer = await ask_manifest(self.http, self.site.mount, target, self.id)
        if isinstance(answer, Manifest) and answer.ice is not None:
            # Links that are made from now on use the fresh credentials.
            self._links.configuration = self._rtc(answer.ice)
        return answer

    def _rtc(self, ice: Iterable[Mapping[str, Any]]) -> RTCConfiguration:
        return rtc_configuration(ice, relay_only=self.site.relay_only)

    def _enter(self, target: str, manifest: Manifest) -> Content:
        url = self.site.mount.join(target)
        used = {content.number for content in self.contents.values()}
        while self._numbers in used:
            self._numbers = (self._numbers + 1) & 0xFFFF
        content = Content(self._numbers, url, target, manifest, self)
        self._numbers = (self._numbers + 1) & 0xFFFF
        self.contents[content.key] = content
        self._searches.add(content)
        for link in self._links:
            link.join(content)
        # Before the coordinator has opened, `_opened` will do this.
        if self._client.transport != "none":
            self._searches.announce(content, content.held)
        return content

    async def _make_place(self) -> None:
        """Leave the swarm that was joined first, of those that nobody needs."""
        while len(self.contents) >= MAX_CONTENTS:
            for content in self.contents.values():
                if not content.seeding and not content.streaming:
                    await self._forget(content, drop=False)
                    break
            else:
                raise PeerError(f"a peer shares at most {MAX_CONTENTS} contents; start another one")

    async def _forget(self, content: Content, *, drop: bool) -> None:
        if self.contents.get(content.key) is content:
            del self.contents[content.key]
        self._searches.discard(content)
        await content.close(forget=drop)

    async def _check(self, content: Content) -> None:
        """Whether the site still shares it, and the same bytes; renews the token."""
        answer = await self._ask(content.target)
        if content.closed:
            return
        if isinstance(answer, Later):
            self._searches.checked(content, again_s=answer.after_s)
        elif isinstance(answer, Refused):
            content.trouble = answer.message
            await self._forget(content, drop=False)
        elif answer.key != content.key:
            content.trouble = "the file was edited"
            await self._forget(content, drop=True)
        else:
            content.manifest = answer
            self._searches.checked(content)
            self._searches.announce(content, content.held)

    def _evicted(self, key: str, segment: int) -> None:
        if content := self.contents.get(key):
            content.evicted(segment)

    def _heard(self, message: dict[str, Any]) -> None:
        type, src, payload = message["type"], message.get("src"), message.get("payload")
        if isinstance(src, str):
            self._links.heard(type, src, payload)
        elif type == "REFUSED" and isinstance(payload, dict):
            self._searches.refused(payload)
        elif type == "SOURCES" and isinstance(payload, dict):
            found = self._searches.answered(payload)
            if found is not None:
                content, ids = found
                self._links.offer(ids)
                content.poke()

    # --- time --------------------------------------------------------------------------------

    async def _ticking(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            try:
                self._tick()
            except Exception:  # the next tick may go better; without ticks nothing would
                log.exception("a tick failed")

    def _tick(self) -> None:
        now = self.now()
        self._links.tick()
        for content in list(self.contents.values()):
            content.tick()
            self._exchange(content, now)
        for content in self._searches.tick(room=self._links.free > 0):
            self._go(self._check(content))
        if self._reporter.due(now):
            self._go(self._reporter.send())

    def _exchange(self, content: Content, now: float) -> None:
        """Tell peers of each other, so that the coordinator is asked rarely."""
        joined = [link for link in self._links if link.remote(content.key)]
        if len(joined) < 2:
            return
        for link in joined:
            about = (link.id, content.key)
            if now - self._exchanged.get(about, -_EXCHANGE_S) >= _EXCHANGE_S:
                self._exchanged[about] = now
                ids = tuple(other.id for other in joined if other is not link)
                link.say(wire.Peers(content.number, ids[-_EXCHANGED:]))
        if len(self._exchanged) > 4096:
            self._exchanged.clear()

    def _go(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a background task failed", exc_info=error)

    # --- what contents, links and connections need (Env, Host, LinksHost) --------------------

    def _make_uploader(self, limit: int | None) -> Uploader:
        return Uploader(limit, self.now)

    def now(self) -> float:
        return time.monotonic()

    def links(self) -> Iterable[Link]:
        return self._links

    def _busy(self) -> float:
        limit = self.uploader.limit
        return min(1.0, self.uploader.waiting_bytes / limit) if limit else 0.0

    def expecting(self, content: Content) -> bool:
        if self._searches.unanswered(content) and self._client.trouble is None:
            return True
        if self._links.connecting:
            return True
        return any(not k.remotes and self.now() - k.opened_at < _JOIN_S for k in self._links)

    def blame(self, content: Content, id: str) -> None:
        log.warning("peer %s sent wrong bytes of %s: dropped", id, content.target)
        payload = {"content": content.key, "bad": [id]}
        self._client.send({"type": "REPORT", "payload": payload})
        self._links.drop(id, _SHUN_LIAR_S)

    def stale(self, content: Content) -> None:
        self._go(self._forget(content, drop=True))

    def serve(self) -> None:
        self.uploader.pump()

    def drained(self) -> None:
        self.uploader.pump()

    def heard_of(self, key: str, ids: Iterable[str]) -> None:
        content = self.contents.get(key)
        if content is not None and self._searches.looking(content):
            self._links.offer(ids)

    def signal(self, message: dict[str, Any]) -> None:
        self._client.send(message)

    def opened(self, link: Link) -> None:
        self.uploader.outlets.append(link)
        for content in self.contents.values():
            content.poke()

    def ended(self, link: Link, hostile: bool) -> None:
        if hostile:
            log.info("peer %s broke the protocol: dropped", link.id)
        if link in self.uploader.outlets:
            self.uploader.outlets.remove(link)
