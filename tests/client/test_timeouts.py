"""The clocks of a call: which runs when, what resets it, and what it leaves."""

import asyncio
import math
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from support import HELLO, MakeClient

from openrouter_async import (
    APITimeoutError,
    AsyncOpenRouter,
    CallRecord,
    ChatStream,
    ClosedError,
    ConfigurationError,
    Retries,
    Timeouts,
)
from openrouter_async.testing import LocalOpenRouter, error_reply

ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}


async def read(stream: ChatStream) -> tuple[float, APITimeoutError]:
    """Read until a clock runs out; return after how many seconds, and the error."""
    started = time.monotonic()
    with pytest.raises(APITimeoutError) as caught:
        await stream.collect()
    return time.monotonic() - started, caught.value


async def test_a_stream_of_comments_ends_by_first_token(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    """Signs of life are no token: the first one must come in its time."""
    server.reply("hello", before_token=math.inf, keepalive=0.01)

    with pytest.raises(APITimeoutError) as caught:
        await client.chat.send(HELLO, stream=True, timeouts=Timeouts(first_token=0.15))
    await server.until(closed=1)

    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.phase, caught.value.seconds) == ("first_token", 0.15)
    assert "0.15 seconds (first_token)" in str(caught.value)
    assert len(server.requests) == 1
    assert [record.outcome for record in records] == ["error"]


