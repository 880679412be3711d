"""Budgets with parents, grants of portions, and exact sums."""

import threading
from decimal import Context, Decimal, localcontext

import pytest

from openrouter_async.protocol.budget import Budget, Price, TokenBounds
from openrouter_async.protocol.budget_level import BudgetRefusal


def new_tree() -> tuple[Budget, Budget, Budget]:
    """Return the budgets of a client, a tag in it, and a run in that."""
    client = Budget(10.0, name="the client")
    tag = Budget(5.0, parent=client, name="the tag 'a'")
    return client, tag, Budget(2.0, parent=tag)


def test_reservation_is_made_in_all_parents_or_in_none() -> None:
    client, tag, run = new_tree()
    assert run.reserve(1.5) == 1.5
    assert [float(b.stats().reserved) for b in (client, tag, run)] == [1.5] * 3

    assert run.reserve(0.6) is None
    assert tag.reserve(3.6) is None
    assert [float(b.stats().reserved) for b in (client, tag, run)] == [1.5] * 3

    run.settle(1.5, 0.25)
    assert [b.spent for b in (client, tag, run)] == [0.25] * 3
    assert all(b.is_idle for b in (client, tag, run))


def test_parent_refuses_what_siblings_have_reserved() -> None:
    client = Budget(1.0, name="the client")
    first = Budget(1.0, parent=client)
    second = Budget(float("inf"), parent=client)

    assert first.reserve(0.7) == 0.7
    assert second.reserve(0.4) is None
    assert second.refusal(0.4) is None
    assert second.refuse(0.4) == BudgetRefusal("the client", 1.0, 0.7, 0.4)
    assert second.left == pytest.approx(0.3)

    first.settle(0.7, 0.7)
    assert second.refusal(0.4) == BudgetRefusal("the client", 1.0, 0.7, 0.4)
    assert second.reserve(0.3) == 0.3


def test_estimate_of_a_child_makes_its_parents_estimates() -> None:
    client, tag, run = new_tree()
    other = Budget(1.0, parent=client)

    run.reserve(None)

    assert [b.kind for b in (client, tag, run, other)] == [
        *["estimated"] * 3,
        "guaranteed",
    ]


def test_estimate_uses_the_mean_of_the_innermost_budget_that_has_one() -> None:
    client, _, run = new_tree()
    client.settle(client.reserve(1.0) or 0.0, 0.5)

    assert run.reserve(None) == 0.75

    run.settle(0.75, 0.1)
    assert run.reserve(None) == pytest.approx(0.15)


def test_estimate_may_be_admitted_until_the_limit_is_spent() -> None:
    budget = Budget(1.0)
    assert budget.refusal(None) is None

    budget.spend(1.0)
    assert budget.refusal(None) == BudgetRefusal("the run", 1.0, 1.0, 0.0)


def test_spent_before_counts_for_the_run_and_not_for_its_parent() -> None:
    client = Budget(1.0)
    run = Budget(1.0, spent=0.75, parent=client)

    run.spend(0.125)

    assert (client.spent, run.spent) == (0.125, 0.875)


def test_restored_reservation_may_exceed_the_limit() -> None:
    budget = Budget(1.0)

    assert budget.restore(3.0) == 3.0
    assert budget.reserve(0.1) is None
    budget.settle(3.0, 0.25)
    assert budget.reserve(0.1) == 0.1


def test_sums_are_exact_whatever_the_decimal_context() -> None:
    budget = Budget(10.0)
    with localcontext(Context(prec=3)):
        for _ in range(1000):
            budget.settle(budget.reserve(0.1 + 0.2) or 0.0, 0.0076509169000000005)

    assert budget.stats().spent == 1000 * Decimal("0.0076509169000000005")
    assert budget.stats().reserved == 0


def test_limit_is_used_to_the_last_digit() -> None:
    budget = Budget(0.3)

    assert [budget.reserve(0.1) for _ in range(4)] == [0.1, 0.1, 0.1, None]


def test_reservation_is_rounded_up() -> None:
    price = Price(1.23e-10, 1e-13)

    assert price.highest_cost(TokenBounds(3, 1)) == 3.7e-10
    assert Budget(1.0).reserve(1.5e-12) == 2e-12


def test_watchers_are_called_when_money_may_be_free_anywhere_in_the_tree() -> None:
    client, tag, run = new_tree()
    calls: list[str] = []

    def changed() -> None:
        calls.append("changed")

    run.watch(changed)
    other = Budget(1.0, parent=client)
    other.settle(other.reserve(0.5) or 0.0, 0.1)
    tag.spend(0.1)
    run.unwatch(changed)
    tag.spend(0.1)

    assert calls == ["changed", "changed"]


