import asyncio

import aiohttp
import aiohttp.web
import pytest
from raw_client import ask

from openrouter_async.testing import (
    LocalOpenRouter,
)
from openrouter_async.testing.counters import Condition, ServerCounters


async def test_counters_count(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """In flight, its peak, and what is forgotten by `clear`."""
    loop_server.reply(stop="silence", times=None)
    calls = [asyncio.create_task(ask(http)) for _ in range(3)]
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
    assert (await ask(http))["choices"]


async def test_waiting_in_vain_tells_the_counts(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """The message has what was waited for, and what there is."""
    await ask(http)

    with pytest.raises(
        TimeoutError,
        match=r"requests >= 2, closed_early >= 1 within .* requests=1,",
    ):
        await loop_server.until(requests=2, closed=1, timeout=0.01)


async def test_several_may_wait(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """Each is woken for its own wish, and one that gave up is forgotten."""
    gone = asyncio.create_task(loop_server.until(requests=1))
    first = asyncio.create_task(loop_server.until(requests=1))
    second = asyncio.create_task(loop_server.until(requests=2))
    await asyncio.sleep(0)
    gone.cancel()
    await ask(http)
    await first
    assert not second.done()
    await ask(http)
    await second


def test_who_gave_up_is_not_woken() -> None:
    """A waiter that another thread has cancelled is passed over."""
    counters = ServerCounters()
    future = counters._add_waiter(Condition(requests=1))  # pyright: ignore[reportPrivateUsage]
    future.cancel()
    counters.requests = 1
    counters.notify()

    assert future.cancelled()
