"""Fixtures: a local server on the test's event loop, and an HTTP session for it."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from openrouter_async.testing import LocalOpenRouter


@pytest.fixture
async def loop_server() -> AsyncIterator[LocalOpenRouter]:
    """Run a server on the event loop of the test."""
    async with LocalOpenRouter() as server:
        yield server


@pytest.fixture
async def http(loop_server: LocalOpenRouter) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session of aiohttp, without this package's client."""
    headers = {"Authorization": f"Bearer {loop_server.api_key}"}
    async with aiohttp.ClientSession(
        headers=headers, base_url=f"{loop_server.url}/"
    ) as http:
        yield http
