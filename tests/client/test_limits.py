"""Limits and cooldowns of the calls of a client, against the local server."""

import asyncio
import math
from typing import Any

import pytest
from support import HELLO, MakeClient, VirtualTime, prompts, until

from openrouter_async import (
    APITimeoutError,
    AsyncOpenRouter,
    CallRecord,
    ChatResponse,
    ConfigurationError,
    RateLimitError,
    Retries,
    Timeouts,
)
from openrouter_async.testing import LocalOpenRouter, error_reply

ONCE = Retries(max_attempts=1)
BUSY = {"status": 429, "retry_after": 10}


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime()


def send(client: AsyncOpenRouter, **options: Any) -> "asyncio.Task[ChatResponse]":
    chat: Any = client.chat
    return asyncio.create_task(chat.send(HELLO, **options))


async def start_cooldown(server: LocalOpenRouter, client: AsyncOpenRouter) -> None:
    """Make a call that is refused for 10 s, which the clock makes 10.5 s."""
    server.reply(error_reply(429, retry_after=10))
    with pytest.raises(RateLimitError):
        await client.chat.send(HELLO, retries=ONCE)


def waiting(client: AsyncOpenRouter) -> int:
    return sum(stats.waiting for stats in client.stats.limiters.values())


# --- options -----------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, "fast", "AUTO", True, 1.5, math.inf, [4]])
async def test_invalid_concurrency_is_rejected(
    client: AsyncOpenRouter, value: Any
) -> None:
    with pytest.raises(ConfigurationError, match="concurrency must be 'auto' or"):
        AsyncOpenRouter("k", concurrency=value)
    with pytest.raises(ConfigurationError, match=r"1 or more, not"):
        client.with_options(concurrency=value)


