"""PriceList: prices are read once, again when they are old, and by one task."""

# Tests look at private attributes.
# pyright: reportPrivateUsage=false

import asyncio
from typing import Any

import pytest
from support import VirtualTime

from openrouter_async import APITimeoutError, AsyncOpenRouter, ClosedError, Retries
from openrouter_async.protocol.budget import Price, TokenBounds
from openrouter_async.protocol.call import Call
from openrouter_async.transport.price_list import PriceList

ENDPOINT = {"pricing": {"prompt": "0.25", "completion": "0.5"}}
FOUND = {"data": {"endpoints": [ENDPOINT]}}
SETTINGS = AsyncOpenRouter("k")._settings


class Server:
    """Returns what the test says, and counts the calls."""

    def __init__(self, response: Any) -> None:
        self.response = response
        self.urls: list[str] = []
        self.totals: list[float | None] = []
        self.is_free = asyncio.Event()
        self.is_free.set()

    async def fetch(self, call: Call[Any]) -> Any:
        """Return the response, or raise it."""
        self.urls.append(call.url)
        self.totals.append(call.timeouts.total)
        await asyncio.sleep(0)
        await self.is_free.wait()
        if isinstance(self.response, Exception):
            raise self.response
        return self.response


async def test_price_is_read_once_in_ten_minutes() -> None:
    time, server = VirtualTime(), Server(FOUND)
    prices = PriceList(server.fetch, time.clock)

    found = await asyncio.gather(*(prices.get(SETTINGS, "a/m") for _ in range(5)))
    assert found == [Price(0.25, 0.5)] * 5
    assert server.urls == ["https://openrouter.ai/api/v1/models/a/m/endpoints"]

    time.jump(599)
    await prices.get(SETTINGS, "a/m")
    assert len(server.urls) == 1
    time.jump(2)
    await prices.get(SETTINGS, "a/m")
    assert len(server.urls) == 2


@pytest.mark.parametrize(
    "response",
    [ClosedError("Closed."), None, {"data": []}, {"data": {"endpoints": {}}}],
)
async def test_unknown_price_is_tried_again_soon(response: Any) -> None:
    time, server = VirtualTime(), Server(response)
    prices = PriceList(server.fetch, time.clock)

    assert await prices.get(SETTINGS, "m") is None
    assert await prices.get(SETTINGS, "m") is None
    assert len(server.urls) == 1
    time.jump(31)
    server.response = FOUND
    assert await prices.get(SETTINGS, "m") == Price(0.25, 0.5)


async def test_task_that_waits_reads_the_price_if_the_first_is_cancelled() -> None:
    server = Server(FOUND)
    prices = PriceList(server.fetch, VirtualTime().clock)
    first = asyncio.create_task(prices.get(SETTINGS, "m"))
    second = asyncio.create_task(prices.get(SETTINGS, "m"))
    await asyncio.sleep(0)
    first.cancel()

    assert await second == Price(0.25, 0.5)
    assert len(server.urls) == 2


async def test_call_waits_no_longer_than_its_total_for_the_lookup_of_another() -> None:
    time, server = VirtualTime(), Server(FOUND)
    prices = PriceList(server.fetch, time.clock)
    hurried = SETTINGS.with_options({"timeouts": 2})
    server.is_free.clear()
    first, second, third = (
        asyncio.create_task(prices.get(settings, "m"))
        for settings in (SETTINGS, hurried, SETTINGS)
    )
    await asyncio.sleep(0)
    await time.advance(1.9)
    assert not second.done()
    await time.advance(0.2)
    assert second.done()
    assert await second is None
    assert not first.done()
    assert not third.done()

    server.is_free.set()
    assert await first == await third == Price(0.25, 0.5)
    assert server.totals == [30.0]
    assert time.scheduled == []


async def test_call_whose_time_is_over_starts_no_lookup_of_its_own() -> None:
    time, server = VirtualTime(), Server(FOUND)
    prices = PriceList(server.fetch, time.clock)
    server.is_free.clear()
    first = asyncio.create_task(prices.get(SETTINGS, "m"))
    second = asyncio.create_task(prices.get(SETTINGS, "m"))
    await asyncio.sleep(0)
    time.jump(31)
    first.cancel()

    assert await second is None
    assert len(server.urls) == 1


async def test_lookup_that_a_short_total_ended_is_tried_again_by_other_calls() -> None:
    time = VirtualTime()
    server = Server(APITimeoutError("Too slow.", phase="total", seconds=2))
    prices = PriceList(server.fetch, time.clock)

    assert await prices.get(SETTINGS.with_options({"timeouts": 2}), "m") is None
    server.response = FOUND
    assert await prices.get(SETTINGS, "m") == Price(0.25, 0.5)
    assert server.totals == [2.0, 30.0]


async def test_cost_has_a_bound_only_if_tokens_and_price_are_known() -> None:
    server = Server(FOUND)
    prices = PriceList(server.fetch, VirtualTime().clock)
    bounds = TokenBounds(2, 1)
    ambiguous = SETTINGS.with_options({"retries": Retries(ambiguous=True)})

    assert await prices.highest_cost(SETTINGS, "m", bounds) == 1.0
    assert await prices.highest_cost(SETTINGS, "m", None) is None
    assert await prices.highest_cost(SETTINGS, None, bounds) is None
    assert await prices.highest_cost(ambiguous, "m", bounds) is None
    server.response = None
    assert await prices.highest_cost(SETTINGS, "other", bounds) is None
