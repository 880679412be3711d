"""The limiter of one row: which of its attempts may start, and when."""

from typing import Any, Final, Protocol, cast

from ..errors import APIError, OpenRouterError
from ..extras import require
from ..protocol.call import Call
from ..protocol.cooldown import preferences_key
from ..protocol.overload import is_overload, named_wait
from ..protocol.retry import overload_delay
from ..protocol.wait_bounds import WaitBounds
from ..transport.admission import Admission, LimiterScope
from .rows.stats import RunControl, RunCounters

_NO_WAIT: Final = (0.0, 0.0)


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
        admission: The limits that apply to the call.
        is_row: True.
        attempts: Number of attempts so far.
        bounds: Bounds that never end a wait.
        is_in_flight: True while an attempt is in flight.
        sent_at: The time when the last attempt started; 0.0 before the first.
        in_flight_when_sent: The attempts in flight then, at the adaptive limit.
    """

    # One is created for each row, and attribute access is faster with slots.
    __slots__ = (
        "_bounds",
        "_call",
        "_control",
        "_counters",
        "_is_failed",
        "_overloads",
        "_preferences",
        "_rate_limiter",
        "_waits",
        "admission",
        "attempts",
        "in_flight_when_sent",
        "is_in_flight",
        "is_row",
        "sent_at",
    )

    def __init__(
        self,
        admission: Admission,
        rate_limiter: RateLimiter | None,
        call: Call[Any],
        counters: RunCounters,
        control: RunControl,
    ) -> None:
        """
        Create the limiter of a row that was not sent yet.

        Args:
            admission: The concurrency limits of the row's model.
            rate_limiter: The limit of requests per minute; None for no limit.
            call: The row's call. Its retry rules say how long the backoff is where the
                server names no wait.
            counters: The run's counters.
            control: Notified when another worker could send a row.
        """
        self.admission = admission
        self._rate_limiter = rate_limiter
        self._call = call
        self._counters = counters
        self._control = control
        self._overloads = 0
        self._is_failed = False
        self._preferences: bytes | None = None
        self._bounds: WaitBounds | None = None
        self._waits = _NO_WAIT
        self.is_row = True
        self.attempts = 0
        self.in_flight_when_sent = 0
        self.is_in_flight = False
        self.sent_at = 0.0

    @property
    def scope(self) -> LimiterScope:
        """The calls that the server limits together with this one."""
        return self.admission.scope

    @property
    def waiting_since(self) -> float | None:
        """None: the wait of a row has no timeout."""
        return None

    @property
    def bounds(self) -> WaitBounds:
        """The bounds of the wait, without an end. Most rows do not need them."""
        if self._bounds is None:
            self._bounds = WaitBounds(None, None)
        return self._bounds

    @property
    def preferences(self) -> bytes:
        """The `preferences_key` of the request."""
        if self._preferences is None:
            self._preferences = preferences_key(self._call.provider)
        return self._preferences

    def try_acquire(self) -> bool:
        """Start the next attempt and return True if nothing holds it."""
        admission = self.admission
        if self._rate_limiter is not None or not admission.scope.try_start(
            self, admission
        ):
            return False
        self._start()
        return True

    async def acquire(self) -> None:
        """Wait until the next attempt may start."""
        admission = self.admission
        scope = admission.scope
        while True:
            await self._wait()
            if self._rate_limiter is None:
                break
            try:
                await self._rate_limiter.acquire()
            except BaseException:
                scope.cancel(self, admission)
                raise
            if scope.may_start(self, admission):
                break
            # A cooldown began while this row waited for the rate. It applies to all.
            scope.cancel(self, admission)
        self._start()

    def _start(self) -> None:
        admission = self.admission
        self.is_in_flight = True
        self.attempts += 1
        self.sent_at = admission.scope.now()
        self._counters.in_flight += 1
        self._counters.attempts += 1
        if admission.has_free and not admission.has_waiters:
            self._control.add_worker()

    async def _wait(self) -> None:
        scope, bounds = self.scope, self.bounds
        started = scope.now()
        bounds.begin(started, None, counts=False)
        try:
            waiter = scope.enqueue(self, self.admission, is_retry=self.attempts > 0)
            if not waiter.is_admitted:
                await scope.wait(waiter)
        finally:
            cooled = bounds.last_cooled
            self._waits = (
                self._waits[0] + scope.now() - started - cooled,
                self._waits[1] + cooled,
            )

    def waits(self) -> tuple[float, float]:
        """Return the seconds that `acquire` waited: for permits, and in cooldowns."""
        waits, self._waits = self._waits, _NO_WAIT
        return waits

    def may_send(self) -> bool:
        """Return True if the admitted attempt may be sent, and note that it is."""
        return self.scope.may_send(self, self.admission)

    def refusal(self) -> APIError | None:
        """Return None: no timeout ends the wait of a row."""
        return None

    def longest_wait(self, now: float) -> float:  # noqa: ARG002 - as for other calls
        """Return infinity."""
        return float("inf")

    def cooldown_began(self, now: float) -> None:
        """Do nothing: a row waits for as long as it has to."""

    def cancel(self) -> None:
        """Give back the admission of an attempt that was not sent."""
        self.is_in_flight = False
        self.attempts -= 1
        self._counters.in_flight -= 1
        self._counters.attempts -= 1
        self.scope.cancel(self, self.admission)

    def ended(self, error: BaseException | None) -> None:
        """Record the outcome of the attempt; None if it succeeded."""
        self.is_in_flight = False
        self._is_failed = error is not None
        self._counters.in_flight -= 1
        if isinstance(error, OpenRouterError) and is_overload(error):
            self._counters.refusals += 1
        self.scope.ended(self, self.admission, error)

    def release(self) -> None:
        """Give back the permits, when the body has ended."""
        self.scope.release(self.admission)
        if self._is_failed:
            # This row may wait before its retry, and meanwhile leave its slot to
            # another one.
            self._control.add_worker()

    def retry_delay(self, error: OpenRouterError, chance: float) -> float | None:
        """
        Return the seconds to wait after an overload error; None for any other error.

        Args:
            error: The error.
            chance: A random number, 0.0 <= chance < 1.0, for the jitter.
        """
        if not is_overload(error):
            return None
        self._overloads += 1
        if named_wait(error) is not None:
            # All rows wait for it, in the shared limiter.
            return 0.0
        return overload_delay(self._call.retries, self._overloads, chance)
