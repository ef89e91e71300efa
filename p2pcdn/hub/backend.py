"""Where a process's events go: the seam between sessions and the coordinator's whereabouts.

`LocalBackend` runs the coordinator in this process; `p2pcdn.hub.elected` in one process of
the machine. Whatever reaches further implements the same four names.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from p2pcdn.coordinator import Coordinator
from p2pcdn.coordinator.events import Action, Event, Tick

__all__ = ["Backend", "LocalBackend", "Perform"]

log = logging.getLogger("p2pcdn.coordinator")

Perform = Callable[[Iterable[Action]], None]

_TICK_S = 0.25


class Backend(Protocol):
    """Takes events, and calls `perform` (given at its making) with the actions they cause.

    Links and tickets are below 2**32 and this process's own.
    """

    @property
    def forgetful(self) -> bool:
        """Whether the coordinator may die without this process: sessions then remember."""

    @property
    def state(self) -> str:
        """One word for health checks."""

    async def start(self) -> None:
        """Return when events can be taken."""

    async def close(self) -> None:
        """Let go of everything."""

    def submit(self, event: Event) -> None:
        """Take an event. What cannot be passed on now is kept for a moment, or dropped."""

    def submit_all(self, link: int, texts: list[str]) -> None:
        """Take a `Text` of each; what they cause is performed together."""

    def counts(self) -> dict[str, int]:
        """The coordinator's counts, as fresh as this process has them."""

    def abandon(self) -> None:
        """Close every descriptor without an event loop (it is closed, or another process's)."""


class LocalBackend:
    """The coordinator in this process, on this loop."""

    forgetful = False
    state = "local"

    def __init__(
        self,
        core: Coordinator,
        perform: Perform,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._core = core
        self._perform = perform
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """See `Backend`."""
        self.begin()

    def begin(self) -> None:
        """Start to tick."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    async def close(self) -> None:
        """See `Backend`."""
        self.end()

    def end(self) -> None:
        """Stop to tick."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def submit(self, event: Event) -> None:
        """See `Backend`."""
        try:
            actions = self._core.handle(event, self._clock())
        except Exception:  # one peer's message must not end everybody's service
            log.exception("the coordinator failed at %s", type(event).__name__)
            return
        if actions:
            self._perform(actions)

    def submit_all(self, link: int, texts: list[str]) -> None:
        """See `Backend`."""
        try:
            actions = self._core.hear_all(link, texts, self._clock())
        except Exception:  # one peer's message must not end everybody's service
            log.exception("the coordinator failed at Text")
            return
        if actions:
            self._perform(actions)

    def counts(self) -> dict[str, int]:
        """See `Backend`."""
        return self._core.counts()

    def abandon(self) -> None:
        """See `Backend`."""

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        self.submit(Tick())
