import asyncio
import json
from typing import Any, Literal

import aiohttp
import aiohttp.web
import pytest
from raw_client import HELLO, STREAM, address, ask, parse, raw_request, read, text_of

from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
)
from openrouter_async.testing.reply import (
    Stop,
)
from openrouter_async.testing.reply_writer import close_transport


async def test_the_end_can_be_missing(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """Without finish, without `[DONE]`, or ended by HTTP after some events."""
    loop_server.reply(["a", "b"], finish=False).then(["a", "b"], done=False)
    loop_server.reply(["a", "b"], stop="end", stop_after=1)

    first, second, third = [await read(http) for _ in range(3)]

    assert [len(parse(stream)) for stream in (first, second, third)] == [2, 4, 1]
    assert [stream.endswith(b"[DONE]\n\n") for stream in (first, second, third)] == [
        True,
        False,
        False,
    ]


async def test_data_may_follow_the_end(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """`prefix` and `suffix` are raw bytes around all else."""
    loop_server.reply("x", prefix=b"\xef\xbb\xbf", suffix=b"data: more\n\n")

    stream = await read(http)

    assert stream.startswith(b"\xef\xbb\xbf: OPENROUTER")
    assert stream.endswith(b"data: [DONE]\n\ndata: more\n\n")


@pytest.mark.parametrize("stop", ["reset", "close"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_connection_dies_before_the_headers(
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    stop: Stop,
    stream: object,
) -> None:
    """RST and FIN before any byte; it is the loop_server's doing."""
    loop_server.reply(stop=stop)

    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await ask(http, stream=stream)

    assert loop_server.stats.closed_early == 0
    assert loop_server.requests[0].status is None
    await loop_server.until(connections=0)


async def test_ending_before_the_headers_is_closing(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """There is no body to end."""
    loop_server.reply(stop="end")

    with pytest.raises(aiohttp.ServerDisconnectedError):
        await ask(http)


@pytest.mark.parametrize("stop", ["reset", "close"])
@pytest.mark.parametrize("after", [0, 2, 100])
async def test_a_stream_is_cut_after_some_events(
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    stop: Stop,
    after: int,
) -> None:
    """So many events arrive, then the connection dies."""
    loop_server.reply(["a", "b", "c"], stop=stop, stop_after=after)

    got = b""
    async with http.post("chat/completions", json=STREAM) as response:
        with pytest.raises(aiohttp.ClientError):  # noqa: PT012 - reads until it dies
            async for data in response.content.iter_any():
                got += data

    assert len(parse(got)) == min(after, 5) == loop_server.requests[0].chunks
    assert b"[DONE]" not in got
    assert loop_server.requests[0].closed_early is False


@pytest.mark.parametrize("after", [0, 1])
async def test_a_plain_body_is_cut_before_or_behind(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession, after: int
) -> None:
    """A plain body is one piece: none of it, or all but HTTP's end."""
    loop_server.reply(json={"a": 1}, stop="close", stop_after=after)

    got = b""
    async with http.post("chat/completions", json=HELLO) as response:
        with pytest.raises(aiohttp.ClientPayloadError):  # noqa: PT012 - likewise
            async for data in response.content.iter_any():
                got += data

    assert got == (b'{"a":1}' if after else b"")


@pytest.mark.parametrize("at", [0, 1, 7])
async def test_a_body_is_cut_at_a_byte(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession, at: int
) -> None:
    """Exactly so many bytes of the body come."""
    loop_server.reply(json={"a": 1}, stop="end", stop_at=at)

    async with http.post("chat/completions", json=HELLO) as response:
        assert await response.read() == b'{"a":1}'[:at]


async def test_a_length_may_be_a_lie(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """`Content-Length` takes the place of chunked encoding, true or not."""
    loop_server.reply(
        json={"a": 1}, headers={"Content-Length": "9"}, stop="close", stop_after=1
    )

    async with http.post("chat/completions", json=HELLO) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()

    assert response.headers["Content-Length"] == "9"


async def test_a_status_may_forbid_a_body(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """204 comes without one."""
    loop_server.reply("x", status=204)

    async with http.post("chat/completions", json=HELLO) as response:
        assert (response.status, await response.read()) == (204, b"")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_bodies_can_be_compressed(
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    encoding: Literal["gzip", "deflate"],
) -> None:
    """Plain or streamed, the client reads what was said."""
    loop_server.reply("squeezed", encoding=encoding, times=2)

    assert (await ask(http))["choices"][0]["message"]["content"] == "squeezed"
    assert text_of(parse(await read(http))) == "squeezed"


async def test_a_compressed_stream_can_be_read_as_it_comes(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """The first event is readable while the rest is still to come."""
    loop_server.reply(["a", "b"], encoding="gzip", stop="silence", stop_after=1)

    async with http.post("chat/completions", json=STREAM) as response:
        got = b""
        while b"data: " not in got:
            got += await response.content.readany()

    assert text_of(parse(got)) == "a"


async def test_a_body_may_be_broken_gzip(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """Raw bytes with a header that lies."""
    loop_server.reply(body=b"no gzip", headers={"Content-Encoding": "gzip"})

    async with http.post("chat/completions", json=HELLO) as response:
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_bytes_may_come_one_by_one(loop_server: LocalOpenRouter) -> None:
    """`write_bytes=1` makes a write of every byte."""
    loop_server.reply(json={"a": 1}, write_bytes=1, headers={"Connection": "close"})
    reader, writer = await asyncio.open_connection(*address(loop_server))
    writer.write(raw_request(loop_server))
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert answer.count(b"\r\n1\r\n") == 7


@pytest.mark.parametrize("more", [b"", b"Connection: keep-alive\r\n"])
async def test_http_1_0_is_spoken_too(
    loop_server: LocalOpenRouter, more: bytes
) -> None:
    """A proxy that asks by HTTP/1.0, as nginx does, gets a body that just ends."""
    loop_server.reply(json={"a": 1})
    request = raw_request(loop_server).replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\n" + more)
    reader, writer = await asyncio.open_connection(*address(loop_server))
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK")
    assert b"chunked" not in head
    assert body == b'{"a":1}'


async def test_a_connection_can_be_closed_after_each(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """`Connection: close` closes, and numbers tell the sockets apart."""
    loop_server.reply("a", headers={"Connection": "close"}).then("b").then("c")

    for _ in range(3):
        await ask(http)

    assert [seen.connection for seen in loop_server.requests] == [1, 2, 2]
    assert loop_server.stats.connections_made == 2
    assert loop_server.stats.connections_open == 1


async def test_waits_come_where_they_are_asked_for(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """Before the headers, before the first event, and between the events."""
    loop_server.reply(
        ["a", "b"], delay=0.02, before_token=0.02, chunk_delay=0.02, comments=0
    )
    loop = asyncio.get_running_loop()

    start = loop.time()
    async with http.post("chat/completions", json=STREAM) as response:
        headers = loop.time() - start
        await response.content.readany()
        first = loop.time() - start
        await response.read()
        total = loop.time() - start

    assert headers >= 0.019
    assert first >= headers + 0.015
    assert total >= first + 0.05


async def test_signs_of_life_come_while_it_waits(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """Comments in a stream, white space in a plain body."""
    slow = Reply("x", before_token=0.05, keepalive=0.01, comments=0)
    loop_server.reply(slow, times=2)

    stream = await read(http)
    async with http.post("chat/completions", json=HELLO) as response:
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
async def test_a_client_that_leaves_silence_is_noticed(
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    fields: dict[str, Any],
    stream: object,
) -> None:
    """Whatever it is silent about, the loop_server sees the client go at once."""
    loop_server.reply(["a", "b"], **fields)
    call = asyncio.create_task(ask(http, stream=stream))
    await loop_server.until(requests=1)
    await asyncio.sleep(0.01)
    seen = loop_server.requests[0]
    assert seen.closed is None

    start = asyncio.get_running_loop().time()
    call.cancel()
    await loop_server.until(closed=1)

    assert seen.closed_early is True
    assert seen.closed is not None
    assert seen.closed - start < 0.1
    assert loop_server.stats.in_flight == 0
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_only_comments_come(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """A stream can be alive for ever without a word."""
    loop_server.reply(stop="silence", stop_after=0, keepalive=0.001, comments=0)

    async with http.post("chat/completions", json=STREAM) as response:
        got = b""
        while got.count(b"\n\n") < 5:
            got += await response.content.readany()

    assert set(got.split(b"\n\n")) <= {b": OPENROUTER PROCESSING", b""}


async def test_a_client_that_stops_sending_is_noticed(
    loop_server: LocalOpenRouter,
) -> None:
    """A request that breaks off in its body was seen, and closed early."""
    _reader, writer = await asyncio.open_connection(*address(loop_server))
    writer.write(raw_request(loop_server)[:-3])
    await writer.drain()
    await asyncio.sleep(0.01)
    assert loop_server.stats.in_flight == 1
    writer.transport.abort()

    await loop_server.until(closed=1, requests=1, connections=0)
    assert loop_server.requests[0].json is None


async def test_a_client_may_be_slow_to_read(loop_server: LocalOpenRouter) -> None:
    """What a client does not take waits for it."""
    body = b"x" * 20_000_000
    loop_server.reply(body=body, headers={"Connection": "close"})
    reader, writer = await asyncio.open_connection(*address(loop_server))
    writer.write(raw_request(loop_server))
    await loop_server.until(requests=1)
    await asyncio.sleep(0.05)
    assert loop_server.requests[0].closed is None
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert answer.count(b"x") >= len(body)


async def test_a_client_that_leaves_unread_bytes_is_noticed(
    loop_server: LocalOpenRouter,
) -> None:
    """It goes away while the loop_server waits to write."""
    loop_server.reply(body=b"x" * 20_000_000)
    _reader, writer = await asyncio.open_connection(*address(loop_server))
    writer.write(raw_request(loop_server))
    await loop_server.until(requests=1)
    await asyncio.sleep(0.02)
    writer.transport.abort()

    await loop_server.until(closed=1, connections=0)
    assert loop_server.requests[0].closed_early is True


def test_a_connection_that_is_gone_is_not_cut() -> None:
    """The client may have been faster than the script."""
    close_transport(None, reset=True)
