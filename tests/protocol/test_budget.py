"""Whether the money lasts."""

from typing import Any

import pytest

from openrouter_async import UserMessage
from openrouter_async.protocol.budget import (
    Budget,
    Price,
    most_it_costs,
    read_price,
)

PRICES: dict[str, Price | None] = {"m": Price(0.001, 0.01), "?": None}
TEXT = [{"role": "user", "content": "hi"}]


def test_the_price_is_the_highest_of_the_endpoints() -> None:
    """Whoever is asked first, the dearest may be asked last."""
    cheap = {"pricing": {"prompt": "0.1", "completion": "0.4"}}
    dear = {"pricing": {"prompt": "0.2", "completion": "0.3", "request": "0.01"}}

    assert read_price([cheap, dear]) == Price(0.2, 0.4, 0.01)


def test_the_price_is_that_of_the_dearest_tokens() -> None:
    """Some read them dearer to keep them, and write them dearer to think."""
    kept = {"pricing": {"prompt": 1, "completion": 2, "input_cache_write": 1.25}}
    thought = {"pricing": {"prompt": 1, "completion": 2, "internal_reasoning": 3}}

    assert read_price([kept]) == Price(1.25, 2.0)
    assert read_price([thought]) == Price(1.0, 3.0)


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
def test_a_price_that_is_not_whole_is_none(endpoints: list[Any]) -> None:
    """A router's price depends, and says -1."""
    assert read_price(endpoints) is None


def test_the_most_is_every_byte_a_token_and_all_that_may_be_written() -> None:
    """A text has no more tokens than bytes."""
    body = {"model": "m", "messages": TEXT, "max_tokens": 5}
    again = {"model": "m", "messages": [UserMessage("hi")], "max_completion_tokens": 5}
    both = {**body, "max_completion_tokens": 1}

    assert most_it_costs(body, 10, PRICES) == pytest.approx(0.018 + 0.05)
    assert most_it_costs(again, 10, PRICES) == pytest.approx(0.018 + 0.05)
    assert most_it_costs(both, 10, PRICES) == pytest.approx(0.018 + 0.05)


UNCOUNTABLE: list[dict[str, Any]] = [
    {"model": "other"},
    {"model": "?"},
    {"max_tokens": None},
    {"tools": [{}]},
    {"models": ["n"]},
    {"n": 2},
    {"prediction": {"type": "content", "content": "hi"}},
    {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
]


@pytest.mark.parametrize("change", UNCOUNTABLE)
def test_what_can_not_be_counted_has_no_most(change: dict[str, Any]) -> None:
    """No price, no limit, other models, tools, pictures."""
    body = {"model": "m", "messages": TEXT, "max_tokens": 5, **change}

    assert most_it_costs(body, 10, PRICES) is None


def test_a_promise_is_kept() -> None:
    """What is set aside and what is spent never pass the limit."""
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


def test_what_nobody_can_tell_counts_as_spent() -> None:
    """An attempt that broke off may have been billed, as dear as it could be."""
    budget = Budget(1.0, spent=0.2)
    budget.settle(budget.reserve(0.3) or 0.0, None, 1)

    assert budget.spent == pytest.approx(0.5)
    assert budget.is_idle


def test_an_estimate_is_half_again_the_mean() -> None:
    """And until a first cost is known only a few go out."""
    budget = Budget(1.0)
    blind = [budget.reserve(None) for _ in range(9)]
    assert blind == [0.0] * 8 + [None]
    assert budget.kind == "estimated"
    assert budget.overshoot is None

    budget.settle(0.0, 0.1, 0)
    assert budget.reserve(None) == pytest.approx(0.15)
    assert budget.overshoot == 0.0


def test_an_estimate_tells_what_it_may_come_to() -> None:
    """As if each that is out became as dear as the dearest so far."""
    budget = Budget(1.0)
    for _ in range(3):
        budget.reserve(None)
    budget.settle(0.0, 0.6, 0)

    assert budget.overshoot == pytest.approx(0.6 + 2 * 0.6 - 1.0)


def test_nothing_is_sent_for_nothing() -> None:
    """When all is spent even a row without a known cost stays."""
    budget = Budget(1.0)
    budget.settle(budget.reserve(None) or 0.0, 1.0, 0)

    assert budget.reserve(None) is None
    assert budget.reserve(0.0) == 0.0


def test_nothing_is_sent_when_earlier_runs_spent_it_all() -> None:
    """To the cent, say: a row without a known cost is no free one."""
    budget = Budget(1.0, spent=1.0)

    assert budget.reserve(None) is None
    assert budget.is_idle
