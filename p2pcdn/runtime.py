"""What one `P2PCDN` owns: settings, library, hub, statistics and the mounted app.

Made cheaply when the site's code is imported, so before any server forks; sockets, threads
and files are opened on first use, in the process and on the event loop that use them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import enum
import functools
import logging
import os
import secrets
import tempfile
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from cachetools import LRUCache
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Router
from starlette.types import Receive, Scope, Send

from p2pcdn import __version__
from p2pcdn.config import Config
from p2pcdn.errors import P2PCDNError
from p2pcdn.hub import Hub, open_hub
from p2pcdn.media.known import Carried
from p2pcdn.media.library import Library
from p2pcdn.media.machines import Machines
from p2pcdn.media.origin import Origin
from p2pcdn.media.types import is_media_type, says_nothing
from p2pcdn.media.waiting import within
from p2pcdn.page.patterns import compile_patterns
from p2pcdn.page.transform import PageOptions, is_candidate_type
from p2pcdn.stats import Recorder, otel
from p2pcdn.web import assets, coordinator, dashboard, manifest, metrics
from p2pcdn.web import stats as stats_routes
from p2pcdn.web.access import Throttle
from p2pcdn.web.ice import Ice

__all__ = [
    "INTERNAL",
    "PATH_SAFE",
    "Background",
    "Kind",
    "Site",
    "held",
    "hold",
    "kind_of",
    "local_path",
    "none_of_ours",
]

log = logging.getLogger("p2pcdn")

INTERNAL = "p2pcdn.internal"
"""Key in an environ or scope of our own anonymous sub-requests: the adapters step aside."""

_HOLD_S = 0.5
"""Longest time that a page waits for its videos to be known to all server workers."""

PATH_SAFE = "/!$&'()*+,;=:@-._~"
"""What stays as it is when a decoded path is percent-encoded again (RFC 3986, pchar and /)."""

_T = TypeVar("_T")


class Kind(enum.Enum):
    """What a response is to the middleware, by its Content-Type."""

    OTHER = 0
    PAGE = 1
    MEDIA = 2
    UNKNOWN = 3
    """A file that its server does not know: the path's extension tells (`media_type_of`)."""


none_of_ours: set[str | bytes] = set()
"""Content types that `kind_of` found to be neither: to look here first is all that most responses
of a site have to pay."""


@functools.lru_cache(maxsize=1024)
def kind_of(content_type: str | bytes) -> Kind:
    """What a response of this Content-Type is."""
    if is_candidate_type(content_type):
        return Kind.PAGE
    if is_media_type(content_type):
        return Kind.MEDIA
    if says_nothing(content_type):
        return Kind.UNKNOWN
    if len(none_of_ours) < 256:  # an app may make up types as it goes
        none_of_ours.add(content_type)
    return Kind.OTHER


