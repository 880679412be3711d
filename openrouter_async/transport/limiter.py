"""
Limiters: when an attempt may start.

`AttemptLimiter` is the place in front of every attempt. `ConcurrencyLimiter` is shared
by all attempts with one base URL, key and model, because servers limit these together.
"""

import asyncio
from typing import Final, Protocol

from attrs import frozen

from ..errors import OpenRouterError
from ..protocol.concurrency import (
    Controller,
    Cooldown,
    CubicController,
    FixedController,
)
from ..protocol.lru import LRUCache
from .wait_queue import WaitQueue

# Enough for a backend that calls many models with its users' keys.
_MAX_SCOPES: Final = 1000

ScopeKey = tuple[asyncio.AbstractEventLoop, str, int, str | None]
"""Event loop, base URL, key id, model."""


class AttemptLimiter(Protocol):
    """
    Admits the attempts of one call, and learns how each of them ended.

    A call without a limiter starts its attempts at once. The retry loop is the same
    for both: a limiter decides when an attempt may start, and which failures do not
    use up an attempt.
    """

    async def acquire(self) -> None:
        """Wait until the next attempt may start. The wait counts as queueing."""

    def release(self, error: BaseException | None) -> None:
        """Record the end of an admitted attempt; `error` is None if it succeeded."""

    def retry_delay(self, error: OpenRouterError, random: float) -> float | None:
        """
        Return the delay before a retry that does not use up an attempt.

        Args:
            error: The error of the attempt.
            random: A random number, 0.0 <= random < 1.0.

        Returns:
            The delay in seconds; None if the failure uses up an attempt, so that the
            usual retry rules apply.
        """


@frozen
class LimiterStats:
    """
    A snapshot of one concurrency limiter.

    Attributes:
        limit: Maximum number of calls in flight.
        in_flight: Calls in flight, of all runs.
        waiting: Attempts that wait to start.
        refusals: Number of overload errors so far.
        paused: Seconds until the pause that the server asked for ends; 0.0 if there is
            none.
        latency: Mean seconds until a response; None if it is not measured.
    """

    limit: int
    in_flight: int
    waiting: int
    refusals: int
    paused: float
    latency: float | None


