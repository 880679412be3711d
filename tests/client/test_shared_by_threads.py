"""One client in many threads and loops: what they share, and how its pools end."""

# A few rules can be seen only from inside.
# pyright: reportPrivateUsage=false

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Iterator

import aiohttp
import pytest
from support import HELLO

from openrouter_async import (
    APIConnectionError,
    AsyncOpenRouter,
    ClosedError,
    Retries,
    UserMessage,
)
from openrouter_async.protocol.lru import LRUCache
from openrouter_async.protocol.retry import RetryBudget
from openrouter_async.testing import LocalOpenRouter
from openrouter_async.transport.limiter import LimiterRegistry
from openrouter_async.transport.pool import Pool

THREADS = 8


@pytest.fixture
def _frequent_switches() -> Iterator[None]:
    """Switch threads so often that a race shows within a second."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def run_in_threads(work: Callable[[int], object]) -> list[BaseException]:
    """Run a function in threads, with their number; return what it raised."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - reported to the test
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(number,)) for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return errors


def client_of(server: LocalOpenRouter) -> AsyncOpenRouter:
    """Create a client that no fixture closes."""
    return AsyncOpenRouter(api_key=server.api_key, base_url=server.url)


@pytest.mark.usefixtures("_frequent_switches")
def test_threads_that_open_and_close_loops_get_only_errors_of_the_library() -> None:
    client = AsyncOpenRouter(
        "any", base_url="http://127.0.0.1:9", retries=Retries(max_attempts=1)
    )
    refused: list[int] = []

    async def call(number: int) -> None:
        try:
            await client.chat.send(model=f"m{number}", messages=[UserMessage("hi")])
        except APIConnectionError:
            refused.append(number)
        assert client.stats.in_use >= 0

    def work(number: int) -> None:
        for _ in range(12):
            asyncio.run(call(number))

    assert run_in_threads(work) == []
    assert len(refused) == 12 * THREADS
    assert client._transport._pools._pools == {}


@pytest.mark.usefixtures("_frequent_switches")
def test_threads_with_runs_have_limiters_and_connections_of_their_own(
    server: LocalOpenRouter,
) -> None:
    client = client_of(server)

    async def run(number: int) -> None:
        prompts = [f"prompt {number}.{row}" for row in range(3)]
        async with client.chat.send_many(prompts, model="m") as run:
            assert [result.ok async for result in run] == [True] * 3

    def work(number: int) -> None:
        for _ in range(3):
            asyncio.run(run(number))

    assert run_in_threads(work) == []
    assert len(server.requests) == 9 * THREADS
    users: dict[int, set[str]] = {}
    for seen in server.requests:
        text = str(seen.json["messages"][0]["content"]).partition(".")[0]
        users.setdefault(seen.connection, set()).add(text)
    assert all(len(texts) == 1 for texts in users.values())


@pytest.mark.usefixtures("_frequent_switches")
def test_threads_share_a_cache() -> None:
    cache = LRUCache[int, object](3)

    def work(number: int) -> None:
        for step in range(2000):
            key = (number + step) % 5
            cache.get_or_add(key, object())
            cache.get(key)
            cache[key] = number
            cache.discard(step % 5)
            assert len([*cache]) <= 3 + THREADS

    assert run_in_threads(work) == []
    assert len(cache) <= 3


@pytest.mark.usefixtures("_frequent_switches")
def test_threads_get_the_same_value_of_a_cache() -> None:
    cache = LRUCache[str, object](9)
    found: list[object] = []

    def work(_: int) -> None:
        found.extend({cache.get_or_add("key", object()) for _ in range(500)})

    assert run_in_threads(work) == []
    assert len(found) == THREADS
    assert len(set(found)) == 1


@pytest.mark.usefixtures("_frequent_switches")
def test_threads_share_a_retry_budget() -> None:
    budget = RetryBudget()

    def work(number: int) -> None:
        for step in range(2000):
            # Each step makes all earlier ones expire.
            now = step * 100.0 + number
            budget.record_call(now)
            budget.try_retry(now, 0.1)

    assert run_in_threads(work) == []


@pytest.mark.usefixtures("_frequent_switches")
def test_threads_share_a_registry_of_limiters() -> None:
    registry = LimiterRegistry()

    def work(number: int) -> None:
        for _ in range(100):
            loop = asyncio.new_event_loop()
            registry.get((loop, "url", number, "m"))
            loop.close()

    assert run_in_threads(work) == []


# --- the guard of a pool, garbage-collected ------------------------------------------


async def pool_without_hooks(client: AsyncOpenRouter) -> Pool:
    """Return a pool with a connection, on a loop that does not close generators."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        await client.chat.send(HELLO)
    finally:
        sys.set_asyncgen_hooks(*hooks)
    (pool,) = client._transport._pools._pools.values()
    assert pool.idle == 1
    return pool


async def test_pool_is_closed_when_its_guard_is_collected(
    server: LocalOpenRouter,
) -> None:
    client = client_of(server)
    pool = await pool_without_hooks(client)
    open_stream = await client.chat.send(HELLO, stream=True)

    pool.guard = None
    gc.collect()

    assert pool.closed
    assert client.stats.idle == 0
    with pytest.raises(ClosedError, match="event loop ended"):
        await open_stream.collect()
    # The next call opens another pool.
    assert (await client.chat.send(HELLO)).text
    await client.aclose()


async def test_connector_of_a_lent_session_stays_open_when_the_guard_is_collected(
    server: LocalOpenRouter,
) -> None:
    async with aiohttp.ClientSession() as session:
        client = AsyncOpenRouter(server.api_key, base_url=server.url, session=session)
        pool = await pool_without_hooks(client)

        pool.guard = None

        assert pool.closed
        assert not session.closed
        async with session.get(f"{server.url}/models") as response:
            assert response.status


async def test_guard_collected_in_another_thread_closes_the_pool_on_its_loop(
    server: LocalOpenRouter,
) -> None:
    client = client_of(server)
    pool = await pool_without_hooks(client)

    def collect() -> None:
        pool.guard = None

    thread = threading.Thread(target=collect)
    thread.start()
    thread.join()

    assert not pool.closed
    await asyncio.sleep(0)
    assert pool.closed
    await asyncio.to_thread(server.wait, connections=0)


async def test_guard_collected_by_another_loop_closes_the_pool_on_its_loop(
    server: LocalOpenRouter,
) -> None:
    client = client_of(server)
    pool = await pool_without_hooks(client)

    async def collect() -> None:
        pool.guard = None

    thread = threading.Thread(target=asyncio.run, args=(collect(),))
    thread.start()
    thread.join()
    await asyncio.sleep(0)

    assert pool.closed
    await asyncio.to_thread(server.wait, connections=0)


def test_guard_of_a_loop_that_is_closed_does_nothing(server: LocalOpenRouter) -> None:
    client = client_of(server)
    loop = asyncio.new_event_loop()
    pool = loop.run_until_complete(pool_without_hooks(client))
    # The test itself leaves nothing open.
    loop.run_until_complete(pool._session.close())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    pool.guard = None

    assert not pool.closed
    assert client._transport._pools._pools == {}
