"""Options of the session: compression, redirects, cookies, URLs."""

import tracemalloc
from typing import Any

import pytest
from support import HELLO

from openrouter_async import APIError, AsyncOpenRouter, MalformedResponseError
from openrouter_async.testing import Clock, LocalOpenRouter
from openrouter_async.transport.pool import NetworkOptions, Pool


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_plain_calls_accept_compression_and_streams_do_not(
    server: LocalOpenRouter, client: AsyncOpenRouter, encoding: Any
) -> None:
    server.reply("hello" * 100, encoding=encoding)

    response = await client.chat.send(HELLO)
    async with client.chat.send(HELLO, stream=True) as stream:
        await stream.collect()

    assert response.text == "hello" * 100
    assert [seen.headers["Accept-Encoding"] for seen in server.requests] == [
        "gzip, deflate",
        "identity",
    ]
    assert [seen.headers["Accept"] for seen in server.requests] == [
        "application/json",
        "text/event-stream",
    ]


async def test_response_that_cannot_be_decompressed_is_malformed_and_not_retried(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(body=b"no gzip", headers={"Content-Encoding": "gzip"})

    with pytest.raises(MalformedResponseError, match="decompressed"):
        await client.chat.send(HELLO)

    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_an_error_and_not_followed(
    server: LocalOpenRouter, client: AsyncOpenRouter, status: int
) -> None:
    server.reply(status=status, headers={"Location": "/api/v1/models"}, body=b"")

    with pytest.raises(APIError, match="redirect") as caught:
        await client.chat.send(HELLO)

    assert caught.value.status_code == status
    assert type(caught.value) is APIError
    assert len(server.requests) == 1


async def test_each_request_goes_to_its_url_when_the_cache_is_full(
    server: LocalOpenRouter, client: AsyncOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openrouter_async.transport.pool._MAX_URLS", 1)
    for number in ("1", "2", "2", "1"):
        await client.chat.send(HELLO, extra_query={"n": number})

    assert [seen.query["n"] for seen in server.requests] == ["1", "2", "2", "1"]


async def test_cookies_are_not_kept(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("a", headers={"Set-Cookie": "a=1"}, times=2)

    await client.chat.send(HELLO)
    await client.chat.send(HELLO)

    assert "Cookie" not in server.requests[1].headers


async def test_second_close_of_a_pool_does_nothing(clock: Clock) -> None:
    options = NetworkOptions(1, None, None, ssl=True, env_proxies=False)
    pool = Pool(options, clock)

    await pool.aclose("closed")
    await pool.aclose("closed again")

    assert pool.closed


async def test_pool_frees_a_block_of_the_size_that_asyncio_reads_into(
    clock: Clock,
) -> None:
    options = NetworkOptions(1, None, None, ssl=True, env_proxies=False)
    tracemalloc.start()
    try:
        pool = Pool(options, clock)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    await pool.aclose("closed")

    assert held < 256 * 1024 < peak
