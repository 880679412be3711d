"""The lifetime of a client: event loops, threads, closing, sessions of the caller."""

# The number of pools is not public.
# pyright: reportPrivateUsage=false

import asyncio
import gc
import math
import socket
import ssl
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from support import HELLO

from openrouter_async import (
    AsyncOpenRouter,
    CallRecord,
    ClosedError,
    ConfigurationError,
)
from openrouter_async.testing import LocalOpenRouter, error_reply

AT_ONCE = 2.0


def make(server: LocalOpenRouter) -> AsyncOpenRouter:
    """Return a client that no fixture closes."""
    return AsyncOpenRouter(api_key=server.api_key, base_url=server.url)


def count_pools(client: AsyncOpenRouter) -> int:
    """Return the number of event loops for which the client has a pool."""
    return len(client._transport._pools._pools)


def test_client_is_used_by_three_event_loops_in_a_row(server: LocalOpenRouter) -> None:
    """Each loop closes its own pool."""
    client = make(server)

    async def main() -> str:
        async with client.chat.send(HELLO, stream=True) as stream:
            streamed = (await stream.collect()).text
        response = await client.chat.send(HELLO)
        assert response.text == streamed
        assert client.stats.idle == 1
        return response.text

    texts = {asyncio.run(main()) for _ in range(3)}
    server.wait(connections=0)
    gc.collect()

    assert len(texts) == 1
    assert [seen.connection for seen in server.requests] == [1, 1, 2, 2, 3, 3]
    assert count_pools(client) == 0
    assert client.stats.in_use == 0


def test_end_of_the_event_loop_closes_open_streams(server: LocalOpenRouter) -> None:
    client = make(server)
    server.reply(["a", "b"], stop="silence", stop_after=1)

    async def main() -> object:
        stream = await client.chat.send(HELLO, stream=True)
        await anext(stream)
        return stream

    stream = asyncio.run(main())
    server.wait(closed=1, timeout=1)

    assert "closed" in repr(stream)
    assert client.stats.in_use == 0


def test_pools_of_loops_closed_without_cleanup_are_removed_by_the_next_call(
    server: LocalOpenRouter,
) -> None:
    client = make(server)
    with warnings.catch_warnings():
        # aiohttp warns that the session of such a loop was not closed, which is true.
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(5):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(client.chat.send(HELLO))
            loop.close()
            assert count_pools(client) == 1
        asyncio.run(_send(client))
        gc.collect()

    assert count_pools(client) == 0
    assert len(server.requests) == 6


async def _send(client: AsyncOpenRouter) -> str:
    return (await client.chat.send(HELLO)).text


def test_threads_share_a_client_with_connections_of_their_own(
    server: LocalOpenRouter,
) -> None:
    client = make(server)
    barrier = threading.Barrier(2)
    server.reply("hello", delay=0.02, times=None)
    texts: list[str] = []

    async def main() -> None:
        for _ in range(5):
            texts.append(await _send(client))
        barrier.wait()
        assert count_pools(client) == 2
        assert client.stats.idle == 2
        barrier.wait()

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)

    assert texts == ["hello"] * 10
    assert len({seen.connection for seen in server.requests}) == 2
    assert count_pools(client) == 0


def test_client_is_created_without_an_event_loop(server: LocalOpenRouter) -> None:
    client = make(server)
    stats = client.stats
    gc.collect()

    assert (stats.in_use, stats.queued, stats.idle) == (0, 0, 0)
    assert asyncio.run(_send(client))


