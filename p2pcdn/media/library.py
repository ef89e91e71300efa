"""From a media URL to its manifest, for every loader that asks.

The order of the questions is the security of it: is this a URL that we read, may it be
shared at all, has the site itself brought it up, would an anonymous visitor get it now, and
only then: which bytes are these.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from p2pcdn.config import Config
from p2pcdn.media.body import Bodies, Body
from p2pcdn.media.files import (
    BUDGET_S,
    Answer,
    MediaFile,
    clamped_s,
    file_in_folder,
    manifest_of_file,
    size_of,
)
from p2pcdn.media.here import Here
from p2pcdn.media.judge import UNKNOWN, is_https_twin, judge
from p2pcdn.media.known import Carried
from p2pcdn.media.machines import Machines
from p2pcdn.media.manifest import Pending, Refusal
from p2pcdn.media.origin import Origin, OriginAnswer, OriginBusy, OriginError
from p2pcdn.media.presentation import (
    Presentation,
    find,
    parse_playlist,
    read_answer,
    read_file,
)
from p2pcdn.media.store import SEEN, SERVED
from p2pcdn.media.types import is_media_type
from p2pcdn.media.urls import MediaUrl, parse_target
from p2pcdn.media.waiting import within
from p2pcdn.page.patterns import compile_patterns

__all__ = ["Library"]

log = logging.getLogger("p2pcdn.media")

_ASK_AGAIN_S = 3.0
"""For how long an origin's answer to the anonymous sub-request stands."""
_ORIGIN_TIMEOUT_S = 5.0
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")

_Found = MediaFile | Body | Pending | Refusal


