"""ChatStream: reading, the end, errors, closing, partial and whole responses."""

import asyncio
import gc
import pickle
import time
from typing import Any

import pytest
from support import HELLO, read_all

from openrouter_async import (
    APIConnectionError,
    AsyncOpenRouter,
    BadGatewayError,
    CallRecord,
    ChatStream,
    ClosedError,
    ConfigurationError,
    MalformedResponseError,
    OpenRouterError,
    SizeLimits,
    StreamInterruptedError,
)
from openrouter_async.testing import (
    LocalOpenRouter,
    StreamError,
)


async def open_stream(client: AsyncOpenRouter) -> ChatStream:
    """Return an open stream that was not entered."""
    return await client.chat.send(HELLO, stream=True)


async def until_pooled(client: AsyncOpenRouter) -> None:
    """Wait until a connection is back in the pool: the whole stream was received."""
    async with asyncio.timeout(1):
        while not client.stats.idle:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.005)


async def test_chunks_are_accumulated_into_the_response(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    server.reply(["he", "llo"])

    async with client.chat.send(HELLO, stream=True) as stream:
        texts = [chunk.text async for chunk in stream]
    response = stream.response

    assert [text for text in texts if text] == ["he", "llo"]
    assert response.text == "hello"
    assert response.finish_reason == "stop"
    assert response.http is stream.http
    assert response.http.generation_id == server.requests[0].generation_id
    assert response.http.status == 200
    assert (response.usage.completion_tokens or 0) > 0
    assert "ended" in repr(stream)
    assert [(r.outcome, r.stream, r.usage) for r in records] == [
        ("ok", True, response.usage)
    ]


async def test_stream_read_to_its_end_returns_its_connection_to_the_pool(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    async with client.chat.send(HELLO, stream=True) as stream:
        await read_all(stream)
        idle = client.stats.idle
    await client.chat.send(HELLO)

    assert idle == 1
    assert [request.connection for request in server.requests] == [1, 1]
    assert server.stats.closed_early == 0


async def test_closing_a_fully_received_stream_does_not_touch_its_connection(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The connection is back in the pool and belongs to another call."""
    stream = await open_stream(client)
    await until_pooled(client)
    server.reply("hello", delay=0.05)
    other = asyncio.create_task(client.chat.send(HELLO))
    await server.until(requests=2)

    await stream.aclose()

    assert (await other).text == "hello"
    assert [request.connection for request in server.requests] == [1, 1]


async def test_error_in_a_fully_received_stream_does_not_touch_its_connection(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(["a", "b"], error=StreamError(), error_after=1)
    stream = await open_stream(client)
    await until_pooled(client)
    server.reply("hello", delay=0.05)
    other = asyncio.create_task(client.chat.send(HELLO))
    await server.until(requests=2)

    with pytest.raises(BadGatewayError):
        await read_all(stream)

    assert (await other).text == "hello"
    assert len(server.requests) == 2


async def test_data_after_done_is_not_read(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("hello", suffix=b'data: {"choices": 1}\n\ndata: nonsense\n\n')
    server.reply(
        body=b'data: {"choices": [{}]}\n\ndata: [DONE]\n\n: more' + b"." * 5000,
        content_type="text/event-stream",
        stop="silence",
        stop_at=60,
    )

    async with client.chat.send(HELLO, stream=True) as first:
        text = await read_all(first)
    started = time.monotonic()
    async with client.chat.send(HELLO, stream=True) as second:
        await read_all(second)
    await server.until(closed=1)

    assert text == "hello"
    assert 0.09 < time.monotonic() - started < 5
    assert client.stats.in_use == 0


@pytest.mark.parametrize("stop", ["end", "close", "reset"])
async def test_connection_that_breaks_after_the_finish_reason_is_not_an_error(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    records: list[CallRecord],
    stop: Any,
) -> None:
    server.reply(["hello"], stop=stop, stop_after=5)

    async with client.chat.send(HELLO, stream=True) as stream:
        text = await read_all(stream)

    assert text == "hello"
    assert stream.response.finish_reason == "stop"
    assert stream.http.attempts[0].billing == "billed"
    assert [record.outcome for record in records] == ["ok"]


async def test_done_without_a_finish_reason_is_an_end(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("hello", finish=False, done=True)

    async with client.chat.send(HELLO, stream=True) as stream:
        response = await stream.collect()

    assert (response.text, response.finish_reason) == ("hello", None)


@pytest.mark.parametrize(
    ("stop", "raised"),
    [
        ("end", StreamInterruptedError),
        ("close", APIConnectionError),
        ("reset", APIConnectionError),
    ],
)
async def test_stream_that_breaks_off_raises_with_the_partial_response(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    records: list[CallRecord],
    stop: Any,
    raised: type[OpenRouterError],
) -> None:
    server.reply(
        ["he", "llo"], stop=stop, stop_after=1, before_token=0.02, chunk_delay=0.02
    )
    server.reply(times=None)

    async with client.chat.send(HELLO, stream=True) as stream:
        with pytest.raises(raised) as caught:
            await read_all(stream)
        with pytest.raises(raised) as again:
            await read_all(stream)

    assert again.value is caught.value
    assert caught.value.partial is not None
    assert caught.value.partial.text == "he"
    assert caught.value.generation_id == server.requests[0].generation_id
    assert caught.value.http is stream.http
    assert len(server.requests) == 1
    assert [(r.outcome, r.error) for r in records] == [("error", caught.value)]
    with pytest.raises(ConfigurationError, match="partial"):
        _ = stream.response


async def test_error_event_raises_its_class_with_the_partial_response(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(["he", "llo"], error=StreamError(code=502), error_after=1)

    async with client.chat.send(HELLO, stream=True) as stream:
        with pytest.raises(BadGatewayError) as caught:
            await read_all(stream)

    assert caught.value.partial is not None
    assert caught.value.partial.text == "he"
    assert pickle.loads(pickle.dumps(caught.value)).partial.text == "he"


async def test_event_that_is_not_json_is_malformed(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(chunks=[{"choices": [{"delta": {"content": "he"}}]}, "{oops"])

    async with client.chat.send(HELLO, stream=True) as stream:
        with pytest.raises(MalformedResponseError) as caught:
            await read_all(stream)

    assert caught.value.partial is not None
    assert caught.value.partial.text == "he"
    assert stream.http.attempts[0].billing != "not_accepted"


async def test_event_beyond_its_limit_is_malformed(
    server: LocalOpenRouter, make_client: Any
) -> None:
    client: AsyncOpenRouter = make_client(size_limits=SizeLimits(event_bytes=2000))
    server.reply(["a", "b" * 500_000, "c"], chunk_delay=0.02)

    async with client.chat.send(HELLO, stream=True) as stream:
        with pytest.raises(MalformedResponseError) as caught:
            await read_all(stream)

    assert caught.value.partial is not None
    assert caught.value.partial.text == "a"


async def test_break_outside_of_a_block_leaves_the_stream_open(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(["a", "b", "c"], stop="silence", stop_after=3)
    stream = await open_stream(client)

    async for chunk in stream:
        if chunk.text == "a":
            break
    held = client.stats.in_use
    rest = [(await anext(stream)).text, (await anext(stream)).text]
    state = repr(stream)
    await stream.aclose()
    await stream.aclose()
    await server.until(closed=1)

    assert (held, rest) == (1, ["b", "c"])
    assert "open" in state
    assert "closed" in repr(stream)
    assert client.stats.in_use == 0


async def test_garbage_collected_stream_warns_and_closes_its_connection(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    server.reply(["a", "b"], stop="silence", stop_after=1)
    stream = await open_stream(client)
    await anext(stream)

    with pytest.warns(ResourceWarning, match="async with"):  # noqa: PT031 - both are needed
        del stream
        gc.collect()
    await server.until(closed=1, timeout=1)

    assert client.stats.in_use == 0
    assert [record.outcome for record in records] == ["closed"]


async def test_stream_that_has_ended_is_garbage_collected_silently(
    client: AsyncOpenRouter,
) -> None:
    stream = await open_stream(client)
    text = await read_all(stream)
    del stream
    gc.collect()

    assert text


async def test_closing_from_another_task_wakes_the_reader(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    server.reply(["a", "b"], stop="silence", stop_after=1)
    stream = await open_stream(client)
    reader = asyncio.create_task(read_all(stream))
    await asyncio.sleep(0.02)
    asked = time.monotonic()

    closing = stream.aclose()
    with pytest.raises(StopIteration):
        closing.send(None)
    with pytest.raises(ClosedError) as caught:
        await reader

    assert time.monotonic() - asked < 2
    assert caught.value.partial is not None
    assert caught.value.partial.text == "a"
    assert [record.outcome for record in records] == ["closed"]
    with pytest.raises(ClosedError):
        await anext(stream)


async def test_closed_stream_cannot_be_read(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(["a", "b"])
    async with client.chat.send(HELLO, stream=True) as stream:
        await anext(stream)
    text = stream.partial.text if stream.partial else ""

    with pytest.raises(ClosedError):
        await anext(stream)
    with pytest.raises(ClosedError):
        await stream.collect()
    with pytest.raises(ConfigurationError):
        _ = stream.response
    assert text == "a"


async def test_stream_is_read_in_several_loops_and_after_its_end(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(["a", "b", "c"])
    async with client.chat.send(HELLO, stream=True) as stream:
        async for chunk in stream:
            if chunk.text == "a":
                break
        response = await stream.collect()
        again = await stream.collect()
        rest = await read_all(stream)

    assert (response.text, rest) == ("abc", "")
    assert again == response
    assert await read_all(stream) == ""
    assert stream.partial == response


async def test_second_reader_is_rejected(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(["a", "b"], chunk_delay=0.05)
    async with client.chat.send(HELLO, stream=True) as stream:
        first = asyncio.create_task(read_all(stream))
        await asyncio.sleep(0.02)
        with pytest.raises(ConfigurationError, match="Two tasks"):
            await read_all(stream)
        text = await first

    assert text == "ab"


async def test_cancelling_the_reader_closes_the_stream(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    server.reply(["a", "b"], stop="silence", stop_after=1)
    stream = await open_stream(client)
    reader = asyncio.create_task(read_all(stream))
    await asyncio.sleep(0.02)

    reader.cancel()
    await asyncio.wait([reader])
    await server.until(closed=1)

    assert reader.cancelled()
    assert client.stats.in_use == 0
    assert [record.outcome for record in records] == ["cancelled"]
    with pytest.raises(ClosedError, match="cancelled"):
        await anext(stream)


async def test_cancellation_while_waiting_for_the_end_of_the_body_keeps_the_response(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    body = b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\ndata: [DONE]\n\n'
    server.reply(
        body=body + b" " * 9,
        content_type="text/event-stream",
        stop="silence",
        stop_at=len(body),
    )
    stream = await open_stream(client)
    await anext(stream)
    reader = asyncio.create_task(read_all(stream))
    await asyncio.sleep(0.02)
    text = stream.response.text
    other = await read_all(stream)

    reader.cancel()
    await asyncio.wait([reader])
    await server.until(closed=1)

    assert (text, other) == ("hi", "")
    assert client.stats.in_use == 0
    assert [record.outcome for record in records] == ["ok"]


async def test_partial_has_the_chunks_returned_so_far(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(["a", "b"])
    seen: list[str] = []

    async with client.chat.send(HELLO, stream=True) as stream:
        nothing = stream.partial
        async for _ in stream:
            assert stream.partial is not None
            seen.append(stream.partial.text)

    assert nothing is None
    assert "a" in seen
    assert seen[-1] == "ab"
    assert stream.partial == stream.response
