"""WaitQueue: order, and cancellation before and after the wake-up."""

import asyncio

import pytest

from openrouter_async.transport.wait_queue import WaitQueue


async def start(
    queue: WaitQueue, count: int, order: list[int]
) -> list[asyncio.Task[None]]:
    """Start tasks that wait in `queue` and append their number when they are woken."""

    async def wait(number: int) -> None:
        await queue.wait()
        order.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_tasks_are_woken_in_the_order_of_their_arrival() -> None:
    queue, order = WaitQueue(), list[int]()
    tasks = await start(queue, 3, order)

    woken = [queue.wake() for _ in range(4)]
    await asyncio.gather(*tasks)

    assert woken == [True, True, True, False]
    assert order == [0, 1, 2]
    assert len(queue) == 0


async def test_wake_all_wakes_every_task() -> None:
    queue, order = WaitQueue(), list[int]()
    tasks = await start(queue, 3, order)

    queue.wake_all()
    await asyncio.gather(*tasks)

    assert order == [0, 1, 2]


async def test_task_cancelled_while_it_waits_is_skipped() -> None:
    queue, order = WaitQueue(), list[int]()
    first, second, third = await start(queue, 3, order)

    second.cancel()
    # The first wake-up finds `second` cancelled, but before its task has run.
    queue.wake()
    queue.wake()
    await asyncio.gather(first, third)

    assert order == [0, 2]
    assert second.cancelled()


async def test_cancelled_task_leaves_the_queue() -> None:
    queue = WaitQueue()
    tasks = await start(queue, 3, [])

    for task in reversed(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert len(queue) == 0


async def test_task_cancelled_after_its_wake_up_passes_it_on() -> None:
    queue, order = WaitQueue(), list[int]()
    first, second = await start(queue, 2, order)

    queue.wake()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second

    assert order == [1]


async def test_task_cancelled_after_its_wake_up_calls_undo() -> None:
    queue, undone = WaitQueue(), list[str]()
    task = asyncio.create_task(queue.wait(undo=lambda: undone.append("undo")))
    await asyncio.sleep(0)

    queue.wake()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert undone == ["undo"]


async def test_task_cancelled_while_it_waits_does_not_call_undo() -> None:
    queue, undone = WaitQueue(), list[str]()
    task = asyncio.create_task(queue.wait(undo=lambda: undone.append("undo")))
    await asyncio.sleep(0)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert undone == []
