"""CallLimiter: when the attempts of one plain call or stream may start."""

import copy
from typing import Any, Final

from ..config import Retries, Timeouts
from ..errors import APIError, APITimeoutError, OpenRouterError
from ..protocol.call import Call
from ..protocol.cooldown import preferences_key
from ..protocol.overload import is_overload, is_server_overload, named_wait, unsent
from ..protocol.retry import overload_delay
from ..protocol.wait_bounds import WaitBounds
from .admission import Admission, LimiterScope, Waiter
from .concurrency_limiter import ConcurrencyLimiter
from .watchdog import Watchdog

STALL_SECONDS: Final = 900.0
"""15 minutes of nothing but refusals, after which calls with "auto" give up."""

_NEVER: Final = float("inf")


class CallLimiter:
    """
    Passes the attempts of one call through the limits of its client.

    A call without a concurrency limit has one only once a cooldown has held the call.
    An open stream keeps its limiter, so it must not refer to the body of the request.

    Attributes:
        admission: The limits that apply to the call.
        is_row: False.
        attempts: Number of attempts that were sent.
        bounds: The bounds of the waits.
        sent_at: The time when the last attempt started.
        in_flight_when_sent: The attempts in flight then, at the adaptive limit.
    """

    __slots__ = (
        "_absorbed",
        "_cooled",
        "_overloads",
        "_permit",
        "_preferences",
        "_provider",
        "_refusal",
        "_retries",
        "_timeouts",
        "_watchdog",
        "admission",
        "attempts",
        "bounds",
        "in_flight_when_sent",
        "is_row",
        "sent_at",
    )

    def __init__(
        self, admission: Admission, call: Call[Any], watchdog: Watchdog
    ) -> None:
        """
        Create the limiter of a call that was not sent yet.

        Args:
            admission: The limits of the client in the scope of the call.
            call: The call.
            watchdog: Its timeouts.
        """
        self.admission = admission
        self._timeouts: Timeouts = call.timeouts
        self._retries: Retries = call.retries
        self._provider = call.provider
        self._watchdog = watchdog
        self._preferences: bytes | None = None
        # The last refusal of this call that did not use up an attempt.
        self._absorbed: APIError | None = None
        # The last refusal of this call.
        self._refusal: APIError | None = None
        self._overloads = 0
        self._permit = self._cooled = 0.0
        self.is_row = False
        self.attempts = 0
        # Refusals that are absorbed use no `max_wait`.
        self.bounds = WaitBounds(
            call.timeouts, None if admission.absorbs else call.retries
        )
        self.sent_at = 0.0
        self.in_flight_when_sent = 0

    @property
    def scope(self) -> LimiterScope:
        """The calls that the server limits together with this one."""
        return self.admission.scope

    @property
    def waiting_since(self) -> float | None:
        """The time when the wait for the next attempt began; None without a wait."""
        return self.bounds.start

    @property
    def preferences(self) -> bytes:
        """The `preferences_key` of the request."""
        if self._preferences is None:
            self._preferences = preferences_key(self._provider)
        return self._preferences

    # --- before an attempt -----------------------------------------------------------

    def try_acquire(self) -> bool:
        """Start the next attempt and return True if nothing holds it."""
        return self.scope.try_start(self, self.admission)

    async def acquire(self) -> None:
        """
        Wait until the next attempt may start.

        Raises:
            APIError: If a cooldown lasts longer than the call may wait.
        """
        scope, admission, watchdog = self.scope, self.admission, self._watchdog
        started, total = scope.now(), self._timeouts.total
        if watchdog.deadline is None and total is not None:
            watchdog.deadline = started + total
        bounds = self.bounds
        bounds.begin(started, watchdog.deadline, counts=self._absorbed is not None)
        waiter = scope.enqueue(self, admission, is_retry=self.attempts > 0)
        try:
            if not waiter.is_admitted:
                await self._wait(waiter)
        finally:
            now = scope.now()
            cooled = bounds.last_cooled
            self._cooled += cooled
            self._permit += now - started - cooled
            if self._absorbed is None:
                watchdog.postpone_deadline(now - started - cooled)

    async def _wait(self, waiter: Waiter) -> None:
        watchdog, scope = self._watchdog, self.scope
        refusal = self._refusal_at_once(scope.now())
        if refusal is not None:
            scope.leave(waiter)
            raise refusal
        try:
            watchdog.wait_in_limiter(self)
            await scope.wait(waiter)
        finally:
            watchdog.end_wait_in_limiter()

    def waits(self) -> tuple[float, float]:
        """Return the seconds that `acquire` waited: for permits, and in cooldowns."""
        waited = self._permit, self._cooled
        self._permit = self._cooled = 0.0
        return waited

    def may_send(self) -> bool:
        """Return True if the admitted attempt may be sent, and note that it is."""
        scope = self.scope
        if not scope.may_send(self, self.admission):
            return False
        self.sent_at = scope.now()
        self.attempts += 1
        self.bounds.sent()
        return True

    def refusal(self) -> APIError | None:
        """Return the error of a call that a cooldown holds; None if none does."""
        return self._unsent(self.scope.now(), "Timeouts.pool")

    def cancel(self) -> None:
        """Give back the admission of an attempt that was not sent."""
        self.scope.cancel(self, self.admission)

    # --- after an attempt ------------------------------------------------------------

    def ended(self, error: BaseException | None) -> None:
        """
        Record the outcome of an attempt.

        Args:
            error: The exception; None if it succeeded, or if its stream is open.
        """
        self._note(error)
        self.scope.ended(self, self.admission, error)

    def release(self) -> None:
        """Give back the permits, when the body or stream has ended."""
        self.scope.release(self.admission)

    def refused(self, error: OpenRouterError, sent_at: float, attempts: int) -> None:
        """
        Record the refusal of an attempt that was made without this limiter.

        Args:
            error: The error.
            sent_at: The time when the attempt started.
            attempts: Number of attempts so far.
        """
        self.sent_at = sent_at
        self.attempts = attempts
        self._note(error)
        self.scope.refused(self, self.admission, error)

    def _note(self, error: BaseException | None) -> None:
        if error is not None and is_server_overload(error):
            # A copy, because the traceback refers to this object.
            self._refusal = copy.copy(error)

    def retry_delay(self, error: OpenRouterError, chance: float) -> float | None:
        """
        Return the seconds to wait after a refusal that uses up no attempt.

        Args:
            error: The error.
            chance: A random number, 0.0 <= random < 1.0, for the jitter.

        Returns:
            None for any other error; infinity if the error is raised, because the
            server has refused everything for too long.
        """
        is_absorbed = is_overload(error) and (
            is_server_overload(error) or not isinstance(error, APIError)
        )
        if not self.admission.absorbs or not is_absorbed:
            self._absorbed = None
            return None
        now = self.scope.now()
        self._absorbed = self._refusal
        if self._stall_due(now) <= now:
            return _NEVER
        self._overloads += 1
        wait = named_wait(error)
        # All calls wait for it, in the scope.
        delay = 0.0 if wait else overload_delay(self._retries, self._overloads, chance)
        # The next attempt probably takes as long as this one has.
        end = now + delay + now - self.sent_at
        deadline = self._watchdog.deadline
        return _NEVER if deadline is not None and end >= deadline else delay

    # --- the bounds of a wait --------------------------------------------------------

    def longest_wait(self, now: float) -> float:
        """Return the seconds that this call may wait in a cooldown from now on."""
        timeouts, deadline = self._timeouts, self._watchdog.deadline
        bounds = [timeouts.pool, None if deadline is None else deadline - now]
        if not self.admission.absorbs:
            bounds.append(self._retries.max_wait)
        return min(
            (seconds for seconds in bounds if seconds is not None), default=_NEVER
        )

    def cooldown_began(self, now: float) -> None:
        """Note that a cooldown now holds this call, or holds it for longer."""
        refusal = self._refusal_at_once(now)
        if refusal is not None:
            self._watchdog.fail(refusal)
        else:
            self._watchdog.check_limiter(self.due(now))

    def due(self, now: float) -> float:
        """Return when the wait may have to end; infinity for never."""
        return min(
            self.bounds.due(now, self._refusing_since(_NEVER)), self._stall_due(now)
        )

    def expired(self, now: float) -> OpenRouterError:
        """Return the error of a wait that has to end."""
        bound: str = self.bounds.bound(now, self._refusing_since(_NEVER))
        if self._stall_due(now) <= now:
            bound = f"the limit of {STALL_SECONDS:.0f} s without a success"
        error = self._unsent(now, bound) or self._last_refusal(bound)
        if error is not None:
            return error
        seconds = self._timeouts.pool or 0.0
        return APITimeoutError(
            f"The concurrency limit allowed no start in {seconds:g} seconds (pool).",
            phase="pool",
            seconds=seconds,
        )

    @property
    def _adaptive(self) -> ConcurrencyLimiter | None:
        return self.admission.limiters[0] if self.admission.absorbs else None

    def _refusing_since(self, default: float) -> float | None:
        """Return since when there are only refusals; None without absorbed ones."""
        if self._adaptive is None:
            return None
        since = self._adaptive.refused_since
        return default if since is None else since

    def _stall_due(self, now: float) -> float:
        if self._adaptive is None:
            return _NEVER
        since = self._adaptive.refused_since
        return (now if since is None else since) + STALL_SECONDS

    def _refusal_at_once(self, now: float) -> APIError | None:
        """Return the refusal if the rest of a cooldown is longer than a bound."""
        cooldown = self.scope.holding(self, self.admission)
        if cooldown is None or cooldown.until <= self.due(now):
            return None
        return self._unsent(now, self.bounds.bound(now))

    def _unsent(self, now: float, bound: str) -> APIError | None:
        """Return the refusal of the cooldown that holds this call."""
        cooldown = self.scope.holding(self, self.admission)
        if cooldown is None or cooldown.refusal is None:
            return None
        own = self._refusal
        if own is not None and own.http is cooldown.refusal.http:
            own.hint = own.hint or f"It was not retried: {bound} allows no longer wait."
            return own
        return unsent(cooldown.refusal, max(0.0, cooldown.until - now), bound)

    def _last_refusal(self, bound: str) -> APIError | None:
        """Return the refusal that makes a call with "auto" wait; None without one."""
        own = self._absorbed
        if own is not None:
            own.hint = own.hint or f"It was not retried: {bound} allows no longer wait."
            return own
        adaptive = self._adaptive
        if adaptive is None or adaptive.refused_since is None:
            return None
        refusal = adaptive.last_refusal
        return None if refusal is None else unsent(refusal, 0.0, bound)
