"""
Admission: when an attempt may start.

A scope is a base URL, a key and a model on one event loop: servers limit the calls of
one scope together. Its calls share the cooldowns that the server asks for. They may
also share concurrency limits, as an `Admission` says.
"""

import asyncio
import copy
import itertools
from bisect import insort
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from ..config import Cancellable, Clock
from ..errors import APIError, OpenRouterError
from ..protocol.concurrency import CubicController, FixedController
from ..protocol.cooldown import Cooldown
from ..protocol.overload import is_overload, is_server_overload, named_wait
from ..protocol.retry import RetryBudget
from ..protocol.settings import ConcurrencyOption
from ..protocol.wait_bounds import WaitBounds
from .concurrency_limiter import ConcurrencyLimiter, LimiterStats, ScopeStats

CooldownKey = str | bytes
"""`_ALL` or `_ROWS`; or the `preferences_key` of the calls that a cooldown holds."""

_ALL: Final = "all"
# A 402 of a row: the credits are reserved by requests in flight.
_ROWS: Final = "rows"
# Cooldowns of calls with the same provider preferences. Each lasts 2 minutes at most,
# and then until the next such call, which may never come.
_MAX_COOLDOWNS: Final = 100


class Entrant(Protocol):
    """
    A call that wants to start an attempt.

    Attributes:
        attempts: The number of attempts that it has made.
        sent_at: The time when the last attempt started.
        in_flight_when_sent: The attempts in flight then, at the adaptive limit.
    """

    attempts: int
    sent_at: float
    in_flight_when_sent: int

    @property
    def bounds(self) -> WaitBounds:
        """The bounds of its wait."""
        ...

    @property
    def preferences(self) -> bytes:
        """The `preferences_key` of the request."""
        ...

    def longest_wait(self, now: float) -> float:
        """Return the seconds that this call may wait in a cooldown from now on."""
        ...

    def cooldown_began(self, now: float) -> None:
        """Note that a cooldown now holds this call, or holds it for longer."""


class Waiter:
    """
    A call that waits to start an attempt.

    Attributes:
        entrant: The call.
        admission: The limits that it waits for.
        lane: The queue that it is in.
        number: Counts the waits of a scope, so that the oldest is the lowest.
        future: The future that its task waits for; None while the task sleeps.
        is_admitted: True once the attempt may start.
    """

    __slots__ = ("admission", "entrant", "future", "is_admitted", "lane", "number")

    def __init__(
        self, entrant: Entrant, admission: "Admission", lane: "_Lane", number: int
    ) -> None:
        self.entrant = entrant
        self.admission = admission
        self.lane = lane
        self.number = number
        self.future: asyncio.Future[None] | None = None
        self.is_admitted = False

    @property
    def is_leaving(self) -> bool:
        """True if its task was cancelled, and has not noticed it yet."""
        return self.future is not None and self.future.cancelled()


class _Lane:
    """
    Waiters with the same limits, first in, first out.

    Attributes:
        rank: Waiters of a lane with a lower rank start first.
        preferences: The preferences of the waiters; empty if they do not matter.
    """

    __slots__ = ("admission", "preferences", "rank", "waiters")

    def __init__(self, admission: "Admission", rank: int, preferences: bytes) -> None:
        self.admission = admission
        self.rank = rank
        self.preferences = preferences
        # Not a deque: when a run with thousands of waiting tasks is cancelled, each
        # task leaves from an arbitrary position, which a deque has to search for.
        self.waiters: OrderedDict[Waiter, None] = OrderedDict()

    def __lt__(self, other: "_Lane") -> bool:
        return self.rank < other.rank


