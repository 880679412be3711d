"""Reservations: calls wait until their budgets have the money for them."""

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Final

from attrs import define

from ..config import Cancellable, Clock
from ..errors import BudgetExceededError
from ..protocol.budget import Budget
from ..protocol.budget_level import BudgetRefusal


class BudgetLock:
    """
    The lock of budgets that threads share.

    The garbage collector may end an abandoned call at any moment, also in a thread that
    is changing its budget just then. That call is settled after the change.
    """

    __slots__ = ("_deferred", "_lock", "_owner")

    def __init__(self) -> None:
        # Reentrant for the moments in which it is held and there is no owner.
        self._lock = threading.RLock()
        self._owner: int | None = None
        self._deferred: deque[Callable[[], object]] = deque()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._owner = None
        self._lock.release()
        if self._deferred:
            # All of them are taken first: each takes the lock, and comes here.
            for function in [*self._take_deferred()]:
                function()

    def _take_deferred(self) -> Iterator[Callable[[], object]]:
        with suppress(IndexError):
            while True:
                # Not iterated over: other threads may append, and take some.
                yield self._deferred.popleft()

    def defer(self, function: Callable[[], object]) -> bool:
        """Call a function later and return True if this thread holds the lock."""
        if self._owner != threading.get_ident():
            return False
        self._deferred.append(function)
        return True


class Reservation:
    """Money that is reserved for one call."""

    __slots__ = ("_budget", "amount")

    def __init__(self, budget: Budget, amount: float) -> None:
        self._budget = budget
        self.amount = amount

    def settle(self, cost: float | None, unclear: int) -> None:
        """Close the reservation, as `Budget.settle` does."""
        settle = partial(self._budget.settle, self.amount, cost, unclear)
        lock = self._budget.lock
        if not (isinstance(lock, BudgetLock) and lock.defer(settle)):
            settle()

    def correct(self, cost: float) -> None:
        """Replace the amount, which was counted as spent, by the cost of an attempt."""
        self._budget.spend(-self.amount)
        self._budget.spend(cost)


Outcome = Reservation | BudgetRefusal | None


@define(eq=False)
class _Waiter:
    """
    A call that waits for money.

    Attributes:
        highest_cost: US dollars that it costs at most; None if unknown.
        loop: Its event loop.
        outcome: Set to a reservation, to the reason why there is none, or to None if
            the call has to try again.
    """

    highest_cost: float | None
    loop: asyncio.AbstractEventLoop
    outcome: "asyncio.Future[Outcome]"

    def deliver(self, outcome: Outcome) -> None:
        """Set the outcome, from any thread; return the money if nobody waits."""
        try:
            if self.loop is _running_loop():
                self._set(outcome)
            else:
                self.loop.call_soon_threadsafe(self._set, outcome)
        except RuntimeError:
            # The loop was closed.
            give_back(outcome)

    def _set(self, outcome: Outcome) -> None:
        if self.outcome.done():
            give_back(outcome)
        else:
            self.outcome.set_result(outcome)


