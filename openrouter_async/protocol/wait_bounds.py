"""
The bounds of the time that a call waits for a start.

A wait ends with the start of an attempt. It may consist of a cooldown, the wait for a
permit of a concurrency limit and the wait for a connection slot. Three bounds apply:

1. `Timeouts.pool` bounds each wait.
2. `Timeouts.total` bounds the call. It includes cooldowns, but neither the wait for a
   permit nor that for a slot.
3. `Retries.max_wait` bounds the time in cooldowns between two attempts, or before the
   first.

The module is pure: the time is passed as `now`.
"""

from typing import Final, Literal

from ..config import Retries, Timeouts

Bound = Literal["Timeouts.pool", "Timeouts.total", "Retries.max_wait"]

_NEVER: Final = float("inf")


class WaitBounds:
    """
    The bounds of the waits of one call.

    Attributes:
        start: The time when the current wait began; None if the call does not wait.
        deadline: The time when `total` expires if the rest of the wait counts towards
            it; None without that timeout.
        last_cooled: Seconds in cooldowns of the last part of a wait, once it is over.
    """

    __slots__ = (
        "_cooled",
        "_cooled_before",
        "_cooling_since",
        "_counts",
        "_max_wait",
        "_pool",
        "_segment",
        "deadline",
        "last_cooled",
        "start",
    )

    def __init__(self, timeouts: Timeouts | None, retries: Retries | None) -> None:
        """
        Create the bounds of a call that does not wait yet.

        Args:
            timeouts: The timeouts of the call; None: it waits without them.
            retries: The retry rules of the call; None: without `max_wait`.
        """
        self._pool = None if timeouts is None else timeouts.pool
        self._max_wait = None if retries is None else retries.max_wait
        self.start: float | None = None
        self.deadline: float | None = None
        self.last_cooled = 0.0
        # The wait for a start may be interrupted: a cooldown that begins during the
        # wait for a slot sends the call back. `_segment` is the start of this part.
        self._segment = 0.0
        self._cooling_since: float | None = None
        # Seconds in cooldowns in this part of the wait, and before it.
        self._cooled = 0.0
        self._cooled_before = 0.0
        self._counts = False

    def begin(self, now: float, deadline: float | None, *, counts: bool) -> None:
        """
        Begin to wait.

        Args:
            now: The time.
            deadline: The time when `total` expires; None without that timeout.
            counts: If True, all of the wait counts towards `total`.
        """
        if self.start is None:
            self.start = now
        self._segment = now
        self.deadline = deadline
        self._counts = counts
        self._cooled = 0.0
        self._cooling_since = None

    def enter_cooldown(self, now: float) -> None:
        """Note that a cooldown holds the call from now on."""
        if self._cooling_since is None:
            self._cooling_since = now

    def leave_cooldown(self, now: float) -> None:
        """Note that no cooldown holds the call any more."""
        if self._cooling_since is not None:
            self._cooled += now - self._cooling_since
            self._cooling_since = None

    @property
    def is_cooling(self) -> bool:
        """True while a cooldown holds the call."""
        return self._cooling_since is not None

    def cooled(self, now: float) -> float:
        """Return the seconds in cooldowns, in this part of the wait."""
        if self._cooling_since is None:
            return self._cooled
        return self._cooled + now - self._cooling_since

    def uncounted(self, now: float) -> float:
        """Return the seconds of this part that do not count towards `total`."""
        return 0.0 if self._counts else now - self._segment - self.cooled(now)

    def end(self, now: float) -> None:
        """End this part of the wait."""
        self.leave_cooldown(now)
        self.last_cooled = self._cooled
        self._cooled_before += self._cooled
        self._cooled = 0.0

    def sent(self) -> None:
        """Note that an attempt was sent. The next wait has its full time."""
        self.start = None
        self._cooled_before = 0.0

    def due(self, now: float, refusing_since: float | None = None) -> float:
        """Return when the first bound may run out; infinity for never."""
        return self._first(now, refusing_since)[0]

    def bound(self, now: float, refusing_since: float | None = None) -> Bound:
        """Return the bound that runs out first."""
        return self._first(now, refusing_since)[1]

    def _first(self, now: float, refusing_since: float | None) -> tuple[float, Bound]:
        """
        Return when the first bound may run out, and which it is.

        Args:
            now: The time.
            refusing_since: The time since which the scope gets nothing but refusals,
                in which case the wait for a permit counts towards `total`; infinity if
                it may begin to at any time; None if that does not matter.
        """
        first: tuple[float, Bound] = (_NEVER, "Timeouts.pool")
        if self._pool is not None and self.start is not None:
            first = (self.start + self._pool, "Timeouts.pool")
        if self.deadline is not None:
            since: float | None = None
            if self._counts or self.is_cooling:
                since = now
            elif refusing_since is not None:
                since = min(now, max(self._segment, refusing_since))
            if since is not None:
                due = self.deadline + self.uncounted(since)
                first = min(first, (due, "Timeouts.total"))
        if self._max_wait is not None and self._cooling_since is not None:
            left = self._max_wait - self._cooled_before - self._cooled
            first = min(first, (self._cooling_since + left, "Retries.max_wait"))
        return first