class ConcurrencyLimiter:
    """
    Admits attempts up to the limit of its controller: retries first, then FIFO.

    Attributes:
        in_flight: Attempts that were admitted and have not ended.
        refusals: Number of overload errors so far.
        refused_since: Time of the first overload error after the last other response;
            None if there was none.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        controller: Controller,
        cooldown: Cooldown,
    ) -> None:
        """
        Create a limiter without attempts.

        Args:
            loop: The event loop that uses it.
            controller: Sets the limit.
            cooldown: The pause that the server asks for; limiters may share it.
        """
        self._loop = loop
        self._controller = controller
        self._cooldown = cooldown
        self._retries = WaitQueue()
        self._new = WaitQueue()
        self._timer: asyncio.TimerHandle | None = None
        self.in_flight = 0
        self.refusals = 0
        self.refused_since: float | None = None

    def start_run(self) -> None:
        """Note that a run begins; errors before it do not count for its stall."""
        if not self.in_flight and not self.waiting:
            self.refused_since = None

    @property
    def waiting(self) -> int:
        """Number of attempts that wait to start."""
        return len(self._retries) + len(self._new)

    @property
    def has_waiters(self) -> bool:
        """True if an attempt waits to start."""
        return bool(self._retries.waiters or self._new.waiters)

    @property
    def free(self) -> int:
        """Number of attempts that could start now, apart from a pause."""
        return self._controller.limit - self.in_flight

    @property
    def is_paused(self) -> bool:
        """True during a pause that the server asked for."""
        return self._loop.time() < self._cooldown.until

    async def acquire(self, *, is_retry: bool) -> int:
        """
        Wait until an attempt may start, and count it as in flight.

        Args:
            is_retry: If True, the attempt starts before new ones that wait.

        Returns:
            The number of attempts in flight, with this one.
        """
        now = self._loop.time()
        if not self.has_waiters and self.free > 0 and self._next_start(now) <= now:
            self._admit(now)
            return self.in_flight
        # Either the limit is reached, and `release` admits the next attempt, or there
        # is a pause, and the timer does.
        if self._timer is None and self.free > 0:
            self._timer = self._loop.call_at(self._next_start(now), self._admit_waiting)
        try:
            queue = self._retries if is_retry else self._new
            await queue.wait(undo=self.release)
        except asyncio.CancelledError:
            if not self.has_waiters:
                self._cancel_timer()
            raise
        return self.in_flight

    def release(self) -> None:
        """End an admitted attempt, and let the next one start."""
        self.in_flight -= 1
        if self.has_waiters:
            self._admit_waiting()

    def succeeded(self, now: float, sent_at: float) -> None:
        """Record the success of an attempt; call this before `release`."""
        self._controller.succeeded(now, sent_at, self.in_flight)
        self.refused_since = None

    def responded(self) -> None:
        """Record an error response that does not mean overload."""
        self.refused_since = None

    def failed(self, now: float) -> None:
        """Record a failure that says nothing about overload."""
        self._controller.failed(now)

    def refused(self, now: float, sent_at: float, in_flight: int) -> None:
        """
        Record an overload error.

        Args:
            now: The time.
            sent_at: The time when the attempt started.
            in_flight: The number of attempts in flight at that time.
        """
        self.refusals += 1
        if self.refused_since is None:
            self.refused_since = now
        self._controller.refused(now, sent_at, in_flight)

    def pause(self, now: float, seconds: float, random: float) -> None:
        """
        Start no attempt for as long as the server asks.

        Args:
            now: The time.
            seconds: The length of the pause.
            random: A random number, 0.0 <= random < 1.0, for the jitter.
        """
        self._cooldown.start(now, seconds, random)
        self._controller.paused(self._cooldown.until)

    def stats(self) -> LimiterStats:
        """Return a snapshot."""
        controller = self._controller
        return LimiterStats(
            limit=controller.limit,
            in_flight=self.in_flight,
            waiting=self.waiting,
            refusals=self.refusals,
            paused=max(0.0, self._cooldown.until - self._loop.time()),
            latency=(
                controller.latency if isinstance(controller, CubicController) else None
            ),
        )

    def _next_start(self, now: float) -> float:
        return self._cooldown.next_start(now, self._controller.tau)

    def _admit(self, now: float) -> None:
        self.in_flight += 1
        controller = self._controller
        self._cooldown.started(now, controller.limit, controller.tau)
        controller.sent(now, self.in_flight)

    def _admit_waiting(self) -> None:
        """Admit what the limit allows; during a pause, come back at its end."""
        self._cancel_timer()
        now = self._loop.time()
        while (queue := self._retries or self._new) and self.free > 0:
            next_start = self._next_start(now)
            if next_start > now:
                self._timer = self._loop.call_at(next_start, self._admit_waiting)
                return
            if queue.wake():
                self._admit(now)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class LimiterScope:
    """The limiters of one base URL, key and model on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._cooldown = Cooldown()
        self._adaptive: ConcurrencyLimiter | None = None

    def limiter(self, concurrency: int | None) -> ConcurrencyLimiter:
        """
        Return a limiter; a pause holds for all limiters of a scope.

        Args:
            concurrency: A fixed limit, of a limiter that is not shared; None for the
                adaptive limiter that all share.
        """
        if concurrency is not None:
            return ConcurrencyLimiter(
                self._loop, FixedController(concurrency), self._cooldown
            )
        if self._adaptive is None:
            self._adaptive = ConcurrencyLimiter(
                self._loop, CubicController(), self._cooldown
            )
        return self._adaptive


class LimiterRegistry:
    """The limiter scopes of a client. Threads may share it."""

    def __init__(self) -> None:
        self._scopes = LRUCache[ScopeKey, LimiterScope](_MAX_SCOPES)

    def get(self, key: ScopeKey) -> LimiterScope:
        """Return a scope; create it when it is asked for the first time."""
        scope = self._scopes.get(key)
        if scope is None:
            for old in [k for k in self._scopes if k[0].is_closed()]:
                # Another thread may have removed it meanwhile.
                self._scopes.discard(old)
            scope = self._scopes[key] = LimiterScope(key[0])
        return scope
