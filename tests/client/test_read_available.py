"""ChatStream.read_available: the chunks of one read, the end, and errors."""

import json
from typing import Any

import pytest
from support import HELLO

from openrouter_async import (
    AsyncOpenRouter,
    BadGatewayError,
    ChatStream,
    ChatStreamingResponseChunk,
    ClosedError,
    MalformedResponseError,
    OpenRouterError,
)
from openrouter_async.parsed import ParsedStream
from openrouter_async.testing import LocalOpenRouter, completion


def in_one_read(server: LocalOpenRouter, *events: dict[str, Any] | str) -> None:
    """Let the server send a stream by one write, which arrives in one read."""
    data = [event if isinstance(event, str) else json.dumps(event) for event in events]
    body = "".join(f"data: {text}\n\n" for text in [*data, "[DONE]"]).encode()
    server.reply(body=body, content_type="text/event-stream")


def content(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def texts(chunks: list[ChatStreamingResponseChunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


async def read_all_available(stream: ChatStream) -> list[str]:
    """Read to the end; return the text of each read."""
    reads: list[str] = []
    while chunks := await stream.read_available():
        reads.append(texts(chunks))
    return reads


async def test_chunks_of_one_read_are_returned_together(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    in_one_read(server, content("he"), content("l"), content("lo"))

    async with client.chat.send(HELLO, stream=True) as stream:
        chunks = await stream.read_available()
        partial = stream.partial
        end = await stream.read_available()
        again = await stream.read_available()

    assert texts(chunks) == "hello"
    assert partial is not None
    assert partial.text == "hello"
    assert (end, again) == ([], [])
    assert stream.response.text == "hello"
    assert client.stats.idle == 1


async def test_read_does_not_wait_for_more_than_what_was_received(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(["he", "llo"], stop="silence", stop_after=1)

    async with client.chat.send(HELLO, stream=True) as stream:
        chunks = await stream.read_available()
        while not texts(chunks):
            chunks = await stream.read_available()

    assert texts(chunks) == "he"


async def test_iteration_continues_where_read_available_stopped(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    in_one_read(server, content("a"), content("b"), content("c"))

    async with client.chat.send(HELLO, stream=True) as stream:
        first = await anext(stream)
        second = await stream.read_available()
        response = await stream.collect()

    assert (first.text, texts(second), response.text) == ("a", "bc", "abc")


@pytest.mark.parametrize(
    ("event", "raised"),
    [
        ({"error": {"code": 502, "message": "Gone"}}, BadGatewayError),
        ("{oops", MalformedResponseError),
    ],
)
async def test_error_is_raised_after_the_chunks_before_it_were_returned(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    event: dict[str, Any] | str,
    raised: type[OpenRouterError],
) -> None:
    in_one_read(server, content("he"), content("llo"), event)

    async with client.chat.send(HELLO, stream=True) as stream:
        chunks = await stream.read_available()
        with pytest.raises(raised) as caught:
            await stream.read_available()
        with pytest.raises(raised):
            await anext(stream)

    assert texts(chunks) == "hello"
    assert caught.value.partial is not None
    assert caught.value.partial.text == "hello"


async def test_events_after_done_are_not_read(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    in_one_read(server, content("hi"), "[DONE]", "nonsense")

    async with client.chat.send(HELLO, stream=True) as stream:
        reads = await read_all_available(stream)

    assert reads == ["hi"]
    assert stream.response.text == "hi"


async def test_event_without_a_chunk_is_skipped(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    in_one_read(server, content("he"), " ", content("llo"))

    async with client.chat.send(HELLO, stream=True) as stream:
        reads = await read_all_available(stream)

    assert reads == ["hello"]


async def test_completion_sent_for_a_stream_request_is_one_read(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(json=completion("hello"))

    async with client.chat.send(HELLO, stream=True) as stream:
        reads = await read_all_available(stream)

    assert reads == ["hello"]


async def test_closed_stream_raises(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    stream = await client.chat.send(HELLO, stream=True)
    await stream.aclose()

    with pytest.raises(ClosedError):
        await stream.read_available()


async def test_parsed_stream_has_its_output_at_the_end(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    in_one_read(server, content("[1, "), content("2]"))

    async with client.chat.send(HELLO, output=list[int], stream=True) as stream:
        assert isinstance(stream, ParsedStream)
        reads = await read_all_available(stream)
        output = stream.output

    assert "".join(reads) == "[1, 2]"
    assert output == [1, 2]
