"""A condition that repeats with every page is worth one line in the log."""

from __future__ import annotations

import logging
import threading

__all__ = ["WarnOnce"]


class WarnOnce:
    """Logs a condition the first time only; remembers a bounded number of them."""

    def __init__(self, logger: logging.Logger, most: int = 64) -> None:
        self._logger = logger
        self._most = most
        self._seen: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def __call__(self, message: str, detail: str) -> None:
        with self._lock:
            if (message, detail) in self._seen or len(self._seen) >= self._most:
                return
            self._seen.add((message, detail))
        self._logger.warning(message, detail)
