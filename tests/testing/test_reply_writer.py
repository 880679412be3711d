import asyncio
import json
from typing import Any, Literal

import aiohttp
import pytest
from raw_client import (
    BODY,
    STREAM_BODY,
    address,
    complete,
    complete_text,
    parse_events,
    raw_request,
    read_stream,
    text_of,
)

from openrouter_async.testing import LocalOpenRouter, Reply
from openrouter_async.testing.reply import Stop
from openrouter_async.testing.reply_writer import close_transport


async def test_finish_done_and_stop_leave_out_the_end_of_a_stream(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply(["a", "b"], finish=False).then(["a", "b"], done=False)
    loop_server.reply(["a", "b"], stop="end", stop_after=1)

    first, second, third = [await read_stream(http) for _ in range(3)]

    assert [len(parse_events(stream)) for stream in (first, second, third)] == [2, 4, 1]
    assert [stream.endswith(b"[DONE]\n\n") for stream in (first, second, third)] == [
        True,
        False,
        False,
    ]


async def test_prefix_and_suffix_surround_the_body(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply("x", prefix=b"\xef\xbb\xbf", suffix=b"data: more\n\n")

    stream = await read_stream(http)

    assert stream.startswith(b"\xef\xbb\xbf: OPENROUTER")
    assert stream.endswith(b"data: [DONE]\n\ndata: more\n\n")


@pytest.mark.parametrize("stop", ["reset", "close"])
@pytest.mark.parametrize("stream", [True, False])
async def test_stop_closes_the_connection_before_the_headers(
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    stop: Stop,
    stream: object,
) -> None:
    """This does not count as a client that disconnected."""
    loop_server.reply(stop=stop)

    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await complete(http, stream=stream)

    assert loop_server.stats.closed_early == 0
    assert loop_server.requests[0].status is None
    await loop_server.until(connections=0)


async def test_stop_end_before_the_headers_closes_the_connection(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply(stop="end")

    with pytest.raises(aiohttp.ServerDisconnectedError):
        await complete(http)


@pytest.mark.parametrize("stop", ["reset", "close"])
@pytest.mark.parametrize("after", [0, 2, 100])
async def test_stop_after_ends_a_stream_after_a_number_of_events(
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    stop: Stop,
    after: int,
) -> None:
    loop_server.reply(["a", "b", "c"], stop=stop, stop_after=after)

    got = b""
    async with http.post("chat/completions", json=STREAM_BODY) as response:
        with pytest.raises(aiohttp.ClientError):  # noqa: PT012 - reads until the error
            async for data in response.content.iter_any():
                got += data

    assert len(parse_events(got)) == min(after, 5) == loop_server.requests[0].chunks
    assert b"[DONE]" not in got
    assert loop_server.requests[0].closed_early is False


@pytest.mark.parametrize("after", [0, 1])
async def test_stop_after_ends_a_plain_body_before_or_after_it(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession, after: int
) -> None:
    loop_server.reply(json={"a": 1}, stop="close", stop_after=after)

    got = b""
    async with http.post("chat/completions", json=BODY) as response:
        with pytest.raises(aiohttp.ClientPayloadError):  # noqa: PT012 - reads until the error
            async for data in response.content.iter_any():
                got += data

    assert got == (b'{"a":1}' if after else b"")


@pytest.mark.parametrize("at", [0, 1, 7])
async def test_stop_at_ends_a_body_at_a_byte(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession, at: int
) -> None:
    loop_server.reply(json={"a": 1}, stop="end", stop_at=at)

    async with http.post("chat/completions", json=BODY) as response:
        assert await response.read() == b'{"a":1}'[:at]


async def test_wrong_content_length_is_sent(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply(
        json={"a": 1}, headers={"Content-Length": "9"}, stop="close", stop_after=1
    )

    async with http.post("chat/completions", json=BODY) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()

    assert response.headers["Content-Length"] == "9"


async def test_status_204_has_no_body(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply("x", status=204)

    async with http.post("chat/completions", json=BODY) as response:
        assert (response.status, await response.read()) == (204, b"")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_body_is_compressed(
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    encoding: Literal["gzip", "deflate"],
) -> None:
    loop_server.reply("compressed", encoding=encoding, times=2)

    assert await complete_text(http) == "compressed"
    assert text_of(parse_events(await read_stream(http))) == "compressed"


async def test_compressed_event_is_readable_before_the_next(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply(["a", "b"], encoding="gzip", stop="silence", stop_after=1)

    async with http.post("chat/completions", json=STREAM_BODY) as response:
        got = b""
        while b"data: " not in got:
            got += await response.content.readany()

    assert text_of(parse_events(got)) == "a"


async def test_invalid_gzip_is_sent(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply(body=b"no gzip", headers={"Content-Encoding": "gzip"})

    async with http.post("chat/completions", json=BODY) as response:
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_write_bytes_splits_the_body_into_chunks(
    loop_server: LocalOpenRouter,
) -> None:
    loop_server.reply(json={"a": 1}, write_bytes=1, headers={"Connection": "close"})
    reader, writer = await asyncio.open_connection(*address(loop_server))
    writer.write(raw_request(loop_server))
    response = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert response.count(b"\r\n1\r\n") == 7


@pytest.mark.parametrize("more", [b"", b"Connection: keep-alive\r\n"])
async def test_http_1_0_body_ends_with_the_connection(
    loop_server: LocalOpenRouter, more: bytes
) -> None:
    loop_server.reply(json={"a": 1})
    request = raw_request(loop_server).replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\n" + more)
    reader, writer = await asyncio.open_connection(*address(loop_server))
    writer.write(request)
    response = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()

    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK")
    assert b"chunked" not in head
    assert body == b'{"a":1}'


async def test_connection_close_header_closes_the_connection(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply("a", headers={"Connection": "close"}).then("b").then("c")

    for _ in range(3):
        await complete(http)

    assert [seen.connection for seen in loop_server.requests] == [1, 2, 2]
    assert loop_server.stats.connections_made == 2
    assert loop_server.stats.connections_open == 1


async def test_delays_precede_the_headers_and_each_event(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply(
        ["a", "b"], delay=0.02, before_token=0.02, chunk_delay=0.02, comments=0
    )
    loop = asyncio.get_running_loop()

    start = loop.time()
    async with http.post("chat/completions", json=STREAM_BODY) as response:
        headers = loop.time() - start
        await response.content.readany()
        first = loop.time() - start
        await response.read()
        total = loop.time() - start

    assert headers >= 0.019
    assert first >= headers + 0.015
    assert total >= first + 0.05


async def test_keepalive_data_is_sent_while_waiting(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """Comments in a stream, white space in a plain body."""
    slow = Reply("x", before_token=0.3, keepalive=0.01, comments=0)
    loop_server.reply(slow, times=2)

    stream = await read_stream(http)
    async with http.post("chat/completions", json=BODY) as response:
        plain = await response.read()

    assert stream.count(b": OPENROUTER PROCESSING\n\n") >= 2
    assert plain.startswith(b"\n   ")
    assert json.loads(plain)["choices"][0]["message"]["content"] == "x"


@pytest.mark.parametrize(
    "fields",
    [
        {"stop": "silence"},
        {"delay": float("inf")},
        {"stop": "silence", "stop_after": 0},
        {"stop": "silence", "stop_at": 5},
        {"stop": "silence", "stop_after": 1, "keepalive": 0.001},
        {"stop": "silence", "stop_at": 5, "keepalive": 0.001},
        {"before_token": float("inf"), "keepalive": 0.001},
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_disconnect_from_a_silent_response_is_noticed_at_once(
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    fields: dict[str, Any],
    stream: object,
) -> None:
    loop_server.reply(["a", "b"], **fields)
    call = asyncio.create_task(complete(http, stream=stream))
    await loop_server.until(requests=1)
    await asyncio.sleep(0.01)
    seen = loop_server.requests[0]
    assert seen.closed is None

    start = asyncio.get_running_loop().time()
    call.cancel()
    await loop_server.until(closed=1)

    assert seen.closed_early is True
    assert seen.closed is not None
    assert seen.closed - start < 2
    assert loop_server.stats.in_flight == 0
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_silence_with_keepalive_sends_only_comments(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply(stop="silence", stop_after=0, keepalive=0.001, comments=0)

    async with http.post("chat/completions", json=STREAM_BODY) as response:
        got = b""
        while got.count(b"\n\n") < 5:
            got += await response.content.readany()

    assert set(got.split(b"\n\n")) <= {b": OPENROUTER PROCESSING", b""}


async def test_disconnect_within_the_request_body_is_noticed(
    loop_server: LocalOpenRouter,
) -> None:
    _reader, writer = await asyncio.open_connection(*address(loop_server))
    writer.write(raw_request(loop_server)[:-3])
    await writer.drain()
    await asyncio.sleep(0.01)
    assert loop_server.stats.in_flight == 1
    writer.transport.abort()

    await loop_server.until(closed=1, requests=1, connections=0)
    assert loop_server.requests[0].json is None


async def test_response_waits_for_a_slow_reader(loop_server: LocalOpenRouter) -> None:
    body = b"x" * 20_000_000
    loop_server.reply(body=body, headers={"Connection": "close"})
    reader, writer = await asyncio.open_connection(*address(loop_server))
    writer.write(raw_request(loop_server))
    await loop_server.until(requests=1)
    await asyncio.sleep(0.05)
    assert loop_server.requests[0].closed is None
    response = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert response.count(b"x") >= len(body)


async def test_disconnect_of_a_slow_reader_is_noticed(
    loop_server: LocalOpenRouter,
) -> None:
    loop_server.reply(body=b"x" * 20_000_000)
    _reader, writer = await asyncio.open_connection(*address(loop_server))
    writer.write(raw_request(loop_server))
    await loop_server.until(requests=1)
    await asyncio.sleep(0.02)
    writer.transport.abort()

    await loop_server.until(closed=1, connections=0)
    assert loop_server.requests[0].closed_early is True


def test_closing_a_lost_connection_does_nothing() -> None:
    close_transport(None, reset=True)
