"""BudgetQueue: who waits for money, who is admitted, and who is refused."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator

import pytest
from support import VirtualTime, until

from openrouter_async import BudgetExceededError
from openrouter_async.protocol.budget import Budget
from openrouter_async.transport.reservations import (
    BudgetLock,
    BudgetQueue,
    Reservation,
)


def start(
    queue: BudgetQueue, cost: float | None, timeout: float | None = None
) -> "asyncio.Task[Reservation]":
    """Start to reserve an amount."""
    return asyncio.create_task(queue.reserve(cost, timeout))


async def test_all_calls_that_fit_are_admitted_in_order() -> None:
    queue = BudgetQueue(Budget(1.0))
    first = await queue.reserve(1.0)
    tasks = [start(queue, cost) for cost in (0.6, 0.6, 0.3, 0.3)]
    await asyncio.sleep(0)
    assert queue.has_waiters

    first.settle(0.0, 0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [True, False, True, False]

    tasks[0].result().settle(0.0, 0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [True] * 3 + [False] * 0 + [False]
    tasks[2].result().settle(0.0, 0)
    tasks[1].result().settle(0.0, 0)
    (await tasks[3]).settle(0.0, 0)
    assert not queue.has_waiters
    assert queue.budget.is_idle


async def test_calls_that_will_never_fit_are_refused_at_once() -> None:
    queue = BudgetQueue(Budget(1.0))
    first = await queue.reserve(0.5)
    small, large = start(queue, 0.6), start(queue, 0.9)
    await asyncio.sleep(0)

    first.settle(0.2, 0)
    with pytest.raises(BudgetExceededError) as caught:
        await large
    assert (caught.value.spent, caught.value.estimate) == (0.8, 0.9)
    (await small).settle(0.0, 0)
    with pytest.raises(BudgetExceededError):
        await queue.reserve(0.9)


async def test_estimates_wait_for_the_first_costs() -> None:
    queue = BudgetQueue(Budget(1.0))
    admitted = [await queue.reserve(None) for _ in range(8)]
    waiting = [start(queue, None) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)

    admitted[0].settle(0.25, 0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, True, False]
    waiting[2].cancel()
    await asyncio.wait(waiting)


async def test_call_is_refused_when_its_time_is_over() -> None:
    time = VirtualTime()
    queue = BudgetQueue(Budget(1.0), time.clock)
    first = await queue.reserve(1.0)
    task = start(queue, 0.5, timeout=3)
    await until(lambda: time.scheduled)

    await time.advance(3.1)
    with pytest.raises(BudgetExceededError) as caught:
        await task
    assert (caught.value.limit, caught.value.spent) == (1.0, 1.0)
    first.settle(0.1, 0)
    assert queue.budget.is_idle


async def test_time_limit_is_measured_by_the_event_loop() -> None:
    queue = BudgetQueue(Budget(1.0))
    await queue.reserve(1.0)
    with pytest.raises(BudgetExceededError):
        await queue.reserve(0.5, timeout=0.01)


async def test_timer_that_fires_after_the_admission_changes_nothing() -> None:
    time = VirtualTime()
    queue = BudgetQueue(Budget(1.0), time.clock)
    first = await queue.reserve(1.0)
    task = start(queue, 0.5, timeout=3)
    await until(lambda: time.scheduled)
    first.settle(0.0, 0)
    time.jump(4)

    assert (await task).amount == 0.5


async def test_call_that_is_cancelled_when_it_was_admitted_returns_the_money() -> None:
    queue = BudgetQueue(Budget(1.0))
    first = await queue.reserve(1.0)
    task = start(queue, 0.5)
    await asyncio.sleep(0)
    first.settle(0.0, 0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert queue.budget.is_idle


async def test_call_that_is_refused_when_it_is_cancelled_is_cancelled() -> None:
    queue = BudgetQueue(Budget(1.0))
    first = await queue.reserve(0.6)
    task = start(queue, 0.5)
    await asyncio.sleep(0)
    first.settle(0.6, 0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()


async def test_change_in_a_parent_wakes_the_calls_of_a_child() -> None:
    client = Budget(1.0)
    run = BudgetQueue(Budget(5.0, parent=client))
    other = BudgetQueue(Budget(5.0, parent=client))
    first = await run.reserve(1.0)
    task = start(other, 0.5)
    await asyncio.sleep(0)

    first.settle(0.5, 0)
    assert (await task).amount == 0.5
    run.close()
    other.close()
    assert client.watchers == []


def in_thread(function: Callable[[], object]) -> None:
    """Call a function in another thread, and wait for it."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


async def test_call_is_admitted_by_another_thread() -> None:
    queue = BudgetQueue(Budget(1.0, lock=threading.Lock()))
    first = await queue.reserve(1.0)
    task = start(queue, 0.5)
    await asyncio.sleep(0)

    in_thread(lambda: first.settle(0.0, 0))
    assert (await task).amount == 0.5


async def test_money_of_a_call_that_is_gone_is_returned_by_another_thread() -> None:
    queue = BudgetQueue(Budget(1.0, lock=threading.Lock()))
    first = await queue.reserve(1.0)
    task = start(queue, 0.5)
    await asyncio.sleep(0)
    in_thread(lambda: first.settle(0.0, 0))
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)

    assert task.cancelled()
    assert queue.budget.is_idle


