"""A snapshot of the tokens and the cost of a client's calls."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from attrs import frozen

from .budget import BudgetStats
from .money import ZERO, add, multiply
from .usage_sums import UsageSums, UsageTable

_UNIT: Final = Decimal("1e-12")


@frozen
class UsageTotals:
    """
    Tokens and cost of calls.

    Attributes:
        calls: Number of calls that have ended, however they ended.
        attempts: Number of attempts that these calls made.
        failures: Number of calls that raised an error; calls that were cancelled or
            closed are not failures.
        prompt_tokens: Input tokens, including cached ones.
        completion_tokens: Output tokens, including reasoning.
        reasoning_tokens: Reasoning tokens.
        cached_tokens: Input tokens read from a cache.
        cost: US dollars charged, exactly, as far as the server has reported it.
        unknown: Number of attempts that may have been billed, whose tokens and cost
            are not known and not included.
    """

    calls: int
    attempts: int
    failures: int
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int
    cost: Decimal
    unknown: int


@frozen
class UsageSnapshot(UsageTotals):
    """
    Tokens and cost of the calls of a client: in total, per model and per tag.

    The total has the attributes of `UsageTotals`.

    Attributes:
        by_model: The same per requested model; None is the key of calls without one.
            After 1,000 models, all others are "other".
        by_tag: The same per `usage_tag`; calls without a tag are only in the total.
            After 1,000 tags, all others are "other".
        unknown_ids: Generation ids of attempts whose cost is not known, the oldest
            first; at most 10,000. `reconcile` looks them up.
        budgets: The client's budgets, by tag; None is the key of `max_cost`.
    """

    by_model: Mapping[str | None, UsageTotals]
    by_tag: Mapping[str, UsageTotals]
    unknown_ids: tuple[str, ...]
    budgets: Mapping[str | None, BudgetStats]


def take_snapshot(
    table: UsageTable,
    unknown_ids: tuple[str, ...],
    budgets: Mapping[str | None, BudgetStats],
) -> UsageSnapshot:
    """Return a snapshot of sums that go on to change."""
    total = UsageSums()
    for sums in table.models.values():
        total.add(sums)
    return UsageSnapshot(
        **_fields(total),
        by_model={k: UsageTotals(**_fields(v)) for k, v in table.models.items()},
        by_tag={k: UsageTotals(**_fields(v)) for k, v in table.tags.items()},
        unknown_ids=unknown_ids,
        budgets=budgets,
    )


def _fields(sums: UsageSums) -> dict[str, Any]:
    cost = multiply(Decimal(sums.units), _UNIT)
    return {
        "calls": sums.calls,
        "attempts": sums.attempts,
        "failures": sums.failures,
        "prompt_tokens": sums.prompt_tokens,
        "completion_tokens": sums.completion_tokens,
        "reasoning_tokens": sums.reasoning_tokens,
        "cached_tokens": sums.cached_tokens,
        "cost": add(cost, sums.rest or ZERO),
        "unknown": sums.unknown,
    }
