"""Calls in virtual time, and checks of when a timeout ends them."""

# Time is virtual, so a test has to know how far a call is before it lets time pass.
# pyright: reportPrivateUsage=false

import asyncio
from typing import Any, cast

import pytest
from support import HELLO, VirtualTime, until

from openrouter_async import (
    APITimeoutError,
    AsyncOpenRouter,
    ChatResponse,
    ChatStream,
    Timeouts,
)
from openrouter_async.transport.watchdog import Stage, Watchdog

ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}


def contents(*texts: str) -> list[dict[str, object]]:
    """One chunk for each text."""
    return [
        {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        for text in texts
    ]


def send(
    client: AsyncOpenRouter, timeouts: Timeouts | float, **options: Any
) -> "asyncio.Task[ChatResponse]":
    """Start a plain call."""
    chat: Any = client.chat
    return asyncio.create_task(chat.send(HELLO, timeouts=timeouts, **options))


async def open_stream(
    client: AsyncOpenRouter, timeouts: Timeouts | float
) -> ChatStream:
    return await client.chat.send(HELLO, stream=True, timeouts=timeouts)


def collect(stream: ChatStream) -> "asyncio.Task[ChatResponse]":
    """Start to read the rest of a stream."""
    return asyncio.create_task(stream.collect())


async def reached(client: AsyncOpenRouter, stage: Stage) -> Watchdog:
    """Wait until a call of the client is in this stage, and return its watchdog."""

    def found() -> list[Watchdog]:
        pools = client._transport._pools._pools.values()
        members = cast("list[Watchdog]", [m for p in pools for m in p.timer.members])
        return [watchdog for watchdog in members if watchdog.stage is stage]

    await until(found)
    return found()[0]


async def expires(
    task: "asyncio.Task[ChatResponse]", time: VirtualTime, seconds: float
) -> APITimeoutError:
    """Check that a timeout ends the task after exactly these seconds."""
    await asyncio.sleep(0)
    await time.advance(seconds - 0.01)
    assert not task.done()
    await time.advance(0.02)
    with pytest.raises(APITimeoutError) as caught:
        await task
    return caught.value


async def goes_on(
    task: "asyncio.Task[ChatResponse]", time: VirtualTime, seconds: float = 10_000.0
) -> None:
    """Check that no timeout ends the task within these seconds; cancel it then."""
    await asyncio.sleep(0)
    await time.advance(seconds)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
