"""One store for several machines, in Redis 6.2 or newer (or Valkey).

Whoever writes holds a lock for some milliseconds. Everything is written in one MULTI that
fails when the lock was lost meanwhile, and that names the batch: where the answer to it did not
arrive, the batch is offered again and the store knows whether it has it.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, WatchError
from redis.retry import Retry

from p2pcdn.stats.batch import Batch
from p2pcdn.stats.fields import DAY
from p2pcdn.stats.plausible import Limits
from p2pcdn.stats.redis_read import all_time, read_live, read_summary
from p2pcdn.stats.redis_rollup import maintain
from p2pcdn.stats.redis_tables import RedisTables
from p2pcdn.stats.store import HURRY_S, StoreError
from p2pcdn.stats.summary import Summary
from p2pcdn.stats.tidy import EVERY_S
from p2pcdn.stats.write import add_batch

__all__ = ["RedisStore", "connect", "sites"]

_SITES = "p2pcdn:stats-sites"
_CONNECT_S = 2.0
_ANSWER_S = 5.0
_LOCK_MS = 15_000
_PATIENCE_S = 3.0
_LEASE_MS = 150_000
"""Exporters ask every minute or so."""

_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"
_LEASE = """
local who = redis.call('GET', KEYS[1])
if who and who ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


def connect(url: str, *, within_s: float = _ANSWER_S) -> Redis:
    """A client whose connections fail soon and that says nothing twice by itself."""
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=within_s,
        socket_connect_timeout=min(within_s, _CONNECT_S),
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
    )


def sites(client: Redis) -> set[str]:
    """The names of all sites that keep statistics in this Redis (`store.shared_name`)."""
    return set(client.smembers(_SITES))


class RedisStore:
    """See `store.Store`.

    Args:
        url: Of Redis.
        site: Its name there, see `store.shared_name`.
        server_time: Go by the clock of Redis; each machine's own would be one of many.
    """

    def __init__(
        self, url: str, site: str, *, limits: Limits, retention_days: int, server_time: bool
    ) -> None:
        parts = urlsplit(url)
        # Without the password.
        self.name = f"{parts.scheme}://{parts.hostname or ''}:{parts.port or 6379}{parts.path}"
        self._url = url
        self._site = site
        self._at = f"p2pcdn:stats:{{{site}}}:"
        self._limits = limits
        self._retention_days = retention_days
        self._server_time = server_time
        self._by = secrets.token_hex(8)
        self._client: Redis | None = None
        self._ahead_s = 0.0
        self._hurried = False
        self._maintained = float("-inf")

    def write(self, batch: Batch, *, now: float) -> set[str]:
        """See `Store`."""
        due = not self._hurried and time.monotonic() - self._maintained > EVERY_S
        with self._failing():
            if due:
                self._maintained = time.monotonic()
                with self._locked() as (client, pipe):
                    days = self._retention_days
                    if maintain(client, pipe, self._at, now=self._now(now), retention_days=days):
                        pipe.execute()
            if batch or due:  # an empty batch still ends what is too old
                return self._write(batch, now)
            return set()

    def _write(self, batch: Batch, now: float) -> set[str]:
        with self._locked() as (client, pipe):
            now = self._now(now)
            tables = RedisTables(client, self._at, ttl_s=(self._retention_days + 30) * DAY)
            if not tables.load(batch, self._by):
                return set()
            dropped = add_batch(tables, batch, now=now, limits=self._limits)
            pipe.multi()
            tables.write_to(pipe, batch, self._by)
            pipe.sadd(_SITES, self._site)
            pipe.delete(f"{self._at}lock")
            try:
                pipe.execute()
            except (RedisError, OSError) as error:
                # A lost connection is a WatchError to this client, too.
                raise StoreError(_said(error), unsure=True) from error
            return dropped

    def summary(self, now: float, since: float, until: float | None, top: int | None) -> Summary:
        """See `Store`."""
        with self._failing():
            client, now = self._open(), self._now(now)
            return read_summary(client, self._at, now=now, since=since, until=until, top=top)

    def all_time(self, now: float, top: int | None) -> Summary:
        """See `Store`."""
        with self._failing():
            return all_time(self._open(), self._at, now=self._now(now), top=top)

    def live(self, now: float) -> dict[str, Any]:
        """See `Store`."""
        with self._failing():
            return read_live(self._open(), self._at, now=self._now(now))

    @contextlib.contextmanager
    def exporter(self) -> Iterator[dict[str, float] | None]:
        """See `Store`."""
        with self._failing():
            client = self._open()
            if not client.eval(_LEASE, 1, f"{self._at}exporter", self._by, _LEASE_MS):
                yield None
                return
            found = client.hgetall(f"{self._at}exported")
            exported = {str(name): float(value) for name, value in dict(found).items()}
            yield exported
            if exported:
                client.hset(
                    f"{self._at}exported", mapping={k: repr(v) for k, v in exported.items()}
                )
                client.expire(f"{self._at}exported", (self._retention_days + 30) * DAY)

    def abandon(self) -> None:
        """See `Store`; the client itself knows a fork."""

    def hurry(self) -> None:
        """See `Store`."""
        self._hurried = True
        before = self._client
        if before is not None:  # its sockets wait for long
            with contextlib.suppress(Exception):
                before.connection_pool.disconnect()
            self._client = connect(self._url, within_s=HURRY_S)

    def close(self) -> None:
        """See `Store`."""
        client, self._client = self._client, None
        self._hurried = False
        if client is not None:
            with contextlib.suppress(RedisError, OSError):
                client.eval(_RELEASE, 1, f"{self._at}exporter", self._by)
            with contextlib.suppress(RedisError, OSError):
                client.close()

    # --- Redis -------------------------------------------------------------------------

    def _open(self) -> Redis:
        if self._client is None:
            client = connect(self._url, within_s=HURRY_S if self._hurried else _ANSWER_S)
            self._sync(client.time())
            self._client = client
        return self._client

    def _now(self, now: float) -> float:
        return now + self._ahead_s if self._server_time else now

    def _sync(self, server: Any) -> None:
        self._ahead_s = server[0] + server[1] / 1e6 - time.time()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except WatchError as error:
            raise StoreError("the lock was lost, this server worker was too slow") from error
        except (RedisError, OSError) as error:
            client, self._client = self._client, None
            if client is not None:
                with contextlib.suppress(Exception):
                    client.connection_pool.disconnect()
            raise StoreError(_said(error)) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[tuple[Redis, Any]]:
        """The client, and a pipeline whose MULTI fails when the lock is not ours any more."""
        client, lock, token = self._open(), f"{self._at}lock", secrets.token_hex(8)
        end = time.monotonic() + (HURRY_S if self._hurried else _PATIENCE_S)
        while not client.set(lock, token, nx=True, px=_LOCK_MS):
            if time.monotonic() > end:
                raise StoreError("locked by another server worker for too long")
            time.sleep(random.uniform(0.003, 0.03))
        pipe = client.pipeline(transaction=True)
        try:
            pipe.watch(lock)
            if pipe.get(lock) != token:
                raise WatchError
            self._sync(pipe.time())
            yield client, pipe
        finally:
            with contextlib.suppress(RedisError, OSError):
                pipe.reset()
                client.eval(_RELEASE, 1, lock, token)


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
