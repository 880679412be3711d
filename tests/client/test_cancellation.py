"""Leaving a call releases its connection, its slot and its tasks at once."""

import asyncio
import math
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable

import pytest
from support import HELLO

from openrouter_async import (
    AsyncOpenRouter,
    CallRecord,
    ChatStream,
)
from openrouter_async.testing import LocalOpenRouter

AT_ONCE = 2.0


class LeftError(Exception):
    """Raised by the caller inside the block."""


async def by_break(stream: ChatStream) -> None:
    async for _ in stream:
        break


async def by_exception(stream: ChatStream) -> None:
    async for _ in stream:
        raise LeftError


async def by_timeout(stream: ChatStream) -> None:
    async with asyncio.timeout(0.02):
        async for _ in stream:
            pass


async def by_cancel(stream: ChatStream) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_later(0.02, task.cancel)
    async for _ in stream:
        pass


async def by_cancel_elsewhere(_: ChatStream) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_later(0.02, task.cancel)
    await asyncio.sleep(5)


async def by_closing(stream: ChatStream) -> None:
    await stream.close()


@pytest.mark.parametrize(
    ("leave", "raised", "outcome"),
    [
        (by_break, None, "closed"),
        (by_exception, LeftError, "closed"),
        (by_timeout, TimeoutError, "cancelled"),
        (by_cancel, asyncio.CancelledError, "cancelled"),
        (by_cancel_elsewhere, asyncio.CancelledError, "cancelled"),
        (by_closing, None, "closed"),
    ],
)
@pytest.mark.parametrize("entered", [True, False], ids=["entered", "awaited"])
async def test_leaving_the_block_closes_the_connection_within_100_ms(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    records: list[CallRecord],
    leave: Callable[[ChatStream], Awaitable[None]],
    raised: type[BaseException] | None,
    outcome: str,
    entered: bool,
) -> None:
    server.reply(["a", "b", "c"], stop="silence", stop_after=2)
    left = math.inf

    async def use() -> None:
        nonlocal left
        pending = client.chat.send(HELLO, stream=True)
        async with pending if entered else await pending as stream:
            try:
                await leave(stream)
            finally:
                left = time.monotonic()

    task = asyncio.create_task(use())
    await asyncio.wait([task])
    in_use = client.stats.in_use
    await server.until(closed=1, timeout=1)

    failure = asyncio.CancelledError() if task.cancelled() else task.exception()
    assert type(failure) is (raised or type(None))
    closed = server.requests[0].closed
    assert closed is not None
    assert closed - left < AT_ONCE
    assert in_use == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [record.outcome for record in records] == [outcome]


@pytest.mark.usefixtures("request_path")
@pytest.mark.parametrize("stream", [True, False])
async def test_cancellation_closes_the_connection_of_a_call_that_waits_for_headers(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    records: list[CallRecord],
    stream: bool,
) -> None:
    server.reply(delay=math.inf)
    task = asyncio.create_task(client.chat.send(HELLO, stream=stream))
    await server.until(requests=1)

    task.cancel()
    left = time.monotonic()
    await asyncio.wait([task])
    await server.until(closed=1, timeout=1)

    assert task.cancelled()
    closed = server.requests[0].closed
    assert closed is not None
    assert closed - left < AT_ONCE
    assert client.stats.in_use == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [record.outcome for record in records] == ["cancelled"]


@pytest.mark.usefixtures("request_path")
async def test_cancellation_closes_the_connection_of_a_call_that_reads_its_body(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("hello", stop="silence", stop_at=10)
    task = asyncio.create_task(client.chat.send(HELLO))
    await server.until(requests=1)
    await asyncio.sleep(0.02)

    task.cancel()
    await asyncio.wait([task])
    await server.until(closed=1, timeout=1)

    assert task.cancelled()
    assert client.stats.in_use == 0


@pytest.mark.usefixtures("request_path")
async def test_call_cancelled_in_the_queue_takes_no_slot(
    server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
) -> None:
    client = make_client(max_connections=1)
    async with client.chat.send(HELLO, stream=True):
        task = asyncio.create_task(client.chat.send(HELLO))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        queued = client.stats.queued
        task.cancel()
        await asyncio.wait([task])

    assert queued == 1
    assert (client.stats.queued, client.stats.in_use) == (0, 0)
    assert (await client.chat.send(HELLO)).text
    assert len(server.requests) == 2


SCRIPT = """
    import asyncio, contextlib, gc, logging, math
    from openrouter_async import AsyncOpenRouter, UserMessage
    from openrouter_async.testing import LocalOpenRouter

    HELLO = {"model": "m", "messages": [UserMessage("hi")]}
    # asyncio logs slow callbacks on a busy machine.
    logging.getLogger("asyncio").setLevel("ERROR")

    async def cancelled(server, call):
        wanted = len(server.requests) + 1
        task = asyncio.create_task(call)
        await server.until(requests=wanted)
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])

    async def read(client):
        async with client.chat.send(HELLO, stream=True) as stream:
            async for _ in stream:
                pass

    async def main(server, client):
        async with client.chat.send(HELLO, stream=True) as stream:
            async for _ in stream:
                pass
        async with client.chat.send(HELLO, stream=True) as stream:
            async for _ in stream:
                break
        with contextlib.suppress(ZeroDivisionError):
            async with client.chat.send(HELLO, stream=True) as stream:
                async for _ in stream:
                    1 / 0
        server.reply("a b", stop="silence", stop_after=1).then(
            "a b", stop="silence", stop_after=1).then(delay=math.inf)
        await cancelled(server, read(client))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await read(client)
        await cancelled(server, client.chat.send(HELLO))
        assert (await client.chat.send(HELLO)).text
        await server.until(closed=3)
        assert client.stats.in_use == 0, client.stats

    with LocalOpenRouter() as server:
        client = AsyncOpenRouter(api_key="k", base_url=server.url)
        for _ in range(3):
            asyncio.run(main(server, client))
            server.clear()
        gc.collect()
    print("done")
"""


def test_dev_mode_with_warnings_as_errors_reports_nothing() -> None:
    """Three event loops in a row, with calls that are left in every way."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(SCRIPT)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