class BudgetQueue:
    """
    A budget, and the calls that wait for it.

    Whenever money may have become free, all calls that now fit are admitted, in order.
    A call does not wait for one before it that needs more.
    """

    def __init__(
        self,
        budget: Budget,
        clock: Clock | None = None,
        extend: Callable[[float | None], Awaitable[bool]] | None = None,
    ) -> None:
        """
        Create a queue without calls.

        Args:
            budget: The budget.
            clock: Measures the time that a call may wait; None: the event loop's.
            extend: Function that asks for more money for a call with this highest
                cost; True if the budget has grown. None: it does not grow.
        """
        self.budget: Final = budget
        self._extend = extend
        self._clock = clock
        # Never waited for: whoever holds it looks again if `_is_stale` was set. The
        # garbage collector may end a call in the thread that holds it.
        self._lock = threading.Lock()
        self._is_stale = False
        # Changed by single operations only, because threads share it.
        self._waiters: dict[_Waiter, bool] = {}
        budget.watch(self._changed)

    def close(self) -> None:
        """Stop watching the budget; to be called when no call waits any more."""
        self.budget.unwatch(self._changed)

    @property
    def has_waiters(self) -> bool:
        """True if a call waits for money."""
        return bool(self._waiters)

    async def reserve(
        self,
        highest_cost: float | None,
        timeout: float | None = None,  # noqa: ASYNC109 - not a TimeoutError
    ) -> Reservation:
        """
        Reserve the cost of a call, and wait while other calls hold the money.

        Args:
            highest_cost: US dollars that the call costs at most; None if unknown.
            timeout: Seconds to wait at most; None for no limit.

        Raises:
            BudgetExceededError: If the budget will not allow the call, or does not
                within the timeout.
        """
        budget = self.budget
        while True:
            amount = budget.reserve(highest_cost)
            if amount is None and self._extend is not None:
                if await self._extend(highest_cost):
                    continue
                # Calls may have ended while this one asked for money.
                amount = budget.reserve(highest_cost)
            if amount is not None:
                return Reservation(budget, amount)
            refusal = self._refusal(highest_cost)
            if refusal is not None:
                raise budget_error(refusal)
            outcome = await self._wait(highest_cost, timeout)
            if isinstance(outcome, BudgetRefusal):
                raise budget_error(outcome)
            if outcome is not None:
                return outcome

    def _refusal(self, highest_cost: float | None) -> BudgetRefusal | None:
        """Return the reason why waiting would not help; None if it may."""
        budget = self.budget
        if self._extend is None:
            return budget.refusal(highest_cost)
        return budget.refuse(highest_cost) if budget.is_idle else None

    async def _wait(self, highest_cost: float | None, timeout: float | None) -> Outcome:  # noqa: ASYNC109 - not a TimeoutError
        """Wait for money, a refusal, or None if the call has to try again."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(highest_cost, loop, loop.create_future())
        self._waiters[waiter] = True
        if self._extend is None:
            # Another thread may have freed the money before the call was in the queue.
            # A budget that is granted in portions is used by one event loop, and its
            # calls would ask for more money again and again.
            self._changed()
        timer = None if timeout is None else self._call_later(loop, timeout, waiter)
        try:
            outcome = await waiter.outcome
        except asyncio.CancelledError:
            future = waiter.outcome
            if future.done() and not future.cancelled():
                give_back(future.result())
            raise
        finally:
            self._waiters.pop(waiter, None)
            if timer is not None:
                timer.cancel()
        return outcome

    def _call_later(
        self, loop: asyncio.AbstractEventLoop, seconds: float, waiter: _Waiter
    ) -> Cancellable:
        call_later: Callable[[float, Callable[[], object]], Cancellable] | None = None
        if self._clock is not None:
            call_later = self._clock.call_later
        return (call_later or loop.call_later)(seconds, lambda: self._expire(waiter))

    def _expire(self, waiter: _Waiter) -> None:
        if self._waiters.pop(waiter, False):
            waiter.deliver(self.budget.refuse(waiter.highest_cost))

    def _changed(self) -> None:
        """Admit the calls that fit now, and refuse those that never will."""
        self._is_stale = True
        while self._waiters and self._is_stale and self._lock.acquire(blocking=False):
            try:
                self._is_stale = False
                outcomes = self._outcomes()
                for waiter in outcomes:
                    self._waiters.pop(waiter, None)
            finally:
                self._lock.release()
            # Outside the lock: a call that is gone gives its money back, which calls
            # this again.
            for waiter, outcome in outcomes.items():
                waiter.deliver(outcome)

    def _outcomes(self) -> dict[_Waiter, Outcome]:
        budget = self.budget
        outcomes: dict[_Waiter, Outcome] = {}
        # Thousands may wait, and each end of a call comes here. The costs that did not
        # fit, and what is not spent, tell most of them apart without further sums.
        refused: set[float | None] = set()
        too_much = float("inf")
        unspent = budget.unspent
        for waiter in [*self._waiters]:
            cost = waiter.highest_cost
            if cost in refused or (cost is not None and too_much <= cost <= unspent):
                continue
            amount = budget.reserve(cost)
            if amount is not None:
                outcomes[waiter] = Reservation(budget, amount)
                continue
            refusal = None if self._extend else budget.refusal(cost)
            if self._extend or refusal is not None:
                # With more money to ask for, each call has to ask again.
                outcomes[waiter] = refusal
                continue
            refused.add(cost)
            too_much = min(too_much, float("inf") if cost is None else cost)
        return outcomes


def give_back(outcome: Outcome) -> None:
    """Return the money of a call that was cancelled at the moment it was admitted."""
    if isinstance(outcome, Reservation):
        outcome.settle(None, 0)


def budget_error(refusal: BudgetRefusal) -> BudgetExceededError:
    """Return the exception for a refusal."""
    cost = f"may cost ${refusal.estimate:.6g}" if refusal.estimate else "is not free"
    return BudgetExceededError(
        f"The budget of {refusal.name} does not allow the call: it {cost}, and "
        f"${refusal.spent:.6g} of ${refusal.limit:.6g} is spent or reserved. Nothing "
        "was sent.",
        limit=refusal.limit,
        spent=refusal.spent,
        estimate=refusal.estimate,
        hint="Raise the budget, or lower max_tokens.",
    )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
