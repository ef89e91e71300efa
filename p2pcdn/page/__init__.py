"""A page on its way out. Pure: bytes and headers in, bytes and headers out."""

from __future__ import annotations

__all__: list[str] = []
