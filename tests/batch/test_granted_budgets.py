"""Portions of a budget that a ledger grants to the workers of a run."""

# Tests look at private attributes.
# pyright: reportPrivateUsage=false

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from openrouter_async.batch.ledger import Ledger
from openrouter_async.batch.ledger_parts import GrantedBudget, LedgerThreads


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "out.jsonl", max_cost=8.0)
    ledger.open()
    yield ledger
    ledger.close()


@pytest.fixture
def money(ledger: Ledger) -> Iterator[GrantedBudget]:
    threads = LedgerThreads(ledger)
    yield GrantedBudget(threads, "worker")
    threads.close()


async def test_requests_that_need_money_at_once_ask_for_it_once(
    money: GrantedBudget,
) -> None:
    assert all(await asyncio.gather(money.extend(0.5), money.extend(0.5)))
    assert money.budget.limit == 1.0
    assert money.budget.reserve(0.5) == 0.5
    # Something is reserved, so nothing is returned.
    assert not money.give_back()


async def test_request_that_money_is_left_for_asks_for_none(
    money: GrantedBudget,
) -> None:
    assert await money.extend(0.5)
    limit = money.budget.limit

    assert not await money.extend(0.25)
    assert money.budget.limit == limit


async def test_after_a_denial_open_requests_are_waited_for(
    money: GrantedBudget,
) -> None:
    while await money.extend(1.0):
        assert money.budget.reserve(1.0) == 1.0
    assert money.budget.limit == 8.0

    assert not await money.extend(1.0)
    assert money._is_denied

    for _ in range(8):
        money.budget.settle(1.0, 0.0)
    assert money.give_back()
    assert money.budget.limit == 0.0
    assert not money._is_denied
