"""Compressed bodies, whole calls against the local server."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.compression_utils import ZLibDecompressor
from support import HELLO, MakeClient

from openrouter_async import (
    AsyncOpenRouter,
    MalformedResponseError,
    RateLimitError,
    Retries,
    SizeLimits,
)
from openrouter_async.testing import LocalOpenRouter, completion
from openrouter_async.transport.decoded_body import DecodedBody, take_buffered

PLAIN = json.dumps(completion("hello " * 9)).encode()
STREAM = (
    b'data: {"choices": [{"delta": {"content": "hello"}, "finish_reason": "stop"}]}'
    b"\n\ndata: [DONE]\n\n"
)


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    " X-GZIP ": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "identity": bytes,
    "utf-8": bytes,
    "": bytes,
}


@pytest.mark.parametrize("coding", ENCODE)
async def test_body_is_decoded(
    coding: str, server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    headers = {"Content-Encoding": coding}
    encode = ENCODE[coding]
    server.reply(body=encode(PLAIN), headers=headers)
    server.reply(body=encode(STREAM), headers=headers, content_type="text/event-stream")
    server.reply(
        status=400, body=encode(b'{"error": {"message": "No."}}'), headers=headers
    )

    response = await client.chat.send(HELLO)
    async with client.chat.send(HELLO, stream=True) as stream:
        streamed = await stream.collect()
    with pytest.raises(Exception, match=r"400: No\."):
        await client.chat.send(HELLO)

    assert response.text == "hello " * 9
    assert streamed.text == "hello"
    assert client.stats.in_use == 0


async def test_body_that_expands_is_read_in_pieces(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    text = "hello" * 300_000
    body = gzip.compress(json.dumps(completion(text)).encode())
    for _ in range(2):
        server.reply(body=body, headers={"Content-Encoding": "gzip"})
    limited = make_client(size_limits=SizeLimits(body_bytes=600_000))

    response = await make_client().chat.send(HELLO)
    with pytest.raises(MalformedResponseError, match="body_bytes"):
        await limited.chat.send(HELLO)

    assert response.text == text


@pytest.mark.parametrize(
    ("coding", "package"), [("br", "Brotli"), ("zstd", "backports.zstd")]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_missing_package_is_named(
    coding: str,
    package: str,
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    *,
    stream: bool,
) -> None:
    monkeypatch.setattr("aiohttp.compression_utils.HAS_BROTLI", False)
    monkeypatch.setattr("aiohttp.compression_utils.HAS_ZSTD", False)
    server.reply(body=b"\x0b\x02", headers={"Content-Encoding": coding})

    with pytest.raises(MalformedResponseError, match=package) as caught:
        await client.chat.send(HELLO, stream=stream)

    assert f"with {coding!r}" in caught.value.message
    assert caught.value.http.status == 200
    assert caught.value.generation_id


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip", "deflate"])
@pytest.mark.parametrize("stream", [False, True])
async def test_error_status_is_kept_if_its_body_cannot_be_decoded(
    coding: str, server: LocalOpenRouter, make_client: MakeClient, *, stream: bool
) -> None:
    client = make_client(retries=Retries(max_attempts=2, base=0.001))
    server.reply(
        times=2,
        status=429,
        body=b"\x8b\x05 not encoded",
        headers={"Content-Encoding": coding, "Retry-After": "0"},
    )

    with pytest.raises(RateLimitError) as caught:
        await client.chat.send(HELLO, stream=stream)

    assert caught.value.retry_after == 0
    assert len(caught.value.attempts) == 2


async def test_deflated_body_that_is_cut_off_cannot_be_decoded(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    body = zlib.compress(PLAIN)[:-3]
    server.reply(body=body, headers={"Content-Encoding": "deflate"})

    with pytest.raises(MalformedResponseError, match="decompressed"):
        await client.chat.send(HELLO)


def reader() -> aiohttp.StreamReader:
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    return aiohttp.StreamReader(protocol, 2**16, loop=loop)


async def test_bytes_that_hold_nothing_yet_are_not_the_end() -> None:
    content = reader()
    body = DecodedBody(content, ZLibDecompressor("gzip"), "gzip")
    data = gzip.compress(b"hello")
    content.feed_data(data[:1])
    waiting = asyncio.create_task(body.readany())
    await asyncio.sleep(0)
    content.feed_data(data[1:])
    content.feed_eof()

    assert await waiting == b"hello"
    assert await body.readany() == b""
    assert body.at_eof()


@pytest.mark.parametrize("broken", [False, True])
async def test_what_arrived_before_the_connection_broke_is_decoded(
    *, broken: bool
) -> None:
    content, plain = reader(), reader()
    body = DecodedBody(content, ZLibDecompressor("gzip"), "gzip")
    content.feed_data(b"not gzip" if broken else gzip.compress(b"hello"))
    plain.feed_data(b"hello")
    for each in (content, plain):
        each.set_exception(aiohttp.ClientPayloadError("The body broke off."))

    assert take_buffered(body) == (b"" if broken else b"hello")
    assert take_buffered(body) == b""
    assert take_buffered(plain) == b"hello"