class Admission:
    """
    The limits that apply to some of the calls of a scope.

    Attributes:
        scope: The scope.
        limiters: The concurrency limits. An attempt holds a permit of each of them.
        is_row: True for the rows of a run. Other calls start before them.
        absorbs: True if a refusal does not use up an attempt.
        is_open: True if an attempt may start without a limiter: there are no limits and
            no cooldowns.
    """

    __slots__ = (
        "__weakref__",
        "_lanes",
        "absorbs",
        "is_open",
        "is_row",
        "limiters",
        "scope",
    )

    def __init__(
        self,
        scope: "LimiterScope",
        limiters: tuple[ConcurrencyLimiter, ...],
        *,
        is_row: bool,
        absorbs: bool,
    ) -> None:
        self.scope = scope
        self.limiters = limiters
        self.is_row = is_row
        self.absorbs = absorbs
        self.is_open = not limiters
        rank = 2 * is_row
        # Retries first. If cooldowns depend on the provider preferences, there are such
        # lanes for each of them.
        self._lanes: dict[bytes, tuple[_Lane, _Lane]] = {
            b"": (_Lane(self, rank, b""), _Lane(self, rank + 1, b""))
        }

    def lane(self, preferences: bytes, *, is_retry: bool) -> _Lane:
        """Return the queue of a call; `preferences` is empty if they do not matter."""
        lanes = self._lanes.get(preferences)
        if lanes is None:
            rank = self._lanes[b""][0].rank
            lanes = (
                _Lane(self, rank, preferences),
                _Lane(self, rank + 1, preferences),
            )
            self._lanes[preferences] = lanes
        return lanes[0] if is_retry else lanes[1]

    def forget(self, preferences: bytes) -> None:
        """Drop the queues of calls with certain preferences if they are empty."""
        lanes = self._lanes.get(preferences, ())
        if preferences and not any(lane.waiters for lane in lanes):
            self._lanes.pop(preferences, None)

    @property
    def has_waiters(self) -> bool:
        """True if an attempt waits for these limits."""
        return any(limiter.waiting for limiter in self.limiters)

    @property
    def has_free(self) -> bool:
        """True if another attempt could start, apart from a cooldown."""
        for limiter in self.limiters:
            if limiter.in_flight >= limiter.controller.limit:
                return False
        return True

    @property
    def refused_since(self) -> float | None:
        """The time since which there are only refusals; None if there are others."""
        return self.limiters[0].refused_since

    @property
    def refusals(self) -> int:
        """Number of overload errors so far."""
        return self.limiters[0].refusals

    def stats(self) -> LimiterStats:
        """Return a snapshot."""
        first = self.limiters[0]
        return LimiterStats(
            limit=min(limiter.limit for limiter in self.limiters),
            in_flight=first.in_flight,
            waiting=first.waiting,
            refusals=first.refusals,
            paused=self.scope.cooldown_left(),
            latency=first.latency,
        )


