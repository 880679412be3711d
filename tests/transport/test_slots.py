"""Connection slots: order, limit, release and statistics."""

import asyncio
from collections.abc import Callable

import pytest
from support import HELLO

from openrouter_async import (
    AsyncOpenRouter,
    BadRequestError,
)
from openrouter_async.testing import (
    Clock,
    LocalOpenRouter,
    SeenRequest,
    error_reply,
)


async def test_calls_beyond_max_connections_queue_in_order(
    server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
) -> None:
    client = make_client(max_connections=2)
    server.reply("hello", delay=0.05, times=None)

    tasks = [
        asyncio.create_task(client.chat.send(HELLO, user=f"{number}"))
        for number in range(8)
    ]
    await server.until(requests=2)
    stats = client.stats
    await asyncio.gather(*tasks)

    order = [int(seen.fields["user"]) for seen in server.requests]
    assert (stats.in_use, stats.queued) == (2, 6)
    assert server.stats.in_flight_peak <= 2
    assert all(abs(position - user) <= 1 for position, user in enumerate(order))
    assert server.stats.connections_made == 2
    assert (client.stats.in_use, client.stats.queued, client.stats.idle) == (0, 0, 2)


async def test_stream_holds_its_slot_until_it_ends(
    server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
) -> None:
    client = make_client(max_connections=1)
    async with client.chat.send(HELLO, stream=True) as stream:
        task = asyncio.create_task(client.chat.send(HELLO))
        await asyncio.sleep(0.03)
        waiting = len(server.requests)
        await stream.collect()
        response = await task

    assert waiting == 1
    assert response.text == stream.response.text


async def test_slot_is_released_during_the_wait_before_a_retry(
    server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
) -> None:
    wake = asyncio.Event()

    async def sleep(_: float) -> None:
        await wake.wait()

    client = make_client(
        max_connections=1, clock=Clock(now=lambda: 0.0, sleep=sleep, random=lambda: 0.5)
    )
    server.reply(error_reply(500)).then("second").then("first")
    first = asyncio.create_task(client.chat.send(HELLO))
    await server.until(requests=1)

    second = await client.chat.send(HELLO)
    wake.set()

    assert second.text == "second"
    assert (await first).text == "first"


async def test_failed_call_releases_its_slot(
    server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
) -> None:
    client = make_client(max_connections=1)
    server.reply(error_reply(400), times=3)

    for _ in range(3):
        with pytest.raises(BadRequestError):
            await client.chat.send(HELLO)

    assert client.stats.in_use == 0
    assert (await client.chat.send(HELLO)).text


async def test_hundred_calls_and_streams_share_twenty_slots(
    server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
) -> None:
    client = make_client(max_connections=20)

    def echo_user(seen: SeenRequest) -> str:
        return f"re: {seen.fields['user']}"

    server.reply(echo_user, times=None)

    async def one(number: int) -> str:
        if number % 2:
            return (await client.chat.send(HELLO, user=f"{number}")).text
        async with client.chat.send(HELLO, user=f"{number}", stream=True) as stream:
            return (await stream.collect()).text

    texts = await asyncio.gather(*map(one, range(100)))

    assert texts == [f"re: {number}" for number in range(100)]
    assert server.stats.in_flight_peak <= 20
    assert server.stats.connections_made <= 20
    assert client.stats.in_use == 0
