"""Hashing a body that hides its file: read once, as a stream, by the app itself."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from cachetools import LRUCache

from p2pcdn.config import Config
from p2pcdn.media.answer import OriginAnswer, OriginError
from p2pcdn.media.hasher import SegmentHasher
from p2pcdn.media.manifest import Refusal, segment_bytes_for
from p2pcdn.media.store import Hashes, Store
from p2pcdn.media.urls import MediaUrl

__all__ = ["Bodies", "Body"]

_MOST_AT_ONCE = 2
_UNKNOWN_LENGTH_SEGMENT = 1024 * 1024
# A body without a length may be a live stream that never ends.
_UNKNOWN_LENGTH_MOST = 1024 * 1024 * 1024
_UNKNOWN_LENGTH_S = 120.0
_STALL_S = 30.0
_BEAT_EVERY_S = 1.0
_FAILED_FOR_S = 600.0
# Without a validator only the first segment is compared at each check; all of it this often.
_TRUSTED_FOR_S = 60.0
_INLINE_BYTES = 256 * 1024

Outcome = Hashes | Refusal
Run = Callable[[Callable[[], Any]], Awaitable[Any]]


@dataclass(eq=False, slots=True)
class Body:
    """A content known by its body alone.

    Attributes:
        content: Its name in the store.
        version: What the origin says of this version of it.
        type: Media type.
        future: The hashes, or why there are none.
        answer: What a task of ours reads it from, and closes; None: nothing (any more).
    """

    content: str
    version: str
    type: str
    length: int | None
    future: concurrent.futures.Future[Outcome] = field(default_factory=concurrent.futures.Future)
    answer: OriginAnswer | None = None
    done: int = 0
    began: float = field(default_factory=time.monotonic)

    def expected_s(self) -> float:
        """Seconds until it is likely read, at the speed so far."""
        spent = max(time.monotonic() - self.began, 1e-3)
        if self.length is None or not self.done:
            return 1.0
        return (self.length - self.done) * spent / self.done


class Bodies:
    """The bodies that one process has read or is reading, a few at a time.

    Args:
        store: Where all server workers meet.
        config: The settings.
        run: Does short blocking work off the event loop.
        clock: Unix time in seconds.
    """

    def __init__(
        self, store: Store, config: Config, run: Run, *, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._config = config
        self._run = run
        self._clock = clock
        self._lock = threading.Lock()
        self._running: dict[str, Body] = {}
        self._failed: LRUCache[str, tuple[float, Refusal]] = LRUCache(500)
        self._tasks: set[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = set()

    @staticmethod
    def has_validator(answer: OriginAnswer) -> bool:
        """Whether the origin names the version of what it sends (RFC 9110, section 8.8)."""
        return bool(answer.header("etag") or answer.header("last-modified"))

    async def look(self, url: MediaUrl, answer: OriginAnswer, type_: str) -> Body | None:
        """Find the body's hashes, or begin to read it.

        Returns:
            The body; if its `answer` is this one, that now belongs to a task. None: too many
            are being read, here or elsewhere.
        """
        body = self._named(url, answer, type_)
        if refusal := self._refused(body):
            body.future.set_result(refusal)
            return body
        with self._lock:
            running = self._running.get(body.content)
        if running is not None:
            return running if running.version == body.version else None
        known: Hashes | None = await self._run(lambda: self._store.get(body.content, body.version))
        chunks = answer.chunks()
        hasher = SegmentHasher(self._segment_bytes(body))
        if known is not None and not self.has_validator(answer):
            if await self._same_start(known, chunks, hasher):
                await chunks.aclose()  # type: ignore[attr-defined]
            else:
                known = None
        if known is not None:
            body.future.set_result(known)
            return body
        with self._lock:
            if body.content in self._running or len(self._running) >= _MOST_AT_ONCE:
                return None
            self._running[body.content] = body
        claim = await self._run(
            lambda: self._store.claim(body.content, body.version, body.length or 0)
        )
        if not claim.mine:
            with self._lock:
                self._running.pop(body.content, None)
            return None
        self._begin(body, answer, chunks, hasher)
        return body

    def close(self) -> None:
        """Stop reading."""
        for loop, task in list(self._tasks):
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)

    def _named(self, url: MediaUrl, answer: OriginAnswer, type_: str) -> Body:
        length = answer.length
        segment = (
            segment_bytes_for(length, self._config.segment_bytes)
            if length
            else self._config.segment_bytes or _UNKNOWN_LENGTH_SEGMENT
        )
        if not self.has_validator(answer):
            return Body(f"body:{url.target}", f"{length}:{segment}", type_, length)
        said = "\0".join(answer.header(name) for name in ("etag", "last-modified"))
        version = f"{length}:{segment}:{hashlib.sha256(said.encode()).hexdigest()}"
        # Each version has a name of its own: hosts that share a path do not push each other out.
        return Body(f"body:{url.path}\0{version}", version, type_, length)

    def _segment_bytes(self, body: Body) -> int:
        return int(body.version.split(":")[1])

    def _refused(self, body: Body) -> Refusal | None:
        limit = self._config.max_content_bytes
        if body.length == 0:
            return Refusal("empty", "the site answers nothing; there is nothing to share.")
        if body.length is not None and body.length > limit:
            return Refusal(
                "too-large", f"it has {body.length} bytes and `max_content_bytes` is {limit}."
            )
        with self._lock:
            at, refusal = self._failed.get(body.content, (0.0, None))
        if refusal is not None and time.monotonic() - at < _FAILED_FOR_S:
            return refusal
        return None

    async def _same_start(
        self, known: Hashes, chunks: AsyncIterator[bytes], hasher: SegmentHasher
    ) -> bool:
        if not 0 <= self._clock() - known.made < _TRUSTED_FOR_S:
            return False
        async with asyncio.timeout(_STALL_S):
            async for chunk in chunks:
                hasher.update(chunk)
                if hasher.first() is not None:
                    return hasher.first() == known.hashes[:32]
        return hasher.size == known.size and hasher.finish() == known.hashes

    def _begin(
        self,
        body: Body,
        answer: OriginAnswer,
        chunks: AsyncIterator[bytes],
        hasher: SegmentHasher,
    ) -> None:
        body.answer = answer
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._read(body, answer, chunks, hasher))
        entry = (loop, task)
        self._tasks.add(entry)  # a loop holds its tasks only weakly
        task.add_done_callback(lambda _: self._tasks.discard(entry))

    async def _read(
        self,
        body: Body,
        answer: OriginAnswer,
        chunks: AsyncIterator[bytes],
        hasher: SegmentHasher,
    ) -> None:
        outcome: Outcome = Refusal("broken", "reading it was given up.")
        remembered = True
        try:
            outcome = await self._hash(body, chunks, hasher)
        except asyncio.CancelledError:
            remembered = False
            raise
        except TimeoutError:
            outcome = Refusal("broken", "the site's answer stands still.")
        except OriginError as error:
            outcome = Refusal("broken", f"the site's answer broke off: {error}")
        finally:
            try:
                with contextlib.suppress(Exception):
                    await answer.aclose()
            finally:
                self._settle(body, outcome, remembered=remembered)
        await self._run(lambda: self._keep(body, outcome))

    def _settle(self, body: Body, outcome: Outcome, *, remembered: bool) -> None:
        with self._lock:
            self._running.pop(body.content, None)
            if isinstance(outcome, Refusal) and remembered:
                self._failed[body.content] = (time.monotonic(), outcome)
        body.answer = None
        body.future.set_result(outcome)

    def _keep(self, body: Body, outcome: Outcome) -> None:
        if isinstance(outcome, Hashes):
            self._store.put(body.content, body.version, outcome)
        else:
            self._store.release(body.content)

    async def _hash(
        self, body: Body, chunks: AsyncIterator[bytes], hasher: SegmentHasher
    ) -> Outcome:
        most = self._config.max_content_bytes
        if body.length is None:
            most = min(most, _UNKNOWN_LENGTH_MOST)
        beaten = time.monotonic()
        while True:
            async with asyncio.timeout(_STALL_S):
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    break
            if len(chunk) > _INLINE_BYTES:
                await self._run(lambda piece=chunk: hasher.update(piece))  # type: ignore[misc]
            else:
                hasher.update(chunk)
            body.done = hasher.size
            now = time.monotonic()
            endless = body.length is None and now - body.began > _UNKNOWN_LENGTH_S
            if hasher.size > most or endless:
                return Refusal(
                    "too-large",
                    f"it is longer than {most} bytes, or a live stream; let the site send a "
                    "Content-Length, or raise `max_content_bytes`.",
                )
            if body.length is not None and hasher.size > body.length:
                break
            if now - beaten > _BEAT_EVERY_S:
                beaten = now
                await self._run(self._store.beat)
        if body.length is not None and hasher.size != body.length:
            return Refusal(
                "broken",
                f"the site announced {body.length} bytes and sent another number.",
            )
        if hasher.size == 0:
            return Refusal("empty", "the site answers nothing; there is nothing to share.")
        return Hashes(hasher.size, self._segment_bytes(body), hasher.finish(), self._clock())
