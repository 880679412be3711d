"""Nothing is left a few steps of the event loop after a reader has left."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from relay_support import CLOSE_SECONDS, Ends, run, stream
from support import until

from openrouter_async import AsyncOpenRouter, tool
from openrouter_async.relay import Relay
from openrouter_async.testing import LocalOpenRouter, Reply, completion, tool_call

pytestmark = pytest.mark.usefixtures("no_errors_are_logged")

# Steps in which the tasks of a relay and of its tools end, one after another.
STEPS = 10


@tool
async def wait() -> str:
    """Wait for a long time."""
    await asyncio.sleep(60)
    return "done"


def cancel(reader: asyncio.Task[None], relay: Relay) -> None:
    """Leave as a framework that cancels the task of the response."""
    reader.cancel()


def close(reader: asyncio.Task[None], relay: Relay) -> None:
    """Leave as a framework that closes the body."""
    relay.close()


@pytest.mark.parametrize("leave", [cancel, close])
@pytest.mark.parametrize(
    ("reply", "seen"),
    [
        (Reply("x", delay=30), b": keep-alive"),
        (Reply("x", before_token=30), b": keep-alive"),
        (Reply(["x", "y"], chunk_delay=30), b'"x"'),
        (Reply(["x"] * 9999, chunk_delay=0.01), b'"x"'),
        (Reply(completion(tool_calls=[tool_call("wait")])), b'"tool"'),
    ],
    ids=["headers", "first token", "stall", "mid-stream", "tool call"],
)
async def test_nothing_is_left_after_a_few_steps(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    ends: Ends,
    reply: Reply,
    seen: bytes,
    leave: Callable[[asyncio.Task[None], Relay], None],
) -> None:
    server.reply(reply)
    source: Any = run(client, tools=[wait]) if seen == b'"tool"' else stream(client)
    relay = Relay(source, on_end=ends)
    received = bytearray()

    async def read_all() -> None:
        async for data in relay:
            received.extend(data)

    before = asyncio.all_tasks()
    reader = asyncio.create_task(read_all())
    # While a tool runs, no response is open.
    await until(lambda: seen in received and client.stats.in_use == (seen != b'"tool"'))
    await server.until(requests=1)
    leave(reader, relay)
    for _ in range(STEPS):
        await asyncio.sleep(0)

    assert client.stats.in_use == 0
    assert asyncio.all_tasks() == before
    assert len(ends.results) == 1
    with suppress(asyncio.CancelledError):
        await reader
    if seen != b'"tool"':
        await server.until(closed=1, timeout=CLOSE_SECONDS)
