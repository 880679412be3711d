"""Runs as coroutines and streams: cancellation, closing, and the end."""

import asyncio
from typing import Any

import pytest
from attrs import define
from tool_runs import MESSAGES, add, both, calls, finish

from openrouter_async import (
    AsyncOpenRouter,
    ClosedError,
    ConfigurationError,
    ToolResult,
    tool,
)
from openrouter_async.testing import LocalOpenRouter, Reply


@define
class WaitingTool:
    """
    A tool that waits until it is cancelled.

    Attributes:
        started: Set when the function runs.
        cancelled: True when it was cancelled.
    """

    started: asyncio.Event
    cancelled: bool = False

    def make(self) -> Any:
        """Make the tool, named "wait"."""

        @tool
        async def wait() -> None:
            self.started.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled = True
                raise

        return wait


@pytest.fixture
def waiting() -> WaitingTool:
    return WaitingTool(asyncio.Event())


@both
async def test_cancelled_run_cancels_its_tools(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    waiting: WaitingTool,
    *,
    stream: bool,
) -> None:
    server.reply(calls(("wait", {})))
    run = client.chat.run_tools(
        messages=MESSAGES, tools=[waiting.make()], stream=stream
    )
    task = asyncio.create_task(finish(run))
    await waiting.started.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert waiting.cancelled
    assert run.messages == MESSAGES


async def test_run_can_be_a_task(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("ok")
    run = client.chat.run_tools(messages=MESSAGES)

    assert (await asyncio.create_task(run)) is run


async def test_run_that_is_not_started_sends_nothing(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    client.chat.run_tools(messages=MESSAGES).close()
    with pytest.raises(KeyError):
        client.chat.run_tools(messages=MESSAGES).throw(KeyError("x"))
    stream = client.chat.run_tools(messages=MESSAGES, stream=True)
    await stream.aclose()

    with pytest.raises(ClosedError):
        await anext(stream)
    assert len(server.requests) == 0


async def test_leaving_the_block_cancels_running_tools(
    server: LocalOpenRouter, client: AsyncOpenRouter, waiting: WaitingTool
) -> None:
    server.reply(calls(("wait", {}), ("add", {"a": 1})))

    async with client.chat.run_tools(
        messages=MESSAGES, tools=[waiting.make(), add], stream=True
    ) as run:
        async for event in run:
            if isinstance(event, ToolResult):
                break

    assert waiting.cancelled
    assert run.results[0].content == "1"
    with pytest.raises(ClosedError):
        await anext(run)


async def test_leaving_the_block_closes_the_connection(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(Reply("word " * 50, chunk_delay=0.02))

    async with client.chat.run_tools(messages=MESSAGES, stream=True) as run:
        async for _ in run:
            break

    await server.until(closed=1)
    assert client.stats.in_use == 0


@pytest.mark.parametrize("moment", ["opening", "reading", "tools"])
async def test_aclose_raises_closed_error_in_the_reading_task(
    server: LocalOpenRouter, client: AsyncOpenRouter, waiting: WaitingTool, moment: str
) -> None:
    replies = {
        "opening": Reply("x", delay=60),
        "reading": Reply("x y", chunk_delay=60),
        "tools": Reply(calls(("wait", {}))),
    }
    server.reply(replies[moment])
    run = client.chat.run_tools(messages=MESSAGES, tools=[waiting.make()], stream=True)
    reader = asyncio.create_task(finish(run))
    if moment == "tools":
        await waiting.started.wait()
    else:
        await server.until(requests=1)
        await asyncio.sleep(0.05)

    await run.close()
    with pytest.raises(ClosedError):
        await reader
    # A second call does nothing.
    await run.aclose()

    assert waiting.cancelled is (moment == "tools")


async def test_second_reading_task_is_rejected(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(Reply("x", delay=60))
    async with client.chat.run_tools(messages=MESSAGES, stream=True) as run:
        reader = asyncio.create_task(finish(run))
        await server.until(requests=1)

        with pytest.raises(ConfigurationError, match="Two tasks"):
            await anext(run)
    with pytest.raises(ClosedError):
        await reader


async def test_reader_cancelled_when_its_stream_has_just_opened_closes_it(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(Reply("x y", chunk_delay=60))
    run = client.chat.run_tools(messages=MESSAGES, stream=True)
    reader = asyncio.create_task(finish(run))
    await asyncio.sleep(0)
    (opening,) = run._loop.tasks  # pyright: ignore[reportPrivateUsage]
    while not opening.done():  # noqa: ASYNC110 - the very iteration of the loop
        await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader

    await server.until(closed=1)
    assert client.stats.in_use == 0
    assert run.turns == []


async def test_run_that_has_ended_yields_no_more_events(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    async with client.chat.run_tools(messages=MESSAGES, stream=True) as run:
        assert [event async for event in run]
        response = run.response
        again = [event async for event in run]

    assert again == []
    assert run.response is response
