"""The timeouts of a call: which run when, what resets them, and what they leave."""

# Time is virtual, so a test has to know how far a call is before it lets time pass.
# pyright: reportPrivateUsage=false

import asyncio
import math
from collections.abc import Callable
from typing import Any, cast

import attrs
import pytest
from support import HELLO, MakeClient, VirtualTime, until
from timeout_calls import (
    ROLE,
    collect,
    contents,
    expires,
    goes_on,
    open_stream,
    reached,
    send,
)

from openrouter_async import (
    APITimeoutError,
    AsyncOpenRouter,
    CallRecord,
    Retries,
    Timeouts,
)
from openrouter_async.testing import LocalOpenRouter, error_reply
from openrouter_async.transport.watchdog import Stage


@pytest.fixture
def client(make_client: MakeClient, time: VirtualTime) -> AsyncOpenRouter:
    """A client of `server` whose time is virtual."""
    return make_client(clock=time.clock)


# --- first_token -----------------------------------------------------------------


async def test_comments_do_not_reset_first_token(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    time: VirtualTime,
    records: list[CallRecord],
) -> None:
    server.reply("hello", before_token=math.inf, keepalive=0.005)
    opening = asyncio.ensure_future(open_stream(client, Timeouts(first_token=100.0)))
    await reached(client, Stage.STREAM)

    error = await expires(cast("Any", opening), time, 100.0)
    await server.until(closed=1)

    assert isinstance(error, TimeoutError)
    assert (error.phase, error.seconds) == ("first_token", 100.0)
    assert "100 seconds (first_token)" in str(error)
    assert len(server.requests) == 1
    assert [record.outcome for record in records] == ["error"]


