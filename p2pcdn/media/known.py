"""Which media URLs the site itself has brought up: nothing else is ever asked for.

Adapters tell it on every page and every media answer, so telling costs a look-up in memory;
a thread of its own carries the news to the file that all server workers share, and to the Redis
that all machines share. Who lets a visitor have a page waits for that (`carried`): the loader's
question may reach another worker.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from p2pcdn.media.machines import Machines
from p2pcdn.media.store import Store

__all__ = ["Carried", "KnownUrls"]

Carried = concurrent.futures.Future[None]
"""Done when news is in the file (or cannot be had there); never fails."""

_MOST_IN_MEMORY = 20_000
_MOST_WAITING = 5_000
_TELL_AGAIN_S = 3600.0
_LOOK_AFTER_S = 5.0
"""How often it is looked whether the other machines still know."""


class KnownUrls:
    """One process's view of the known URLs. Thread-safe; `note` never waits for the disk.

    Args:
        store: Where all server workers meet.
        machines: Where all machines meet; None: there is one.
        clock: Seconds, never running back.
    """

    def __init__(
        self,
        store: Store,
        *,
        machines: Machines | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._machines = machines
        self._owing = False
        self._clock = clock
        self._lock = threading.Lock()
        self._told: dict[int, OrderedDict[bytes, float]] = {}
        self._waiting: dict[bytes, int] = {}
        self._carried: Carried | None = None  # of what waits
        self._carrying: Carried | None = None  # of what the thread has in hand
        self._news = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def note(self, target: str, how: int) -> None:
        """Remember a canonical target (`SEEN` or `SERVED`)."""
        digest = _digest(target)
        now = self._clock()
        with self._lock:
            told = self._told.setdefault(how, OrderedDict())
            at = told.get(digest)
            if at is not None and now - at < _TELL_AGAIN_S:
                told.move_to_end(digest)
                return
            if len(self._waiting) >= _MOST_WAITING or self._closed:
                return
            told[digest] = now
            while len(told) > _MOST_IN_MEMORY:
                told.popitem(last=False)
            self._waiting[digest] = min(how, self._waiting.get(digest, how))
            if self._carried is None:
                self._carried = concurrent.futures.Future()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="p2pcdn-known", daemon=True)
                self._thread.start()
        self._news.set()

    @property
    def carried(self) -> Carried | None:
        """When everything noted so far is in the file; None: it is."""
        with self._lock:
            # One thread carries in order, so the later of the two covers the other.
            return self._carried or self._carrying

    def here(self, target: str) -> bool:
        """Whether this process was told of it."""
        digest = _digest(target)
        with self._lock:
            return any(digest in told for told in self._told.values())

    def anywhere(self, target: str) -> bool:
        """Whether any server worker of any machine was told of it; reads the file, and Redis."""
        digest = _digest(target)
        return self._store.known(digest) or (
            self._machines is not None and self._machines.known(digest)
        )

    def close(self) -> None:
        """Carry over what waits, and end the thread."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._news.set()
        if thread is not None:
            thread.join(2.0)
        if self._machines is not None:
            self._machines.close()

    def _run(self) -> None:
        while True:
            self._news.wait(None if self._machines is None else _LOOK_AFTER_S)
            self._news.clear()
            with self._lock:
                waiting, self._waiting = self._waiting, {}
                self._carrying, self._carried = self._carried, None
                carrying, closed = self._carrying, self._closed
            try:
                if waiting:
                    self._store.remember(waiting.items())
                if self._machines is not None:
                    self._tell_machines(self._machines, waiting)
            finally:
                with self._lock:
                    self._carrying = None
                if carrying is not None:
                    carrying.set_result(None)
            if closed:
                return

    def _tell_machines(self, machines: Machines, fresh: dict[bytes, int]) -> None:
        if fresh:
            self._owing |= not machines.remember(fresh.items())
            return
        with self._lock:
            told = {how: list(digests) for how, digests in self._told.items() if digests}
        if self._owing or not all(map(machines.kept, told)):
            everything = ((digest, how) for how, digests in told.items() for digest in digests)
            self._owing = not machines.remember(everything)


def _digest(target: str) -> bytes:
    # Signed URLs are secrets of a kind, and long: neither belongs in a file. An attacker who
    # could make two URLs collide would have one fetched for the other: hence not xxHash.
    return hashlib.blake2b(target.encode("utf-8"), digest_size=16).digest()
