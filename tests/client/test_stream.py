"""ChatStream: how it is read, ended, left, and what it tells of itself."""

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
    """Open a stream without entering it."""
    return await client.chat.send(HELLO, stream=True)


async def until_pooled(client: AsyncOpenRouter) -> None:
    """Wait until a connection is back in the pool: all of a stream has arrived."""
    async with asyncio.timeout(1):
        while not client.stats.idle:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


async def test_chunks_arrive_one_by_one_and_add_up(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    """Iterating gives the chunks; `reply` is their sum, with usage and the exchange."""
    server.reply(["he", "llo"])

    async with client.chat.send(HELLO, stream=True) as stream:
        texts = [chunk.text async for chunk in stream]
    reply = stream.response

    assert [text for text in texts if text] == ["he", "llo"]
    assert reply.text == "hello"
    assert reply.finish_reason == "stop"
    assert reply.http is stream.http
    assert reply.http.generation_id == server.requests[0].generation_id
    assert reply.http.status == 200
    assert (reply.usage.completion_tokens or 0) > 0
    assert "ended" in repr(stream)
    assert [(r.outcome, r.stream, r.usage) for r in records] == [
        ("ok", True, reply.usage)
    ]


async def test_done_gives_the_connection_back(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A stream that was read to its end leaves its connection to the next call."""
    async with client.chat.send(HELLO, stream=True) as stream:
        await read_all(stream)
        idle = client.stats.idle
    await client.chat.send(HELLO)

    assert idle == 1
    assert [request.connection for request in server.requests] == [1, 1]
    assert server.stats.closed_early == 0


async def test_leaving_a_stream_that_has_all_arrived_hurts_nobody(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A connection that went back to the pool belongs to whoever has it now."""
    stream = await open_stream(client)
    await until_pooled(client)
    server.reply("hello", delay=0.05)
    other = asyncio.create_task(client.chat.send(HELLO))
    await server.until(requests=2)

    await stream.aclose()

    assert (await other).text == "hello"
    assert [request.connection for request in server.requests] == [1, 1]


async def test_an_error_in_a_stream_that_has_all_arrived_hurts_nobody(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The same, where the stream ends by an error that was in its bytes."""
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


async def test_data_behind_done_is_not_read(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """`[DONE]` is the end, whatever follows; a body that goes on is cut."""
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
async def test_a_finish_reason_is_an_end_too(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    records: list[CallRecord],
    stop: Any,
) -> None:
    """Without `[DONE]` a finish reason will do, and what breaks behind it is no loss."""
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
    """`[DONE]` alone says that all has come."""
    server.reply("hello", finish=False, done=True)

    async with client.chat.send(HELLO, stream=True) as stream:
        reply = await stream.collect()

    assert (reply.text, reply.finish_reason) == ("hello", None)


@pytest.mark.parametrize(
    ("stop", "raised"),
    [
        ("end", StreamInterruptedError),
        ("close", APIConnectionError),
        ("reset", APIConnectionError),
    ],
)
async def test_a_cut_stream_raises_with_what_had_arrived(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    records: list[CallRecord],
    stop: Any,
    raised: type[OpenRouterError],
) -> None:
    """Half an answer is never taken for the whole."""
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


async def test_a_502_in_the_middle_raises_its_class(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """An error event ends the stream by its code's class, with what had arrived."""
    server.reply(["he", "llo"], error=StreamError(code=502), error_after=1)

    async with client.chat.send(HELLO, stream=True) as stream:
        with pytest.raises(BadGatewayError) as caught:
            await read_all(stream)

    assert caught.value.partial is not None
    assert caught.value.partial.text == "he"
    assert pickle.loads(pickle.dumps(caught.value)).partial.text == "he"


async def test_an_event_that_is_no_json_is_malformed(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """What is no JSON ends the stream; the connection is not used again."""
    server.reply(chunks=[{"choices": [{"delta": {"content": "he"}}]}, "{oops"])

    async with client.chat.send(HELLO, stream=True) as stream:
        with pytest.raises(MalformedResponseError) as caught:
            await read_all(stream)

    assert caught.value.partial is not None
    assert caught.value.partial.text == "he"
    assert stream.http.attempts[0].billing != "not_accepted"


async def test_an_event_may_not_outgrow_its_limit(
    server: LocalOpenRouter, make_client: Any
) -> None:
    """An event beyond `SizeLimits.event_bytes` is malformed, not kept in memory."""
    client: AsyncOpenRouter = make_client(size_limits=SizeLimits(event_bytes=2000))
    server.reply(["a", "b" * 500_000, "c"], chunk_delay=0.02)

    async with client.chat.send(HELLO, stream=True) as stream:
        with pytest.raises(MalformedResponseError) as caught:
            await read_all(stream)

    assert caught.value.partial is not None
    assert caught.value.partial.text == "a"


async def test_a_bare_loop_stays_open_after_a_break(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A `break` is not seen: the stream goes on where it was, until `aclose()`."""
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


async def test_garbage_warns_and_closes(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    """A stream that nobody holds warns, naming `async with`, and its socket is closed."""
    server.reply(["a", "b"], stop="silence", stop_after=1)
    stream = await open_stream(client)
    await anext(stream)

    with pytest.warns(ResourceWarning, match="async with"):  # noqa: PT031
        del stream
        gc.collect()
    await server.until(closed=1, timeout=1)

    assert client.stats.in_use == 0
    assert [record.outcome for record in records] == ["closed"]


async def test_an_ended_stream_is_silent_garbage(client: AsyncOpenRouter) -> None:
    """Reading to the end is enough; no block is needed for it."""
    stream = await open_stream(client)
    text = await read_all(stream)
    del stream
    gc.collect()

    assert text


async def test_closing_from_another_task_wakes_the_reader(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    """`aclose()` from anywhere ends a waiting reader with a ClosedError, at once."""
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


async def test_a_closed_stream_cannot_be_read(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """What had arrived stays; what is asked for after the block is a ClosedError."""
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


async def test_a_stream_may_be_read_in_pieces_and_after_its_end(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Loops go on where the last one stopped; behind the end there is nothing."""
    server.reply(["a", "b", "c"])
    async with client.chat.send(HELLO, stream=True) as stream:
        async for chunk in stream:
            if chunk.text == "a":
                break
        reply = await stream.collect()
        again = await stream.collect()
        rest = await read_all(stream)

    assert (reply.text, rest) == ("abc", "")
    assert again == reply
    assert await read_all(stream) == ""
    assert stream.partial == reply


async def test_two_readers_are_refused(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The second reader is told so; the first one reads on."""
    server.reply(["a", "b"], chunk_delay=0.05)
    async with client.chat.send(HELLO, stream=True) as stream:
        first = asyncio.create_task(read_all(stream))
        await asyncio.sleep(0.02)
        with pytest.raises(ConfigurationError, match="Two tasks"):
            await read_all(stream)
        text = await first

    assert text == "ab"


async def test_a_reader_that_is_cancelled_ends_the_stream(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    """Outside of a block, too, a cancelled read lets go of the socket."""
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


async def test_a_cancel_at_done_loses_nothing(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    """While the end of the body is waited for, the reply is there already."""
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


async def test_partial_grows(server: LocalOpenRouter, client: AsyncOpenRouter) -> None:
    """`partial` is what has arrived: nothing, then more and more of the reply."""
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


async def test_the_opening_raises_until_the_first_event(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Errors before the first event raise where the stream is opened, comments aside."""
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
    """What was received is in `partial`: it may have been paid for."""
    body = {"id": "gen-5", "choices": [], "usage": {"total_tokens": 31}}
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


async def test_a_stream_without_an_event_is_interrupted(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A body that ends with nothing but comments is no stream."""
    server.reply("x", stop="end", stop_after=0)

    with pytest.raises(StreamInterruptedError, match="first event") as caught:
        await open_stream(client)

    assert caught.value.partial is None


async def test_a_completion_in_place_of_a_stream_is_one_chunk(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    """JSON answered to a stream request is read as a stream of one chunk."""
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


async def test_a_completion_in_place_of_a_stream_may_be_left(
    server: LocalOpenRouter, make_client: Any, records: list[CallRecord]
) -> None:
    """It holds a slot until it is left, and its connection is in the pool meanwhile."""
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
async def test_an_error_in_place_of_a_stream_raises(
    server: LocalOpenRouter, client: AsyncOpenRouter, content_type: str
) -> None:
    """JSON with an error, in a 200, raises where the stream is opened."""
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
async def test_something_else_in_place_of_a_stream_is_malformed(
    server: LocalOpenRouter, client: AsyncOpenRouter, text: str, content_type: str
) -> None:
    """What is neither events nor an object raises where the stream is opened."""
    server.reply(text=text, content_type=content_type)

    with pytest.raises(MalformedResponseError):
        await open_stream(client)

    assert len(server.requests) == 1


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", ""])
async def test_events_of_another_media_type_are_events(
    server: LocalOpenRouter, client: AsyncOpenRouter, content_type: str
) -> None:
    """A media type that says nothing is judged by the first byte."""
    server.reply("hello", headers={"Content-Type": content_type}, write_bytes=7)

    async with client.chat.send(HELLO, stream=True) as stream:
        text = await read_all(stream)

    assert text == "hello"


async def test_events_in_place_of_a_completion_are_folded(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """SSE answered to a plain request is a reply; cut off it is none."""
    content = ["he", "llo"]
    sse = b"".join(
        b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % word.encode()
        for word in content
    )
    server.reply(body=sse + b"data: [DONE]\n\n", content_type="text/event-stream")
    server.reply(body=sse, content_type="text/event-stream")

    reply = await client.chat.send(HELLO)
    with pytest.raises(StreamInterruptedError) as caught:
        await client.chat.send(HELLO)

    assert reply.text == "hello"
    assert caught.value.partial is not None
    assert caught.value.partial.text == "hello"


async def test_a_stream_is_cut_where_the_network_likes(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """One byte a read gives the same chunks."""
    server.reply("Grüße, 世界!", write_bytes=3)
    server.reply("Grüße, 世界!")

    async with client.chat.send(HELLO, stream=True) as slow:
        first = await read_all(slow)
    async with client.chat.send(HELLO, stream=True) as quick:
        second = await read_all(quick)

    assert first == second == "Grüße, 世界!"


async def test_an_error_at_the_opening_is_told_once(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    """A stream that was never opened is one record as well."""
    server.reply(error_reply(400), delay=0.01)

    with pytest.raises(APIError):
        await open_stream(client)

    assert [(r.outcome, r.stream) for r in records] == [("error", True)]


async def test_the_clients_end_is_told_to_a_stream_nobody_reads(
    server: LocalOpenRouter, make_client: Any
) -> None:
    """A stream that was ended while nobody read says why when it is read."""
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
