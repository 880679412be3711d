"""Who may hold attempts back: the seam between one call and a run of many."""

from typing import Protocol

from ..errors import OpenRouterError


class AttemptLimiter(Protocol):
    """
    Admits the attempts of one call, and learns what became of each.

    A call without one is admitted at once. The loop that repeats is the same for
    both: a gate decides when an attempt may start, and which failures were no fault
    of the call.
    """

    async def enter(self) -> None:
        """Return when the next attempt may start; the time counts as queued."""

    def leave(self, error: BaseException | None) -> None:
        """Learn that an admitted attempt is over; None: it went well."""

    def spare(self, error: OpenRouterError, chance: float) -> float | None:
        """
        Return the seconds to wait after a failure that does not count as an attempt.

        Args:
            error: What the attempt ended in.
            chance: A random number from 0 up to, not including, 1.

        Returns:
            None: it counts, and the rules for repeats decide.
        """
