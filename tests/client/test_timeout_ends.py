"""Timeouts in queues and while connecting, their options, and what they leave."""

# pyright: reportPrivateUsage=false

import asyncio
import math
import socket
from typing import Any

import pytest
from support import HELLO, MakeClient, VirtualTime, until
from timeout_calls import collect, expires, goes_on, open_stream, reached, send

from openrouter_async import (
    APITimeoutError,
    AsyncOpenRouter,
    CallRecord,
    ClosedError,
    ConfigurationError,
    Retries,
    Timeouts,
)
from openrouter_async.testing import LocalOpenRouter, error_reply
from openrouter_async.transport.watchdog import Stage


@pytest.fixture
def client(make_client: MakeClient, time: VirtualTime) -> AsyncOpenRouter:
    """A client of `server` whose time is virtual."""
    return make_client(clock=time.clock)


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


@pytest.mark.usefixtures("request_path")
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
    assert timings.queued < 0.05
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
