"""What one process has heard since its last write: small, additive, bounded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from p2pcdn.stats.report import Part

__all__ = ["MAX_PARTS", "MAX_PATHS", "Batch"]

MAX_PARTS = 50_000
MAX_PATHS = 10_000


@dataclass(slots=True)
class Batch:
    """Waits in memory for the next write, or for the disk to have room again."""

    origin: dict[str, list[int]] = field(default_factory=dict)
    """Target -> [responses, whole, aborted, bytes], as `fields.ORIGIN`."""
    parts: dict[tuple[bytes, str], tuple[Part, int]] = field(default_factory=dict)
    """(view, key) -> its latest report and the content's size."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Parts of reports that were not believed, by reason."""

    def __bool__(self) -> bool:
        return bool(self.origin or self.parts or self.dropped)

    def add_origin(
        self, target: str, sent: int, whole: int, aborted: int, responses: int = 1
    ) -> None:
        row = self.origin.get(target)
        if row is None:
            if len(self.origin) >= MAX_PATHS:
                target = ""  # the store's "others"
            row = self.origin.setdefault(target, [0, 0, 0, 0])
        row[0] += responses
        row[1] += whole
        row[2] += aborted
        row[3] += sent

    def add_part(self, part: Part, size: int) -> None:
        at = (part.view, part.key)
        before = self.parts.get(at)
        if before is not None and before[0].seq > part.seq:
            return  # reports are cumulative: a late, older one says nothing new
        if before is None and len(self.parts) >= MAX_PARTS:
            self.dropped["flood"] += 1
            return
        self.parts[at] = (part, size)

    def add(self, older: Batch) -> None:
        """Take back a batch that could not be written."""
        for target, (responses, whole, aborted, sent) in older.origin.items():
            self.add_origin(target, sent, whole, aborted, responses)
        for part, size in older.parts.values():
            self.add_part(part, size)
        self.dropped.update(older.dropped)
