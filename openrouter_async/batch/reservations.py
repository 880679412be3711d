"""Money for calls: set aside before, settled after, waited for in between."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ..protocol.budget import Budget, Price, most_it_costs
from ..protocol.call import Call
from ..protocol.decode import decode
from ..protocol.lru import LRUCache
from ..types import ChatResponse

# OpenRouter lists fewer; a run may also name models that do not exist.
_MAX_MODELS: Final = 1000


class BudgetReservations:
    """The asyncio side of a budget: who does not get money now waits for it."""

    def __init__(
        self, budget: Budget, price: Callable[[str], Awaitable[Price | None]]
    ) -> None:
        """
        Open.

        Args:
            budget: What there is.
            price: Finds the price of a model; asked once for each.
        """
        self._budget = budget
        self._price = price
        self._prices = LRUCache[str, Price | None](_MAX_MODELS)
        self._asking = asyncio.Lock()
        self._settled = asyncio.Event()
        self._waiting = 0

    @property
    def is_short(self) -> bool:
        """Whether somebody waits for money."""
        return self._waiting > 0

    async def reserve(self, call: Call[ChatResponse]) -> float | None:
        """Set money aside for a call; None: there will not be enough."""
        most = await self._most(call)
        while (reserved := self._budget.reserve(most)) is None:
            if self._budget.is_idle:
                return None
            self._waiting += 1
            self._settled.clear()
            try:
                await self._settled.wait()
            finally:
                self._waiting -= 1
        return reserved

    async def _most(self, call: Call[ChatResponse]) -> float | None:
        model, body = call.model, call.body or b"{}"
        if model is not None:
            await self._learn(model)
        # Sent again after silence, it might be billed twice.
        if call.retries.ambiguous:
            return None
        return most_it_costs(decode(body), len(body), self._prices)

    async def _learn(self, model: str) -> None:
        async with self._asking:
            # One call asks, the others wait for what it finds.
            known = model in self._prices
            price = self._prices[model] if known else await self._price(model)
            self._prices[model] = price

    def settle(self, reserved: float, cost: float | None, unclear: int) -> None:
        """Close a call's account, as `Budget.settle` does, and call who waits."""
        self._budget.settle(reserved, cost, unclear)
        self._settled.set()
