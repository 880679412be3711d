"""Fixtures: a real local server, clients of it, and time that passes at once."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support import MakeClient

from openrouter_async import AsyncOpenRouter, CallRecord, UserMessage
from openrouter_async.testing import Clock, LocalOpenRouter


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold the machine's own settings off."""
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
def warm() -> None:
    """Make what the first call makes, so that no clock of a test pays for it."""

    async def call(server: LocalOpenRouter) -> None:
        hello = {"model": "m", "messages": [UserMessage("hi")]}
        async with AsyncOpenRouter(api_key="k", base_url=server.url) as client:
            await client.chat.send(hello)
            async with client.chat.send(hello, stream=True) as stream:
                await stream.collect()

    with LocalOpenRouter() as server:
        asyncio.run(call(server))


@pytest.fixture
def server(warm: None) -> Iterator[LocalOpenRouter]:
    """A server on a thread and loop of its own: the tasks of a test's loop are ours."""
    with LocalOpenRouter() as server:
        yield server


@pytest.fixture
def slept() -> list[float]:
    """The seconds that were waited before repeats; they pass at once."""
    return []


@pytest.fixture
def clock(slept: list[float]) -> Clock:
    """A clock whose sleeping takes no time, and whose chance is always one half."""

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    return Clock(
        now=lambda: time.monotonic() + sum(slept), sleep=sleep, random=lambda: 0.5
    )


@pytest.fixture
def records() -> list[CallRecord]:
    """What `on_call` was called with."""
    return []


@pytest.fixture
async def make_client(
    server: LocalOpenRouter, clock: Clock, records: list[CallRecord]
) -> AsyncIterator[MakeClient]:
    """Make clients; what they leave behind fails the test."""
    made: list[AsyncOpenRouter] = []

    def make(**options: Any) -> AsyncOpenRouter:
        usual: dict[str, Any] = {
            "api_key": server.api_key,
            "base_url": server.url,
            "clock": clock,
            "on_call": records.append,
        }
        made.append(AsyncOpenRouter(**{**usual, **options}))
        return made[-1]

    yield make

    for client in made:
        await client.aclose()
    await asyncio.sleep(0)
    for client in made:
        stats = client.stats
        assert (stats.in_use, stats.queued, stats.idle) == (0, 0, 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def client(make_client: MakeClient) -> AsyncOpenRouter:
    """A client of `server`, closed at the end."""
    return make_client()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--long`: more examples, more calls, larger bodies."""
    parser.addoption(
        "--long", action="store_true", help="minutes of tests in place of seconds"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set how many examples hypothesis tries; a test may ask for fewer."""
    for name, examples in (("short", 200), ("long", 10_000)):
        settings.register_profile(
            name,
            max_examples=examples,
            deadline=None,
            derandomize=False,
            print_blob=True,
            # Whole replies have many members; drawing one may be slow on a busy machine.
            suppress_health_check=[
                HealthCheck.too_slow,
                HealthCheck.data_too_large,
                HealthCheck.filter_too_much,
            ],
        )
    settings.load_profile("long" if config.getoption("--long") else "short")
