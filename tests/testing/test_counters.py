import asyncio

import aiohttp
import pytest
from raw_client import complete

from openrouter_async.testing import LocalOpenRouter
from openrouter_async.testing.counters import Condition, ServerCounters


async def test_counters_are_kept_until_clear(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply(stop="silence", times=None)
    calls = [asyncio.create_task(complete(http)) for _ in range(3)]
    await loop_server.until(requests=3)

    assert (loop_server.stats.in_flight, loop_server.stats.in_flight_peak) == (3, 3)
    loop_server.clear()
    assert loop_server.stats.in_flight_peak == 3
    assert (loop_server.requests, loop_server.stats.requests) == ([], 0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await loop_server.until(closed=3, connections=0)
    assert loop_server.stats.in_flight == 0
    assert (await complete(http))["choices"]


async def test_until_timeout_reports_the_counters(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    await complete(http)

    with pytest.raises(
        TimeoutError,
        match=r"requests >= 2, closed_early >= 1 within .* requests=1,",
    ):
        await loop_server.until(requests=2, closed=1, timeout=0.01)


async def test_each_waiter_waits_for_its_own_condition(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    cancelled = asyncio.create_task(loop_server.until(requests=1))
    first = asyncio.create_task(loop_server.until(requests=1))
    second = asyncio.create_task(loop_server.until(requests=2))
    await asyncio.sleep(0)
    cancelled.cancel()
    await complete(http)
    await first
    assert not second.done()
    await complete(http)
    await second


def test_cancelled_waiter_is_skipped() -> None:
    counters = ServerCounters()
    future = counters._add_waiter(Condition(requests=1))  # pyright: ignore[reportPrivateUsage]
    future.cancel()
    counters.requests = 1
    counters.notify()

    assert future.cancelled()
