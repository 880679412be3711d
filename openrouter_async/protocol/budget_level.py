"""The sums of a budget and of those that it is part of, without a lock."""

from decimal import Decimal
from typing import Final, Literal

from attrs import define, frozen

from .money import ZERO, add, exact, float_above, multiply, round_up, subtract

BudgetKind = Literal["guaranteed", "estimated"]

# A grant is this share of what is left, so that something is left for other workers.
_SHARE: Final = Decimal("0.125")
# An estimate is this multiple of the mean cost of the requests so far.
_MARGIN: Final = Decimal("1.5")
# Weight of the newest cost in that mean, which therefore follows the last 20 requests.
_SMOOTHING: Final = 0.05
# Requests in flight before the first cost is known: without one, nothing bounds them.
_MAX_UNPRICED: Final = 8


@frozen
class BudgetRefusal:
    """
    The reason why a budget does not admit a request.

    Attributes:
        name: Name of the budget.
        limit: Its limit in US dollars.
        spent: US dollars that are spent or reserved.
        estimate: US dollars that the request may cost.
    """

    name: str
    limit: float
    spent: float
    estimate: float


@define
class BudgetLevel:
    """
    The limit, the sums and the mean cost of one budget.

    Attributes:
        name: Name of the budget, for messages.
        limit: US dollars that may be spent.
        spent: US dollars spent.
        reserved: US dollars reserved.
        reservations: Number of open reservations.
        kind: "guaranteed" as long as the highest cost of every request was known.
        mean: Mean cost of the requests so far; None before the first.
        highest: Highest cost of a request so far; None before the first.
    """

    name: str
    limit: Decimal
    spent: Decimal
    reserved: Decimal = ZERO
    reservations: int = 0
    kind: BudgetKind = "guaranteed"
    mean: float | None = None
    highest: float | None = None

    @property
    def committed(self) -> Decimal:
        """US dollars that are spent or reserved."""
        return add(self.spent, self.reserved)

    @property
    def left(self) -> Decimal:
        """US dollars that are neither spent nor reserved; may be negative."""
        return subtract(self.limit, self.committed)

    @property
    def unspent(self) -> Decimal:
        """US dollars that are not spent, 0 or more."""
        return max(ZERO, subtract(self.limit, self.spent))

    def admits(self, amount: Decimal, *, is_estimate: bool) -> bool:
        """Return True if an amount fits now."""
        if is_estimate and not amount:
            if self.mean is None and self.reservations >= _MAX_UNPRICED:
                return False
            # An estimate of 0.0 fits into a spent budget, but the request is not free.
            return self.committed < self.limit
        return add(self.committed, amount) <= self.limit

    def may_admit(self, amount: Decimal, *, is_estimate: bool) -> bool:
        """Return True if an amount could fit when the open reservations are closed."""
        if is_estimate and not amount:
            return self.spent < self.limit
        return add(self.spent, amount) <= self.limit

    def refuse(self, amount: Decimal) -> BudgetRefusal:
        """Return the reason why an amount does not fit."""
        return BudgetRefusal(
            self.name, float(self.limit), float(self.committed), float(amount)
        )

    def hold(self, amount: Decimal, count: int) -> None:
        """Change the reserved amount and the number of reservations."""
        self.reserved = add(self.reserved, amount)
        self.reservations += count

    def learn(self, cost: float) -> None:
        """Add a cost to the mean and the highest cost."""
        self.highest = max(self.highest or 0.0, cost)
        if self.mean is None:
            self.mean = cost
        self.mean += _SMOOTHING * (cost - self.mean)


class BudgetChain:
    """
    The levels of a budget: its own, its parent's, and so on.

    Attributes:
        levels: The levels in which a reservation is made, from the inside out.
        funder: The budget that has reserved the limit of the outermost level as a
            whole; None if that level was not granted.
    """

    __slots__ = ("funder", "levels")

    def __init__(
        self, levels: tuple[BudgetLevel, ...], funder: "BudgetChain | None"
    ) -> None:
        self.levels = levels
        self.funder = funder

    @property
    def left(self) -> Decimal:
        """US dollars that are neither spent nor reserved on any level."""
        return min(level.left for level in self.levels)

    def amount(self, highest_cost: float | None) -> Decimal:
        """Return the amount to reserve for a request, rounded up."""
        amount = ZERO
        if highest_cost is not None:
            amount = exact(highest_cost)
        else:
            means = (level.mean for level in self.levels)
            mean = next((mean for mean in means if mean is not None), None)
            if mean is not None:
                amount = multiply(_MARGIN, exact(mean))
        # A number that a float can hold, because amounts are passed as floats.
        return exact(float_above(round_up(amount)))

    def portion(self, least: float, most: float | None = None) -> Decimal | None:
        """Return the size of a grant; None if less than `least` is left."""
        left, amount = self.left, self.amount(least)
        if amount > left:
            return None
        share = multiply(left, _SHARE)
        if most is not None:
            share = min(share, exact(most))
        # Neither of a budget that only its parents limit, nor of less than the unit.
        if share.is_finite() and share > amount:
            amount = self.amount(float(share))
        return amount if amount <= left else None

    def hold(self, amount: Decimal, count: int) -> None:
        """Change the reserved amount and the number of reservations."""
        for level in self.levels:
            level.hold(amount, count)

    def charge(self, amount: Decimal) -> None:
        """Count an amount as spent; what was granted for it is no longer reserved."""
        granted = self.levels[-1]
        before = granted.unspent
        for level in self.levels:
            level.spent = add(level.spent, amount)
        if self.funder is not None:
            self.funder.hold(subtract(granted.unspent, before), 0)
            self.funder.charge(amount)

    def mark_estimated(self) -> None:
        """Note that the cost of a request has no bound."""
        for level in self.levels:
            level.kind = "estimated"
        if self.funder is not None:
            self.funder.mark_estimated()
