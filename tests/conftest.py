"""Fixtures: a local server, clients of it, and a clock whose waits take no time."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from time import monotonic
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support import HELLO, MakeClient, VirtualTime, send_by_session

from openrouter_async import AsyncOpenRouter, CallRecord
from openrouter_async.testing import Clock, LocalOpenRouter


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables of this machine that clients read."""
    for name in (
        "OPENROUTER_API_KEY",
        "OPENROUTER_BASE_URL",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "REQUEST_METHOD",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="session")
def warm_up() -> None:
    """Make a first call, which imports and generates code, so that no test times it."""

    async def call(server: LocalOpenRouter) -> None:
        async with AsyncOpenRouter(api_key="k", base_url=server.url) as client:
            await client.chat.send(HELLO)
            async with client.chat.send(HELLO, stream=True) as stream:
                await stream.collect()

    with LocalOpenRouter() as server:
        asyncio.run(call(server))


@pytest.fixture
def server(warm_up: None) -> Iterator[LocalOpenRouter]:
    """
    Run a server on its own thread, so that only the client's tasks are on this loop.

    Each test has its own: it starts in a millisecond, and counts connections from 0.
    """
    with LocalOpenRouter() as server:
        yield server


@pytest.fixture
def slept() -> list[float]:
    """Return the list of the waits before retries, in seconds."""
    return []


@pytest.fixture
def clock(slept: list[float]) -> Clock:
    """Return a clock that does not wait, and whose random number is always 0.5."""

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    return Clock(now=lambda: monotonic() + sum(slept), sleep=sleep, random=lambda: 0.5)


@pytest.fixture
def time() -> VirtualTime:
    """Return a time that passes only when a test lets it pass."""
    return VirtualTime()


@pytest.fixture(params=["direct", "session"])
def request_path(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Run a test twice: with direct requests, and through aiohttp's session."""
    path: str = request.param
    if path == "session":
        send_by_session(monkeypatch)
    return path


@pytest.fixture
def records() -> list[CallRecord]:
    """Return the list that the clients' `on_call` appends to."""
    return []


@pytest.fixture
async def make_client(
    server: LocalOpenRouter, clock: Clock, records: list[CallRecord]
) -> AsyncIterator[MakeClient]:
    """Create clients; a connection or a task that is left afterwards fails the test."""
    clients: list[AsyncOpenRouter] = []

    def make(**options: Any) -> AsyncOpenRouter:
        defaults: dict[str, Any] = {
            "api_key": server.api_key,
            "base_url": server.url,
            "clock": clock,
            "on_call": records.append,
        }
        clients.append(AsyncOpenRouter(**{**defaults, **options}))
        return clients[-1]

    yield make

    for client in clients:
        await client.aclose()
    await asyncio.sleep(0)
    for client in clients:
        stats = client.stats
        assert (stats.in_use, stats.queued, stats.idle) == (0, 0, 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def client(make_client: MakeClient) -> AsyncOpenRouter:
    """Return a client of `server`, which is closed after the test."""
    return make_client()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--long`: more hypothesis examples, more calls, larger bodies."""
    parser.addoption(
        "--long", action="store_true", help="run the tests with larger inputs"
    )


def pytest_xdist_auto_num_workers() -> int:
    """Return two workers per core: a test waits for half of its time."""
    return 2 * (os.cpu_count() or 1)


def pytest_configure(config: pytest.Config) -> None:
    """Set the number of hypothesis examples; a test may set a lower one."""
    for name, examples in (("short", 200), ("long", 10_000)):
        settings.register_profile(
            name,
            max_examples=examples,
            deadline=None,
            derandomize=False,
            print_blob=True,
            # Whole responses have many members, which are slow to draw on a busy machine.
            suppress_health_check=[
                HealthCheck.too_slow,
                HealthCheck.data_too_large,
                HealthCheck.filter_too_much,
            ],
        )
    settings.load_profile("long" if config.getoption("--long") else "short")
