"""The timeouts of a call: which run when, what resets them, and what they leave."""

# Time is virtual, so a test has to know how far a call is before it lets time pass.
# pyright: reportPrivateUsage=false

import asyncio
import math
import socket
from collections.abc import Callable
from typing import Any, cast

import attrs
import pytest
from support import HELLO, MakeClient, VirtualTime, until

from openrouter_async import (
    APITimeoutError,
    AsyncOpenRouter,
    CallRecord,
    ChatResponse,
    ChatStream,
    ClosedError,
    ConfigurationError,
    Retries,
    Timeouts,
)
from openrouter_async.testing import LocalOpenRouter, error_reply
from openrouter_async.transport.watchdog import Stage, Watchdog

ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}


def contents(*texts: str) -> list[dict[str, object]]:
    """One chunk for each text."""
    return [
        {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        for text in texts
    ]


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime()


@pytest.fixture
def client(make_client: MakeClient, time: VirtualTime) -> AsyncOpenRouter:
    """A client of `server` whose time is virtual."""
    return make_client(clock=time.clock)


def send(
    client: AsyncOpenRouter, timeouts: Timeouts | float, **options: Any
) -> "asyncio.Task[ChatResponse]":
    """Start a plain call."""
    chat: Any = client.chat
    return asyncio.create_task(chat.send(HELLO, timeouts=timeouts, **options))


async def open_stream(
    client: AsyncOpenRouter, timeouts: Timeouts | float
) -> ChatStream:
    return await client.chat.send(HELLO, stream=True, timeouts=timeouts)


def collect(stream: ChatStream) -> "asyncio.Task[ChatResponse]":
    """Start to read the rest of a stream."""
    return asyncio.create_task(stream.collect())


async def reached(client: AsyncOpenRouter, stage: Stage) -> Watchdog:
    """Wait until a call of the client is in this stage, and return its watchdog."""

    def found() -> list[Watchdog]:
        pools = client._transport._pools._pools.values()
        members = cast("list[Watchdog]", [m for p in pools for m in p.timer.members])
        return [watchdog for watchdog in members if watchdog.stage is stage]

    await until(found)
    return found()[0]


async def expires(
    task: "asyncio.Task[ChatResponse]", time: VirtualTime, seconds: float
) -> APITimeoutError:
    """Check that a timeout ends the task after exactly these seconds."""
    await asyncio.sleep(0)
    await time.advance(seconds - 0.01)
    assert not task.done()
    await time.advance(0.02)
    with pytest.raises(APITimeoutError) as caught:
        await task
    return caught.value


async def goes_on(
    task: "asyncio.Task[ChatResponse]", time: VirtualTime, seconds: float = 10_000.0
) -> None:
    """Check that no timeout ends the task within these seconds; cancel it then."""
    await asyncio.sleep(0)
    await time.advance(seconds)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


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


# --- pool and connect ------------------------------------------------------------


async def test_queueing_counts_for_no_timeout_but_pool(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    """The first attempt waits for a slot, and so does the second."""
    client = make_client(max_connections=1, clock=time.clock)
    server.reply("a", stop="silence", stop_after=1).then(error_reply(500)).then(
        "b", stop="silence", stop_after=1
    ).then("hello")
    first = await open_stream(client, Timeouts())
    start = time.time
    call = send(
        client, Timeouts(first_token=50.0, total=50.0), retries=Retries(base=4.0)
    )
    await reached(client, Stage.QUEUE)
    await time.advance(1000.0)
    await first.aclose()
    await until(lambda: start + 1004.0 in time.scheduled)
    second = await open_stream(client, Timeouts())
    await time.advance(4.0)
    await reached(client, Stage.QUEUE)
    await time.advance(1000.0)
    await second.aclose()

    response = await call

    assert response.text == "hello"
    assert response.http.timings.queued == 2000.0


async def test_pool_ends_a_call_that_gets_no_slot(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    client = make_client(max_connections=1, clock=time.clock)
    async with await open_stream(client, Timeouts()):
        call = send(client, Timeouts(pool=100.0))
        await reached(client, Stage.QUEUE)
        error = await expires(call, time, 100.0)
        queued = client.stats.queued

    assert (error.phase, error.attempts) == ("pool", [])
    assert queued == 0
    assert len(server.requests) == 1


async def test_pool_stops_when_a_slot_is_granted(
    server: LocalOpenRouter, make_client: MakeClient, time: VirtualTime
) -> None:
    client = make_client(max_connections=1, clock=time.clock)
    server.reply("a").then("b", delay=math.inf)
    stream = await open_stream(client, Timeouts())
    call = send(client, Timeouts(pool=100.0, first_token=None))
    await reached(client, Stage.QUEUE)
    await stream.aclose()
    await server.until(requests=2)

    await goes_on(call, time)


async def test_connect_covers_the_tls_handshake_and_is_retried(
    make_client: MakeClient, time: VirtualTime
) -> None:
    """A host that accepts the connection and is silent has not received the request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        client = make_client(base_url=url, clock=time.clock)
        start = time.time
        call = send(
            client, Timeouts(connect=10.0), retries=Retries(max_attempts=2, base=4.0)
        )
        await reached(client, Stage.CONNECT)
        await time.advance(10.0)
        await until(lambda: start + 14.0 in time.scheduled)
        await time.advance(4.0)
        await reached(client, Stage.CONNECT)
        error = await expires(call, time, 10.0)

    assert (error.phase, error.retryable) == ("connect", True)
    assert [a.billing for a in error.attempts] == ["not_accepted"] * 2


async def test_connect_stops_when_the_connection_is_made(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    server.reply("hello", delay=math.inf)
    call = send(client, Timeouts(connect=10.0, first_token=None))
    await reached(client, Stage.RESPONSE)

    await goes_on(call, time)


# --- options, timings, ends ------------------------------------------------------


async def test_none_turns_each_timeout_off(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    none = Timeouts(
        pool=None, connect=None, first_token=None, idle=None, read=None, total=None
    )

    response = await client.chat.send(HELLO, timeouts=none)
    async with client.chat.send(HELLO, stream=True, timeouts=none) as stream:
        streamed = await stream.collect()

    assert response.text == streamed.text
    assert time.scheduled == []


async def test_invalid_timeout_is_rejected_before_anything_is_sent(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    soon: Any = "soon"

    with pytest.raises(ConfigurationError, match="more than 0"):
        _ = client.chat.send(HELLO, timeouts=0)
    with pytest.raises(TypeError, match="seconds"):
        _ = client.chat.send(HELLO, timeouts=soon)

    assert server.requests == []


async def test_all_calls_share_one_timer(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    async with client.chat.send(HELLO, stream=True) as stream:
        await asyncio.gather(*(client.chat.send(HELLO) for _ in range(20)))
        scheduled = time.scheduled
        await stream.collect()
    await client.aclose()

    assert len(scheduled) == 1
    assert time.scheduled == []


async def test_each_part_of_a_call_is_timed(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    server.reply("hello", delay=0.05, before_token=0.05)

    async with make_client().chat.send(HELLO, stream=True) as stream:
        await stream.collect()

    timings = stream.http.timings
    assert timings.queued is not None
    assert timings.queued < 0.01
    assert timings.connect is not None
    assert timings.headers is not None
    assert timings.first_token is not None
    assert timings.total is not None
    assert timings.connect <= timings.headers - 0.04
    assert timings.headers <= timings.first_token - 0.04
    assert timings.first_token <= timings.total


async def test_parts_that_a_failed_call_did_not_reach_have_no_time(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    server.reply(delay=math.inf)
    call = send(client, 100.0)
    await server.until(requests=1)

    error = await expires(call, time, 100.0)

    timings = error.http.timings
    assert (timings.headers, timings.first_token) == (None, None)
    assert timings.total == pytest.approx(100.0, abs=0.1)


async def test_stream_that_timed_out_stays_timed_out_when_it_is_closed(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    time: VirtualTime,
    records: list[CallRecord],
) -> None:
    server.reply("a b", stop="silence", stop_after=1)

    async with await open_stream(client, Timeouts(idle=100.0)) as stream:
        await anext(stream)
        await expires(collect(stream), time, 100.0)
        await stream.aclose()
        with pytest.raises(APITimeoutError):
            await anext(stream)
    await client.aclose()
    with pytest.raises(ClosedError):
        await client.chat.send(HELLO)

    assert [record.outcome for record in records] == ["error", "closed"]


async def test_timeout_that_expires_just_before_a_close_is_the_error(
    server: LocalOpenRouter, client: AsyncOpenRouter, time: VirtualTime
) -> None:
    server.reply(stop="silence")
    call = send(client, 100.0)
    await server.until(requests=1)
    # The timeout cancels the task of the call, which does not run before the close.
    time.jump(101.0)
    await client.aclose()

    with pytest.raises(APITimeoutError) as caught:
        await call
    assert caught.value.phase == "total"
