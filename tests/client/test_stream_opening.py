"""Opening a stream: errors before its first chunk, and bodies of another kind."""

import math
from typing import Any

import pytest
from support import HELLO, read_all

from openrouter_async import (
    APIError,
    AsyncOpenRouter,
    CallRecord,
    ClosedError,
    MalformedResponseError,
    RateLimitError,
    Retries,
    StreamInterruptedError,
)
from openrouter_async.testing import (
    LocalOpenRouter,
    StreamError,
    completion,
    error_reply,
)


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
            return await (await client.chat.send(HELLO, stream=True)).collect()
        return await client.chat.send(HELLO)

    with pytest.raises(MalformedResponseError, match="neither choices nor") as caught:
        await ask()
    with pytest.raises(MalformedResponseError) as empty:
        await client.chat.send(HELLO, stream=True)

    assert caught.value.partial is not None
    assert caught.value.partial.usage.total_tokens == 31
    assert caught.value.partial.id == "gen-5"
    assert empty.value.partial is None


async def test_stream_without_an_event_is_interrupted(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("x", stop="end", stop_after=0)

    with pytest.raises(StreamInterruptedError, match="first event") as caught:
        await client.chat.send(HELLO, stream=True)

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
    stream = await client.chat.send(HELLO, stream=True)
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
        await client.chat.send(HELLO, stream=True)

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
        await client.chat.send(HELLO, stream=True)

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
        await client.chat.send(HELLO, stream=True)

    assert [(r.outcome, r.stream) for r in records] == [("error", True)]


async def test_stream_that_nobody_reads_reports_the_end_of_its_client(
    server: LocalOpenRouter, make_client: Any
) -> None:
    client: AsyncOpenRouter = make_client()
    server.reply("a b c", delay=0, stop="silence", stop_after=1)
    stream = await client.chat.send(HELLO, stream=True)

    await client.aclose()
    await server.until(closed=1)
    with pytest.raises(ClosedError, match="client was closed"):
        await read_all(stream)
    await stream.aclose()

    assert math.isclose(client.stats.in_use, 0)


async def test_stream_closed_before_its_first_chunk_was_read_gives_no_chunk(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    stream = await client.chat.send(HELLO, stream=True)
    await stream.aclose()

    assert stream.partial is None
    with pytest.raises(ClosedError):
        await anext(stream)
