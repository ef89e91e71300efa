"""What the origin said to a sub-request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from p2pcdn.errors import P2PCDNError

__all__ = ["Headers", "OriginAnswer", "OriginBusy", "OriginError"]

Headers = list[tuple[str, str]]


class OriginError(P2PCDNError):
    """The app raised, or what it answered is not HTTP."""


class OriginBusy(OriginError):
    """Too many sub-requests are under way, or the app keeps them waiting."""


class OriginAnswer:
    """An answer whose body is read only as far as somebody asks for it.

    Whoever opened it closes it, read or not.

    Attributes:
        status: HTTP status.
        headers: Header fields as the app gave them.
        path: The file behind the body, if it could be found without reading the body.
    """

    def __init__(
        self,
        status: int,
        headers: Headers,
        path: Path | None,
        chunks: Callable[[], AsyncIterator[bytes]],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self.status = status
        self.headers = headers
        self.path = path
        self._chunks = chunks
        self._close = close

    def header(self, name: str) -> str:
        """A field's values, joined by commas; empty if there is none."""
        return ", ".join(value for field, value in self.headers if field.lower() == name)

    @property
    def length(self) -> int | None:
        """The declared `Content-Length` in bytes, if there is a readable one."""
        text = self.header("content-length").strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    def chunks(self) -> AsyncIterator[bytes]:
        """The body, once. Raises OriginError where the app fails on the way."""
        return self._chunks()

    async def aclose(self) -> None:
        """Let the app go; safe to call twice."""
        await self._close()
