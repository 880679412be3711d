"""SharedTimer: one timer of the event loop for the timeouts of all its calls."""

import asyncio
import math
from typing import Final, Protocol

from ..config import Cancellable, Clock
from ..errors import OpenRouterError

# Checking a member takes a few microseconds. With this pause for each of them, checks
# take at most a tenth of the event loop's time, however often they are due.
_SECONDS_PER_MEMBER: Final = 20e-6
# A timer that is less late than this is on time. Only the clock of a test is so exact.
_ROUNDING_SECONDS: Final = 1e-6
# The iterations of the event loop until a task has read what lies in its socket: one
# receives the data, one runs the task, and the others are for tasks between them.
_ITERATIONS: Final = 5
# The longest time that a server that goes on sending can add to a timeout. A socket
# holds a few megabytes, which are read in less.
_MAX_EXTRA_SECONDS: Final = 1.0


class TimerMember(Protocol):
    """Something with timeouts, such as the watchdog of a call."""

    @property
    def activity(self) -> object:
        """A value that changes whenever data is read."""
        ...

    def next_due(self, now: float) -> float:
        """Return when the next timeout expires; infinity for never."""
        ...

    def check(self, now: float) -> float:
        """End what has expired; return when to check again, infinity for never."""
        ...

    def fail(self, failure: OpenRouterError) -> None:
        """End the call with this error."""
        ...


class _Overdue:
    """The state of a member that is due, until it ends or is found active."""

    __slots__ = ("_activity", "_until")

    def __init__(self, activity: object, until: float) -> None:
        self._activity = activity
        self._until = until

    def is_reading(self, activity: object, now: float) -> bool:
        """Return True if data was read since the last time, and there may be more."""
        has_read, self._activity = activity != self._activity, activity
        return has_read and now < self._until


class SharedTimer:
    """
    One timer for all calls in progress, set to the earliest time that any needs.

    Most calls end long before a timeout expires. Creating and cancelling a timer for
    each of them would cost more than all the rest of the timeouts.

    A call is not ended at once if the timer is late. If other code blocked the event
    loop, data may have arrived meanwhile that no task could read, and the timer runs
    before those tasks. The event loop runs on for a few iterations, and for more while
    data is read, for as long as the timer was late. Then the call is checked again.

    Attributes:
        loop: The event loop.
        now: Returns the time.
    """

    __slots__ = (
        "_call_later",
        "_call_soon",
        "_due",
        "_handle",
        "_members",
        "_overdue",
        "loop",
        "now",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self.loop = loop
        self.now = clock.now
        self._call_later = clock.call_later or loop.call_later
        self._call_soon = loop.call_soon
        # A dict for its order: the members that came first are checked first.
        self._members: dict[TimerMember, None] = {}
        self._overdue: dict[TimerMember, _Overdue] = {}
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
        self._overdue.pop(member, None)

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
        self._overdue.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _check(self) -> None:
        self._due, self._handle = math.inf, None
        now, next_due = self.now(), math.inf
        overdue: list[TimerMember] = []
        for member in self.members:
            if member in self._overdue:
                continue
            due = member.next_due(now)
            if due > now:
                next_due = min(next_due, due)
            elif now - due < _ROUNDING_SECONDS:
                next_due = min(next_due, member.check(now))
            else:
                extra = min(now - due, _MAX_EXTRA_SECONDS)
                self._overdue[member] = _Overdue(member.activity, now + extra)
                overdue.append(member)
        if overdue:
            self._call_soon(self._check_overdue, overdue, _ITERATIONS)
        self._check_again(next_due, now)

    def _check_overdue(self, members: list[TimerMember], iterations: int) -> None:
        """Let the event loop run on, and end the calls that are still due then."""
        if iterations > 1:
            self._call_soon(self._check_overdue, members, iterations - 1)
            return
        now, next_due = self.now(), math.inf
        reading: list[TimerMember] = []
        for member in members:
            overdue = self._overdue.get(member)
            if overdue is None:
                # It ended meanwhile.
                continue
            if overdue.is_reading(member.activity, now):
                reading.append(member)
            else:
                del self._overdue[member]
                next_due = min(next_due, member.check(now))
        if reading:
            self._call_soon(self._check_overdue, reading, _ITERATIONS)
        self._check_again(next_due, now)

    def _check_again(self, due: float, now: float) -> None:
        # A check may have ended members, and even stopped the timer.
        if self._members and due < math.inf:
            self.check_at(max(due, now + _SECONDS_PER_MEMBER * len(self._members)))
