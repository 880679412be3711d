"""The one timer of an event loop's calls."""

import asyncio
import math
from typing import Final, Protocol

from ..errors import OpenRouterError

# Looking at a call takes a few microseconds: at most a tenth of the loop's time.
_SECONDS_EACH: Final = 20e-6


class Timed(Protocol):
    """What has clocks."""

    def tick(self, now: float) -> float:
        """End what is over; return when to look again, infinity for never."""
        ...

    def fail(self, failure: OpenRouterError) -> None:
        """End it with this error."""
        ...


class SharedTimer:
    """
    One timer for all calls under way, set to the earliest time that one asked for.

    A timer made and cancelled for each call costs more than all its other clocks do:
    most calls are over long before any clock runs out.
    """

    __slots__ = ("_due", "_loop", "_members", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # Ordered: who came first ends first.
        self._members: dict[Timed, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf

    @property
    def members(self) -> list[Timed]:
        """The calls under way."""
        return [*self._members]

    def add(self, member: Timed) -> None:
        """Look after a call from now on."""
        self._members[member] = None

    def discard(self, member: Timed) -> None:
        """Forget a call."""
        self._members.pop(member, None)

    def want(self, due: float) -> None:
        """Look at the calls then, or earlier."""
        if due < self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._due = due
            self._timer = self._loop.call_at(due, self._fire)

    def stop(self) -> None:
        """Look no more."""
        self._members.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._due, self._timer = math.inf, None
        now = self._loop.time()
        soonest = min((member.tick(now) for member in self.members), default=now)
        if self._members and soonest < math.inf:
            self.want(max(soonest, now + _SECONDS_EACH * len(self._members)))
