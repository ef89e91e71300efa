"""Which segments are held; laid out as on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from p2pcdn.peer.wire import Run

__all__ = ["Bits", "runs_of"]


class Bits:
    """A bitfield; the first segment is the first byte's high bit."""

    __slots__ = ("_bytes", "count", "size")

    def __init__(self, size: int, held: bytes | None = None) -> None:
        self.size = size
        self._bytes = bytearray((size + 7) // 8) if held is None else bytearray(held)
        self.count: int = int.from_bytes(self._bytes).bit_count()

    def __bytes__(self) -> bytes:
        return bytes(self._bytes)

    def __contains__(self, segment: int) -> bool:
        return 0 <= segment < self.size and bool(self._bytes[segment >> 3] & 128 >> (segment & 7))

    def __iter__(self) -> Iterator[int]:
        return (segment for segment in range(self.size) if segment in self)

    @property
    def full(self) -> bool:
        return self.count == self.size

    def put(self, segment: int, held: bool) -> bool:
        """Set or clear one; True where that changed it."""
        if not 0 <= segment < self.size or (segment in self) == held:
            return False
        self._bytes[segment >> 3] ^= 128 >> (segment & 7)
        self.count += 1 if held else -1
        return True


def runs_of(segments: Iterable[int]) -> tuple[Run, ...]:
    """Segment numbers as runs, in order."""
    runs: list[Run] = []
    for segment in sorted(segments):
        if runs and sum(runs[-1]) == segment:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((segment, 1))
    return tuple(runs)
