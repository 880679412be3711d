"""The buffer between workers and reader: its size, its order, its end."""

import asyncio

import pytest

from openrouter_async import BatchResult, ConfigurationError
from openrouter_async.batch.result_buffer import ResultBuffer


def make_buffer(size: int = 3, *, ordered: bool = False) -> ResultBuffer:
    return ResultBuffer(asyncio.get_running_loop(), size, ordered=ordered)


async def get_index(buffer: ResultBuffer) -> int:
    result = await buffer.get()
    assert result is not None
    return result.index


async def test_reserved_space_is_free_again_when_its_result_was_read() -> None:
    buffer = make_buffer()
    numbers = [buffer.reserve() for _ in range(3)]
    assert buffer.is_full
    waiting = asyncio.ensure_future(buffer.wait_for_space())
    buffer.put(numbers[0], BatchResult(0))
    await asyncio.sleep(0)
    assert not waiting.done()

    assert await get_index(buffer) == 0
    await waiting


async def test_overdrawn_buffer_wakes_a_producer_only_when_it_is_not_full() -> None:
    buffer = make_buffer()
    for index in range(4):
        buffer.put(buffer.reserve(), BatchResult(index))
    waiting = asyncio.ensure_future(buffer.wait_for_space())
    await asyncio.sleep(0)
    await get_index(buffer)
    await asyncio.sleep(0)
    assert buffer.is_full
    assert not waiting.done()

    await get_index(buffer)
    await waiting


async def test_each_result_that_is_read_wakes_one_producer() -> None:
    buffer = make_buffer(1)
    buffer.put(buffer.reserve(), BatchResult(0))

    async def produce() -> None:
        await buffer.wait_for_space()
        buffer.put(buffer.reserve(), BatchResult(1))

    producers = [asyncio.ensure_future(produce()) for _ in range(3)]
    await asyncio.sleep(0)
    await get_index(buffer)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task.done() for task in producers] == [True, False, False]

    buffer.close()
    await asyncio.wait(producers)


@pytest.mark.parametrize("is_woken", [False, True])
async def test_cancelled_producer_does_not_keep_others_waiting(
    *, is_woken: bool
) -> None:
    """It may be cancelled while it waits, or after it was woken."""
    buffer = make_buffer(1)
    buffer.put(buffer.reserve(), BatchResult(0))
    first = asyncio.ensure_future(buffer.wait_for_space())
    second = asyncio.ensure_future(buffer.wait_for_space())
    await asyncio.sleep(0)
    if is_woken:
        await get_index(buffer)
    first.cancel()
    if not is_woken:
        await asyncio.wait({first})
        await get_index(buffer)

    await second
    assert first.cancelled()


async def test_close_wakes_producers_and_reader() -> None:
    buffer = make_buffer(1)
    buffer.reserve()
    waiting = asyncio.ensure_future(buffer.wait_for_space())
    reading = asyncio.ensure_future(buffer.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    buffer.close()

    await waiting
    assert await reading is None


async def test_second_reader_is_rejected() -> None:
    buffer = make_buffer()
    reading = asyncio.ensure_future(buffer.get())
    await asyncio.sleep(0)
    with pytest.raises(ConfigurationError, match="Two tasks iterate"):
        await buffer.get()
    buffer.put(buffer.reserve(), BatchResult(0))

    result = await reading
    assert result is not None


async def test_ordered_buffer_returns_results_in_order_of_reservation() -> None:
    buffer = make_buffer(9, ordered=True)
    numbers = [buffer.reserve() for _ in range(5)]
    buffer.put(numbers[2], BatchResult(2))
    reading = asyncio.ensure_future(get_index(buffer))
    await asyncio.sleep(0)
    assert not reading.done()
    buffer.put(numbers[1], BatchResult(1))
    buffer.put(numbers[0], BatchResult(0))

    assert await reading == 0
    assert await get_index(buffer) == 1
    assert await get_index(buffer) == 2
    buffer.put(numbers[4], BatchResult(4))
    buffer.close()
    assert await get_index(buffer) == 4
    assert await buffer.get() is None


async def test_closed_ordered_buffer_skips_results_that_are_missing() -> None:
    buffer = make_buffer(9, ordered=True)
    numbers = [buffer.reserve() for _ in range(4)]
    buffer.put(numbers[3], BatchResult(3))
    buffer.put(numbers[2], BatchResult(2))
    buffer.close()

    assert await get_index(buffer) == 2
    assert await get_index(buffer) == 3
    assert await buffer.get() is None
