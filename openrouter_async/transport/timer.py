"""SharedTimer: one timer of the event loop for the timeouts of all its calls."""

import asyncio
import math
from typing import Final, Protocol

from ..config import Cancellable, Clock
from ..errors import OpenRouterError

# Checking a member takes a few microseconds. With this pause for each of them, checks
# take at most a tenth of the event loop's time, however often they are due.
_SECONDS_PER_MEMBER: Final = 20e-6


class TimerMember(Protocol):
    """Something with timeouts, such as the watchdog of a call."""

    def check(self, now: float) -> float:
        """End what has expired; return when to check again, infinity for never."""
        ...

    def fail(self, failure: OpenRouterError) -> None:
        """End the call with this error."""
        ...


class SharedTimer:
    """
    One timer for all calls in progress, set to the earliest time that any needs.

    Most calls end long before a timeout expires. Creating and cancelling a timer for
    each of them would cost more than all the rest of the timeouts.

    Attributes:
        now: Returns the time.
    """

    __slots__ = ("_call_later", "_due", "_handle", "_members", "now")

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self.now = clock.now
        self._call_later = clock.call_later or loop.call_later
        # A dict for its order: the members that came first are checked first.
        self._members: dict[TimerMember, None] = {}
        self._handle: Cancellable | None = None
        self._due = math.inf

    @property
    def members(self) -> list[TimerMember]:
        """The calls in progress."""
        return [*self._members]

    def add(self, member: TimerMember) -> None:
        """Check a call from now on."""
        self._members[member] = None

    def discard(self, member: TimerMember) -> None:
        """Check a call no longer. The timer stays: another call may need it."""
        self._members.pop(member, None)

    def check_at(self, due: float) -> None:
        """Check the calls at this time or earlier."""
        if due < self._due:
            if self._handle is not None:
                self._handle.cancel()
            self._due = due
            self._handle = self._call_later(due - self.now(), self._check)

    def stop(self) -> None:
        """Check nothing any more."""
        self._members.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _check(self) -> None:
        self._due, self._handle = math.inf, None
        now = self.now()
        due = min((member.check(now) for member in self.members), default=math.inf)
        # A check may have ended members, and even stopped the timer.
        if self._members and due < math.inf:
            self.check_at(max(due, now + _SECONDS_PER_MEMBER * len(self._members)))
