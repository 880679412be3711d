"""The gate of one row: what the transport asks before each attempt, and tells after."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, cast

from ..config import Retries
from ..errors import APIError, OpenRouterError
from ..extras import require
from ..protocol.overload import is_overload
from ..transport.limiter import ConcurrencyLimiter
from .rows.stats import RunCounters

_DOUBLINGS: Final = 16


class RateLimiter(Protocol):
    """The part of `aiolimiter.AsyncLimiter` that a `RowLimiter` uses."""

    async def acquire(self, amount: float = 1) -> None:
        """Wait until the rate allows `amount` more requests."""


def make_rate_limiter(per_minute: float) -> RateLimiter:
    """
    Return a limiter that spaces requests evenly, with bursts of 0.1 seconds' worth.

    Raises:
        ConfigurationError: If aiolimiter is not installed.
    """
    # The bucket's size comes on top of the rate in any minute, so it is kept small.
    burst = max(1.0, per_minute / 600.0)
    library = require("aiolimiter", "batch", "rpm=")
    limiter = library.AsyncLimiter(burst, 60.0 * burst / per_minute)
    return cast("RateLimiter", limiter)


class RowLimiter:
    """
    Lets one row's attempts in through the door of its place.

    A refusal cuts and shuts the door for all; the row itself goes back to the door
    after the wait that the server named, or after one that doubles.

    Attributes:
        inside: Whether an attempt is out now.
        sent: When the last one was sent.
    """

    __slots__ = (
        "_door",
        "_flight",
        "_hire",
        "_limiter",
        "_loop",
        "_refusals",
        "_rules",
        "_started",
        "_tally",
        "inside",
        "sent",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        door: ConcurrencyLimiter,
        limiter: RateLimiter | None,
        rules: Retries,
        tally: RunCounters,
        hire: Callable[[], None],
    ) -> None:
        """
        Stand before a door.

        Args:
            loop: Where it is used.
            door: Of the row's place.
            limiter: Of requests a minute; None: no such.
            rules: How long a refused row waits, where the server does not say.
            tally: The run's counters.
            hire: Called when there may be room for another worker.
        """
        self._loop = loop
        self._door = door
        self._limiter = limiter
        self._rules = rules
        self._tally = tally
        self._hire = hire
        self._flight = 0
        self._refusals = 0
        self._started = False
        self.inside = False
        self.sent = 0.0

    async def enter(self) -> None:
        """Return when the next attempt may start."""
        while True:
            self._flight = await self._door.enter(again=self._started)
            if self._limiter is None:
                break
            try:
                await self._limiter.acquire()
            except BaseException:
                self._door.leave()
                raise
            if not self._door.is_shut:
                break
            # A pause began meanwhile, and it holds for all.
            self._door.leave()
        self._started = self.inside = True
        self.sent = self._loop.time()
        self._tally.in_flight += 1
        self._tally.attempts += 1
        if self._door.room > 0 and not self._door.waiting:
            self._hire()

    def leave(self, error: BaseException | None) -> None:
        """Learn how the attempt went."""
        now = self._loop.time()
        self.inside = False
        self._tally.in_flight -= 1
        door = self._door
        if error is None:
            door.succeeded(now, self.sent)
        elif isinstance(error, OpenRouterError):
            if is_overload(error):
                self._tally.refusals += 1
                door.refused(now, self.sent, self._flight)
                wish = error.retry_after if isinstance(error, APIError) else None
                if wish is not None:
                    door.shut(now, wish, 0.0)
            elif _is_answer(error):
                door.answered()
            else:
                door.failed(now)
        door.leave()
        if error is not None:
            # The row may wait now, and leave its room to another.
            self._hire()

    def spare(self, error: OpenRouterError, chance: float) -> float | None:
        """Return the wait after a refusal; None for any other failure."""
        if not is_overload(error):
            return None
        self._refusals += 1
        wish = error.retry_after if isinstance(error, APIError) else None
        if wish is not None:
            self._door.shut(self._loop.time(), wish, chance)
            return 0.0
        rules = self._rules
        return chance * min(
            rules.cap, rules.base * 2.0 ** min(self._refusals, _DOUBLINGS)
        )


def _is_answer(error: OpenRouterError) -> bool:
    return isinstance(error, APIError) and error.status_code < 500
