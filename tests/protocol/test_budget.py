"""Bounds on the cost of a request, and one budget."""

from typing import Any

import pytest

from openrouter_async import FunctionTool, UserMessage
from openrouter_async.protocol.budget import (
    Budget,
    Price,
    TokenBounds,
    read_price,
    token_bounds,
)

TEXT = [{"role": "user", "content": "hi"}]


def test_price_is_the_highest_of_all_endpoints() -> None:
    cheap = {"pricing": {"prompt": "0.1", "completion": "0.4"}}
    expensive = {"pricing": {"prompt": "0.2", "completion": "0.3", "request": "0.01"}}

    assert read_price([cheap, expensive]) == Price(0.2, 0.4, 0.01)


def test_price_includes_cache_writes_and_reasoning() -> None:
    cached = {"pricing": {"prompt": 1, "completion": 2, "input_cache_write": 1.25}}
    reasoning = {"pricing": {"prompt": 1, "completion": 2, "internal_reasoning": 3}}

    assert read_price([cached]) == Price(1.25, 2.0)
    assert read_price([reasoning]) == Price(1.0, 3.0)


@pytest.mark.parametrize(
    "endpoints",
    [
        [],
        [{}],
        [{"pricing": {"prompt": "0.1"}}],
        [{"pricing": {"prompt": "?", "completion": "0.1"}}],
        [{"pricing": {"prompt": "-1", "completion": "-1"}}],
        [{"pricing": {"prompt": "nan", "completion": "1"}}],
        [{"pricing": {"prompt": "1", "completion": "1", "request": "inf"}}],
        [{"pricing": "free"}],
        [{"pricing": {"prompt": [], "completion": 1}}],
        ["m", None, 5],
        [None],
    ],
)
def test_price_is_none_if_one_endpoint_has_no_usable_price(
    endpoints: list[Any],
) -> None:
    assert read_price(endpoints) is None


@pytest.mark.parametrize(
    "body",
    [
        {"messages": TEXT, "max_tokens": 5},
        {"messages": [UserMessage("hi")], "max_completion_tokens": 5},
        {"messages": TEXT, "max_tokens": 5, "max_completion_tokens": 1},
        {"messages": TEXT, "max_tokens": 5, "tools": []},
    ],
)
def test_token_bounds_count_each_byte_and_the_token_limit(body: dict[str, Any]) -> None:
    assert token_bounds(body, 10) == TokenBounds(18, 5)


def test_token_bounds_of_function_tools_include_what_providers_add() -> None:
    function = {"type": "function", "function": {"name": "f"}}
    tools = [function, FunctionTool({"name": "g"})]
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    result = {"role": "tool", "content": "4", "tool_call_id": "c"}
    body = {"messages": [*TEXT, call, result], "max_tokens": 5, "tools": tools}

    assert token_bounds(body, 10) == TokenBounds(10 + 3 * 8 + 1024 + 2 * 32, 5)


UNBOUNDED: list[dict[str, Any]] = [
    {"max_tokens": None},
    {"tools": [{}]},
    {"tools": [{"type": "openrouter:web_search"}]},
    {"messages": [{"role": "assistant", "content": None}]},
    {"messages": [{"role": "assistant", "content": "a", "images": [{}]}]},
    {"models": ["n"]},
    {"n": 2},
    {"prediction": {"type": "content", "content": "hi"}},
    {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    {"messages": [5]},
]


@pytest.mark.parametrize("change", UNBOUNDED)
def test_token_bounds_are_none_without_a_limit_or_with_more_than_text(
    change: dict[str, Any],
) -> None:
    body = {"model": "m", "messages": TEXT, "max_tokens": 5, **change}

    assert token_bounds(body, 10) is None


def test_highest_cost_is_the_price_of_all_tokens_and_of_the_request() -> None:
    price = Price(prompt=0.001, completion=0.01, request=0.5)

    assert price.highest_cost(TokenBounds(18, 5)) == pytest.approx(0.5 + 0.018 + 0.05)


def test_guaranteed_budget_never_reserves_more_than_its_limit() -> None:
    budget = Budget(1.0)
    first, second = budget.reserve(0.4), budget.reserve(0.4)
    assert (first, second) == (0.4, 0.4)
    assert budget.reserve(0.4) is None
    assert not budget.is_idle

    budget.settle(0.4, 0.1, 0)
    assert budget.spent == pytest.approx(0.1)
    assert budget.reserve(0.4) == 0.4
    assert budget.kind == "guaranteed"
    assert budget.overshoot == 0.0


def test_attempt_that_may_have_been_billed_counts_as_the_amount_reserved() -> None:
    budget = Budget(1.0, spent=0.2)
    budget.settle(budget.reserve(0.3) or 0.0, None, 1)

    assert budget.spent == pytest.approx(0.5)
    assert budget.is_idle


def test_estimate_is_one_and_a_half_times_the_mean_cost() -> None:
    budget = Budget(1.0)
    unpriced = [budget.reserve(None) for _ in range(9)]
    assert unpriced == [0.0] * 8 + [None]
    assert budget.kind == "estimated"
    assert budget.overshoot is None

    budget.settle(0.0, 0.1, 0)
    assert budget.reserve(None) == pytest.approx(0.15)
    assert budget.overshoot == 0.0


def test_overshoot_assumes_the_highest_cost_for_each_request_in_flight() -> None:
    budget = Budget(1.0)
    for _ in range(3):
        budget.reserve(None)
    budget.settle(0.0, 0.6, 0)

    assert budget.overshoot == pytest.approx(0.6 + 2 * 0.6 - 1.0)


def test_spent_budget_admits_only_requests_known_to_be_free() -> None:
    budget = Budget(1.0)
    budget.settle(budget.reserve(None) or 0.0, 1.0, 0)

    assert budget.reserve(None) is None
    assert budget.reserve(0.0) == 0.0


def test_budget_spent_by_earlier_runs_admits_no_estimated_request() -> None:
    budget = Budget(1.0, spent=1.0)

    assert budget.reserve(None) is None
    assert budget.is_idle
