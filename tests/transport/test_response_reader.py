"""ResponseReader on bodies whose pieces no server can time exactly."""

# pyright: reportPrivateUsage=false

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from support import VirtualTime

from openrouter_async.config import Timeouts
from openrouter_async.protocol.headers import Secret
from openrouter_async.transport.pool import NetworkOptions, Pool
from openrouter_async.transport.response_reader import ResponseReader
from openrouter_async.transport.watchdog import Watchdog
from openrouter_async.types import Exchange


@pytest.fixture
async def body() -> aiohttp.StreamReader:
    loop = asyncio.get_running_loop()
    return aiohttp.StreamReader(ResponseHandler(loop), 2**16, loop=loop)


@pytest.fixture
async def reader(body: aiohttp.StreamReader) -> AsyncIterator[ResponseReader[Any]]:
    options = NetworkOptions(1, None, None, ssl=True, env_proxies=False)
    pool = Pool(options, VirtualTime().clock)
    response: Any = SimpleNamespace(content=body)
    call: Any = None
    watchdog = Watchdog(pool.timer, Timeouts())
    yield ResponseReader(response, call, Exchange(), pool, watchdog, Secret("k"))
    watchdog.stop()
    await pool.aclose("closed")


async def test_bytes_before_a_broken_piece_decide_if_a_body_is_a_stream(
    reader: ResponseReader[Any], body: aiohttp.StreamReader
) -> None:
    """Aiohttp raises before it returns what it had buffered."""
    body.feed_data(b"data: {}")
    body.set_exception(aiohttp.ClientPayloadError("cut"))

    assert await reader._read_start() is True
    assert reader._start == b"data: {}"


async def test_first_piece_of_a_body_that_is_passed_on_is_the_first_token(
    reader: ResponseReader[Any], body: aiohttp.StreamReader
) -> None:
    pieces: list[bytes] = []

    def take(piece: bytes) -> None:
        pieces.append(piece)
        if len(pieces) == 1:
            body.feed_data(b"two")
            body.feed_eof()

    body.feed_data(b"one")
    await reader._read_into(take)

    assert pieces == [b"one", b"two"]
    assert reader._http.timings.first_token is not None
