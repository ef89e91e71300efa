"""Messages for peers that are not there (yet): bounded, and given up after a while."""

from __future__ import annotations

from collections import OrderedDict

from p2pcdn.coordinator.limits import Limits

__all__ = ["Absent"]


class _Queue:
    __slots__ = ("bytes", "first", "messages")

    def __init__(self, now: float) -> None:
        self.first = now
        self.messages: list[tuple[str, str]] = []
        self.bytes = 0


class Absent:
    """Queues by destination. PeerServer's are unbounded; here a full one expires at once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # Ordered by the time of the first message, so that expiry looks at the front only.
        self._queues: OrderedDict[str, _Queue] = OrderedDict()
        self._senders: dict[str, int] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._queues)

    def put(self, *, src: str, dst: str, text: str, now: float) -> bool:
        """Keep `text` for `dst`; False where there is no room for it."""
        limits, size = self._limits, len(text)
        count = self._senders.get(src, 0)
        if count >= limits.absent_per_sender or self.bytes + size > limits.absent_total_bytes:
            return False
        queue = self._queues.get(dst)
        if queue is None:
            queue = self._queues[dst] = _Queue(now)
        elif (
            len(queue.messages) >= limits.absent_messages
            or queue.bytes + size > limits.absent_bytes
        ):
            return False
        queue.messages.append((src, text))
        queue.bytes += size
        self.bytes += size
        self._senders[src] = count + 1
        return True

    def take(self, dst: str) -> list[str]:
        """What was kept for `dst`, in order, and forget it."""
        queue = self._queues.pop(dst, None)
        if queue is None:
            return []
        self._forget(queue)
        return [text for _, text in queue.messages]

    def expire(self, now: float) -> list[tuple[str, str]]:
        """Give up the old queues: their (sender, destination) pairs, each once."""
        pairs: list[tuple[str, str]] = []
        while self._queues:
            dst, queue = next(iter(self._queues.items()))
            if now - queue.first < self._limits.expire_timeout_s:
                break
            del self._queues[dst]
            self._forget(queue)
            pairs += [(src, dst) for src in dict.fromkeys(src for src, _ in queue.messages)]
        return pairs

    def _forget(self, queue: _Queue) -> None:
        self.bytes -= queue.bytes
        for src, _ in queue.messages:
            count = self._senders[src] - 1
            if count:
                self._senders[src] = count
            else:
                del self._senders[src]