async def test_events_without_a_token_do_not_stop_first_token(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    server.reply(chunks=[ROLE] * 3, stop="silence", stop_after=2)
    timeouts = Timeouts(first_token=100.0, idle=1000.0, read=1000.0)

    async with await open_stream(client, timeouts) as stream:
        await anext(stream)
        await time.advance(60.0)
        await anext(stream)
        # The caller was busy for 60 seconds, which do not count.
        error = await expires(collect(stream), time, 100.0)

    assert error.phase == "first_token"
    assert error.partial is not None


async def test_first_token_stops_at_the_first_token(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    server.reply(chunks=contents("a", "b"), stop="silence", stop_after=1)

    async with await open_stream(
        client, Timeouts(first_token=100.0, idle=None, read=None)
    ) as stream:
        await anext(stream)
        await goes_on(collect(stream), time)

    assert stream.http.timings.first_token == 0.0


async def test_white_space_before_a_plain_body_is_not_the_first_token(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    server.reply("hello", before_token=math.inf, keepalive=0.005)
    call = send(client, Timeouts(first_token=100.0))
    await reached(client, Stage.BODY)

    error = await expires(call, time, 100.0)

    assert error.phase == "first_token"


@pytest.mark.usefixtures("request_path")
async def test_first_token_of_a_plain_call_is_the_first_byte_of_its_body(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    server.reply("hello", prefix=b"\n   \n", stop="silence", stop_at=30)
    call = send(client, Timeouts(first_token=100.0, read=None))
    watchdog = await reached(client, Stage.BODY)
    await until(lambda: watchdog.token_seen)

    await goes_on(call, time)


# --- idle and read ---------------------------------------------------------------


async def test_comments_do_not_reset_idle(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    server.reply(["a", "b"], stop="silence", stop_after=1, keepalive=0.005)

    async with await open_stream(client, Timeouts(idle=100.0)) as stream:
        await anext(stream)
        error = await expires(collect(stream), time, 100.0)
    await server.until(closed=1)

    assert (error.phase, error.seconds) == ("idle", 100.0)
    assert error.partial is not None
    assert error.http is stream.http
    assert client.stats.in_use == 0


async def test_comments_reset_read(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    server.reply("hello", before_token=math.inf, keepalive=0.005)
    opening = asyncio.ensure_future(
        open_stream(client, Timeouts(read=100.0, idle=None, first_token=None))
    )
    watchdog = await reached(client, Stage.STREAM)

    for _ in range(5):
        await time.advance(60.0)
        await until(lambda: watchdog.last_byte == time.time)

    await goes_on(cast("Any", opening), time, 60.0)


@pytest.mark.parametrize("events", [0, 1])
async def test_read_ends_a_stream_without_any_byte(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime, events: int
) -> None:
    server.reply("hello", stop="silence", stop_after=events, comments=0)
    opening = asyncio.ensure_future(open_stream(client, Timeouts(read=100.0)))
    if events:
        task = collect(await opening)
    else:
        task = cast("Any", opening)
        await reached(client, Stage.STREAM)

    error = await expires(task, time, 100.0)
    await server.until(closed=1)

    assert error.phase == "read"
    assert len(server.requests) == 1


async def test_idle_does_not_apply_to_a_plain_call(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    server.reply("hello", stop="silence", stop_at=30)
    call = send(client, Timeouts(idle=1.0, read=None))
    await reached(client, Stage.BODY)

    await goes_on(call, time)


@pytest.mark.parametrize("first_token", [None, 900.0])
@pytest.mark.usefixtures("request_path")
async def test_read_ends_a_plain_body_that_stalls(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    time: VirtualTime,
    records: list[CallRecord],
    first_token: float | None,
) -> None:
    server.reply("hello", stop="silence", stop_at=30)
    timeouts = Timeouts(first_token=first_token, read=100.0, idle=900.0, total=500.0)
    call = send(client, timeouts)
    await reached(client, Stage.BODY)

    error = await expires(call, time, 100.0)
    in_use = client.stats.in_use
    await server.until(closed=1)

    assert (error.phase, error.seconds, error.retryable) == ("read", 100.0, False)
    assert [attempt.billing for attempt in error.attempts] == ["maybe"]
    assert error.partial is None
    assert in_use == 0
    assert [record.error for record in records] == [error]


async def test_stalled_plain_body_is_retried_only_with_ambiguous(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    server.reply("hello", stop="silence", stop_at=30).then("hello")
    call = send(client, Timeouts(read=100.0), retries=Retries(ambiguous=True))
    await reached(client, Stage.BODY)
    await time.advance(100.0)

    response = await time.finish(call)

    assert response.text == "hello"
    assert [a.billing for a in response.http.attempts] == ["maybe", "billed"]


async def test_read_ends_any_other_endpoint_that_stalls(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    client = client.with_options(timeouts=Timeouts(read=100.0))
    server.reply("hello", stop="silence", stop_at=30)
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    call = asyncio.create_task(client.request("POST", "/chat/completions", json=body))
    await reached(client, Stage.BODY)

    error = await expires(call, time, 100.0)

    assert error.phase == "read"


async def test_plain_body_creates_one_timer_for_all_its_reads(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    """A read stores the time; the timer is set again only when it expires."""
    server.reply("hello " * 100, write_bytes=20, write_every=0.001)
    delays: list[float] = []
    call_later = time.clock.call_later
    assert call_later is not None

    def record_delay(seconds: float, function: Callable[[], object]) -> Any:
        delays.append(seconds)
        return call_later(seconds, function)

    client = make_client(clock=attrs.evolve(time.clock, call_later=record_delay))
    await client.chat.send(
        HELLO, timeouts=Timeouts(read=9.0, first_token=None, connect=None)
    )

    assert delays == [9.0]


async def test_only_total_runs_for_a_completion_sent_for_a_stream_request(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    """All of it was received; the caller may take its time."""
    server.reply(json={"choices": [{"message": {"content": "hello"}}]})

    async with await open_stream(client, Timeouts(read=10.0, idle=10.0)) as stream:
        await time.advance(10_000.0)
        response = await stream.collect()

    assert response.text == "hello"


async def test_no_timeout_runs_while_the_caller_is_busy(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    server.reply(chunks=[ROLE, ROLE, *contents("a", "b")])
    timeouts = Timeouts(first_token=100.0, idle=100.0, read=100.0)

    async with await open_stream(client, timeouts) as stream:
        await anext(stream)
        await time.advance(10_000.0)
        response = await stream.collect()

    assert response.text == "ab"


async def test_timeouts_start_again_when_a_busy_caller_returns(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    server.reply(chunks=[ROLE, *contents("a", "b")], stop="silence", stop_after=2)

    async with await open_stream(client, Timeouts(idle=100.0)) as stream:
        await anext(stream)
        await anext(stream)
        await time.advance(150.0)
        error = await expires(collect(stream), time, 100.0)

    assert error.phase == "idle"


async def test_idle_after_the_finish_reason_is_not_an_error(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    time: VirtualTime,
    records: list[CallRecord],
) -> None:
    """The response is complete; only `[DONE]` is missing."""
    server.reply("hello", stop="silence", stop_after=5)

    async with await open_stream(client, Timeouts(idle=100.0)) as stream:
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].finish_reason:
                break
        reading = collect(stream)
        await asyncio.sleep(0)
        await time.advance(101.0)
        response = await reading

    assert (response.text, response.finish_reason) == ("hello", "stop")
    assert [record.outcome for record in records] == ["ok"]
    assert response.http.attempts[0].billing == "billed"


# --- total -----------------------------------------------------------------------


async def test_number_for_timeouts_is_total(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    server.reply("hello", stop="silence", stop_at=30)
    call = send(client, 100)
    await reached(client, Stage.BODY)

    error = await expires(call, time, 100.0)
    await server.until(closed=1)

    assert (error.phase, error.seconds) == ("total", 100)
    assert client.stats.in_use == 0


async def test_total_runs_while_the_caller_of_a_stream_is_busy(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    time: VirtualTime,
    records: list[CallRecord],
) -> None:
    server.reply(["a"] * 500, chunk_delay=0.01)

    async with await open_stream(client, 100.0) as stream:
        await anext(stream)
        await time.advance(101.0)
        with pytest.raises(APITimeoutError) as caught:
            await stream.collect()

    assert caught.value.phase == "total"
    assert caught.value.partial is not None
    assert [record.error for record in records] == [caught.value]


async def test_wait_that_would_exceed_total_is_not_begun(
    server: LocalOpenRouter, make_client: MakeClient, slept: list[float]
) -> None:
    client = make_client(retries=Retries(max_attempts=9, base=1, cap=8))
    server.reply(error_reply(500), times=None)

    with pytest.raises(Exception, match="500"):
        await client.chat.send(HELLO, timeouts=10)

    # Halves of 2, 4, 8 and 8 seconds are 11.
    assert slept == [1.0, 2.0, 4.0]


@pytest.mark.usefixtures("request_path")
async def test_total_runs_across_attempts(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    """The second attempt has only what the first one and the wait left."""
    server.reply(error_reply(500)).then("hello", delay=math.inf)
    start = time.time
    call = send(client, 100.0, retries=Retries(base=4.0))
    await until(lambda: start + 4.0 in time.scheduled)
    await time.advance(4.0)
    await server.until(requests=2)

    error = await expires(call, time, 96.0)

    assert error.phase == "total"
    assert [attempt.status for attempt in error.attempts] == [500, None]


async def test_total_covers_the_key_function_of_a_later_attempt(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    asked: list[None] = []

    async def find_key() -> str:
        asked.append(None)
        if len(asked) > 1:
            await asyncio.Event().wait()
        return "sk-or-test"

    client = make_client(api_key=find_key, clock=time.clock)
    server.reply(error_reply(503))
    call = send(client, 100.0, retries=Retries(base=4.0))
    await until(lambda: len(time.scheduled) == 2)
    await time.advance(4.0)
    await until(lambda: len(asked) == 2)

    error = await expires(call, time, 96.0)

    assert error.phase == "total"
    assert [attempt.status for attempt in error.attempts] == [503]
    assert (client.stats.in_use, client.stats.queued) == (0, 0)