def test_money_for_a_closed_event_loop_is_returned() -> None:
    queue = BudgetQueue(Budget(1.0))
    loop = asyncio.new_event_loop()
    first = loop.run_until_complete(queue.reserve(1.0))
    task = loop.create_task(queue.reserve(0.5))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    first.settle(0.0, 0)
    assert queue.budget.is_idle
    assert not queue.has_waiters
    # Otherwise asyncio logs that it was destroyed while it was pending.
    task._log_destroy_pending = False  # type: ignore[attr-defined]


class CollectingLock(BudgetLock):
    """A lock that lets the garbage collector run when it is taken the n-th time."""

    def __init__(self, collect_at: int) -> None:
        super().__init__()
        self.countdown = collect_at

    def __enter__(self) -> None:
        super().__enter__()
        self.countdown -= 1
        if self.countdown == 0:
            gc.collect()


def abandon(reservation: Reservation) -> None:
    """Leave a call, as a cycle of objects, to the garbage collector."""

    def call() -> Iterator[None]:
        try:
            yield
        finally:
            reservation.settle(0.1, 0)

    running = call()
    next(running)
    cycle: list[object] = [running]
    cycle.append(cycle)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Collect no garbage but where a test does."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_call_that_is_collected_during_a_change_is_settled_after_it() -> None:
    budget = Budget(1.0, lock=CollectingLock(collect_at=2))
    abandon(Reservation(budget, budget.reserve(0.6) or 0.0))
    seen: list[float | None] = []
    # A thread, because without the deferral it would wait for itself without end.
    thread = threading.Thread(
        target=lambda: seen.append(budget.reserve(0.5)), daemon=True
    )
    thread.start()
    thread.join(5)

    assert seen == [None]
    assert (budget.spent, float(budget.stats().reserved)) == (0.1, 0.0)


@pytest.mark.usefixtures("no_collector")
async def test_money_of_a_call_that_is_collected_reaches_the_calls_that_wait() -> None:
    lock = CollectingLock(collect_at=0)
    queue = BudgetQueue(Budget(1.0, lock=lock))
    abandon(await queue.reserve(0.5))
    other = await queue.reserve(0.5)
    task = start(queue, 0.8)
    await asyncio.sleep(0)

    # `settle` takes the lock once, and the queue twice until it asks for the money.
    lock.countdown = 3
    other.settle(0.0, 0)
    assert (await task).amount == 0.8
    assert lock.countdown < 0
    assert queue.budget.spent == 0.1


async def test_correction_replaces_what_was_counted() -> None:
    queue = BudgetQueue(Budget(1.0))
    reservation = await queue.reserve(0.3)
    reservation.settle(None, 1)
    assert queue.budget.spent == 0.3

    reservation.correct(0.1)
    assert queue.budget.spent == 0.1


async def test_thousands_of_calls_that_wait_are_admitted_in_time() -> None:
    """Each end of a call looks at all that wait."""
    queue = BudgetQueue(Budget(1.0))
    order: list[int] = []

    async def call(number: int) -> None:
        reservation = await queue.reserve(0.3)
        order.append(number)
        await asyncio.sleep(0)
        reservation.settle(0.0001, 0)

    await asyncio.gather(*(call(number) for number in range(2000)))

    assert order == sorted(order)
    assert queue.budget.stats().reserved == 0


class Portions:
    """Money that is granted in portions."""

    def __init__(self, *portions: float) -> None:
        self.budget = Budget(0.0)
        self.portions = [*portions]
        self.asked = 0

    async def extend(self, _highest_cost: float | None) -> bool:
        """Enlarge the budget, if a portion is left."""
        self.asked += 1
        await asyncio.sleep(0)
        if not self.portions:
            return False
        self.budget.enlarge(self.portions.pop(0))
        return True


async def test_call_asks_for_portions_until_it_fits() -> None:
    source = Portions(0.3, 0.3)
    queue = BudgetQueue(source.budget, extend=source.extend)

    assert (await queue.reserve(0.5)).amount == 0.5
    assert source.asked == 2


async def test_call_waits_for_others_where_no_portion_is_left_and_asks_again() -> None:
    source = Portions(0.5)
    queue = BudgetQueue(source.budget, extend=source.extend)
    first = await queue.reserve(0.5)
    task = start(queue, 0.5)
    await until(lambda: queue.has_waiters)
    assert source.asked == 2

    source.portions.append(0.4)
    first.settle(0.1, 0)
    assert (await task).amount == 0.5
    assert source.asked == 3


async def test_call_is_refused_where_no_portion_is_left_and_nobody_has_money() -> None:
    source = Portions(0.2)
    queue = BudgetQueue(source.budget, extend=source.extend)
    with pytest.raises(BudgetExceededError) as caught:
        await queue.reserve(0.5)

    assert caught.value.limit == 0.2
    assert source.asked == 2


async def test_money_that_returns_during_the_question_is_used() -> None:
    source = Portions(0.5)
    queue = BudgetQueue(source.budget, extend=source.extend)
    first = await queue.reserve(0.5)
    task = start(queue, 0.5)
    await asyncio.sleep(0)
    first.settle(0.0, 0)

    assert (await task).amount == 0.5
