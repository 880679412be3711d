"""The limiter of one row: which of its attempts may start, and when."""

import asyncio
from typing import Final, Protocol, cast

from ..config import Retries
from ..errors import APIError, OpenRouterError
from ..extras import require
from ..protocol.overload import is_overload
from ..transport.limiter import ConcurrencyLimiter
from .rows.stats import RunControl, RunCounters

# 2 ** 16 times any base is beyond any cap; higher powers could overflow a float.
_MAX_DOUBLINGS: Final = 16


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
    # A leaky bucket admits its size on top of the rate in any minute, so it is small.
    burst = max(1.0, per_minute / 600.0)
    library = require("aiolimiter", "batch", "rpm=")
    limiter = library.AsyncLimiter(burst, 60.0 * burst / per_minute)
    return cast("RateLimiter", limiter)


class RowLimiter:
    """
    Passes the attempts of one row through the shared limiters, and reports outcomes.

    It implements the transport's `AttemptLimiter`. After an overload error the row
    is sent again without using up its attempts: it queues at the shared limiter once
    more, after the server's `Retry-After` or an exponential backoff.

    Attributes:
        is_in_flight: True while an attempt is in flight.
        sent_at: The loop time when the last attempt started; 0.0 before the first.
    """

    # One is created for each row, and attribute access is faster with slots.
    __slots__ = (
        "_control",
        "_counters",
        "_in_flight_when_sent",
        "_is_retry",
        "_limiter",
        "_loop",
        "_overloads",
        "_rate_limiter",
        "_retries",
        "is_in_flight",
        "sent_at",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limiter: ConcurrencyLimiter,
        rate_limiter: RateLimiter | None,
        retries: Retries,
        counters: RunCounters,
        control: RunControl,
    ) -> None:
        """
        Create the limiter of a row that was not sent yet.

        Args:
            loop: The event loop that uses it.
            limiter: The concurrency limiter of the row's model.
            rate_limiter: The limit of requests per minute; None for no limit.
            retries: The rules for the backoff where the server names no wait.
            counters: The run's counters.
            control: Told when another worker could send a row.
        """
        self._loop = loop
        self._limiter = limiter
        self._rate_limiter = rate_limiter
        self._retries = retries
        self._counters = counters
        self._control = control
        self._in_flight_when_sent = 0
        self._overloads = 0
        self._is_retry = False
        self.is_in_flight = False
        self.sent_at = 0.0

    async def acquire(self) -> None:
        """Wait until the next attempt may start."""
        limiter = self._limiter
        while True:
            self._in_flight_when_sent = await limiter.acquire(is_retry=self._is_retry)
            if self._rate_limiter is None:
                break
            try:
                await self._rate_limiter.acquire()
            except BaseException:
                limiter.release()
                raise
            if not limiter.is_paused:
                break
            # A pause began while this row waited for the rate. It applies to all.
            limiter.release()
        self._is_retry = self.is_in_flight = True
        self.sent_at = self._loop.time()
        self._counters.in_flight += 1
        self._counters.attempts += 1
        if limiter.free > 0 and not limiter.has_waiters:
            self._control.add_worker()

    def release(self, error: BaseException | None) -> None:
        """Record the outcome of the attempt; None if it succeeded."""
        now = self._loop.time()
        self.is_in_flight = False
        self._counters.in_flight -= 1
        limiter = self._limiter
        if error is None:
            limiter.succeeded(now, self.sent_at)
        elif isinstance(error, OpenRouterError):
            if is_overload(error):
                self._counters.refusals += 1
                limiter.refused(now, self.sent_at, self._in_flight_when_sent)
                wait = _retry_after(error)
                if wait is not None:
                    limiter.pause(now, wait, 0.0)
            elif isinstance(error, APIError) and error.status_code < 500:
                # The server rejected this request, so it is not overloaded.
                limiter.responded()
            else:
                limiter.failed(now)
        limiter.release()
        if error is not None:
            # This row may wait before its retry, and meanwhile leave its slot to
            # another one.
            self._control.add_worker()

    def retry_delay(self, error: OpenRouterError, random: float) -> float | None:
        """
        Return the seconds to wait after an overload error; None for any other error.

        Args:
            error: The error.
            random: A random number, 0.0 <= random < 1.0, for the jitter.
        """
        if not is_overload(error):
            return None
        self._overloads += 1
        wait = _retry_after(error)
        if wait is not None:
            # All rows wait for it, in the shared limiter.
            self._limiter.pause(self._loop.time(), wait, random)
            return 0.0
        retries = self._retries
        delay = retries.base * 2.0 ** min(self._overloads, _MAX_DOUBLINGS)
        return random * min(retries.cap, delay)


def _retry_after(error: OpenRouterError) -> float | None:
    return error.retry_after if isinstance(error, APIError) else None
