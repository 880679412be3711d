"""Relays write the same bytes for chunks of templates as for decoded chunks."""

# Tests look at private attributes.
# pyright: reportPrivateUsage=false

from collections.abc import Callable, Sequence
from random import Random

import pytest
from template_streams import (
    DONE,
    FINISH,
    arguments,
    call,
    content,
    invent,
    open_pieces,
    piece,
    reasoning,
    split,
    templates,
)

from openrouter_async import OpenRouterError
from openrouter_async.protocol.templates import Template
from openrouter_async.relay import (
    AISDKFormat,
    OpenAIFormat,
    PlainTextFormat,
    RelayFormat,
    SSEFormat,
)
from openrouter_async.relay.chunk_writer import ChunkWriter
from openrouter_async.tools.events import EventBuilder, ToolEvent
from openrouter_async.types import ChatStreamingResponseChunk

RARE = "\x00text\x00"


async def relayed(pieces: Sequence[bytes]) -> tuple[list[bytes], list[bool]]:
    """
    Return the bytes of each chunk in three formats, in order, and the error at last.

    The second list says of which chunks nothing but the text was decoded.
    """
    events, openai = EventBuilder(), OpenAIFormat("id", 7)
    by_event = (SSEFormat(), AISDKFormat())
    written: list[bytes] = []
    lazy: list[bool] = []
    stream = open_pieces(pieces)[0]
    try:
        async for chunk in stream:
            for event in events.feed(chunk):
                written += [each.event(event) for each in by_event]
            written.append(openai.chunk(chunk))
            lazy.append(isinstance(chunk._raw, Template))
    except OpenRouterError as error:
        written.append(repr(error).encode())
    return written, lazy


async def both(*pieces: bytes) -> tuple[list[bytes], list[bool]]:
    """Return `relayed`, which must write the same bytes without templates."""
    with templates(enabled=False):
        decoded, none_lazy = await relayed(pieces)
    written, lazy = await relayed(pieces)

    assert written == decoded
    assert not any(none_lazy)
    return written, lazy


class Shouting(SSEFormat):
    """A subclass that changes single events."""

    def event(self, event: ToolEvent) -> bytes:
        return super().event(event).upper()


class Wrapped:
    """A format that passes chunks to another one."""

    headers = OpenAIFormat.headers

    def __init__(self) -> None:
        self.inner = OpenAIFormat("id", 7)
        self.event, self.begin = self.inner.event, self.inner.begin
        self.end, self.error = self.inner.end, self.inner.error

    def chunk(self, chunk: ChatStreamingResponseChunk) -> bytes:
        return self.inner.chunk(chunk)


class Plain(PlainTextFormat):
    """A subclass that gets events, one by one."""


async def written(make: Callable[[], RelayFormat], pieces: Sequence[bytes]) -> bytes:
    """Return what a relay writes of a stream in a format."""
    buffer = bytearray()
    writer = ChunkWriter(make(), buffer)
    stream = open_pieces(pieces)[0]
    try:
        while runs := await stream.read_runs():
            for run in runs:
                writer.write(run)
        writer.finish(stream.response)
    except OpenRouterError as error:
        buffer += repr(error).encode()
    return bytes(buffer)


FORMATS: list[Callable[[], RelayFormat]] = [
    SSEFormat,
    AISDKFormat,
    lambda: OpenAIFormat("id", 7),
    PlainTextFormat,
    Shouting,
    Wrapped,
    Plain,
]


async def assert_same_bytes(*pieces: bytes) -> None:
    """Check that all formats write the same bytes with and without templates."""
    for make in FORMATS:
        with templates(enabled=False):
            decoded = await written(make, pieces)
        assert await written(make, pieces) == decoded


@pytest.mark.parametrize("seed", range(150))
async def test_runs_of_chunks_are_written_as_decoded_chunks(seed: int) -> None:
    random = Random(seed)
    await assert_same_bytes(*split(invent(random), random))


@pytest.mark.parametrize("make", [content, reasoning, arguments])
async def test_runs_with_difficult_texts_are_written_as_decoded_chunks(
    make: Callable[[str], bytes],
) -> None:
    texts = ["a", "b", 'x",', "y\\", "", ",", '"c\\\n\N{EURO SIGN}', "", RARE, "{}"]
    begun = call("f", "c1")
    await assert_same_bytes(begun, make("a"), *map(make, texts), FINISH, DONE)
    await assert_same_bytes(begun + make("a"), b"".join(map(make, texts)), DONE)
    await assert_same_bytes(begun + make("a"), make("b"), make("") + make(""), DONE)


async def test_runs_of_another_choice_have_no_events() -> None:
    events = [content(text, choice={"index": 1}) for text in "abcdef"]
    await assert_same_bytes(events[0], events[1], b"".join(events[2:]), FINISH, DONE)


async def test_runs_whose_text_may_be_elsewhere_are_written_one_by_one() -> None:
    events = [piece({"content": text}, model=RARE) for text in "abcdef"]
    await assert_same_bytes(events[0], events[1], b"".join(events[2:]), FINISH, DONE)


@pytest.mark.parametrize("seed", range(150))
async def test_invented_streams_are_relayed_as_without_templates(seed: int) -> None:
    random = Random(seed)
    await both(*split(invent(random), random))


@pytest.mark.parametrize("make", [content, reasoning, arguments])
async def test_chunks_of_a_template_are_relayed_without_decoding_them(
    make: Callable[[str], bytes],
) -> None:
    texts = ["a", "b", '"c\\\n\N{EURO SIGN}', "", RARE, "{}"]
    written, lazy = await both(call("f", "c1"), *map(make, texts))

    # The arguments are events of a call, which look at the fragments.
    assert lazy[3:] == [make is not arguments] * 4
    assert b'"id":"id"' in written[-2]


async def test_text_of_another_choice_is_no_event() -> None:
    events = [content(text, choice={"index": 1}) for text in "abcd"]
    written, _ = await both(*events)

    assert len(written) == len(events) + 1


async def test_text_that_stands_for_texts_may_be_elsewhere() -> None:
    events = [piece({"content": text}, model=RARE) for text in "abcdef"]
    written, _ = await both(*events)

    assert len({*written}) == len(written) == 3 * len(events) + 1
