"""What one process has heard since its last write: small, additive, bounded."""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass, field, replace

from p2pcdn.stats.report import Part

__all__ = ["MAX_PARTS", "MAX_PATHS", "Batch", "Heard"]

MAX_PARTS = 50_000
MAX_PATHS = 10_000


@dataclass(frozen=True, slots=True)
class Heard:
    """The latest report of a view about a content, and how long it has waited here."""

    part: Part
    size: int
    """Bytes of the content."""
    since: float
    """Unix time at which the first of the reports came that wait in this one."""
    first_seq: int
    """Its number..."""
    idle_s: int
    """...and how long the view was silent before it."""


@dataclass(slots=True)
class Batch:
    """Waits in memory for the next write, or for the store to be there again."""

    origin: dict[str, list[int]] = field(default_factory=dict)
    """Target -> [responses, whole, aborted, bytes], as `fields.ORIGIN`."""
    parts: dict[tuple[bytes, str], Heard] = field(default_factory=dict)
    """By view and key."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Parts of reports that were not believed, by reason."""
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    """A store that cannot tell whether it has this batch is asked by that name."""

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

    def add_part(self, part: Part, size: int, *, now: float) -> None:
        self._add(Heard(part, size, now, part.seq, part.idle_s))

    def _add(self, heard: Heard) -> None:
        at = (heard.part.view, heard.part.key)
        before = self.parts.get(at)
        if before is None:
            if len(self.parts) >= MAX_PARTS:
                self.dropped["flood"] += 1
            else:
                self.parts[at] = heard
        elif before.part.seq <= heard.part.seq:
            # Reports are cumulative: the later one says it all.
            self.parts[at] = replace(before, part=heard.part, size=heard.size)

    def add(self, newer: Batch) -> None:
        """Go on from a batch that could not be written."""
        for target, (responses, whole, aborted, sent) in newer.origin.items():
            self.add_origin(target, sent, whole, aborted, responses)
        for heard in newer.parts.values():
            self._add(heard)
        self.dropped.update(newer.dropped)
