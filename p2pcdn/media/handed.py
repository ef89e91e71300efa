"""A file that a response hands to its server, which may have the kernel send it."""

from __future__ import annotations

from typing import Any

__all__ = ["HandedFile"]


class HandedFile:
    """Stands for the file, and knows how much of it was sent.

    The file's own position is not enough: gunicorn puts it back to where it was as soon as
    `sendfile` has sent everything, and only then closes.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._start = self._furthest = self._position()

    @property
    def sent(self) -> int:
        """Bytes; 0 where the file has been closed or does not tell its position."""
        return max(self._position(), self._furthest) - self._start

    def seek(self, offset: int, whence: int = 0) -> Any:
        """As the file's own. `socket.sendfile` ends with one, to the end of what it sent."""
        if whence == 0:
            self._furthest = max(self._furthest, offset)
        return self._file.seek(offset, whence)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def _position(self) -> int:
        try:
            return int(self._file.tell())
        except (OSError, ValueError, AttributeError):
            return 0
