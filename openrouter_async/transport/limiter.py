"""Where attempts wait for room: one door for each place, opened by its controller."""

import asyncio
from collections import deque
from typing import Final

from attrs import frozen

from ..protocol.concurrency import (
    Controller,
    Cooldown,
    CubicController,
    FixedController,
)
from ..protocol.lru import LRUCache

# Enough for a backend that calls many models with its users' keys.
_MAX_SCOPES: Final = 1000

ScopeKey = tuple[asyncio.AbstractEventLoop, str, int, str | None]
"""Event loop, base URL, the key's mark, model."""


@frozen
class LimiterStats:
    """
    What is known of one place's capacity.

    Attributes:
        limit: Calls that may be in flight.
        in_flight: Calls that are, of all runs.
        waiting: Attempts that wait for room.
        refusals: How often it refused.
        paused: Seconds until it is asked again; 0.0 if it is not paused.
        latency: Mean seconds of an answer; None where it is not measured.
    """

    limit: int
    in_flight: int
    waiting: int
    refusals: int
    paused: float
    latency: float | None


class ConcurrencyLimiter:
    """Lets attempts pass while there is room: repeats first, then as they came."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, control: Controller, pause: Cooldown
    ) -> None:
        self._loop = loop
        self._control = control
        self._pause = pause
        self._again: deque[asyncio.Future[None]] = deque()
        self._fresh: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.in_flight = 0
        self.waiting = 0
        self.refusals = 0
        # The first refusal since the last answer; None if there was none.
        self.refused_since: float | None = None

    def begin(self) -> None:
        """Note that a run begins here; what an earlier one met is no stall of its."""
        if not self.in_flight and not self.waiting:
            self.refused_since = None

    @property
    def room(self) -> int:
        """How many more could pass now, but for a pause."""
        return self._control.limit - self.in_flight

    @property
    def is_shut(self) -> bool:
        """Whether the server asked to wait."""
        return self._loop.time() < self._pause.until

    async def enter(self, *, again: bool) -> int:
        """
        Wait for room and take it; return how many are in flight then.

        Args:
            again: It is a repeat, which goes before what is new.
        """
        now = self._loop.time()
        if not self.waiting and self.room > 0 and self._opens(now) <= now:
            self._pass(now)
            return self.in_flight
        future: asyncio.Future[None] = self._loop.create_future()
        (self._again if again else self._fresh).append(future)
        self.waiting += 1
        self._pump()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                # It was let in and called away at the same moment.
                self.in_flight -= 1
            else:
                self.waiting -= 1
            self._pump()
            raise
        return self.in_flight

    def leave(self) -> None:
        """Give the room back."""
        self.in_flight -= 1
        if self.waiting:
            self._pump()

    def succeeded(self, now: float, sent: float) -> None:
        """Note a response to a call sent at `sent`, before the call leaves."""
        self._control.succeeded(now, sent, self.in_flight)
        self.refused_since = None

    def answered(self) -> None:
        """Note a no that is not about load: somebody is there."""
        self.refused_since = None

    def failed(self, now: float) -> None:
        """Note a failure that says nothing of load."""
        self._control.failed(now)

    def refused(self, now: float, sent: float, flight: int) -> None:
        """Note a refusal."""
        self.refusals += 1
        if self.refused_since is None:
            self.refused_since = now
        self._control.refused(now, sent, flight)

    def shut(self, now: float, seconds: float, chance: float) -> None:
        """Let nothing pass for as long as the server asks."""
        self._pause.start(now, seconds, chance)
        self._control.paused(self._pause.until)

    def stats(self) -> LimiterStats:
        """Return a snapshot."""
        control = self._control
        return LimiterStats(
            limit=control.limit,
            in_flight=self.in_flight,
            waiting=self.waiting,
            refusals=self.refusals,
            paused=max(0.0, self._pause.until - self._loop.time()),
            latency=control.latency if isinstance(control, CubicController) else None,
        )

    def _opens(self, now: float) -> float:
        return self._pause.next_start(now, self._control.tau)

    def _pass(self, now: float) -> None:
        self.in_flight += 1
        control = self._control
        self._pause.started(now, control.limit, control.tau)
        control.sent(now, self.in_flight)

    def _pump(self) -> None:
        """Let in whom there is room for; come back when the pause is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        while (queue := self._again or self._fresh) and self.room > 0:
            opens = self._opens(now)
            if opens > now:
                self._timer = self._loop.call_at(opens, self._pump)
                return
            future = queue.popleft()
            if not future.done():
                self.waiting -= 1
                self._pass(now)
                future.set_result(None)


class LimiterScope:
    """One place: base URL, key and model, on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pause = Cooldown()
        self._auto: ConcurrencyLimiter | None = None

    def door(self, concurrency: int | None) -> ConcurrencyLimiter:
        """Return the door of all that adapt, or one of an own, fixed width."""
        if concurrency is not None:
            return ConcurrencyLimiter(
                self._loop, FixedController(concurrency), self._pause
            )
        if self._auto is None:
            self._auto = ConcurrencyLimiter(self._loop, CubicController(), self._pause)
        return self._auto


class LimiterRegistry:
    """The places that a client's runs talk to."""

    def __init__(self) -> None:
        self._scopes = LRUCache[ScopeKey, LimiterScope](_MAX_SCOPES)

    def get(self, key: ScopeKey) -> LimiterScope:
        """Return the scope of a place, made when it is first asked for."""
        scope = self._scopes.get(key)
        if scope is None:
            for old in [k for k in self._scopes if k[0].is_closed()]:
                del self._scopes[old]
            scope = self._scopes[key] = LimiterScope(key[0])
        return scope