class Library:
    """The media of one site. Every method is thread-safe and never raises.

    It may be made before a server forks: files and threads are opened on first use, in the
    process that uses them. It keeps nothing of the event loops that call it.

    Args:
        config: The settings.
        origin: How to ask the site itself.
        folder: Where the server workers' shared file lives; None: in memory.
        shareable: Whether a percent-encoded path (with its query) below the prefix may be shared.
        machines: Where the site's machines meet; None: there is one.
        clock: Unix time in seconds.
    """

    def __init__(
        self,
        config: Config,
        origin: Origin,
        *,
        folder: Path | None,
        shareable: Callable[[str], bool],
        machines: Machines | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self._machines = machines
        self._origin = origin
        self._file = folder / "media.sqlite" if folder is not None else None
        self._shareable = shareable
        self._clock = clock
        self._mounts = (config.mount, config.coordinator_path)
        self._included = _included(config)
        self._lock = threading.Lock()
        self._state: Here | None = None
        self._warned: set[str] = set()
        _libraries.add(self)

    # --- what adapters tell ----------------------------------------------------------------

    def seen(self, targets: Iterable[str]) -> Carried | None:
        """A page showed these media URLs: absolute paths below the prefix, with queries.

        Returns:
            When every server worker knows of them; None: they do.
        """
        for target in targets:
            self._note(target, SEEN)
        return self._here.known.carried

    def served(self, target: str, content_type: str, status: int) -> None:
        """The site answered a visitor's GET for `target`; only media that exists counts."""
        if status in (200, 206) and is_media_type(content_type):
            self._note(target, SERVED)

    def _note(self, target: str, how: int) -> None:
        try:
            url = parse_target(target, mounts=self._mounts)
            if isinstance(url, MediaUrl):
                self._here.known.note(url.target, how)
        except Exception:
            self._warn("note", "a media URL could not be noted", exc_info=True)

    # --- what loaders ask ------------------------------------------------------------------

    async def manifest(
        self, target: str, *, prefix: str = "", host: str = "localhost", scheme: str = "http"
    ) -> Answer:
        """The manifest of a media URL, or why there is none.

        Args:
            target: Absolute path below the prefix, with its query.
            prefix: The server's own prefix (`SCRIPT_NAME`, `root_path`).
            host: The visitor's `Host` field.
            scheme: The visitor's scheme.
        """
        try:
            return await self._manifest(target, prefix, host, scheme)
        except Exception:
            self._warn("manifest", f"no manifest for {target!r}", exc_info=True)
            return Refusal("broken", "p2pcdn failed here; the site's log says why.")

    async def presentation(
        self,
        target: str,
        playlists: Iterable[str],
        *,
        prefix: str = "",
        visible: str = "",
        host: str = "localhost",
        scheme: str = "http",
    ) -> Presentation | None:
        """The presentation that a segment belongs to; what its playlist names becomes known.

        Args:
            target: The segment: absolute path below the prefix, with its query.
            playlists: Which playlists the visitor's player has read, likewise.
            prefix: The server's own prefix.
            visible: The prefix that visitors see.
            host: The visitor's `Host` field.
            scheme: The visitor's scheme.
        """
        try:
            here = self._here
            url = parse_target(target, mounts=self._mounts)
            read = [parse_playlist(playlist, self._mounts) for playlist in playlists]
            if isinstance(url, Refusal):
                return None
            host = host if _HOST.fullmatch(host) else "localhost"
            scheme = "https" if scheme == "https" else "http"
            found = await find(
                here,
                url.target,
                [playlist for playlist in read if isinstance(playlist, MediaUrl)],
                visitor=(prefix, host, scheme),
                visible=visible,
                mounts=self._mounts,
                read=lambda playlist: self._text(here, playlist, prefix, host, scheme),
            )
            if found is not None:
                self.seen([url.target, *found.following])
            return found
        except Exception:
            self._warn("playlist", f"no playlist for {target!r}", exc_info=True)
            return None

    async def _text(
        self, here: Here, url: MediaUrl, prefix: str, host: str, scheme: str
    ) -> str | None:
        """A known playlist's text, as an anonymous visitor would get it now."""
        if not self._shareable(url.target):
            return None
        included = self._included is not None and self._included(url.target)
        root = self._root(url)
        if root is not None:
            file = await here.run(lambda: file_in_folder(url, *root, included=included))
            if isinstance(file, Refusal):
                return None
            return await here.run(lambda: read_file(file.path))
        if not (included or here.known.here(url.target)) and not await here.run(
            lambda: here.known.anywhere(url.target)
        ):
            return None
        try:
            async with asyncio.timeout(_ORIGIN_TIMEOUT_S):
                answer = await self._open(url, prefix, host, scheme)
                try:
                    if isinstance(judge(answer, url, included=included), Refusal):
                        return None
                    return await read_answer(here, answer)
                finally:
                    await answer.aclose()
        except (TimeoutError, OriginError):
            return None

    def content(self, key: str) -> tuple[str, int] | None:
        """Path (below the prefix) and size of the content with this key; None: not ours."""
        try:
            return self._here.content(key)
        except Exception:
            self._warn("content", "a content key could not be looked up", exc_info=True)
            return None

    async def prepare(
        self,
        target: str,
        *,
        prefix: str = "",
        host: str = "localhost",
        scheme: str = "http",
        timeout_s: float = 600.0,
    ) -> Answer:
        """Hash a content ahead of its first visitor and wait for it; `target` becomes known."""
        self.seen([target])
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    found = await self.manifest(target, prefix=prefix, host=host, scheme=scheme)
                    if not isinstance(found, Pending):
                        return found
                    await asyncio.sleep(min(found.retry_after_s, 0.2))
        except TimeoutError:
            return Pending(1.0)

    def close(self) -> None:
        """Give up what is under way and close the file; the next use opens it again."""
        with self._lock:
            here, self._state = self._state, None
        if here is not None:
            here.close()

    # --- the order of the questions --------------------------------------------------------

    async def _manifest(self, target: str, prefix: str, host: str, scheme: str) -> Answer:
        url = parse_target(target, mounts=self._mounts)
        if isinstance(url, Refusal):
            return url
        if not self._shareable(url.target):
            return Refusal("outside", "the site's `include` or `exclude` setting rules it out.")
        here = self._here
        root = self._root(url)
        included = self._included is not None and self._included(url.target)
        told = here.known.here(url.target)
        if not told and not included and root is None:
            told = await here.run(lambda: here.known.anywhere(url.target))
            if not told:
                return UNKNOWN
        found: _Found
        if root is not None:
            found = await here.run(lambda: file_in_folder(url, *root, included=included))
        else:
            host = host if _HOST.fullmatch(host) else "localhost"
            scheme = "https" if scheme == "https" else "http"
            found = await self._ask_once(
                here, url, prefix, host, scheme, included=included, told=told
            )
        if isinstance(found, MediaFile):
            return await manifest_of_file(here, url, found)
        if isinstance(found, Body):
            return await self._of_body(here, url, found)
        return found

    def _root(self, url: MediaUrl) -> tuple[str, str] | None:
        for prefix, folder in self.config.media_roots:
            if url.path.startswith(prefix):
                return prefix, folder
        return None

    # --- would an anonymous visitor get it? ------------------------------------------------

    async def _ask_once(
        self,
        here: Here,
        url: MediaUrl,
        prefix: str,
        host: str,
        scheme: str,
        *,
        included: bool,
        told: bool,
    ) -> _Found:
        """Ask the origin, at most once every few seconds, and once for all who wait."""
        key = (url.target, prefix, host, scheme)
        now = time.monotonic()
        mine: concurrent.futures.Future[_Found] = concurrent.futures.Future()
        with here.lock:
            at, cached = here.answers.get(key, (0.0, None))
            if cached is not None and now - at < _ASK_AGAIN_S:
                known: _Found = cached
                return known
            running = here.asking.setdefault(key, mine)
        if running is not mine:
            try:
                return await within(running, _ORIGIN_TIMEOUT_S)
            except TimeoutError:
                return Pending(1.0)
        found: _Found = Pending(0.5)  # what the others get if this request is cancelled
        try:
            found = await self._ask(here, url, prefix, host, scheme, included=included, told=told)
            with here.lock:
                here.answers[key] = (time.monotonic(), found)
            return found
        finally:
            with here.lock:
                here.asking.pop(key, None)
            mine.set_result(found)

    async def _ask(
        self,
        here: Here,
        url: MediaUrl,
        prefix: str,
        host: str,
        scheme: str,
        *,
        included: bool,
        told: bool,
    ) -> _Found:
        try:
            async with asyncio.timeout(_ORIGIN_TIMEOUT_S):
                answer = await self._open(url, prefix, host, scheme)
        except TimeoutError:
            self._warn("slow", f"the site took over {_ORIGIN_TIMEOUT_S:g} s for {url.url}")
            return Pending(_ORIGIN_TIMEOUT_S)
        except OriginBusy:
            return Pending(1.0)
        except OriginError as error:
            self._warn("origin", f"asking the site for {url.url} failed: {error}")
            return Refusal("broken", "the site failed to answer; its own log says why.")
        kept = False
        try:
            said = judge(answer, url, included=included)
            if isinstance(said, Refusal):
                return said
            if answer.path is not None:
                size = await here.run(partial(size_of, answer.path))
                # An app may wrap a file and send only a part of it: then its word counts.
                if size is not None and (
                    answer.length in (None, size) or answer.header("x-sendfile")
                ):
                    return MediaFile(answer.path, said)
            if url.query and not told and not Bodies.has_validator(answer):
                # Named by a pattern alone, its query was made up by the client: each would
                # have the whole body read once more.
                return UNKNOWN
            body = await here.bodies.look(url, answer, said)
            kept = body is not None and body.answer is answer
            return body if body is not None else Pending(1.0)
        except TimeoutError:
            return Pending(_ORIGIN_TIMEOUT_S)
        except OriginError as error:
            self._warn("origin", f"reading {url.url} from the site failed: {error}")
            return Refusal("broken", "the site's answer broke off; its own log says why.")
        finally:
            if not kept:
                await answer.aclose()

    async def _open(self, url: MediaUrl, prefix: str, host: str, scheme: str) -> OriginAnswer:
        answer = await self._origin.open(url.target, prefix=prefix, host=host, scheme=scheme)
        if is_https_twin(answer, prefix + url.target, host):
            # Behind a proxy that ends TLS the app may not know the visitor's scheme.
            await answer.aclose()
            answer = await self._origin.open(url.target, prefix=prefix, host=host, scheme="https")
        return answer

    # --- which bytes are these? --------------------------------------------------------------

    async def _of_body(self, here: Here, url: MediaUrl, body: Body) -> Answer:
        try:
            result = await within(body.future, BUDGET_S)
        except TimeoutError:
            return Pending(clamped_s(body.expected_s()))
        if isinstance(result, Refusal):
            return result
        return here.manifest(url, body.type, body.content, body.version, result)

    # --- the process it runs in --------------------------------------------------------------

    @property
    def _here(self) -> Here:
        here = self._state
        if here is None:
            with self._lock:
                here = self._state
                if here is None:
                    here = self._state = Here(
                        self._file, self.config, machines=self._machines, clock=self._clock
                    )
        return here

    def _forked(self) -> None:
        self._lock = threading.Lock()
        state, self._state = self._state, None
        if state is not None:
            _inherited.append(state.store.abandon())

    def _warn(self, what: str, message: str, *, exc_info: bool = False) -> None:
        """Log a condition that may come back with every visitor, once."""
        if what not in self._warned:
            self._warned.add(what)
            log.warning("%s (said once)", message, exc_info=exc_info)


def _included(config: Config) -> Callable[[str], bool] | None:
    return compile_patterns(config.include, config.exclude) if config.include else None


_libraries: weakref.WeakSet[Library] = weakref.WeakSet()
# A forked child must neither use nor close its parent's SQLite connections: kept for ever.
_inherited: list[object] = []


def _after_fork() -> None:
    for library in list(_libraries):
        library._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