async def test_number_limits_the_calls_of_the_client_that_set_it(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    server.capacity.latency = 0.1
    client = make_client(concurrency=2)
    narrow = client.with_options(concurrency=1)
    same = narrow.with_options(timeouts=30)
    free = narrow.with_options(concurrency=None)
    await asyncio.gather(*(client.chat.send(HELLO) for _ in range(6)))
    assert server.capacity.peak == 2
    server.capacity.peak = 0
    await asyncio.gather(
        *(c.chat.send(HELLO) for c in (narrow, same) for _ in range(3))
    )
    assert server.capacity.peak == 1
    server.capacity.peak = 0
    await asyncio.gather(*(free.chat.send(HELLO) for _ in range(6)))

    assert server.capacity.peak > 2
    limits = [
        next(iter(c.stats.limiters.values())).limit
        for c in (client, narrow, same, free)
    ]
    assert limits == [2, 1, 1, None]


async def test_auto_sends_refused_calls_again(
    server: LocalOpenRouter, make_client: MakeClient, records: list[CallRecord]
) -> None:
    server.capacity.latency = 0.05
    server.reply(error_reply(429), times=20)
    client = make_client(concurrency="auto", retries=ONCE)
    await asyncio.gather(*(client.chat.send(HELLO) for _ in range(40)))

    (stats,) = client.stats.limiters.values()
    assert stats.refusals == 20
    assert sum(len(record.http.attempts) for record in records) == 60
    assert (stats.in_flight, stats.waiting, stats.cooldown) == (0, 0, 0.0)
    assert max(record.http.timings.permit or 0.0 for record in records) > 0.02


async def test_auto_and_runs_share_one_limit(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    server.reply("a", delay=math.inf, times=8)
    client = make_client(concurrency="auto")
    calls = [send(client) for _ in range(8)]
    await server.until(requests=8)
    async with client.chat.send_many(prompts(3), model="m") as run:
        await until(lambda: waiting(client))
        limiters = run.limiters["m"]
        assert (limiters.limit, limiters.in_flight) == (8, 8)
        for call in calls:
            call.cancel()
        results = [result.ok async for result in run]

    assert results == [True] * 3
    await asyncio.gather(*calls, return_exceptions=True)


async def test_refused_plain_call_reduces_the_limit_of_a_run(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("slow", delay=math.inf, when="prompt", times=None)
    async with client.chat.send_many(prompts(20), model="m") as run:
        await until(lambda: run.stats.in_flight == 8)
        server.reply(error_reply(429), when="Say hello").then("hello")
        await client.chat.send(HELLO)

        assert run.limiters["m"].limit == 5


async def test_stream_holds_its_permit_until_its_end(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    client = make_client(concurrency=1, clock=time.clock)
    server.reply(["a", "b"]).then("second")
    async with client.chat.send(HELLO, stream=True) as stream:
        await anext(stream)
        call = send(client, timeouts=Timeouts(pool=3.0))
        patient = send(client)
        await until(lambda: waiting(client) == 2)
        await time.advance(3.1)
        with pytest.raises(APITimeoutError) as caught:
            await call
        await stream.collect()
    response = await patient

    assert (caught.value.phase, caught.value.attempts) == ("pool", [])
    assert caught.value.http.timings.permit == pytest.approx(3.0, abs=0.1)
    assert response.text == "second"


async def test_stream_that_is_refused_at_its_opening_frees_its_permit(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(concurrency=1, retries=ONCE)
    server.reply(error_reply(429)).then("hello")
    with pytest.raises(RateLimitError):
        await client.chat.send(HELLO, stream=True)
    async with client.chat.send(HELLO, stream=True) as stream:
        (during,) = client.stats.limiters.values()
        await stream.collect()
    (after,) = client.stats.limiters.values()

    assert (during.in_flight, after.in_flight) == (1, 0)


# --- cooldowns ---------------------------------------------------------------------


async def test_refusal_holds_back_the_calls_of_all_clients_with_the_same_scope(
    server: LocalOpenRouter,
    make_client: MakeClient,
    time: VirtualTime,
    records: list[CallRecord],
) -> None:
    client = make_client(clock=time.clock)
    await start_cooldown(server, client)
    (stats,) = client.stats.limiters.values()
    assert (stats.limit, stats.refusals) == (None, 1)
    assert stats.cooldown == pytest.approx(10.5)
    held = send(client.with_options(timeouts=100))
    await until(lambda: waiting(client) == 1)
    await client.chat.send(HELLO, model="another")
    await client.chat.send(HELLO, api_key="another")
    await client.request("GET", "/key")
    assert len(server.requests) == 4
    await time.advance(10.6)
    await held

    record = records[-1]
    assert record.http.timings.cooldown == pytest.approx(10.5, abs=0.2)
    assert record.http.attempts[0].waited == pytest.approx(10.5, abs=0.2)
    assert record.http.timings.queued == 0.0
    assert len(server.requests) == 5


async def test_call_that_may_not_wait_gets_the_refusal_without_a_request(
    server: LocalOpenRouter,
    make_client: MakeClient,
    time: VirtualTime,
    records: list[CallRecord],
) -> None:
    client = make_client(clock=time.clock)
    await start_cooldown(server, client)
    await time.advance(4.0)
    errors: list[RateLimitError] = []
    bounds: tuple[dict[str, Any], ...] = (
        {"timeouts": Timeouts(pool=1.0)},
        {"timeouts": 2.0},
        {"retries": Retries(max_wait=3.0)},
    )
    for options in bounds:
        with pytest.raises(RateLimitError) as caught:
            await client.chat.send(HELLO, **options)
        errors.append(caught.value)

    assert len(server.requests) == 1
    assert [error.retry_after for error in errors] == [pytest.approx(6.5)] * 3
    for error, name in zip(errors, ("pool", "total", "max_wait"), strict=True):
        assert (error.attempts, error.generation_id) == ([], None)
        assert name in (error.hint or "")
        assert error.message == records[0].error.message if records[0].error else False
    assert [record.outcome for record in records] == ["error"] * 4


async def test_streams_wait_for_a_cooldown_too(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    client = make_client(clock=time.clock)
    await start_cooldown(server, client)
    opening = asyncio.create_task(client.chat.send(HELLO, stream=True))
    await until(lambda: waiting(client) == 1)
    await time.advance(10.6)
    async with await opening as stream:
        response = await stream.collect()

    assert response.http.timings.cooldown == pytest.approx(10.5, abs=0.2)


async def test_call_cancelled_in_a_cooldown_leaves_nothing(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    client = make_client(clock=time.clock)
    await start_cooldown(server, client)
    call = send(client)
    await until(lambda: waiting(client) == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert waiting(client) == 0
    assert len(server.requests) == 1


async def test_next_call_follows_a_probe_that_was_cancelled(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    client = make_client(clock=time.clock)
    await start_cooldown(server, client)
    server.reply("never", delay=math.inf).then("second")
    probe, second = send(client), send(client)
    await until(lambda: waiting(client) == 2)
    await time.advance(10.6)
    await server.until(requests=2)
    assert waiting(client) == 1
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe

    assert (await second).text == "second"


async def test_closing_ends_calls_in_a_cooldown(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    client = make_client(clock=time.clock)
    await start_cooldown(server, client)
    call = send(client)
    await until(lambda: waiting(client) == 1)
    await client.aclose()
    (result,) = await asyncio.gather(call, return_exceptions=True)

    assert type(result).__name__ == "ClosedError"


async def test_cooldown_that_begins_during_the_wait_for_a_slot_holds_the_call(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    client = make_client(clock=time.clock, max_connections=2)
    server.reply("slow", delay=math.inf).then(error_reply(429, retry_after=10)).then(
        "c"
    )
    first = send(client)
    await server.until(requests=1)
    refused = send(client, retries=ONCE)
    hasty, patient = send(client, timeouts=Timeouts(pool=5.0)), send(client)
    with pytest.raises(RateLimitError):
        await refused
    with pytest.raises(RateLimitError) as caught:
        await hasty
    assert len(server.requests) == 2
    await until(lambda: waiting(client) == 1)
    await time.advance(10.6)

    assert (await patient).text == "c"
    assert "Timeouts.pool" in (caught.value.hint or "")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_pool_that_expires_in_the_queue_for_slots_during_a_cooldown_is_a_refusal(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    client = make_client(clock=time.clock, max_connections=2)
    server.reply("slow", delay=math.inf).then(
        error_reply(429, retry_after=10), delay=1.0
    ).then("slow", delay=math.inf, times=None)
    tasks = [send(client), send(client, retries=ONCE)]
    other = [send(client, model="other") for _ in range(2)]
    await server.until(requests=2)
    hasty = send(client, timeouts=Timeouts(pool=5.0))
    with pytest.raises(RateLimitError):
        await tasks[1]
    await until(lambda: client.stats.queued == 2)
    await time.advance(5.1)
    with pytest.raises(RateLimitError) as caught:
        await hasty

    assert caught.value.attempts == []
    for task in (tasks[0], *other):
        task.cancel()
    await asyncio.gather(tasks[0], *other, return_exceptions=True)


async def test_cooldown_that_begins_while_the_key_is_fetched_holds_the_call(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    keys: list[asyncio.Future[str]] = []

    async def key() -> str:
        keys.append(asyncio.get_running_loop().create_future())
        return await keys[-1]

    client = make_client(clock=time.clock, api_key=key, concurrency=3)
    server.reply(error_reply(429, retry_after=10)).then("hello")
    refused = send(client, retries=ONCE)
    held = send(client)
    await until(lambda: len(keys) == 2)
    keys[0].set_result(server.api_key)
    with pytest.raises(RateLimitError):
        await refused
    keys[1].set_result(server.api_key)
    await until(lambda: waiting(client) == 1)
    assert len(server.requests) == 1
    await time.advance(10.6)
    await until(lambda: len(keys) == 3)
    keys[2].set_result(server.api_key)

    assert (await held).text == "hello"


async def test_call_that_waits_longer_than_its_refusal_allows_gets_its_own_error(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    """The cooldown is longer than the wait that its own refusal named."""
    client = make_client(clock=time.clock)
    server.reply(error_reply(429, retry_after=30), delay=1.5).then(
        error_reply(429, retry_after=1)
    )
    long = send(client, retries=ONCE)
    await server.until(requests=1)
    short = send(client, retries=Retries(max_wait=5.0))
    await server.until(requests=2)
    with pytest.raises(RateLimitError):
        await long
    with pytest.raises(RateLimitError) as caught:
        await short

    assert len(caught.value.attempts) == 1
    assert caught.value.retry_after == pytest.approx(31.5)


async def test_interactive_calls_get_a_slot_before_rows(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(max_connections=1)
    server.reply(["a", "b"], chunk_delay=0.0)
    async with client.chat.send(HELLO, stream=True) as stream:
        await anext(stream)
        async with client.chat.send_many(prompts(2), model="m", concurrency=2) as run:
            await until(lambda: client.stats.queued == 2)
            call = send(client)
            await until(lambda: client.stats.queued == 3)
            await stream.collect()
            await call
            order = [seen.json["messages"][-1]["content"] for seen in server.requests]
            assert [result.ok async for result in run] == [True, True]

    assert order[1] == "Say hello"


async def test_call_without_a_permit_waits_on_after_a_cooldown(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    """The clock of this client sleeps without waiting."""
    client = make_client(concurrency=1)
    server.reply(["a", "b"]).then(error_reply(429, retry_after=10)).then("hello")
    async with client.chat.send(HELLO, stream=True) as stream:
        await anext(stream)
        with pytest.raises(RateLimitError):
            await client.with_options(concurrency=None).chat.send(HELLO, retries=ONCE)
        call = send(client)
        await until(lambda: waiting(client) == 1)
        await asyncio.sleep(0.01)
        assert len(server.requests) == 2
        await stream.collect()

    assert (await call).text == "hello"


async def test_wait_for_a_slot_continues_the_wait_for_a_permit(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    """`pool` bounds both together."""
    client = make_client(clock=time.clock, max_connections=1, concurrency=1)
    server.reply("slow", delay=math.inf)
    holder = send(client)
    await server.until(requests=1)
    call = send(client, timeouts=Timeouts(pool=5.0))
    await until(lambda: waiting(client) == 1)
    other = send(client, model="other")
    await until(lambda: client.stats.queued == 1)
    await time.advance(3.0)
    server.reply("slow", delay=math.inf)
    holder.cancel()
    await until(lambda: client.stats.queued == 1)
    await time.advance(2.1)
    with pytest.raises(APITimeoutError) as caught:
        await call

    assert (caught.value.phase, caught.value.attempts) == ("pool", [])
    other.cancel()
    await asyncio.gather(holder, other, return_exceptions=True)


async def test_pool_that_expires_beside_a_cooldown_of_other_calls_is_a_timeout(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    """The cooldown is one of calls with other provider preferences."""
    client = make_client(clock=time.clock, max_connections=1)
    relayed = error_reply(429, retry_after=10, metadata={"provider_name": "a"})
    server.reply(relayed).then("slow", delay=math.inf)
    with pytest.raises(RateLimitError):
        await client.chat.send(HELLO, provider={"order": ["a"]}, retries=ONCE)
    holder = send(client)
    await server.until(requests=2)
    call = send(client, timeouts=Timeouts(pool=5.0))
    await until(lambda: client.stats.queued == 1)
    await time.advance(5.1)
    with pytest.raises(APITimeoutError) as caught:
        await call

    assert caught.value.phase == "pool"
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)


async def test_timeout_of_another_call_does_not_end_a_wait(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    client = make_client(clock=time.clock)
    await start_cooldown(server, client)
    server.reply("late", delay=math.inf)
    slow = send(client, model="slow", timeouts=Timeouts(total=1.0))
    held = send(client, timeouts=Timeouts(pool=30.0))
    await until(lambda: waiting(client) == 1 and len(server.requests) == 2)

    await time.advance(1.01)

    with pytest.raises(APITimeoutError):
        await slow
    assert not held.done()
    held.cancel()
    await asyncio.wait([held])
