"""The known URLs of all machines that share a Redis: a page of one, a manifest of another.

Synchronous, for the thread that carries news and those that may wait for a disk; never called on
an event loop. Whatever goes wrong with Redis, a URL is known to its own machine alone for a while.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

from p2pcdn.media.store import SEEN, SERVED

__all__ = ["Machines"]

log = logging.getLogger("p2pcdn.media")

_TIMEOUT_S = 0.4
"""A page waits for this at most once (`runtime.hold`), a manifest likewise."""
_AGAIN_AFTER_S = 2.0
_KEYS = {SEEN: "seen", SERVED: "served"}
_MOST = {SEEN: 50_000, SERVED: 20_000}
_KNOWN_FOR_S = 14 * 86_400
_BATCH = 500


class Machines:
    """Digests of URLs in two bounded sorted sets, digest -> when it was last told (unix s).

    Cheap and without I/O until it is used, so it may be made before a server forks.

    Args:
        url: Of Redis or Valkey.
        secret: The site's: sites with other secrets may share a Redis.
    """

    def __init__(self, url: str, secret: bytes) -> None:
        self._url = url
        name = hashlib.sha256(b"p2pcdn known 1" + hashlib.sha256(secret).digest()).hexdigest()
        self._prefix = f"p2pcdn:{{{name[:16]}}}:"
        self._client: Any = None
        self._lock = threading.Lock()
        self._try_at = 0.0
        self._warned = False

    def remember(self, entries: Iterable[tuple[bytes, int]]) -> bool:
        """Tell the others of digests, with `SEEN` or `SERVED`; False: it has to be told again."""
        by_how: dict[int, list[bytes]] = {}
        for digest, how in entries:
            by_how.setdefault(how, []).append(digest)
        return self._ask(lambda client: self._remember(client, by_how)) is True

    def _remember(self, client: Any, by_how: dict[int, list[bytes]]) -> bool:
        now = time.time()
        for how, digests in by_how.items():
            key = self._prefix + _KEYS[how]
            for first in range(0, len(digests), _BATCH):
                pipeline = client.pipeline(transaction=False)
                pipeline.zadd(key, dict.fromkeys(digests[first : first + _BATCH], now))
                pipeline.zremrangebyscore(key, "-inf", now - _KNOWN_FOR_S)
                pipeline.zremrangebyrank(key, 0, -_MOST[how] - 1)
                pipeline.expire(key, _KNOWN_FOR_S)
                pipeline.execute()
        return True

    def known(self, digest: bytes) -> bool:
        """Whether any machine was told of this URL."""

        def look(client: Any) -> bool:
            pipeline = client.pipeline(transaction=False)
            for name in _KEYS.values():
                pipeline.zscore(self._prefix + name, digest)
            return any(score is not None for score in pipeline.execute())

        return self._ask(look) is True

    def kept(self, how: int) -> bool:
        """Whether Redis still has what it was told (a Redis without a disk is emptied by a
        restart); True, too, where it cannot be asked."""
        return self._ask(lambda client: bool(client.exists(self._prefix + _KEYS[how]))) is not False

    def _ask(self, question: Any) -> bool | None:
        """The answer, or None where Redis does not give one."""
        with self._lock:
            if time.monotonic() < self._try_at:
                return None
        try:
            answer: bool = question(self._connected())
        except Exception as error:  # redis-py raises its own, the socket's and the parser's
            with self._lock:
                self._try_at = time.monotonic() + _AGAIN_AFTER_S
                warned, self._warned = self._warned, True
            if not warned:
                log.warning(
                    "Redis cannot be reached (%s): until it is back, a video that only a page of "
                    "another machine has shown is played from the origin",
                    error,
                )
            return None
        self._warned = False
        return answer

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                from redis import Redis
                from redis.backoff import NoBackoff
                from redis.retry import Retry

                self._client = Redis.from_url(
                    self._url,
                    socket_timeout=_TIMEOUT_S,
                    socket_connect_timeout=_TIMEOUT_S,
                    retry=Retry(NoBackoff(), 0),
                    retry_on_error=[],
                )
            return self._client

    def close(self) -> None:
        """Hang up; the next use connects again."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()
