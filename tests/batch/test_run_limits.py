"""Overload, retries, pauses and limits of a run."""

import asyncio

import pytest
from support import MakeClient, prompts, read_results

from openrouter_async import (
    AsyncOpenRouter,
    BatchResult,
    BatchStoppedError,
    CallRecord,
    Timeouts,
)
from openrouter_async.testing import (
    Capacity,
    Clock,
    LocalOpenRouter,
    Reply,
    error_reply,
)

# --- overload, retries, pauses, limits -------------------------------------------


async def test_overload_errors_do_not_use_up_attempts(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    """All attempts belong to one call."""
    server.reply(error_reply(429), times=7).then("at last")
    run = client.chat.send_many(["a"], model="m")
    (result,) = await read_results(run)

    assert result.text == "at last"
    assert result.attempts == 8
    assert run.stats.refusals == 7
    assert len(records) == 1
    assert [a.status for a in records[0].http.attempts] == [429] * 7 + [200]


@pytest.mark.parametrize(
    "refusal",
    [
        error_reply(429),
        error_reply(529),
        error_reply(503, error_type="provider_overloaded"),
        error_reply(503, retry_after=0),
        error_reply(402, metadata={"limit_source": "openrouter_in_flight_budget"}),
    ],
)
async def test_overload_errors_are_counted_as_refusals(
    server: LocalOpenRouter, client: AsyncOpenRouter, refusal: Reply
) -> None:
    server.reply(refusal, times=5).then("at last")
    run = client.chat.send_many(["a"], model="m")
    (result,) = await read_results(run)

    assert result.ok
    assert run.stats.refusals == 5


async def test_other_retryable_errors_use_up_attempts(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(502), times=3)
    run = client.chat.send_many(["a"], model="m")
    (result,) = await read_results(run)

    assert result.attempts == 3
    assert not result.ok
    assert run.stats.refusals == 0


async def test_row_that_waits_for_a_retry_does_not_hold_a_slot(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    retry_now = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await retry_now.wait()

    client = make_client(clock=Clock(lambda: 0.0, sleep, lambda: 0.5))
    server.reply(error_reply(502), when="prompt 0").then("late")
    results: list[int] = []
    run = client.chat.send_many(prompts(5), model="m", concurrency=1)
    async with run:
        async for result in run:
            results.append(result.index)
            assert result.ok
            if len(results) == 4:
                assert run.stats.waiting == 1
                retry_now.set()

    assert sorted(results[:4]) == [1, 2, 3, 4]
    assert results[4] == 0


async def test_number_of_rows_that_wait_for_a_retry_is_bounded(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    """The bound is twice the concurrency limit and 256."""
    waiting = 0
    retry_now = asyncio.Event()

    async def sleep(_: float) -> None:
        nonlocal waiting
        waiting += 1
        await retry_now.wait()

    client = make_client(clock=Clock(lambda: 0.0, sleep, lambda: 0.5))
    server.reply(error_reply(502, retry_after=1), times=None)
    run = client.chat.send_many(prompts(300), model="m", concurrency=1)
    async with run:
        while waiting < 258:  # noqa: ASYNC110 - no event is set for it
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert run.stats.waiting == 258

    assert (waiting, len(server.requests)) == (258, 258)


async def test_retry_after_pauses_all_rows_and_then_paces_them(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity.latency = 0.01
    server.reply(error_reply(429, retry_after=0.5), when="prompt 40")
    run = client.chat.send_many(prompts(100), model="m", concurrency=8)
    results: list[BatchResult] = []
    async with run:
        async for result in run:
            results.append(result)
            if run.stats.refusals and len(results) < 60:
                assert run.limiters["m"].refusals == 1
    assert len(results) == 100
    assert all(result.ok for result in results)
    (refused,) = [seen for seen in server.requests if seen.status == 429]
    assert refused.closed is not None
    delays = [seen.time - refused.closed for seen in server.requests]
    assert [delay for delay in delays if 0.2 < delay < 0.5] == []
    first = min(delay for delay in delays if delay >= 0.5)
    assert sum(first <= delay < first + 0.1 for delay in delays) <= 8 * 0.1 + 2


async def test_pause_does_not_count_towards_the_timeouts(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(429, retry_after=1.2)).then("good")
    run = client.chat.send_many(["a"], model="m", timeouts=Timeouts(total=1.0))
    (result,) = await read_results(run)

    assert result.text == "good"
    assert result.attempts == 2


async def test_drain_does_not_wait_for_rows_that_a_pause_holds_back(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(429, retry_after=100), times=None)
    async with client.chat.send_many(prompts(9), model="m", concurrency=9) as run:
        while not run.stats.waiting:  # noqa: ASYNC110 - no event is set for it
            await asyncio.sleep(0.01)
        assert run.limiters["m"].paused > 90
        async with asyncio.timeout(1):
            await run.stop()
        assert [result async for result in run] == []


async def test_run_stops_when_every_request_was_refused_for_stall_timeout(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(429, retry_after=0.05), times=None)
    run = client.chat.send_many(prompts(3), model="m", stall_timeout=0.3)
    with pytest.raises(BatchStoppedError, match="refused every request") as caught:
        await read_results(run)

    assert caught.value.reason == run.stats.stop_reason == "stalled"


async def test_error_about_a_single_row_ends_a_stall(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A 400 shows that the server is not overloaded."""
    server.reply(error_reply(429), times=2).then(error_reply(400)).then("good")
    run = client.chat.send_many(
        prompts(2), model="m", concurrency=1, stall_timeout=1e-9
    )
    results = await read_results(run)

    assert len(results) == 2


async def test_auto_concurrency_adapts_to_the_capacity_of_the_server(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity.limit = 12
    server.capacity.latency = 0.15
    run = client.chat.send_many(prompts(250), model="m")
    results = await read_results(run)

    assert all(result.ok for result in results)
    assert server.capacity.peak == 12
    assert run.stats.refusals == server.capacity.refused > 0
    assert run.stats.refusals < 60
    limiter = run.limiters["m"]
    assert 4 <= limiter.limit < 100
    assert limiter.latency is not None


async def test_runs_share_a_limiter_by_base_url_key_and_model(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A fixed concurrency belongs to one run."""
    server.capacity.latency = 0.01
    first = client.chat.send_many(prompts(50), model="m")
    await read_results(first)
    limit = first.limiters["m"].limit
    assert limit > 8

    second = client.with_options().chat.send_many(prompts(1), model="m")
    await read_results(second)
    assert second.limiters["m"].limit >= limit
    for other in (
        client.with_options(api_key="another").chat.send_many(["a"], model="m"),
        client.chat.send_many(["a"], model="n"),
    ):
        await read_results(other)
        (limiter,) = other.limiters.values()
        assert limiter.limit <= 9
    fixed = client.chat.send_many(prompts(1), model="m", concurrency=3)
    await read_results(fixed)
    assert fixed.limiters["m"].limit == 3


async def test_fixed_concurrency_is_not_exceeded(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity.latency = 0.1
    await read_results(client.chat.send_many(prompts(28), model="m", concurrency=7))

    assert server.capacity.peak == 7


async def test_rpm_spaces_requests_evenly(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    run = client.chat.send_many(prompts(6), model="m", rpm=600)
    await read_results(run)

    assert len(server.requests) == 6
    assert run.stats.seconds >= 0.49


async def test_all_rows_succeed_at_a_server_with_a_token_bucket(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity = Capacity(per_minute=900, burst=5, retry_after=0.05)
    run = client.chat.send_many(prompts(20), model="m")
    results = await read_results(run)

    assert all(result.ok for result in results)
    assert server.capacity.admitted == 20
    assert server.capacity.refused == run.stats.refusals > 0
