"""Limiters: `AttemptLimiter` is in front of every attempt; the scopes of a client."""

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from ..config import Clock
from ..errors import APIError, OpenRouterError
from ..protocol.lru import LRUCache
from ..protocol.settings import ConcurrencyOption
from .admission import Admission, LimiterScope
from .concurrency_limiter import ScopeStats

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

    Attributes:
        is_row: True for a row of a run: it is not bound by `Timeouts.pool`, and other
            calls get a connection slot before it.
    """

    is_row: bool

    @property
    def admission(self) -> Admission:
        """The limits that apply to the call."""
        ...

    @property
    def waiting_since(self) -> float | None:
        """The time when the wait for the next attempt began; None without a wait."""
        ...

    def try_acquire(self) -> bool:
        """Start the next attempt and return True if nothing holds it."""
        ...

    async def acquire(self) -> None:
        """
        Wait until the next attempt may start. The wait counts as queueing.

        Raises:
            APIError: If a cooldown lasts longer than the call may wait.
        """

    def waits(self) -> tuple[float, float]:
        """Return the seconds that `acquire` waited: for permits, and in cooldowns."""
        ...

    def may_send(self) -> bool:
        """Return True if the admitted attempt may be sent, and note that it is."""
        ...

    def refusal(self) -> APIError | None:
        """Return the error of a call that a cooldown holds; None if none does."""
        ...

    def cancel(self) -> None:
        """Give back the admission of an attempt that was not sent."""

    def ended(self, error: BaseException | None) -> None:
        """
        Record the outcome of an attempt; call `release` after it.

        Args:
            error: The exception; None if it succeeded, or if its stream is open.
        """

    def release(self) -> None:
        """Give back the permits, when the body or stream has ended."""

    def retry_delay(self, error: OpenRouterError, chance: float) -> float | None:
        """
        Return the delay before a retry that does not use up an attempt.

        Args:
            error: The error of the attempt.
            chance: A random number, 0.0 <= random < 1.0.

        Returns:
            The delay in seconds; None if the failure uses up an attempt, so that the
            usual retry rules apply; infinity if the error is raised.
        """


def real_time() -> Clock:
    """Return the clock of clients that were given none."""
    # Jitter needs no cryptographic random numbers.
    return Clock(time.monotonic, asyncio.sleep, random.random)


class LimiterKey(NamedTuple):
    """
    The calls that share limits and cooldowns.

    Attributes:
        base_url: The base URL.
        key_id: A number that differs from key to key and does not reveal the key.
        model: The requested model; None if the request names none.
    """

    base_url: str
    key_id: int
    model: str | None


class LimiterRegistry:
    """
    The limiter scopes of a client. Threads may share it.

    Attributes:
        scopes: The scopes that were used last.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        """
        Create a registry without scopes.

        Args:
            clock: The source of time and random numbers; None for the real ones.
        """
        self._clock = clock or real_time()
        self.scopes = LRUCache[ScopeKey, LimiterScope](_MAX_SCOPES)

    def get(self, key: ScopeKey) -> LimiterScope:
        """Return the scope of a key; create it at the first use."""
        scope = self.scopes.get(key)
        if scope is None:
            for old in [k for k in self.scopes if k[0].is_closed()]:
                # Another thread may have removed it meanwhile.
                self.scopes.discard(old)
            scope = self.scopes[key] = LimiterScope(key[0], self._clock)
        return scope

    def stats(
        self, option: ConcurrencyOption, in_flight: Mapping[object, int]
    ) -> Mapping[LimiterKey, ScopeStats]:
        """
        Return a snapshot of each scope, as the sum over all event loops.

        Args:
            option: The concurrency limit of the client.
            in_flight: The number of calls in flight, by scope.
        """
        found: dict[LimiterKey, ScopeStats] = {}
        # Of a copy: another thread may evict some meanwhile, which are created again.
        for key in self.scopes:
            scope = self.get(key)
            name = LimiterKey(*key[1:])
            stats = scope.stats(option, in_flight.get(scope, 0))
            other = found.get(name)
            found[name] = stats if other is None else _sum(stats, other)
        return found


def _sum(one: ScopeStats, other: ScopeStats) -> ScopeStats:
    limits = [s.limit for s in (one, other) if s.limit is not None]
    return ScopeStats(
        limit=sum(limits) if limits else None,
        in_flight=one.in_flight + other.in_flight,
        waiting=one.waiting + other.waiting,
        refusals=one.refusals + other.refusals,
        cooldown=max(one.cooldown, other.cooldown),
    )
