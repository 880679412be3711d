"""Workarounds for aiohttp that no whole call can reach."""

# pyright: reportPrivateUsage=false

import asyncio

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from openrouter_async.transport.aiohttp_compat import (
    _retrieve_exception_of_closed,
    end_with_connection,
)


async def test_body_of_a_connection_that_was_lost_before_breaks() -> None:
    loop = asyncio.get_running_loop()
    protocol = ResponseHandler(loop)
    protocol.connection_lost(None)
    _retrieve_exception_of_closed(protocol)
    body = aiohttp.StreamReader(protocol, 2**16, loop=loop)
    end_with_connection(body, protocol)

    with pytest.raises(aiohttp.ClientPayloadError, match="closed inside"):
        await body.read()