def test_grant_is_an_eighth_of_what_is_left_or_the_least() -> None:
    budget = Budget(8.0)

    first, second = budget.grant(0.1), budget.grant(3.0, "worker 2")

    assert first is not None
    assert second is not None
    assert (first.limit, second.limit, budget.left) == (1.0, 3.0, 4.0)
    assert budget.grant(4.5) is None
    assert budget.refuse(4.5).name == "the run"
    assert second.refusal(3.5) == BudgetRefusal("worker 2", 3.0, 0.0, 3.5)


def test_grants_of_a_budget_without_a_limit_are_the_least() -> None:
    granted = Budget(float("inf")).grant(0.5)

    assert granted is not None
    assert granted.limit == 0.5


def test_costs_of_a_grant_are_spent_by_the_parents_and_the_rest_returns() -> None:
    client, tag, run = new_tree()
    granted = run.grant(0.5)
    assert granted is not None
    assert [float(b.stats().reserved) for b in (client, tag, run)] == [0.5] * 3

    granted.spend(0.125)
    assert [b.spent for b in (client, tag, run)] == [0.125] * 3
    assert [float(b.stats().reserved) for b in (client, tag, run)] == [0.375] * 3

    reserved = granted.reserve(0.25)
    granted.settle(reserved or 0.0, 0.125)
    assert [float(b.stats().reserved) for b in (client, tag, run)] == [0.25] * 3
    assert not run.is_idle

    granted.close()
    granted.close()
    assert [float(b.stats().reserved) for b in (client, tag, run)] == [0.0] * 3
    assert [b.spent for b in (client, tag, run, granted)] == [0.25] * 4
    assert run.is_idle
    assert granted.reserve(0.1) is None
    assert granted.extend(0.1) is None


def test_grant_grows_by_further_portions() -> None:
    budget = Budget(8.0)
    granted = budget.grant(1.0)
    assert granted is not None

    assert granted.extend(2.0) == 2.0
    assert (granted.limit, budget.left) == (3.0, 5.0)
    assert granted.extend(5.5) is None
    granted.close()
    assert budget.left == 8.0


def test_budget_that_was_not_granted_cannot_be_extended_or_closed() -> None:
    budget = Budget(1.0, parent=Budget(2.0))

    budget.close()

    assert budget.extend(0.1) is None
    assert budget.reserve(1.0) == 1.0


def test_closed_grant_counts_what_a_dead_worker_may_have_spent() -> None:
    budget = Budget(8.0)
    granted = budget.grant(2.0)
    assert granted is not None
    granted.reserve(0.5)

    granted.close(lost=0.25)
    granted.settle(0.5, 0.5)

    assert (budget.spent, budget.left) == (0.75, 7.25)


def test_cost_that_is_reported_after_the_end_of_a_grant_counts() -> None:
    budget = Budget(8.0)
    granted = budget.grant(1.0)
    assert granted is not None
    granted.close()

    granted.spend(0.5)

    assert (budget.spent, budget.left) == (0.5, 7.5)


def test_grant_that_is_exceeded_takes_nothing_from_other_grants() -> None:
    budget = Budget(8.0)
    exceeded, other = budget.grant(1.0), budget.grant(1.0)
    assert exceeded is not None
    assert other is not None

    exceeded.spend(1.5)
    assert (budget.spent, float(budget.stats().reserved)) == (1.5, 1.0)
    exceeded.close()
    other.close()
    assert (budget.spent, float(budget.stats().reserved)) == (1.5, 0.0)


def test_child_of_a_grant_reports_to_the_budget_that_granted_it() -> None:
    budget = Budget(8.0)
    granted = budget.grant(1.0)
    assert granted is not None
    run = Budget(0.5, parent=granted)

    run.settle(run.reserve(None) or 0.0, 0.25)

    assert run.reserve(0.3) is None
    assert (granted.spent, budget.spent) == (0.25, 0.25)
    assert (budget.left, budget.kind) == (7.0, "estimated")


def test_threads_share_a_budget() -> None:
    client = Budget(50.0, lock=threading.Lock())
    admitted: list[float] = []

    def work() -> None:
        tag = Budget(float("inf"), parent=client)
        for _ in range(300):
            reserved = tag.reserve(0.1)
            if reserved is not None:
                admitted.append(reserved)
                tag.settle(reserved, 0.1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(admitted) == 500
    assert client.stats().spent == 50
    assert client.is_idle
