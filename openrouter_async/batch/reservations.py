"""Budget reservations: a request waits until the budget of its run allows it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from ..protocol.budget import Budget, Price, TokenBounds
from ..protocol.call import Call
from ..protocol.lru import LRUCache
from ..transport.wait_queue import WaitQueue
from ..types import ChatResponse

# OpenRouter lists fewer; a run may also name models that do not exist.
_MAX_MODELS: Final = 1000


class BudgetSource(Protocol):
    """
    The money of a run: all of it from the start, or granted in portions.

    Attributes:
        budget: The money that was granted so far, and what was spent of it.
    """

    budget: Budget

    async def extend(self, highest_cost: float | None) -> bool:
        """
        Ask for another portion, because a request does not fit into the budget.

        Args:
            highest_cost: US dollars that the request costs at most; None if unknown.

        Returns:
            True if the budget has grown.
        """
        raise NotImplementedError


class WholeBudget:
    """
    The money of a run in one portion.

    Attributes:
        budget: The budget.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    async def extend(self, highest_cost: float | None) -> bool:  # noqa: ARG002 - the protocol's parameter
        """Return False: there is no more money."""
        return False


class BudgetReservations:
    """A `Budget` for concurrent requests; those that do not fit wait."""

    def __init__(
        self,
        source: BudgetSource,
        fetch_price: Callable[[str], Awaitable[Price | None]],
    ) -> None:
        """
        Create it without a reservation.

        Args:
            source: The money.
            fetch_price: Returns the price of a model; called once for each model.
        """
        self._source = source
        self._budget = source.budget
        self._fetch_price = fetch_price
        self._prices = LRUCache[str, Price | None](_MAX_MODELS)
        self._price_lock = asyncio.Lock()
        self._queue = WaitQueue()
        self._waiting = 0

    @property
    def has_waiters(self) -> bool:
        """True if a request waits for money."""
        # Not the length of the queue: a request that was woken may have to wait again.
        return self._waiting > 0

    async def reserve(
        self, call: Call[ChatResponse], bounds: TokenBounds | None
    ) -> float | None:
        """
        Reserve the cost of a call, and wait while other calls hold the money.

        Args:
            call: The call.
            bounds: Upper bounds on its tokens; None if unknown.

        Returns:
            The US dollars reserved; None if the budget will never allow the call.
        """
        highest_cost = await self._highest_cost(call, bounds)
        while (reserved := self._budget.reserve(highest_cost)) is None:
            if await self._source.extend(highest_cost):
                continue
            # Calls may have ended while this one asked for money.
            if (reserved := self._budget.reserve(highest_cost)) is not None:
                break
            if self._budget.is_idle:
                return None
            self._waiting += 1
            try:
                await self._queue.wait()
            finally:
                self._waiting -= 1
        return reserved

    def settle(self, reserved: float, cost: float | None, unclear: int) -> None:
        """Close a reservation, as `Budget.settle` does, and wake those who wait."""
        self._budget.settle(reserved, cost, unclear)
        # All of them: their costs differ, so a later one may fit where the first
        # does not.
        self._queue.wake_all()

    async def _highest_cost(
        self, call: Call[ChatResponse], bounds: TokenBounds | None
    ) -> float | None:
        model = call.model
        # A request that is retried although it may have been accepted can be billed
        # twice, so its cost has no bound.
        if model is None or bounds is None or call.retries.ambiguous:
            return None
        async with self._price_lock:
            # The first call for a model fetches its price, the others wait for it.
            if model not in self._prices:
                self._prices[model] = await self._fetch_price(model)
            price = self._prices[model]
        return None if price is None else price.highest_cost(bounds)
