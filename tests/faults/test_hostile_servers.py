"""Malicious or broken servers: memory and time stay bounded."""

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import Callable, Sequence

import pytest
from calls import call, make_client, open_stream
from covers import covers
from fault_rows import Kind, nested
from leaks import assert_at_rest, memory_below, no_leaks
from script import (
    COMPLETION,
    HELLO,
    LAST_CHUNK,
    STREAM,
    ScriptServer,
    Step,
    chunk,
    close,
    event,
    flood,
    http,
    http_chunk,
    read,
    send,
    sse,
)

from openrouter_async import (
    APITimeoutError,
    ChatResponse,
    MalformedResponseError,
    OpenRouterError,
    ServiceUnavailableError,
    SizeLimits,
    Timeouts,
)

KINDS: Sequence[Kind] = ("plain", "stream")
both = pytest.mark.parametrize("kind", KINDS)
MIB = 1024 * 1024


def chunked_head(kind: Kind, *headers: str, status: str = "200 OK") -> bytes:
    """Return the head of a chunked response."""
    media = "application/json" if kind == "plain" else "text/event-stream"
    return http(
        b"", status, "Transfer-Encoding: chunked", *headers, media=media, length=None
    )


def bomb(kind: Kind, size: int, *, status: str = "200 OK", start: bytes = b"") -> Step:
    """
    Return a step that sends `size` zeros, compressed by gzip.

    The same compressed MiB is repeated, which a full flush before it makes possible.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(b"0" * MIB) + packer.flush(zlib.Z_FULL_FLUSH)
    opening = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + first
    data = chunked_head(kind, "Content-Encoding: gzip", status=status) + http_chunk(
        opening
    )
    return flood(http_chunk(zeros * 16), size // MIB * len(zeros), data)


@covers("F49", "a gzip bomb, 1 MB -> 1 GiB", "`MalformedResponseError`, bounded memory")
@both
async def test_gzip_bomb_is_malformed_at_the_size_limit(kind: Kind) -> None:
    limits = SizeLimits(body_bytes=4 * MIB, event_bytes=4 * MIB)
    async with no_leaks(), ScriptServer() as server:
        start = b"" if kind == "plain" else b"data: "
        server.script(read, bomb(kind, 1024 * MIB, start=start))
        async with make_client(
            server, size_limits=limits, timeouts=Timeouts(total=20)
        ) as client:
            with memory_below(24 * MIB):
                with pytest.raises(MalformedResponseError, match="larger than"):
                    await call(client, kind)
                await server.wait_until_closed()

            assert_at_rest(client)
            assert (await call(client, kind)).text == "hello"


@covers("F49", "a gzip bomb with an error status", "its class, bounded memory")
@both
async def test_gzip_bomb_in_an_error_is_cut_at_error_bytes(kind: Kind) -> None:
    async with no_leaks(), ScriptServer() as server:
        for _ in range(3):
            server.script(read, bomb(kind, 256 * MIB, status="503 Busy"))
        async with make_client(server) as client:
            with memory_below(24 * MIB):
                with pytest.raises(ServiceUnavailableError) as caught:
                    await call(client, kind)
                await server.wait_until_closed()

            assert len(caught.value.body) <= SizeLimits().error_bytes
            assert len(str(caught.value)) < 500
            assert_at_rest(client)


async def test_large_compressed_response_is_read_whole() -> None:
    """The connection is closed after the body, or stays open."""
    text = "hello " * 2_000_000
    choice = {"message": {"role": "assistant", "content": text}}
    body = gzip.compress(json.dumps({**COMPLETION, "choices": [choice]}).encode())
    closing = ("Content-Encoding: gzip", "Connection: close")
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        server.script(read, send(http(body, "200 OK", *closing)), close)
        assert (await call(client)).text == text

        server.script(read, send(http(body, "200 OK", closing[0])))
        assert (await call(client)).text == text


FLOODS: dict[str, tuple[Callable[[Kind], bytes], bytes]] = {
    "a header line": (lambda _: b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536),
    "headers": (lambda _: b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n" * 9999),
    "a body": (
        lambda kind: http(b"", media=_media(kind), length=2**40) + b'{"a": "',
        b"x" * 65536,
    ),
}


def _media(kind: Kind) -> str:
    return "application/json" if kind == "plain" else "text/event-stream"


@covers("F32", "an endless header line, or endless headers", "`MalformedResponseError`")
@covers("F70", "an endless body or line", "`MalformedResponseError`")
@pytest.mark.parametrize("name", FLOODS)
@both
async def test_endless_headers_bodies_and_lines_are_malformed(
    kind: Kind, name: str
) -> None:
    start, more = FLOODS[name]
    limits = SizeLimits(body_bytes=4 * MIB, event_bytes=4 * MIB)
    async with no_leaks(), ScriptServer() as server:
        server.script(read, flood(more, 256 * MIB, start(kind)))
        async with make_client(server, size_limits=limits) as client:
            with memory_below(20 * MIB), pytest.raises(MalformedResponseError):
                await call(client, kind)
            await server.wait_until_closed()

            assert server.flooded < 64 * MIB
            assert (await call(client, kind)).text == "hello"


@covers("F70", "endless white space or comments", "`APITimeoutError`, bounded memory")
@pytest.mark.parametrize("what", ["white space", "comments", "blank lines", "ids"])
async def test_endless_data_without_content_ends_by_first_token(what: str) -> None:
    kind: Kind = "plain" if what == "white space" else "stream"
    more = {
        "white space": b" \n" * 4096,
        "comments": b": on it\n\n" * 1024,
        "blank lines": b"\n" * 8192,
        "ids": b"id: 1\nretry: 1\nevent: x\n\n" * 512,
    }[what]
    start = http(b"", media=_media(kind), length=2**40)
    async with no_leaks(), ScriptServer() as server:
        server.script(read, flood(more, 2**33, start))
        async with make_client(server) as client:
            with (
                memory_below(8 * MIB),
                pytest.raises(APITimeoutError, match="first_token"),
            ):
                await call(client, kind, timeouts=Timeouts(first_token=0.3))
            await server.wait_until_closed()

            assert_at_rest(client)


@covers("F70", "stream: a line of 32 MiB", "the event")
async def test_large_event_within_the_limits_is_read(*, long: bool) -> None:
    size = 32 * MIB if long else 8 * MIB
    async with no_leaks(), ScriptServer() as server:
        data = http_chunk(chunk("x" * size)) + http_chunk(STREAM) + LAST_CHUNK
        server.script(read, send(chunked_head("stream") + data))
        async with make_client(server, timeouts=Timeouts(total=60)) as client:
            response = await call(client, "stream")

    assert response.text == "x" * size + "hello"


@covers(
    "F70",
    "stream: a line beyond `event_bytes`",
    "`MalformedResponseError`, with `partial`",
)
async def test_event_beyond_its_limit_keeps_the_partial_response() -> None:
    async with no_leaks(), ScriptServer() as server:
        start = http(b"", media="text/event-stream", length=2**40) + chunk("hel")
        server.script(read, flood(b"x" * 65536, 64 * MIB, start + b"data: "))
        async with make_client(
            server, size_limits=SizeLimits(event_bytes=MIB)
        ) as client:
            with pytest.raises(MalformedResponseError) as caught:
                await call(client, "stream")

            assert caught.value.partial is not None
            assert caught.value.partial.text == "hel"
            assert_at_rest(client)


def choices(count: int) -> bytes:
    """Return a response with many choices."""
    return b'{"id":"gen-1","choices":[' + b",".join([b"{}"] * count) + b"]}"


@covers("F53", "1,000,000 choices", "the response")
@both
async def test_many_choices_are_read_in_linear_time(kind: Kind, *, long: bool) -> None:
    count = 1_000_000 if long else 20_000
    async with no_leaks(), ScriptServer() as server:
        body = choices(count)
        data = http(body) if kind == "plain" else sse(event(body.decode()) + STREAM)
        server.script(read, send(data))
        async with make_client(server, timeouts=Timeouts(total=120)) as client:
            began = time.monotonic()
            response = await call(client, kind)

            assert len(response.choices) in {count, 1}
            assert time.monotonic() - began < (60 if long else 30)


def with_text(text: bytes, kind: Kind) -> bytes:
    """Return a response with these bytes as its text."""
    if kind == "plain":
        return http(HELLO.replace(b'"hello"', b'"' + text + b'"'))
    return sse(STREAM.replace(b'"hel"', b'"' + text + b'"').replace(b'"lo"', b'""'))


TEXTS: dict[str, tuple[bytes, str]] = {
    "bytes that are not UTF-8": (b"a\xff\xfeb", "a\ufffd\ufffdb"),
    "half a character": (b"a\xe2\x82b", "a\ufffdb"),
    "a lone surrogate": (b"a\\ud800b", "a\ufffdb"),
    "a pair of surrogates": (b"\\ud83d\\ude00", "\U0001f600"),
    "NUL, escaped": (b"a\\u0000b", "a\0b"),
    "line separators": ("a\u2028b\u0085c".encode(), "a\u2028b\u0085c"),
}


@covers(
    "F74",
    "invalid UTF-8, lone surrogates, NUL, line separators",
    "the text, with U+FFFD",
)
@pytest.mark.parametrize("name", TEXTS)
@both
async def test_invalid_characters_are_replaced(kind: Kind, name: str) -> None:
    sent, text = TEXTS[name]
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        server.script(read, send(with_text(sent, kind)))

        assert (await call(client, kind)).text == text


def with_field(field: str, kind: Kind) -> bytes:
    """Return a valid response with one more field."""
    if kind == "plain":
        return http(HELLO.replace(b"{", b"{" + field.encode() + b",", 1))
    return sse(STREAM.replace(b"{", b"{" + field.encode() + b",", 1))


@covers("F57", "duplicate keys, huge numbers, -0", "the response")
@pytest.mark.parametrize(
    "field",
    [
        '"id":"x","id":"y"',
        '"created":' + "9" * 400,
        '"created":18446744073709551616',
        '"created":-0',
        '"created":1e400',
        '"new":' + "[" * 900 + "]" * 900,
    ],
)
@both
async def test_unusual_json_is_read_or_malformed(kind: Kind, field: str) -> None:
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        server.script(read, send(with_field(field, kind)))
        try:
            response: ChatResponse | None = await call(client, kind)
        except MalformedResponseError as error:
            assert "1e400" in field or "9" * 400 in field
            assert len(str(error)) < 300  # noqa: PT017 - either outcome is valid
        else:
            assert response is not None
            assert response.text == "hello"
            assert isinstance(response.created, int | None)
        assert_at_rest(client)


@covers("F57", "NaN and Infinity", "the response; the number is None")
@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
@both
async def test_number_that_is_not_finite_is_none(kind: Kind, literal: str) -> None:
    """NaN would spoil every sum; an error would lose a response that was billed."""
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        server.script(read, send(with_field(f'"score":{literal}', kind)))

        response = await call(client, kind)

        assert response is not None
        assert (response.text, response.raw["score"]) == ("hello", None)


@covers("F57", "an error nested 100,000 deep", "the class of its status")
@pytest.mark.parametrize("depth", [900, 100_000])
@both
async def test_deeply_nested_error_raises_the_class_of_its_status(
    kind: Kind, depth: int
) -> None:
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        response = http(nested(depth), "503 Busy")
        server.script(*(read, send(response)) * 3)

        with pytest.raises(ServiceUnavailableError) as caught:
            await call(client, kind)

        assert len(str(caught.value)) < 700
        assert_at_rest(client)


@covers("F57", "a nested completion sent for a stream request", "the response")
async def test_nested_completion_sent_for_a_stream_request_is_one_chunk() -> None:
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        deep = HELLO.replace(b"{", b'{"trace":' + nested(1010) + b",", 1)
        server.script(read, send(http(deep)), read, send(http(deep)))

        plain = await call(client, "plain")
        streamed = await call(client, "stream")

        assert plain.text == streamed.text == "hello"
        assert "trace" in streamed.raw
        assert_at_rest(client)


async def test_many_small_reads_take_linear_time(*, long: bool) -> None:
    text = "x" * (1_000_000 if long else 30_000)
    data = b"".join(http_chunk(bytes([byte])) for byte in chunk(text))
    async with no_leaks(), ScriptServer() as server:
        server.script(
            read,
            send(chunked_head("stream")),
            send(data),
            send(http_chunk(STREAM) + LAST_CHUNK),
        )
        async with make_client(server, timeouts=Timeouts(total=60)) as client:
            response = await call(client, "stream")

    assert response.text == text + "hello"


@covers(
    "F71", "server sends faster than the caller reads", "backpressure, bounded memory"
)
async def test_slow_reader_stops_the_server() -> None:
    """Unread data stays in the buffers of the socket (backpressure)."""
    block = http_chunk(chunk("x" * 1000) * 50)
    async with no_leaks(), ScriptServer() as server:
        server.script(read, flood(block, 2**30, chunked_head("stream")))
        async with make_client(server, timeouts=Timeouts()) as client:
            with memory_below(16 * MIB):
                async with open_stream(client) as stream:
                    await anext(stream)
                    await asyncio.sleep(0.3)
                    first = server.flooded
                    await asyncio.sleep(0.2)

                    assert server.flooded == first
            await server.wait_until_closed()
            assert_at_rest(client)


def test_defaults_of_the_size_limits() -> None:
    limits = SizeLimits()

    assert limits.event_bytes == 64 * MIB
    assert limits.body_bytes == 256 * MIB
    assert limits.error_bytes == MIB
    assert issubclass(MalformedResponseError, OpenRouterError)
