"""What one process of a site holds for its library: never inherited by a fork."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cachetools import LRUCache

from p2pcdn.config import Config
from p2pcdn.media.body import Bodies
from p2pcdn.media.jobs import HashJobs
from p2pcdn.media.known import KnownUrls
from p2pcdn.media.machines import Machines
from p2pcdn.media.manifest import Manifest, content_key
from p2pcdn.media.store import Hashes, Store
from p2pcdn.media.urls import MediaUrl

__all__ = ["Here"]

_T = TypeVar("_T")

_MANIFEST_BYTES = 8 * 1024 * 1024
_MOST_ANSWERS = 2_000
_THREADS = 4


class Here:
    """Store, threads and caches; opened by `Library` on first use in a process.

    Attributes:
        lock: Guards `answers` and `asking`.
        answers: When and what the origin last answered, by everything that was asked with.
        asking: The sub-requests under way.
    """

    def __init__(
        self,
        file: Path | None,
        config: Config,
        *,
        machines: Machines | None = None,
        clock: Callable[[], float],
    ) -> None:
        self.config = config
        self.clock = clock
        self.store = Store(file, clock=clock)
        self.known = KnownUrls(self.store, machines=machines)
        self.jobs = HashJobs(self.store, clock=clock)
        # Its threads only stat files and use the store: short work that may wait for a disk.
        self._pool = concurrent.futures.ThreadPoolExecutor(_THREADS, "p2pcdn-media")
        self.bodies = Bodies(self.store, config, self.run, clock=clock)
        self.lock = threading.Lock()
        self._manifests: LRUCache[tuple[str, str, str, str], Manifest] = LRUCache(
            _MANIFEST_BYTES, getsizeof=lambda manifest: len(manifest.hashes) + 1024
        )
        self._named: LRUCache[str, tuple[str, int]] = LRUCache(_MOST_ANSWERS)
        self.answers: LRUCache[tuple[str, str, str, str], tuple[float, Any]] = LRUCache(
            _MOST_ANSWERS
        )
        self.asking: dict[tuple[str, str, str, str], concurrent.futures.Future[Any]] = {}

    def content(self, key: str) -> tuple[str, int] | None:
        """Path and size of the content with this key, whichever process made its manifest."""
        with self.lock:
            found = self._named.get(key)
        if found is None:
            found = self.store.named(key)
            if found is not None:
                with self.lock:
                    self._named[key] = found
        return found

    async def run(self, work: Callable[[], _T]) -> _T:
        """Do `work` in one of the threads, so that the calling loop goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def made(self, url: MediaUrl, type_: str, content: str, version: str) -> Manifest | None:
        """The manifest of exactly this version, if this process made it lately."""
        with self.lock:
            return self._manifests.get((url.path, content, version, type_))

    def manifest(
        self, url: MediaUrl, type_: str, content: str, version: str, hashes: Hashes
    ) -> Manifest:
        """Make the manifest of a version whose hashes are known, and keep it at hand."""
        manifest = Manifest(
            key=content_key(url.path, hashes.hashes),
            url=url.url,
            size=hashes.size,
            type=type_,
            segment_bytes=hashes.segment_bytes,
            hashes=hashes.hashes,
        )
        with self.lock:
            new = manifest.key not in self._named
            self._named[manifest.key] = (url.path, hashes.size)
            self._manifests[(url.path, content, version, type_)] = manifest
        if new:
            self._pool.submit(self.store.name, manifest.key, url.path, hashes.size)
        return manifest

    def close(self) -> None:
        """End the threads and close the file."""
        self.bodies.close()
        self.jobs.close()
        self.known.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.store.close()
