"""Fixtures: a local server on the test's event loop, and an HTTP session for it."""

from collections.abc import AsyncIterator

import aiohttp
import aiohttp.web
import pytest

from openrouter_async.testing import (
    LocalOpenRouter,
)


@pytest.fixture
async def loop_server() -> AsyncIterator[LocalOpenRouter]:
    async with LocalOpenRouter() as started:
        yield started


@pytest.fixture
async def http(loop_server: LocalOpenRouter) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {loop_server.api_key}"}
    async with aiohttp.ClientSession(
        headers=headers, base_url=f"{loop_server.url}/"
    ) as http:
        yield http