class TestClosing:
    """`aclose()` ends all calls in progress and rejects further ones."""

    async def _closes(
        self,
        client: AsyncOpenRouter,
        records: list[CallRecord],
        *tasks: asyncio.Task[object],
    ) -> None:
        """Close the client, and check that all tasks end with a ClosedError at once."""
        asked = time.monotonic()
        await client.aclose()
        results = await asyncio.gather(*tasks, return_exceptions=True)

        assert time.monotonic() - asked < AT_ONCE
        assert [type(result) for result in results] == [ClosedError] * len(tasks)
        assert all("client was closed" in str(result) for result in results)
        assert [record.outcome for record in records] == ["closed"] * len(tasks)
        assert (client.stats.in_use, client.stats.queued) == (0, 0)

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.usefixtures("request_path")
    async def test_closing_ends_calls_that_wait_for_headers(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        records: list[CallRecord],
        stream: bool,
    ) -> None:
        server.reply(delay=math.inf)
        task = asyncio.create_task(client.chat.send(HELLO, stream=stream))
        await server.until(requests=1)

        await self._closes(client, records, task)
        await server.until(closed=1, timeout=1)

    @pytest.mark.usefixtures("request_path")
    async def test_closing_ends_calls_that_read_their_body(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        records: list[CallRecord],
    ) -> None:
        server.reply("hello", stop="silence", stop_at=20)
        task = asyncio.create_task(client.chat.send(HELLO))
        await server.until(requests=1)
        await asyncio.sleep(0.02)

        await self._closes(client, records, task)

    async def test_closing_ends_calls_that_wait_for_a_slot(
        self,
        server: LocalOpenRouter,
        make_client: Callable[..., AsyncOpenRouter],
        records: list[CallRecord],
    ) -> None:
        client = make_client(max_connections=1)
        server.reply(delay=math.inf, times=None)
        tasks = [asyncio.create_task(client.chat.send(HELLO)) for _ in range(3)]
        await server.until(requests=1)

        await self._closes(client, records, *tasks)
        assert len(server.requests) == 1

    async def test_closing_ends_calls_that_wait_before_a_retry(
        self,
        server: LocalOpenRouter,
        make_client: Callable[..., AsyncOpenRouter],
        records: list[CallRecord],
    ) -> None:
        client = make_client(clock=None)
        server.reply(error_reply(429, retry_after=59), times=None)
        task = asyncio.create_task(client.chat.send(HELLO))
        await server.until(requests=1)
        await asyncio.sleep(0.03)
        idle = client.stats.in_use

        await self._closes(client, records, task)
        assert idle == 0
        assert len(server.requests) == 1

    async def test_closing_ends_calls_that_connect(
        self, make_client: Callable[..., AsyncOpenRouter], records: list[CallRecord]
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"https://127.0.0.1:{listener.getsockname()[1]}"
            client = make_client(base_url=url)
            task = asyncio.create_task(client.chat.send(HELLO))
            await asyncio.sleep(0.05)

            await self._closes(client, records, task)

    async def test_closing_cancels_the_key_function(
        self, client: AsyncOpenRouter, records: list[CallRecord]
    ) -> None:
        async def ask() -> str:
            await asyncio.sleep(9)
            return "never"

        task = asyncio.create_task(client.chat.send(HELLO, api_key=ask))
        await asyncio.sleep(0.01)

        await self._closes(client, records, task)

    async def test_closing_ends_streams_that_are_read_and_that_are_not(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        records: list[CallRecord],
    ) -> None:
        server.reply(["a", "b"], stop="silence", stop_after=1, times=2)

        async def read() -> None:
            async with client.chat.send(HELLO, stream=True) as stream:
                async for _ in stream:
                    pass

        idle = await client.chat.send(HELLO, stream=True)
        reader = asyncio.create_task(read())
        await server.until(requests=2)
        await asyncio.sleep(0.02)

        asked = time.monotonic()
        await client.aclose()
        with pytest.raises(ClosedError) as caught:
            await reader
        await server.until(closed=2, timeout=1)
        with pytest.raises(ClosedError):
            await idle.collect()

        assert time.monotonic() - asked < AT_ONCE
        assert caught.value.partial is not None
        assert caught.value.partial.text == "a"
        assert client.stats.in_use == 0
        assert [record.outcome for record in records] == ["closed", "closed"]

    async def test_cancellation_right_after_a_close_is_not_lost(
        self, server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
    ) -> None:
        client = make_client(clock=None)
        server.reply(error_reply(429, retry_after=59))
        task = asyncio.create_task(client.chat.send(HELLO))
        await server.until(requests=1)
        await asyncio.sleep(0.03)

        closing = asyncio.create_task(client.aclose())
        closing.add_done_callback(lambda _: None)
        asyncio.get_running_loop().call_soon(task.cancel)
        await asyncio.wait([task, closing])

        assert task.cancelled()

    async def test_closing_twice_does_nothing(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        await client.chat.send(HELLO)
        await client.aclose()
        await client.close()
        async with client:
            pass

        await server.until(connections=0)
        with pytest.raises(ClosedError, match="closed"):
            await client.chat.send(HELLO)
        with pytest.raises(ClosedError):
            await client.request("GET", "/models")
        assert len(server.requests) == 1

    async def test_client_without_calls_is_closed(
        self, make_client: Callable[..., AsyncOpenRouter]
    ) -> None:
        async with make_client() as client:
            pass

        with pytest.raises(ClosedError):
            await client.chat.send(HELLO)

    async def test_leaving_the_block_closes_the_connections(
        self, server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
    ) -> None:
        async with make_client() as client:
            await client.chat.send(HELLO)
            idle = client.stats.idle
        await server.until(connections=0, timeout=1)

        assert idle == 1
        assert client.stats.idle == 0


class TestSessionOfTheCaller:
    """`session=` lends its connections, and nothing else."""

    @pytest.fixture
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """A session with headers, cookies and a timeout of its own."""
        async with aiohttp.ClientSession(
            headers={"X-Mine": "secret", "Authorization": "Bearer mine"},
            cookies={"mine": "secret"},
            timeout=aiohttp.ClientTimeout(total=0.05),
        ) as session:
            yield session

    @pytest.mark.usefixtures("request_path")
    async def test_only_the_connections_of_a_session_are_used(
        self,
        server: LocalOpenRouter,
        make_client: Callable[..., AsyncOpenRouter],
        session: aiohttp.ClientSession,
    ) -> None:
        server.reply("slow", delay=0.1, headers={"Set-Cookie": "theirs=1"})
        client = make_client(session=session)
        await client.chat.send(HELLO)
        async with client.chat.send(HELLO, stream=True) as stream:
            await stream.collect()
        pooled = client.stats.idle
        await client.aclose()
        connector = session.connector

        for seen in server.requests:
            assert "X-Mine" not in seen.headers
            assert "Cookie" not in seen.headers
            assert seen.headers["Authorization"] == f"Bearer {server.api_key}"
        assert pooled == 1
        assert not session.closed
        assert connector is not None
        assert not connector.closed
        # Not the session's 0.05 s: a busy machine takes longer.
        patient = aiohttp.ClientTimeout(total=30)
        async with session.get(f"{server.url}/models", timeout=patient) as response:
            assert response.status == 200
        assert [seen.connection for seen in server.requests] == [1, 1, 1]

    async def test_closed_session_is_an_error(
        self,
        make_client: Callable[..., AsyncOpenRouter],
        session: aiohttp.ClientSession,
    ) -> None:
        client = make_client(session=session)
        await session.close()

        with pytest.raises(ClosedError, match="session= is closed"):
            await client.chat.send(HELLO)

    @pytest.mark.usefixtures("request_path")
    async def test_session_closed_after_the_first_call_is_an_error(
        self,
        make_client: Callable[..., AsyncOpenRouter],
        session: aiohttp.ClientSession,
    ) -> None:
        client = make_client(session=session)
        await client.chat.send(HELLO)
        await session.close()

        with pytest.raises(ClosedError, match="session= is closed"):
            await client.chat.send(HELLO)

    @pytest.mark.usefixtures("request_path")
    async def test_closing_a_stream_does_not_close_the_session(
        self,
        server: LocalOpenRouter,
        make_client: Callable[..., AsyncOpenRouter],
        session: aiohttp.ClientSession,
    ) -> None:
        client = make_client(session=session)
        server.reply(["a", "b"], stop="silence", stop_after=1)

        async with client.chat.send(HELLO, stream=True) as stream:
            await anext(stream)
        await server.until(closed=1, timeout=1)

        assert not session.closed
        assert client.stats.in_use == 0

    def test_session_of_another_event_loop_is_rejected(
        self, server: LocalOpenRouter
    ) -> None:
        async def lend() -> tuple[AsyncOpenRouter, aiohttp.ClientSession]:
            session = aiohttp.ClientSession()
            client = AsyncOpenRouter(api_key="k", base_url=server.url, session=session)
            await client.chat.send(HELLO)
            return client, session

        async def use(client: AsyncOpenRouter) -> None:
            with pytest.raises(ConfigurationError, match="another event loop"):
                await client.chat.send(HELLO)

        loop = asyncio.new_event_loop()
        client, session = loop.run_until_complete(lend())
        asyncio.run(use(client))
        loop.run_until_complete(client.aclose())
        loop.run_until_complete(session.close())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

        assert len(server.requests) == 1

    async def test_session_excludes_the_options_of_the_connector(
        self, session: aiohttp.ClientSession
    ) -> None:
        context = ssl.create_default_context()

        with pytest.raises(ConfigurationError, match="session"):
            AsyncOpenRouter(session=session, max_connections=1000)
        with pytest.raises(ConfigurationError, match="session"):
            AsyncOpenRouter(session=session, ssl=context)
