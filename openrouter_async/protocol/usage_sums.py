"""Exact sums of tokens and costs, per model and per tag, in bounded memory."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from decimal import Decimal

OTHER: Final = "other"
"""The tag, or model, that counts for all beyond the first `MAX_NAMES`."""

MAX_NAMES: Final = 1000
"""Tags, and models, that are counted apart. A tag per user must not fill the memory."""

# Most costs are multiples of 1e-12 dollars, and integers are added faster than
# decimals. Below the limit such a multiple has at most 15 digits, so that a float that
# is nearest to it is printed with the same digits.
_PER_DOLLAR: Final = 10**12
_MAX_UNITS: Final = 10**15
_INFINITY: Final = float("inf")


class UsageSums:
    """
    The sums of some calls; the counts are those of `UsageTotals`.

    Attributes:
        units: The part of the cost that is a multiple of 1e-12 dollars, in these.
        rest: The rest of the cost in dollars; None for nothing.
    """

    __slots__ = (
        "attempts",
        "cached_tokens",
        "calls",
        "completion_tokens",
        "failures",
        "prompt_tokens",
        "reasoning_tokens",
        "rest",
        "units",
        "unknown",
    )

    def __init__(self) -> None:
        self.calls = self.attempts = self.failures = self.unknown = 0
        self.prompt_tokens = self.completion_tokens = 0
        self.reasoning_tokens = self.cached_tokens = 0
        self.units = 0
        self.rest: Decimal | None = None

    def add_usage(self, usage: Mapping[str, Any]) -> None:
        """Add the tokens and the cost of a `usage` object, as received."""
        get = usage.get
        count = get("prompt_tokens")
        self.prompt_tokens += count if count.__class__ is int else _count(count)
        count = get("completion_tokens")
        self.completion_tokens += count if count.__class__ is int else _count(count)
        details = get("completion_tokens_details")
        if details.__class__ is dict and (count := details.get("reasoning_tokens")):
            self.reasoning_tokens += _count(count)
        details = get("prompt_tokens_details")
        if details.__class__ is dict and (count := details.get("cached_tokens")):
            self.cached_tokens += _count(count)
        cost = cost_in(usage)
        if cost:
            self.add_cost(cost)

    def add_cost(self, cost: float) -> None:
        """Add a cost in dollars, with the digits that it is printed with."""
        if cost < 1000:
            units = round(cost * _PER_DOLLAR)
            if units < _MAX_UNITS and units / _PER_DOLLAR == cost:
                self.units += units
                return
        from .money import exact

        self._add_rest(exact(cost))

    def add(self, other: "UsageSums") -> None:
        """Add other sums."""
        self.calls += other.calls
        self.attempts += other.attempts
        self.failures += other.failures
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.reasoning_tokens += other.reasoning_tokens
        self.cached_tokens += other.cached_tokens
        self.unknown += other.unknown
        self.units += other.units
        if other.rest is not None:
            self._add_rest(other.rest)

    def _add_rest(self, rest: "Decimal") -> None:
        from .money import add

        self.rest = rest if self.rest is None else add(self.rest, rest)


class UsageTable:
    """
    Sums per model and per tag.

    Attributes:
        models: Sums per model. Every call has one, which may be None.
        tags: Sums per tag.
    """

    __slots__ = ("models", "tags")

    def __init__(self) -> None:
        self.models: dict[str | None, UsageSums] = {}
        self.tags: dict[str, UsageSums] = {}

    def add(self, model: str | None, tag: str | None, sums: UsageSums) -> None:
        """Add the sums of calls with one model and one tag."""
        _cell(self.models, model).add(sums)
        if tag is not None:
            _cell(self.tags, tag).add(sums)


def cost_in(usage: Mapping[str, Any]) -> float | None:
    """Return the cost in a `usage` object; None if it has none."""
    cost = usage.get("cost")
    if cost.__class__ is float or (
        isinstance(cost, int | float) and not isinstance(cost, bool)
    ):
        # A cost of less than 0 would be none.
        return cost if 0 <= cost < _INFINITY else None
    return None


def _count(value: Any) -> int:
    """Return a number of tokens, as the response classes read it; 0 if it is none."""
    if value.__class__ is int:
        return int(value)
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else 0


def _cell(table: dict[Any, UsageSums], name: Any) -> UsageSums:
    found = table.get(name)
    if found is None:
        if len(table) >= MAX_NAMES and name != OTHER:
            return _cell(table, OTHER)
        found = table[name] = UsageSums()
    return found
