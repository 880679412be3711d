"""ChatStream: reading, the end, errors, closing, partial and whole responses."""

import asyncio
import gc
import math
import pickle
import time
from typing import Any

import pytest
from support import HELLO, read_all

from openrouter_async import (
    APIConnectionError,
    APIError,
    AsyncOpenRouter,
    BadGatewayError,
    CallRecord,
    ChatStream,
    ClosedError,
    ConfigurationError,
    MalformedResponseError,
    OpenRouterError,
    RateLimitError,
    Retries,
    SizeLimits,
    StreamInterruptedError,
)
from openrouter_async.testing import (
    LocalOpenRouter,
    StreamError,
    completion,
    error_reply,
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
    assert 0.09 < time.monotonic() - started < 0.6
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

    assert time.monotonic() - asked < 0.1
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


async def test_error_before_the_first_event_is_raised_by_opening(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(
        "x", comments=3, before_token=0.02, error=StreamError(code=429), error_after=0
    )

    with pytest.raises(RateLimitError) as caught:
        async with client.chat.send(
            HELLO, stream=True, retries=Retries(max_attempts=1)
        ):
            pytest.fail("it was entered")

    assert caught.value.http.status == 200
    assert client.stats.in_use == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_response_without_choices_and_without_an_error_is_malformed(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    """The usage that was received may have been paid for; it is in `partial`."""
    body: dict[str, Any] = {"id": "gen-5", "choices": [], "usage": {"total_tokens": 31}}
    server.reply(chunks=[body], done=True) if stream else server.reply(json=body)
    server.reply(chunks=[], done=True)

    async def ask() -> object:
        if stream:
            return await (await open_stream(client)).collect()
        return await client.chat.send(HELLO)

    with pytest.raises(MalformedResponseError, match="neither choices nor") as caught:
        await ask()
    with pytest.raises(MalformedResponseError) as empty:
        await open_stream(client)

    assert caught.value.partial is not None
    assert caught.value.partial.usage.total_tokens == 31
    assert caught.value.partial.id == "gen-5"
    assert empty.value.partial is None


async def test_stream_without_an_event_is_interrupted(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("x", stop="end", stop_after=0)

    with pytest.raises(StreamInterruptedError, match="first event") as caught:
        await open_stream(client)

    assert caught.value.partial is None


async def test_completion_sent_for_a_stream_request_is_one_chunk(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    body = completion("hello", reasoning="why")
    server.reply(json=body)

    async with client.chat.send(HELLO, stream=True) as stream:
        chunks = [chunk async for chunk in stream]

    assert [chunk.text for chunk in chunks] == ["hello"]
    assert stream.response.text == "hello"
    assert stream.response.reasoning == "why"
    assert stream.response.usage == records[0].usage
    assert stream.http.timings.first_token is not None
    assert client.stats.idle == 1
    assert [record.outcome for record in records] == ["ok"]


async def test_completion_sent_for_a_stream_request_holds_a_slot_until_it_is_closed(
    server: LocalOpenRouter, make_client: Any, records: list[CallRecord]
) -> None:
    client: AsyncOpenRouter = make_client()
    server.reply(json=completion("hello"), times=2)

    async with client.chat.send(HELLO, stream=True):
        held = client.stats
    stream = await open_stream(client)
    await client.aclose()
    await anext(stream)
    with pytest.raises(ClosedError):
        await anext(stream)

    assert (held.in_use, held.idle) == (1, 1)
    assert [record.outcome for record in records] == ["closed", "closed"]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
async def test_error_sent_for_a_stream_request_is_raised_by_opening(
    server: LocalOpenRouter, client: AsyncOpenRouter, content_type: str
) -> None:
    server.reply(
        text='{"error": {"code": 403, "message": "no"}}', content_type=content_type
    )

    with pytest.raises(APIError, match="no") as caught:
        await open_stream(client)

    assert caught.value.status_code == 403


@pytest.mark.parametrize(
    ("text", "content_type"),
    [
        ("<html><title>Log in</title></html>", "text/html"),
        ("<html><title>Log in</title></html>", "text/plain"),
        ("[1]", "application/json"),
        ("", "application/json"),
        ("  ", "text/plain"),
    ],
)
async def test_other_body_sent_for_a_stream_request_is_malformed(
    server: LocalOpenRouter, client: AsyncOpenRouter, text: str, content_type: str
) -> None:
    server.reply(text=text, content_type=content_type)

    with pytest.raises(MalformedResponseError):
        await open_stream(client)

    assert len(server.requests) == 1


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", ""])
async def test_events_are_recognized_whatever_their_media_type(
    server: LocalOpenRouter, client: AsyncOpenRouter, content_type: str
) -> None:
    server.reply("hello", headers={"Content-Type": content_type}, write_bytes=7)

    async with client.chat.send(HELLO, stream=True) as stream:
        text = await read_all(stream)

    assert text == "hello"


async def test_events_sent_for_a_plain_request_are_accumulated(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    content = ["he", "llo"]
    sse = b"".join(
        b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % word.encode()
        for word in content
    )
    server.reply(body=sse + b"data: [DONE]\n\n", content_type="text/event-stream")
    server.reply(body=sse, content_type="text/event-stream")

    response = await client.chat.send(HELLO)
    with pytest.raises(StreamInterruptedError) as caught:
        await client.chat.send(HELLO)

    assert response.text == "hello"
    assert caught.value.partial is not None
    assert caught.value.partial.text == "hello"


async def test_chunks_do_not_depend_on_the_sizes_of_reads(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("Grüße, 世界!", write_bytes=3)
    server.reply("Grüße, 世界!")

    async with client.chat.send(HELLO, stream=True) as slow:
        first = await read_all(slow)
    async with client.chat.send(HELLO, stream=True) as quick:
        second = await read_all(quick)

    assert first == second == "Grüße, 世界!"


async def test_error_of_an_opening_is_reported_once(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    server.reply(error_reply(400), delay=0.01)

    with pytest.raises(APIError):
        await open_stream(client)

    assert [(r.outcome, r.stream) for r in records] == [("error", True)]


async def test_stream_that_nobody_reads_reports_the_end_of_its_client(
    server: LocalOpenRouter, make_client: Any
) -> None:
    client: AsyncOpenRouter = make_client()
    server.reply("a b c", delay=0, stop="silence", stop_after=1)
    stream = await open_stream(client)

    await client.aclose()
    await server.until(closed=1)
    with pytest.raises(ClosedError, match="client was closed"):
        await read_all(stream)
    await stream.aclose()

    assert math.isclose(client.stats.in_use, 0)


async def test_stream_closed_before_its_first_chunk_was_read_gives_no_chunk(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    stream = await open_stream(client)
    await stream.aclose()

    assert stream.partial is None
    with pytest.raises(ClosedError):
        await anext(stream)
