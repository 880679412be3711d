"""The budgets of a client and of its tags."""

import math
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, Self, cast

from attrs import field, frozen

from ..config import Clock
from ..errors import ConfigurationError
from ..protocol.budget import Budget, BudgetStats, TokenBounds, token_bounds
from ..protocol.call import Call
from ..protocol.settings import Settings, check_tag
from .price_list import PriceList
from .reservations import BudgetLock, BudgetQueue, Reservation


def check_limit(name: str, limit: object) -> None:
    """
    Check the limit of a budget.

    Raises:
        TypeError: If it is not a number.
        ConfigurationError: If it is not positive and finite.
    """
    if isinstance(limit, bool) or not isinstance(limit, int | float | Decimal):
        raise TypeError(f"{name} must be a number of US dollars, not {limit!r:.60}.")
    if not math.isfinite(limit) or limit <= 0:
        raise ConfigurationError(
            f"{name} must be greater than 0 and finite, not {limit!r}."
        )


@frozen
class BudgetLimits:
    """
    The limits of a client's budgets, in US dollars.

    Attributes:
        max_cost: The limit of all calls together; None for no limit.
        tags: The limit of the calls with each `usage_tag`.
    """

    max_cost: float | None = None
    tags: Mapping[str, float] = field(factory=dict[str, float])

    @classmethod
    def checked(cls, max_cost: Any, tags: Any) -> Self:
        """
        Return the limits that a caller passed.

        Raises:
            TypeError: If an argument has the wrong type.
            ConfigurationError: If a limit is not positive and finite, or a tag is
                invalid.
        """
        if max_cost is not None:
            check_limit("max_cost", max_cost)
        if tags is None:
            return cls(max_cost)
        if not isinstance(tags, Mapping):
            raise TypeError(
                f"budgets must be a mapping of tags to US dollars, not {tags!r:.60}. "
                "For a budget of the whole client, pass max_cost=."
            )
        limits = dict(cast("Mapping[str, float]", tags))
        for tag, limit in limits.items():
            check_tag(tag)
            check_limit(f"budgets[{tag!r}]", limit)
        return cls(max_cost, limits)


class ClientBudgets:
    """
    The budgets of a client: one of all calls, and one of each tag in it.

    Threads may share them.

    Attributes:
        prices: The prices of models.
    """

    def __init__(
        self,
        limits: BudgetLimits,
        fetch: Callable[[Call[Any]], Awaitable[Any]],
        clock: Clock,
    ) -> None:
        """
        Create the budgets; nothing is spent.

        Args:
            limits: The limits.
            fetch: Sends a call that reads prices, and returns its value.
            clock: Measures the time that a call may wait for money.
        """
        self.prices = PriceList(fetch, clock)
        lock = BudgetLock()
        self._queue: BudgetQueue | None = None
        self._tags: dict[str, BudgetQueue] = {}
        whole = None
        if limits.max_cost is not None:
            whole = Budget(limits.max_cost, name="the client", lock=lock)
            self._queue = BudgetQueue(whole, clock)
        for tag, limit in limits.tags.items():
            budget = Budget(limit, parent=whole, name=f"the tag {tag!r}", lock=lock)
            self._tags[tag] = BudgetQueue(budget, clock)

    def queue(self, tag: str | None) -> BudgetQueue | None:
        """Return the budget that calls with a tag are part of; None without one."""
        return self._tags.get(tag, self._queue) if tag is not None else self._queue

    def attach(
        self, call: Call[Any], settings: Settings, body: Mapping[str, Any] | None
    ) -> None:
        """
        Let a call wait for its budget, if it is part of one.

        Args:
            call: The call.
            settings: The settings that it was made from.
            body: Its request; None if the highest cost cannot be told from it.
        """
        queue = self.queue(settings.usage_tag)
        if queue is None:
            return
        bounds = None if body is None else token_bounds(body, len(call.body or b""))
        call.reserve = partial(
            _reserve, queue, self.prices, settings, call.model, bounds
        )

    def stats(self) -> dict[str | None, BudgetStats]:
        """Return snapshots by tag; None is the key of the whole client's budget."""
        stats: dict[str | None, BudgetStats] = {}
        if self._queue is not None:
            stats[None] = self._queue.budget.stats()
        for tag, queue in self._tags.items():
            stats[tag] = queue.budget.stats()
        return stats


async def _reserve(
    queue: BudgetQueue,
    prices: PriceList,
    settings: Settings,
    model: str | None,
    bounds: TokenBounds | None,
) -> Reservation:
    """
    Wait until a budget allows a call, for at most `Timeouts.pool` seconds.

    Raises:
        BudgetExceededError: If it does not.
    """
    highest_cost = await prices.highest_cost(settings, model, bounds)
    return await queue.reserve(highest_cost, settings.timeouts.pool)