async def test_events_without_a_token_do_not_stop_first_token(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A role is no token; the clock runs on behind it, and not faster than time."""
    server.reply(chunks=[ROLE] * 100, chunk_delay=0.02, comments=0)
    started = time.monotonic()

    async with client.chat.send(
        HELLO, stream=True, timeouts=Timeouts(first_token=0.3, idle=0.2)
    ) as stream:
        _, error_reply = await read(stream)

    assert error_reply.phase == "first_token"
    assert time.monotonic() - started >= 0.3
    assert error_reply.partial is not None


async def test_a_token_stops_first_token(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Once a token is there, the stream may take longer than `first_token`."""
    server.reply(chunks=_words("a", "b"), chunk_delay=0.3)

    async with client.chat.send(
        HELLO, stream=True, timeouts=Timeouts(first_token=0.25)
    ) as stream:
        reply = await stream.collect()

    assert reply.text == "ab"
    assert stream.http.timings.first_token is not None
    assert stream.http.timings.first_token < 0.25


async def test_comments_do_not_reset_idle(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Between the data events of a stream comments do not count."""
    server.reply(["a", "b"], stop="silence", stop_after=1, keepalive=0.01)

    async with client.chat.send(HELLO, stream=True, timeouts=Timeouts(idle=0.1)) as s:
        seconds, error_reply = await read(s)
    await server.until(closed=1)

    assert (error_reply.phase, error_reply.seconds) == ("idle", 0.1)
    assert seconds >= 0.09
    assert error_reply.partial is not None
    assert error_reply.http is s.http
    assert client.stats.in_use == 0


async def test_comments_reset_silence(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A comment is a byte: only a dead line is silent."""
    server.reply("hello", before_token=0.35, keepalive=0.02)

    async with client.chat.send(
        HELLO, stream=True, timeouts=Timeouts(read=0.25)
    ) as stream:
        reply = await stream.collect()

    assert reply.text == "hello"


@pytest.mark.parametrize("events", [0, 1])
async def test_no_byte_at_all_is_silence(
    server: LocalOpenRouter, client: AsyncOpenRouter, events: int
) -> None:
    """`silence` ends a stream whose headers or events were the last that came."""
    server.reply("hello", stop="silence", stop_after=events)

    with pytest.raises(APITimeoutError) as caught:
        async with client.chat.send(
            HELLO, stream=True, timeouts=Timeouts(read=0.05)
        ) as stream:
            await stream.collect()
    await server.until(closed=1)

    assert caught.value.phase == "read"
    assert len(server.requests) == 1


async def test_idle_does_not_apply_to_a_plain_call(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A plain response may be late, and may pause for less than `silence`."""
    server.reply("hello", delay=0.4, write_bytes=300, write_every=0.1)

    reply = await client.chat.send(HELLO, timeouts=Timeouts(read=0.3, idle=0.02))

    assert reply.text == "hello"


@pytest.mark.parametrize("first_token", [None, 9.0])
async def test_silence_ends_a_plain_body_that_stalls(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    records: list[CallRecord],
    first_token: float | None,
) -> None:
    """A body that stalls after its first byte ends, and leaves nothing behind."""
    server.reply("hello", stop="silence", stop_at=30)
    started = time.monotonic()

    with pytest.raises(APITimeoutError) as caught:
        await client.chat.send(
            HELLO,
            timeouts=Timeouts(first_token=first_token, read=0.2, idle=9, total=5),
        )
    in_use = client.stats.in_use
    seconds = time.monotonic() - started
    await asyncio.wait_for(server.until(closed=1), 0.1)

    error = caught.value
    assert (error.phase, error.seconds, error.retryable) == ("read", 0.2, False)
    assert 0.19 <= seconds < 0.3
    assert [attempt.billing for attempt in error.attempts] == ["maybe"]
    assert error.partial is None
    assert in_use == 0
    assert [record.error for record in records] == [error]


async def test_a_plain_body_that_stalls_may_be_sent_again(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A stalled body may have been billed, as any silence: `ambiguous` opts in."""
    server.reply("hello", stop="silence", stop_at=30).then("hello")

    reply = await client.chat.send(
        HELLO, timeouts=Timeouts(read=0.1, total=5), retries=Retries(ambiguous=True)
    )

    assert reply.text == "hello"
    assert [a.billing for a in reply.http.attempts] == ["maybe", "billed"]


async def test_silence_ends_any_other_endpoint_that_stalls(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """`request` reads its body under the same clocks."""
    client = client.with_options(timeouts=Timeouts(read=0.05, total=5))
    server.reply("hello", stop="silence", stop_at=30)
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}

    with pytest.raises(APITimeoutError) as caught:
        await client.request("POST", "/chat/completions", json=body)

    assert caught.value.phase == "read"


async def test_a_plain_body_makes_no_timer_for_a_read(
    server: LocalOpenRouter, client: AsyncOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read stores the time; the timer is set again only when it runs out."""
    server.reply("hello " * 100, write_bytes=20, write_every=0.001)
    loop: Any = asyncio.get_running_loop()
    made: list[str] = []
    call_at = loop.call_at

    def counted(when: float, callback: Any, *args: Any, **more: Any) -> Any:
        made.append(repr(callback))
        return call_at(when, callback, *args, **more)

    monkeypatch.setattr(loop, "call_at", counted)
    times = Timeouts(read=9.0, first_token=None, connect=None)
    await client.chat.send(HELLO, timeouts=times)

    assert sum("SharedTimer" in name for name in made) == 1


async def test_a_completion_in_place_of_a_stream_waits_for_its_reader(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Once all of it is here, no clock but `total` runs."""
    server.reply(
        json={"choices": [{"message": {"content": "hello"}}]},
        write_bytes=20,
        write_every=0.01,
    )

    async with client.chat.send(
        HELLO, stream=True, timeouts=Timeouts(read=0.2)
    ) as stream:
        await asyncio.sleep(0.4)
        reply = await stream.collect()

    assert reply.text == "hello"


async def test_white_space_is_no_first_token(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """What keeps a plain reply alive is not its first byte."""
    server.reply("hello", before_token=math.inf, keepalive=0.01)

    with pytest.raises(APITimeoutError) as caught:
        await client.chat.send(HELLO, timeouts=Timeouts(first_token=0.1))

    assert caught.value.phase == "first_token"


async def test_the_first_byte_of_a_plain_body_stops_first_token(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A body that has begun may take longer."""
    server.reply("hello", prefix=b"\n   \n", write_bytes=900, write_every=0.3)

    reply = await client.chat.send(HELLO, timeouts=Timeouts(first_token=0.25))

    assert reply.text == "hello"
    assert reply.http.timings.first_token is not None
    assert reply.http.timings.first_token < 0.25


async def test_a_slow_consumer_never_trips_a_clock(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The clocks of a stream stand still while the caller is busy."""
    server.reply(chunks=[ROLE, ROLE, *_words("a", "b")], chunk_delay=0.01)
    times = Timeouts(first_token=0.4, idle=0.4, read=0.4)
    text = ""

    async with client.chat.send(HELLO, stream=True, timeouts=times) as stream:
        await anext(stream)
        await asyncio.sleep(0.5)
        async for chunk in stream:
            text += chunk.text

    assert text == "ab"
    assert stream.response.text == "ab"


def _words(*words: str) -> list[dict[str, object]]:
    return [
        {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
        for word in words
    ]


async def test_a_clock_runs_on_when_a_slow_consumer_comes_back(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The limit is counted from when the caller waits again, no earlier, no later."""
    server.reply(chunks=[ROLE, *_words("a", "b")], stop="silence", stop_after=2)

    async with client.chat.send(
        HELLO, stream=True, timeouts=Timeouts(idle=0.1)
    ) as stream:
        await anext(stream)
        await anext(stream)
        await asyncio.sleep(0.15)
        seconds, error_reply = await read(stream)

    assert error_reply.phase == "idle"
    assert 0.09 <= seconds < 0.5


async def test_total_ends_a_plain_call(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A number for `timeouts` is `total`: it ends the call wherever it is."""
    server.reply("hello", stop="silence", stop_at=30)

    with pytest.raises(APITimeoutError) as caught:
        await client.chat.send(HELLO, timeouts=0.05)
    await server.until(closed=1)

    assert (caught.value.phase, caught.value.seconds) == ("total", 0.05)
    assert client.stats.in_use == 0


async def test_total_ends_a_stream_that_never_pauses(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    """`total` runs on beside a stream in full flow, a busy caller's too."""
    server.reply(["a"] * 500, chunk_delay=0.01)

    async with client.chat.send(HELLO, stream=True, timeouts=0.3) as stream:
        await anext(stream)
        await asyncio.sleep(0.35)
        with pytest.raises(APITimeoutError) as caught:
            await stream.collect()

    assert caught.value.phase == "total"
    assert caught.value.partial is not None
    assert [record.error for record in records] == [caught.value]


async def test_total_covers_attempts_and_waits(
    server: LocalOpenRouter, client: AsyncOpenRouter, slept: list[float]
) -> None:
    """What earlier attempts and waits used up is missing to the last one."""
    client = client.with_options(retries=Retries(max_attempts=9, base=1, cap=8))
    server.reply(error_reply(500), times=None)

    with pytest.raises(Exception, match="500"):
        await client.chat.send(HELLO, timeouts=10)

    # Halves of 2, 4, 8 and 8 seconds are 11: the last is not begun.
    assert slept == [1.0, 2.0, 4.0]


async def test_total_runs_across_attempts(
    server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
) -> None:
    """The second attempt has only what the first one left."""
    client = make_client(clock=None, retries=Retries(base=0.0))
    server.reply(error_reply(500, delay=0.2)).then("hello", delay=math.inf)
    started = time.monotonic()

    with pytest.raises(APITimeoutError) as caught:
        await client.chat.send(HELLO, timeouts=0.3)

    assert caught.value.phase == "total"
    assert [attempt.status for attempt in caught.value.attempts] == [500, None]
    assert time.monotonic() - started < 0.48


async def test_queueing_is_left_out_of_the_clocks(
    server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
) -> None:
    """The time in the queue is charged to no clock but `queue`, of both attempts."""
    client = make_client(max_connections=1, retries=Retries(base=0.0))
    server.reply("first", delay=0.3).then(error_reply(500)).then("x", delay=0.3).then(
        "last"
    )
    times = Timeouts(first_token=0.25, total=0.25)
    first = asyncio.create_task(client.chat.send(HELLO))
    await server.until(requests=1)

    second = asyncio.create_task(client.chat.send(HELLO, timeouts=times))
    await asyncio.sleep(0)
    third = asyncio.create_task(client.chat.send(HELLO))
    replies = await asyncio.gather(first, second, third)

    assert [reply.text for reply in replies] == ["first", "last", "x"]
    queued = replies[1].http.timings.queued
    assert queued is not None
    assert queued >= 0.5


async def test_the_queue_has_a_clock(
    server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
) -> None:
    """`queue` ends a call that gets no slot, before anything is sent."""
    client = make_client(max_connections=1)
    async with client.chat.send(HELLO, stream=True):
        with pytest.raises(APITimeoutError) as caught:
            await client.chat.send(HELLO, timeouts=Timeouts(pool=0.05))
        queued = client.stats.queued

    assert (caught.value.phase, caught.value.attempts) == ("pool", [])
    assert queued == 0
    assert len(server.requests) == 1


async def test_a_queue_in_time_is_forgotten(
    server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
) -> None:
    """The clock of the queue ends with the queue."""
    client = make_client(max_connections=1)
    server.reply("first", delay=0.01).then("second", delay=0.3)

    replies = await asyncio.gather(
        client.chat.send(HELLO),
        client.chat.send(HELLO, timeouts=Timeouts(pool=0.25)),
    )

    assert [reply.text for reply in replies] == ["first", "second"]


async def test_connect_covers_the_hand_shake(
    make_client: Callable[..., AsyncOpenRouter], slept: list[float]
) -> None:
    """A host that takes the connection and says nothing is tried again: nothing left us."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        client = make_client(base_url=url, timeouts=Timeouts(connect=0.05))
        with pytest.raises(APITimeoutError) as caught:
            await client.chat.send(HELLO, retries=Retries(max_attempts=2))

    assert (caught.value.phase, caught.value.retryable) == ("connect", True)
    assert [a.billing for a in caught.value.attempts] == ["not_accepted"] * 2
    assert len(slept) == 1


async def test_connect_ends_with_the_connection(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A server that is slow to answer is not slow to connect."""
    server.reply("hello", delay=0.3)

    reply = await client.chat.send(HELLO, timeouts=Timeouts(connect=0.25))

    assert reply.text == "hello"


async def test_timeouts_may_be_off(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """None is no limit, for each of them."""
    none = Timeouts(
        pool=None, connect=None, first_token=None, idle=None, read=None, total=None
    )

    reply = await client.chat.send(HELLO, timeouts=none)
    async with client.chat.send(HELLO, stream=True, timeouts=none) as stream:
        streamed = await stream.collect()

    assert reply.text == streamed.text


async def test_an_impossible_limit_is_told_before_anything_is_sent(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A limit of 0 seconds is a ConfigurationError, one that is no number a TypeError."""
    soon: Any = "soon"

    with pytest.raises(ConfigurationError, match="more than 0"):
        _ = client.chat.send(HELLO, timeouts=0)
    with pytest.raises(TypeError, match="seconds"):
        _ = client.chat.send(HELLO, timeouts=soon)

    assert server.requests == []


async def test_a_clock_behind_the_finish_reason_is_no_error(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    """All that was promised has come: silence where `[DONE]` should be is no loss."""
    server.reply("hello", stop="silence", stop_after=5)

    async with client.chat.send(
        HELLO, stream=True, timeouts=Timeouts(idle=0.05)
    ) as stream:
        reply = await stream.collect()

    assert reply.text == "hello"
    assert reply.finish_reason == "stop"
    assert [record.outcome for record in records] == ["ok"]
    assert reply.http.attempts[0].billing == "billed"


async def test_total_covers_the_key_of_a_later_attempt(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    """A function that has to find a key, and hangs, hangs no longer than the call."""
    asked: list[None] = []

    async def find_key() -> str:
        asked.append(None)
        if len(asked) > 1:
            await asyncio.sleep(3600)
        return "sk-or-test"

    client = make_client(api_key=find_key, retries=Retries(base=0.01))
    server.reply(error_reply(503))

    with pytest.raises(APITimeoutError) as caught:
        await client.chat.send(HELLO, timeouts=1.0)

    assert caught.value.phase == "total"
    assert len(asked) == 2
    assert [attempt.status for attempt in caught.value.attempts] == [503]
    assert (client.stats.in_use, client.stats.queued) == (0, 0)


async def test_one_timer_serves_all_calls(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """However many there are; and none is left when the client is closed."""

    def timers() -> int:
        loop: Any = asyncio.get_running_loop()
        scheduled: list[asyncio.TimerHandle] = loop._scheduled
        return sum(not h.cancelled() and "SharedTimer" in repr(h) for h in scheduled)

    async with client.chat.send(HELLO, stream=True) as stream:
        await asyncio.gather(*(client.chat.send(HELLO) for _ in range(20)))
        running = timers()
        await stream.collect()
    await client.aclose()

    assert running == 1
    assert timers() == 0


async def test_timings_tell_where_the_time_went(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Each part of a call is timed, in order."""
    server.reply("hello", delay=0.05, before_token=0.05)

    async with client.chat.send(HELLO, stream=True) as stream:
        await stream.collect()

    times = stream.http.timings
    assert times.queued is not None
    assert times.queued < 0.01
    assert times.connect is not None
    assert times.headers is not None
    assert times.first_token is not None
    assert times.total is not None
    assert times.connect <= times.headers - 0.04
    assert times.headers <= times.first_token - 0.04
    assert times.first_token <= times.total


async def test_a_failed_call_has_timings_as_far_as_it_got(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """What was not reached is None."""
    server.reply(delay=math.inf)

    with pytest.raises(APITimeoutError) as caught:
        await client.chat.send(HELLO, timeouts=0.05)

    times = caught.value.http.timings
    assert (times.headers, times.first_token) == (None, None)
    assert times.total is not None
    assert times.total >= 0.04


async def test_a_clock_and_a_close_at_once_are_one_error(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    """The first end of a stream is its only one."""
    server.reply("a b", stop="silence", stop_after=1)

    async with client.chat.send(
        HELLO, stream=True, timeouts=Timeouts(idle=0.03)
    ) as stream:
        await anext(stream)
        await read(stream)
        await stream.aclose()
        with pytest.raises(APITimeoutError):
            await anext(stream)
    await client.aclose()
    with pytest.raises(ClosedError):
        await client.chat.send(HELLO)

    assert [record.outcome for record in records] == ["error", "closed"]


async def test_a_clock_that_ran_out_before_a_close_counts(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Two ends in one moment: the call fails of the first."""
    server.reply(stop="silence")
    call = asyncio.create_task(client.chat.send(HELLO, timeouts=Timeouts(total=0.02)))
    await server.until(requests=1)
    # The clock's turn comes behind ours, and then ours before the call's.
    time.sleep(0.03)  # noqa: ASYNC251
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await client.aclose()

    with pytest.raises(APITimeoutError) as caught:
        await call
    assert caught.value.phase == "total"
