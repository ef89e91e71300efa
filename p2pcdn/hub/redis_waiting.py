"""What this node left in Redis for absent peers: bounded, and taken back after a while."""

from __future__ import annotations

from collections import OrderedDict

from p2pcdn.coordinator import Limits

__all__ = ["Waiting"]


class _Queue:
    __slots__ = ("bytes", "first", "frames")

    def __init__(self, first: float) -> None:
        self.first = first
        self.bytes = 0
        self.frames: list[tuple[str, bytes]] = []


class Waiting:
    """The bounds of `p2pcdn.coordinator.absent`, over what is elsewhere."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queues: OrderedDict[str, _Queue] = OrderedDict()
        self._senders: dict[str, int] = {}
        self._bytes = 0

    def put(self, src: str, dst: str, frame: bytes, now: float) -> bool:
        """Note a frame; False where it has to be taken back at once."""
        limits, size = self._limits, len(frame)
        count = self._senders.get(src, 0)
        if count >= limits.absent_per_sender or self._bytes + size > limits.absent_total_bytes:
            return False
        queue = self._queues.get(dst)
        if queue is None:
            queue = self._queues[dst] = _Queue(now)
        elif queue.bytes + size > limits.absent_bytes:
            return False
        queue.frames.append((src, frame))
        queue.bytes += size
        self._bytes += size
        self._senders[src] = count + 1
        return True

    def expire(self, now: float) -> list[tuple[str, list[tuple[str, bytes]]]]:
        """The destinations whose first message is too old, with their (sender, frame)s."""
        expired = []
        while self._queues:
            dst, queue = next(iter(self._queues.items()))
            if now - queue.first < self._limits.expire_timeout_s:
                break
            del self._queues[dst]
            self._bytes -= queue.bytes
            for src, _ in queue.frames:
                count = self._senders[src] - 1
                if count:
                    self._senders[src] = count
                else:
                    del self._senders[src]
            expired.append((dst, queue.frames))
        return expired