class Site:
    """One site: everything that its pages, media requests and mounted endpoints share.

    Args:
        config: The settings.
        origin: How to ask the site itself for a media file.
        secret: Finds the framework's secret key, at first use (settings may come late).
    """

    def __init__(
        self,
        config: Config,
        origin: Origin,
        *,
        secret: Callable[[], str | bytes | None] = lambda: None,
    ) -> None:
        self.config = config
        self.origin = origin
        self._ours = (config.mount, config.coordinator_path)
        self._below = tuple(f"{mount}/" for mount in self._ours)
        self._named = compile_patterns(config.include, config.exclude)
        self._framework_secret = secret
        self._socket: bool | None = None
        self._lock = threading.Lock()
        self._parts: _Parts | None = None
        self._options: dict[str, PageOptions] = {}
        self._prepared: LRUCache[str, bool] = LRUCache(10_000)
        self.tags_pages = False
        """A page with an ETag has passed here: a visitor may name one of ours."""
        _sites.add(self)

    # --- what the adapters ask ---------------------------------------------------------

    def owns(self, path: str) -> bool:
        """Whether `path` (below the site's prefix) is one of the mounted endpoints."""
        return path.startswith(self._below) or path in self._ours

    def holds_sockets(self, holds: bool) -> None:
        """Told by the adapter whether WebSockets can be had; the first word stands, as the
        loader's address depends on it."""
        if self._socket is None:
            self._socket = holds

    def prefix(self, server_prefix: str) -> str:
        """The prefix that visitors see, percent-encoded, for what the server calls its own."""
        public = self.config.public_prefix
        if public is not None:
            return public
        return quote(server_prefix.rstrip("/"), safe=PATH_SAFE) if server_prefix else ""

    def page_options(self, server_prefix: str) -> PageOptions | None:
        """How a page is rewritten; None where there is no loader to point to.

        Args:
            server_prefix: Decoded, as ASGI's `root_path`; a visitor may have chosen it
                (`Mount("/{tenant}", ...)`).
        """
        prefix = self.prefix(server_prefix)
        known = self._options.get(prefix)
        if known is None:
            # What begins with two slashes is the address of another host.
            if prefix.startswith("//") or self.parts.assets is None:
                return None
            version = self.parts.assets.version
            mount = f"{prefix}{self.config.mount}"
            known = PageOptions(
                loader_url=f"{mount}/loader.js?v={version}",
                noscript_url=f"{mount}/noscript.css",
                shareable=lambda target: self._shareable(prefix, target),
                prefix=prefix,
                always_inject=self.config.always_inject,
            )
            # A server names one prefix, a client none; yet SCRIPT_NAME may come from a
            # header in some set-ups, so the number of remembered ones is bounded.
            if len(self._options) < 64:
                self._options[prefix] = known
        return known

    def seen(
        self,
        server_prefix: str,
        media: Iterable[str],
        *,
        host: str,
        scheme: str,
        loop: asyncio.AbstractEventLoop | None,
    ) -> Carried | None:
        """A page showed these absolute media URLs (path and query).

        The part of the page that names them leaves only after `hold` or `held` of what this
        returns: the loader may ask another server worker right then. Never raises.

        Args:
            server_prefix: What the server calls the site's prefix.
            media: As visitors see them.
            host: The page's `Host`.
            scheme: The page's scheme.
            loop: Where their manifests may be made ahead of the loader's question; None where
                the app must not be asked while it serves another request.
        """
        cut = len(self.prefix(server_prefix))
        targets = [target[cut:] for target in media]
        if not targets:
            return None
        try:
            carried = self.library.seen(targets)
            with self._lock:
                fresh = [target for target in targets if target not in self._prepared]
                for target in fresh:
                    self._prepared[target] = True
            if fresh and loop is not None and not loop.is_closed():
                work = self._prepare(fresh, server_prefix.rstrip("/"), host, scheme)
                asyncio.run_coroutine_threadsafe(work, loop)
        except Exception:
            # The page itself is fine: its visitor gets it, whatever happened here.
            log.exception("the videos of a page could not be noted")
            return None
        return carried

    async def _prepare(self, targets: list[str], prefix: str, host: str, scheme: str) -> None:
        for target in targets:
            await self.library.manifest(target, prefix=prefix, host=host, scheme=scheme)

    def _shareable(self, prefix: str, target: str) -> bool:
        if not target.startswith(prefix + "/"):
            return False
        return self.local(target[len(prefix) :])

    # --- what it is made of ------------------------------------------------------------

    @property
    def parts(self) -> _Parts:
        """The parts, made at first use."""
        parts = self._parts
        if parts is None:
            with self._lock:
                parts = self._parts
                if parts is None:
                    config = _with_folder(self.config)
                    parts = self._parts = _Parts(self, config, self._secret(config))
        return parts

    @property
    def library(self) -> Library:
        return self.parts.library

    @property
    def recorder(self) -> Recorder:
        return self.parts.recorder

    async def web(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The mounted ASGI app, of whichever reading `scope["path"]` is (see `local_path`)."""
        # A Starlette around us, where it mounts us, leaves its own idea of where apps begin.
        root = scope.get("root_path", "")
        path = root.rstrip("/") + local_path(scope)
        await self.parts.app({**scope, "path": path, "app_root_path": root}, receive, send)

    def local(self, target: str) -> bool:
        """Whether what a path below the prefix names, with its query, may be shared."""
        return self._named(target) and not self.owns(target.partition("?")[0])

    async def close(self) -> None:
        """The server stops: whoever coordinates here lets another process do it, and what was
        counted last is written now. uvicorn ends by the signal that stopped it, past `atexit`."""
        if self._parts is None:
            return
        try:
            await self._parts.hub.close()
        finally:
            await asyncio.to_thread(self._parts.recorder.close)

    def _secret(self, config: Config) -> bytes:
        secret = self.config.secret or self._framework_secret()
        if secret:
            return secret.encode() if isinstance(secret, str) else secret
        return kept_secret(config.folder() / "secret")


class _Parts:
    def __init__(self, site: Site, config: Config, secret: bytes) -> None:
        folder = config.folder()
        self.assets: assets.Assets | None = None
        try:
            self.assets = assets.Assets(config, socket=bool(site._socket))
        except P2PCDNError as error:
            log.error("p2pcdn does nothing: %s", error)
        self.recorder = Recorder(config, folder=folder, secret=secret)
        self.hub: Hub = open_hub(config, secret=secret, site=str(folder))
        self.library = Library(
            config,
            site.origin,
            folder=folder,
            shareable=site.local,
            machines=None if config.redis_url is None else Machines(config.redis_url, secret),
        )
        # Importing its API takes longer than answering a page.
        self.recorder.after_first_flush = functools.partial(
            otel.register, self.recorder, version=__version__, live=self.hub.snapshot
        )
        ice = Ice(config)
        mounted: list[BaseRoute] = [
            *(self.assets.routes() if self.assets is not None else ()),
            *manifest.routes(
                self.library, self.hub.issue_token, ice=ice.servers if ice.fleeting else None
            ),
            *ice.routes(),
            *stats_routes.routes(
                self.recorder,
                config,
                live=self.hub.snapshot,
                content_size=self._content_size,
                content_url=self._content_url,
            ),
            *dashboard.routes(config),
            *metrics.routes(self.recorder, config, live=self.hub.snapshot),
        ]
        self.app = Starlette(
            routes=[
                # A redirect would carry the Host that the client claims, and no proxy's prefix.
                Mount(config.mount, app=Router(mounted, redirect_slashes=False)),
                *coordinator.mounted(self.hub, config, config.coordinator_path),
            ]
        )
        self.app.router.redirect_slashes = False

        self._limit = Throttle(rate=1, burst=10, total_rate=2000)
        self.hub.on_report = self._reported

    def _reported(self, peer: str, report: dict[str, Any]) -> None:
        if "view" not in report:
            return  # about a peer, not about a view
        if self._limit.take(peer):
            self.recorder.report_later(
                report, content_size=self._content_size, content_url=self._content_url
            )
        else:
            self.recorder.drop("too many reports")

    def _content_size(self, key: str) -> int | None:
        found = self.library.content(key)
        return None if found is None else found[1]

    def _content_url(self, key: str) -> str | None:
        found = self.library.content(key)
        return None if found is None else found[0]


def _with_folder(config: Config) -> Config:
    """Settings whose data folder can be named. Where there is none the site goes on, and this
    process shares by itself."""
    try:
        config.folder()
    except (P2PCDNError, OSError) as error:  # OSError: the working directory was removed
        log.error("no data folder (%s): this process shares nothing with others", error)
        return dataclasses.replace(config, data_dir=tempfile.mkdtemp(prefix="p2pcdn-"))
    return config


def kept_secret(file: Path) -> bytes:
    """The site's secret, made once and kept where all its workers find the same one."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileExistsError):
            fresh = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
            fresh.touch(mode=0o600)
            fresh.write_bytes(secrets.token_bytes(32))
            try:
                os.link(fresh, file)  # atomic: the first worker's secret stands for all
            finally:
                fresh.unlink()
        kept = file.read_bytes()
        if len(kept) >= 32:
            return kept
        log.warning("%s is too short to be a secret: one of this process alone is used", file)
    except OSError as error:
        log.warning("%s cannot be kept (%s): several workers need the `secret` option", file, error)
    return secrets.token_bytes(32)


def local_path(scope: Mapping[str, Any]) -> str:
    """The path below `root_path`, for servers and frameworks of both readings.

    The ASGI specification has `path` include `root_path`; Starlette before 0.33 and some
    servers leave it out.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :] or "/"
    return path


def hold(carried: Carried | None) -> None:
    """Wait, for a bounded time, until all server workers know what `Site.seen` was told."""
    if carried is not None:
        with contextlib.suppress(TimeoutError):
            carried.result(_HOLD_S)


async def held(carried: Carried | None) -> None:
    """`hold` on an event loop."""
    if carried is not None:
        with contextlib.suppress(TimeoutError):
            await within(carried, _HOLD_S)


class Background:
    """One event loop in a daemon thread for each process, for servers that have none (WSGI)."""

    _lock = threading.Lock()
    _current: Background | None = None

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="p2pcdn", daemon=True)
        self.thread.start()

    @classmethod
    def here(cls) -> Background:
        """This process's loop; a fork gets one of its own."""
        current = cls._current
        if current is None or current.pid != os.getpid():
            with cls._lock:
                current = cls._current
                if current is None or current.pid != os.getpid():
                    current = cls._current = cls()
        return current

    def run(self, work: Coroutine[Any, Any, _T], *, timeout_s: float = 30.0) -> _T:
        """Run `work` on the loop and wait for it.

        Raises:
            TimeoutError: It took longer than `timeout_s`; it is cancelled.
            concurrent.futures.CancelledError: Something else cancelled it.
        """
        # As asyncio.run_coroutine_threadsafe does it, without the two futures that this takes, and
        # their turn of the loop: a request of an idle mailbox costs little else.
        over = threading.Lock()
        over.acquire()
        results: list[_T] = []
        errors: list[Exception] = []
        tasks: list[asyncio.Task[None]] = []

        async def all_of_it() -> None:
            try:
                results.append(await work)
            except Exception as error:
                errors.append(error)
            except BaseException:
                # Not asyncio's, which would end the thread that waits here.
                errors.append(concurrent.futures.CancelledError())
                raise
            finally:
                over.release()

        self.loop.call_soon_threadsafe(lambda: tasks.append(self.loop.create_task(all_of_it())))
        if not over.acquire(timeout=timeout_s):
            self.loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
            raise TimeoutError(f"no answer within {timeout_s:g} s")
        if errors:
            raise errors.pop()
        return results[0]

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


def _after_fork() -> None:
    # A lock that another thread held while this process was forked would stay held for ever.
    Background._lock = threading.Lock()
    for site in list(_sites):
        site._lock = threading.Lock()


_sites: weakref.WeakSet[Site] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork)
