"""A thread that flushes a recorder every few seconds, for as long as anybody has it."""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from typing import Protocol

__all__ = ["Flushed", "Ticker"]

log = logging.getLogger("p2pcdn.stats")


class Flushed(Protocol):
    def flush(self) -> None: ...


class Ticker:
    """One process's; a fork makes a new one."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.running = False
        """It was started, and not stopped since."""

    def start(self, flushed: Flushed) -> None:
        """Begin, unless it has begun; keeps nothing alive."""
        with self._lock:
            if self.running:
                return
            self.running, self._stop = True, threading.Event()
            thread = threading.Thread(
                target=_run,
                args=(weakref.ref(flushed), self._stop, self._every_s),
                name="p2pcdn-stats",
                daemon=True,
            )
            # RuntimeError: the interpreter is shutting down; the last flush is `close`.
            with contextlib.suppress(RuntimeError):
                thread.start()

    def stop(self) -> None:
        with self._lock:
            self.running = False
            self._stop.set()


def _run(flushed: weakref.ref[Flushed], stop: threading.Event, every_s: float) -> None:
    while not stop.wait(every_s):
        alive = flushed()
        if alive is None:
            return
        try:
            alive.flush()
        except Exception:  # a defect here must not end counting for good
            log.exception("statistics: flush failed")
        del alive