class LimiterScope:
    """
    The calls with one base URL, key and model on one event loop.

    Attributes:
        cooldowns: The cooldowns; empty unless a server has asked to wait recently.
        refusals: Number of overload errors so far.
        waiting: Calls that wait to start.
        retry_budget: The retry budget of the base URL and key; None before the first
            call.
        now: Returns the time.
        clock: The source of time and random numbers.
        plain: The admission of calls without a concurrency limit.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self.clock = clock
        self.now = clock.now
        self.cooldowns: dict[CooldownKey, Cooldown] = {}
        self.refusals = 0
        self.waiting = 0
        self.retry_budget: RetryBudget | None = None
        self.plain = Admission(self, (), is_row=False, absorbs=False)
        self._call_later = clock.call_later or loop.call_later
        self._adaptive: ConcurrencyLimiter | None = None
        # A fixed limit belongs to the client that set it.
        self._admissions = WeakKeyDictionary[ConcurrencyOption, Admission]()
        # Lanes with waiters, by rank.
        self._lanes: list[_Lane] = []
        self._numbers = itertools.count()
        self._timer: Cancellable | None = None
        self._due = float("inf")

    # --- limits ------------------------------------------------------------------

    @property
    def adaptive(self) -> ConcurrencyLimiter:
        """The adaptive limit that all share who adapt."""
        if self._adaptive is None:
            self._adaptive = ConcurrencyLimiter(CubicController())
        return self._adaptive

    def admission(self, option: ConcurrencyOption) -> Admission:
        """Return the limits of a client's calls."""
        if option.value is None:
            return self.plain
        admission = self._admissions.get(option)
        if admission is None:
            admission = self._admissions[option] = Admission(
                self,
                (self._limiter(option.value),),
                is_row=False,
                absorbs=option.value == "auto",
            )
        return admission

    def row_admission(
        self, concurrency: int | None, option: ConcurrencyOption
    ) -> Admission:
        """
        Return the limits of the rows of a run.

        Args:
            concurrency: A fixed limit, which the run does not share; None for the
                adaptive limit that all share.
            option: The limit of the client, which applies as well.
        """
        limiters = [self._limiter("auto" if concurrency is None else concurrency)]
        for limiter in self.admission(option).limiters:
            if limiter not in limiters:
                limiters.append(limiter)
        return Admission(self, tuple(limiters), is_row=True, absorbs=True)

    def _limiter(self, value: object) -> ConcurrencyLimiter:
        if isinstance(value, int):
            return ConcurrencyLimiter(FixedController(value))
        return self.adaptive

    def stats(self, option: ConcurrencyOption, in_flight: int) -> ScopeStats:
        """
        Return a snapshot.

        Args:
            option: The limit of the client that asks.
            in_flight: The number of calls that hold a connection slot.
        """
        admission = self._admissions.get(option)
        limiters = () if admission is None else admission.limiters
        limiter = limiters[0] if limiters else self._adaptive
        return ScopeStats(
            limit=None if limiter is None else limiter.limit,
            in_flight=in_flight,
            waiting=self.waiting,
            refusals=self.refusals,
            cooldown=self.cooldown_left(),
        )

    def cooldown_left(self) -> float:
        """Return the seconds until the last cooldown ends; 0.0 without one."""
        now = self.now()
        # A copy: another thread may ask.
        cooldowns = self.cooldowns.copy().values()
        ends = [c.until - now for c in cooldowns if c.is_cooling(now)]
        return max(ends, default=0.0)

    # --- starting ----------------------------------------------------------------

    def try_start(self, entrant: Entrant, admission: Admission) -> bool:
        """Start an attempt if nothing holds it; return False if it has to wait."""
        if self.waiting or self.cooldowns or not admission.has_free:
            return False
        self._start(entrant, admission, self.now())
        return True

    def enqueue(
        self, entrant: Entrant, admission: Admission, *, is_retry: bool
    ) -> Waiter:
        """
        Let an attempt wait to start; it may be admitted at once.

        The bounds of its wait must have begun.
        """
        now = self.now()
        lane = self._lane(entrant, admission, is_retry=is_retry)
        waiter = Waiter(entrant, admission, lane, next(self._numbers))
        self._insert(waiter)
        self.waiting += 1
        for limiter in admission.limiters:
            limiter.waiting += 1
        if any(not c.is_open(now, 0) for c in self._cooldowns_of(waiter)):
            entrant.bounds.enter_cooldown(now)
        self.pump()
        return waiter

    async def wait(self, waiter: Waiter) -> None:
        """Wait until an attempt is admitted; leave if the task is cancelled."""
        try:
            while not waiter.is_admitted:
                now = self.now()
                until = self._cooling_until(waiter, now)
                if until > now and not waiter.admission.is_row:
                    # A timer wakes all others. But a call that waits before its retry
                    # sleeps, and the clock of a test may do so without waiting.
                    await self.clock.sleep(until - now)
                    self._slept(waiter, until)
                else:
                    waiter.future = asyncio.get_running_loop().create_future()
                    await waiter.future
        except BaseException:
            self.leave(waiter)
            raise

    def _cooling_until(self, waiter: Waiter, now: float) -> float:
        cooldowns = self._cooldowns_of(waiter)
        return max((c.until for c in cooldowns if c.is_cooling(now)), default=now)

    def leave(self, waiter: Waiter) -> None:
        """Remove a waiter; if it was admitted already, another one starts instead."""
        if waiter.is_admitted:
            self.cancel(waiter.entrant, waiter.admission)
            return
        self._remove(waiter)
        waiter.entrant.bounds.end(self.now())
        if not self.waiting:
            self._cancel_timer()

    def may_start(self, entrant: Entrant, admission: Admission) -> bool:
        """
        Return True if an admitted attempt may still start.

        It may have waited for its key or a connection slot, and a cooldown may have
        begun.
        """
        if not self.cooldowns:
            return True
        now = self.now()
        return all(c.may_send(now, entrant) for c in self._applying(entrant, admission))

    def may_send(self, entrant: Entrant, admission: Admission) -> bool:
        """Return `may_start`; if it is True, note that the attempt is sent."""
        if not self.may_start(entrant, admission):
            return False
        if self.cooldowns:
            now = self.now()
            for cooldown in self._applying(entrant, admission):
                cooldown.sent(now, entrant)
            # Others wait for 1 s from now on.
            self._set_timer(now)
        return True

    def holding(self, entrant: Entrant, admission: Admission) -> Cooldown | None:
        """Return the cooldown that holds a call for longest; None if there is none."""
        self._drop_open(self.now())
        held_by = self._applying(entrant, admission)
        return max(held_by, key=lambda cooldown: cooldown.until, default=None)

    # --- ending ------------------------------------------------------------------

    def release(self, admission: Admission) -> None:
        """Give back the permits of an attempt that has ended."""
        for limiter in admission.limiters:
            limiter.ended()
        if self.waiting:
            self.pump()

    def cancel(self, entrant: Entrant, admission: Admission) -> None:
        """Give back the permits of an attempt that was admitted but not made."""
        now = self.now()
        for cooldown in self.cooldowns.values():
            cooldown.cancelled(now, entrant)
        self.release(admission)

    def ended(
        self, entrant: Entrant, admission: Admission, error: BaseException | None
    ) -> None:
        """
        Record the outcome of an attempt; call this before `release`.

        Args:
            entrant: The call.
            admission: Its limits.
            error: The exception; None if it succeeded.
        """
        now = self.now()
        if isinstance(error, OpenRouterError) and (
            is_overload(error) or is_server_overload(error)
        ):
            self.refused(entrant, admission, error)
            return
        for limiter in admission.limiters:
            limiter.record(now, entrant.sent_at, error)
        if self.cooldowns:
            for cooldown in self.cooldowns.values():
                if error is None or isinstance(error, OpenRouterError):
                    cooldown.accepted(now, entrant)
                else:
                    cooldown.cancelled(now, entrant)
            self.pump()

    def refused(
        self, entrant: Entrant, admission: Admission, error: OpenRouterError
    ) -> None:
        """Record an overload error: reduce limits, and start a cooldown."""
        now = self.now()
        self.refusals += 1
        # A copy without its traceback, which would keep the request in memory.
        refusal = copy.copy(error) if isinstance(error, APIError) else None
        for limiter in admission.limiters:
            limiter.refused(now, refusal)
        is_probe = any(c.is_probe(entrant) for c in self.cooldowns.values())
        adaptive = self._adaptive
        if (
            adaptive is not None
            # Few others were in flight with a probe. It says nothing about the limit.
            and not is_probe
            # A run of a fixed limit does not reduce that of another run.
            and (adaptive in admission.limiters or not admission.is_row)
        ):
            in_flight = entrant.in_flight_when_sent
            if adaptive not in admission.limiters:
                in_flight = adaptive.in_flight
            adaptive.controller.refused(now, entrant.sent_at, max(1, in_flight))
        key = self._key(entrant, admission, error)
        self._end_probe(now, entrant, key, refusal)
        wait = named_wait(error)
        if key is not None and wait is not None and refusal is not None:
            self._cool(now, key, wait, refusal, entrant)
        if self.cooldowns:
            self.pump()

    @staticmethod
    def _key(
        entrant: Entrant, admission: Admission, error: OpenRouterError
    ) -> CooldownKey | None:
        """Return the key of the calls that a refusal holds back; None for no call."""
        if is_server_overload(error):
            return entrant.preferences if error.provider_name else _ALL
        return _ROWS if admission.is_row else None

    def _end_probe(
        self,
        now: float,
        entrant: Entrant,
        key: CooldownKey | None,
        refusal: APIError | None,
    ) -> None:
        """Record that the probe was refused, by whom `key` says."""
        for own, cooldown in [*self.cooldowns.items()]:
            if not cooldown.is_probe(entrant):
                continue
            if refusal is not None and own == key:
                # Replaced by the wait that the refusal names, if it names one.
                cooldown.cancelled(now, entrant)
                if named_wait(refusal) is None:
                    cooldown.repeat(now, self.clock.random(), refusal)
                    self._began(now, own)
            elif key == _ALL:
                # The request did not reach the provider.
                cooldown.cancelled(now, entrant)
            else:
                cooldown.accepted(now, entrant)

    def _cool(
        self,
        now: float,
        key: CooldownKey,
        seconds: float,
        refusal: APIError,
        entrant: Entrant,
    ) -> None:
        """Start a cooldown, or extend it."""
        cooldown = self.cooldowns.get(key)
        if cooldown is None:
            self._limit_cooldowns()
            cooldown = self.cooldowns[key] = Cooldown()
            self.plain.is_open = False
            if isinstance(key, bytes):
                self._split_lanes()
        longest = entrant.longest_wait(now)
        cooldown.start(now, seconds, self.clock.random(), refusal, longest)
        self._began(now, key)

    def _limit_cooldowns(self) -> None:
        """Drop the cooldown that ends first, of those with preferences, if many."""
        ends = {k: c.until for k, c in self.cooldowns.items() if isinstance(k, bytes)}
        if len(ends) >= _MAX_COOLDOWNS:
            del self.cooldowns[min(ends, key=ends.__getitem__)]

    def _began(self, now: float, key: CooldownKey) -> None:
        """Notify the waiting calls that a cooldown holds."""
        if self._adaptive is not None and not isinstance(key, bytes):
            self._adaptive.controller.paused(self.cooldowns[key].until)
        for waiter in [*self._waiters()]:
            entrant = waiter.entrant
            if self._applies(key, entrant, waiter.admission):
                entrant.bounds.enter_cooldown(now)
                entrant.cooldown_began(now)

    # --- the queue ---------------------------------------------------------------

    def pump(self) -> None:
        """Start the calls that may start now, and schedule the next check."""
        now = self.now()
        if self.cooldowns:
            self._drop_open(now)
            self._start_probes(now)
        while (waiter := self._next(now)) is not None:
            self._remove(waiter)
            self._admit(waiter, now)
        self._set_timer(now)

    def _next(self, now: float) -> Waiter | None:
        """Return the waiter that starts next; None if none may start now."""
        best: Waiter | None = None
        for lane in self._lanes:
            if best is not None and lane.rank > best.lane.rank:
                break
            if not lane.admission.has_free:
                continue
            waiter = next(iter(lane.waiters))
            if self.cooldowns and not all(
                cooldown.may_start(now) for cooldown in self._cooldowns_of(waiter)
            ):
                continue
            if best is None or waiter.number < best.number:
                best = waiter
        return best

    def _start_probes(self, now: float) -> None:
        """Start the probe of each cooldown that has ended."""
        for key, cooldown in [*self.cooldowns.items()]:
            if not cooldown.is_probe_due(now):
                continue
            candidates = [
                waiter
                for waiter in self._waiters()
                if self._applies(key, waiter.entrant, waiter.admission)
                and waiter.admission.has_free
                and not waiter.is_leaving
                and all(
                    c.may_start(now) or c.is_probe_due(now)
                    for c in self._cooldowns_of(waiter)
                )
            ]
            if candidates:
                waiter = min(candidates, key=_probe_order)
                self._remove(waiter)
                self._admit(waiter, now)

    def _admit(self, waiter: Waiter, now: float) -> None:
        if waiter.is_leaving:
            # Its task has left the queue, but has not run since.
            return
        waiter.is_admitted = True
        self._start(waiter.entrant, waiter.admission, now)
        waiter.entrant.bounds.end(now)
        if waiter.future is not None and not waiter.future.done():
            waiter.future.set_result(None)

    def _start(self, entrant: Entrant, admission: Admission, now: float) -> None:
        for limiter in admission.limiters:
            limiter.started(now)
            if limiter is self._adaptive:
                entrant.in_flight_when_sent = limiter.in_flight
        if self.cooldowns:
            for cooldown in self._applying(entrant, admission):
                cooldown.started(now, entrant)

    def _slept(self, waiter: Waiter, until: float) -> None:
        """End cooldowns after a sleep; the clock of a test may not have advanced."""
        now = self.now()
        for cooldown in self._cooldowns_of(waiter):
            if cooldown.until <= until:
                cooldown.end(now)
        self.pump()

    def _drop_open(self, now: float) -> None:
        """Remove the cooldowns that hold no call any more."""
        is_open = [k for k, c in self.cooldowns.items() if c.is_open(now, self.waiting)]
        for key in is_open:
            del self.cooldowns[key]
        self.plain.is_open = not self.cooldowns
        if is_open:
            for waiter in self._waiters():
                if not any(True for _ in self._cooldowns_of(waiter)):
                    waiter.entrant.bounds.leave_cooldown(now)

    # --- lanes -------------------------------------------------------------------

    def _lane(self, entrant: Entrant, admission: Admission, *, is_retry: bool) -> _Lane:
        has_preferences = any(isinstance(key, bytes) for key in self.cooldowns)
        preferences = entrant.preferences if has_preferences else b""
        return admission.lane(preferences, is_retry=is_retry)

    def _split_lanes(self) -> None:
        """Give each waiter a lane of its preferences, which now matter."""
        waiters = sorted(self._waiters(), key=lambda waiter: waiter.number)
        for lane in self._lanes:
            lane.waiters.clear()
        self._lanes.clear()
        for waiter in waiters:
            is_retry = waiter.lane.rank % 2 == 0
            waiter.lane = self._lane(
                waiter.entrant, waiter.admission, is_retry=is_retry
            )
            self._insert(waiter)

    def _insert(self, waiter: Waiter) -> None:
        lane = waiter.lane
        if not lane.waiters:
            insort(self._lanes, lane)
        lane.waiters[waiter] = None

    def _remove(self, waiter: Waiter) -> None:
        lane = waiter.lane
        if waiter not in lane.waiters:
            return
        del lane.waiters[waiter]
        self.waiting -= 1
        for limiter in waiter.admission.limiters:
            limiter.waiting -= 1
        if not lane.waiters:
            self._lanes.remove(lane)
            waiter.admission.forget(lane.preferences)

    def _waiters(self) -> Iterator[Waiter]:
        for lane in self._lanes:
            yield from lane.waiters

    # --- cooldowns ---------------------------------------------------------------

    @staticmethod
    def _applies(key: CooldownKey, entrant: Entrant, admission: Admission) -> bool:
        if isinstance(key, bytes):
            return key == entrant.preferences
        return key == _ALL or admission.is_row

    def _applying(self, entrant: Entrant, admission: Admission) -> Iterator[Cooldown]:
        for key, cooldown in self.cooldowns.items():
            if self._applies(key, entrant, admission):
                yield cooldown

    def _cooldowns_of(self, waiter: Waiter) -> Iterator[Cooldown]:
        return self._applying(waiter.entrant, waiter.admission)

    def _set_timer(self, now: float) -> None:
        if not self.waiting or not self.cooldowns:
            self._cancel_timer()
            return
        changes = [cooldown.next_change(now) for cooldown in self.cooldowns.values()]
        # Where the next call may start by now, something else holds it.
        due = min((at for at in changes if at > now), default=float("inf"))
        if due == self._due:
            return
        self._cancel_timer()
        if due < float("inf"):
            self._due = due
            self._timer = self._call_later(max(0.0, due - now), self._wake)

    def _wake(self) -> None:
        self._timer, self._due = None, float("inf")
        self.pump()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = None, float("inf")


def _probe_order(waiter: Waiter) -> tuple[int, int, int]:
    """Order candidates for a probe: calls whose refusal costs no attempt come first."""
    if waiter.admission.absorbs:
        return 0, 0, waiter.number
    return 1, waiter.entrant.attempts, waiter.number
