"""Exact sums of tokens and costs, per model and per tag, in bounded memory."""

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from operator import itemgetter, mul
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
_PER_DOLLAR: Final = 1e12
_MAX_UNITS: Final = 10**15
# Dollars. A larger number is a mistake, and no float may overflow.
_MAX_COST: Final = 1e12


_prompt: Callable[[Any], Any] = itemgetter("prompt_tokens")
_completion: Callable[[Any], Any] = itemgetter("completion_tokens")
_completion_details: Callable[[Any], Any] = itemgetter("completion_tokens_details")
_reasoning: Callable[[Any], Any] = itemgetter("reasoning_tokens")
_prompt_details: Callable[[Any], Any] = itemgetter("prompt_tokens_details")
_cached: Callable[[Any], Any] = itemgetter("cached_tokens")
_cost: Callable[[Any], Any] = itemgetter("cost")


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
        self.calls = 0
        self.attempts = 0
        self.failures = 0
        self.unknown = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.reasoning_tokens = 0
        self.cached_tokens = 0
        self.units = 0
        self.rest: Decimal | None = None

    def add_usages(self, usages: list[dict[str, Any]]) -> None:
        """
        Add many `usage` objects.

        The usual ones are added up by functions written in C, which takes a third of
        the time.
        """
        if not self._add_usual(usages):
            for usage in usages:
                self.add_usage(usage)

    def _add_usual(self, usages: list[dict[str, Any]]) -> bool:
        """Add `usage` objects; return False, and add none, if one is unusual."""
        try:
            prompt = sum(map(_prompt, usages))
            completion = sum(map(_completion, usages))
            reasoning = sum(map(_reasoning, map(_completion_details, usages)))
            cached = sum(map(_cached, map(_prompt_details, usages)))
            costs: list[float] = list(map(_cost, usages))
            units: list[int] = list(map(round, map(mul, costs, repeat(_PER_DOLLAR))))
            is_exact = [count / _PER_DOLLAR for count in units] == costs
        except (KeyError, TypeError, ValueError, OverflowError):
            return False
        is_whole = type(prompt + completion + reasoning + cached) is int
        if not (is_whole and is_exact and min(units) >= 0 and max(units) < _MAX_UNITS):
            return False
        self.prompt_tokens += prompt
        self.completion_tokens += completion
        self.reasoning_tokens += reasoning
        self.cached_tokens += cached
        self.units += sum(units)
        return True

    def add_usage(self, usage: Mapping[str, Any]) -> None:
        """Add the tokens and the cost of a `usage` object, as received."""
        get = usage.get
        count: Any = get("prompt_tokens")
        self.prompt_tokens += count if count.__class__ is int else _count(count)
        count = get("completion_tokens")
        self.completion_tokens += count if count.__class__ is int else _count(count)
        details: Any = get("completion_tokens_details")
        if details.__class__ is dict and (count := details.get("reasoning_tokens")):
            self.reasoning_tokens += _count(count)
        details = get("prompt_tokens_details")
        if details.__class__ is dict and (count := details.get("cached_tokens")):
            self.cached_tokens += _count(count)
        cost = cost_in(usage)
        if cost:
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
    cost: Any = usage.get("cost")
    if cost.__class__ is float or (
        isinstance(cost, int | float) and not isinstance(cost, bool)
    ):
        # A cost of less than 0 would be none.
        return cost if 0 <= cost <= _MAX_COST else None
    return None


def total_cost(
    cost: float | None, earlier: Sequence[Mapping[str, Any]]
) -> float | None:
    """Return the sum of a cost and those in `usage` objects; None if it is unknown."""
    if not earlier:
        return cost
    from .money import add, exact

    total = exact(cost or 0.0)
    for usage in earlier:
        total = add(total, exact(cost_in(usage) or 0.0))
    return float(total)


def _count(value: Any) -> int:
    """Return a number of tokens as the response classes do, and 0 for other values."""
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
