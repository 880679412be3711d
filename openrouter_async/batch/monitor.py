"""Looks after a run twice a second: is it stalled, and who wants to know?"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from ..protocol.overload import stalled
from ..transport.limiter import ConcurrencyLimiter
from .progress import ProgressLine
from .rows.stats import BatchStats, StopReason

logger = logging.getLogger("openrouter_async")

_TICK: Final = 0.5


class Monitor:
    """The one timer of a run."""

    def __init__(
        self,
        doors: Mapping[str | None, ConcurrencyLimiter],
        stats: Callable[[], BatchStats],
        tell: Callable[[BatchStats], object] | None,
        *,
        stall_seconds: float,
        tend: Callable[[], None] | None,
        halt: Callable[[StopReason, BaseException | None], None],
    ) -> None:
        """
        Begin to look.

        Args:
            doors: Of the run, by model; there will be more.
            stats: Takes a snapshot.
            tell: Called with a snapshot; what it raises is logged.
            stall_seconds: So long with nothing but refusals is a stall.
            tend: Called each time.
            halt: Called when the run must end, and why.
        """
        self._doors = doors
        self._stats = stats
        self._tell = tell
        self._stall_seconds = stall_seconds
        self._tend = tend
        self._halt = halt
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_TICK, self._look)

    def end(self, line: ProgressLine | None) -> None:
        """Look no more, but tell the end."""
        self._timer.cancel()
        self._report()
        if line is not None:
            self._guard(line.end)

    def _look(self) -> None:
        now = self._loop.time()
        for door in self._doors.values():
            since = door.refused_since
            if since is not None and now - since >= self._stall_seconds:
                self._halt("stalled", stalled(now - since, door.refusals))
        if self._tend is not None:
            self._tend()
        self._report()
        self._timer = self._loop.call_later(_TICK, self._look)

    def _report(self) -> None:
        tell = self._tell
        if tell is not None:
            self._guard(lambda: tell(self._stats()))

    def _guard(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception:
            logger.exception("progress raised; the run itself is not affected.")
