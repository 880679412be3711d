"""Helpers that several test modules share."""

import asyncio
import heapq
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from openrouter_async import (
    AsyncOpenRouter,
    BatchResult,
    BatchRun,
    ChatGenerationParams,
    ChatResponse,
    ChatStream,
    UserMessage,
)
from openrouter_async.testing import Clock

T = TypeVar("T")

HELLO = ChatGenerationParams(model="m", messages=[UserMessage("Say hello")])


class MakeClient(Protocol):
    """Creates clients of `server`; options replace the defaults of the fixture."""

    def __call__(self, **options: Any) -> AsyncOpenRouter:
        """Create a client, which the fixture closes."""
        ...


class ScheduledFunction:
    """A function that a `VirtualTime` will call."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function: Callable[[], object] | None = function

    def cancel(self) -> None:
        """Do not call the function."""
        self.function = None


class VirtualTime:
    """
    A clock whose time passes only when the test says so.

    Attributes:
        clock: The clock to pass to a client.
        time: The current time, in seconds.
    """

    def __init__(self) -> None:
        self.time = 1000.0
        self.clock = Clock(
            now=lambda: self.time,
            sleep=self._sleep,
            random=lambda: 0.5,
            call_later=self._call_later,
        )
        self._count = itertools.count()
        self._scheduled: list[tuple[float, int, ScheduledFunction]] = []

    @property
    def scheduled(self) -> list[float]:
        """The times for which functions are scheduled."""
        return sorted(due for due, _, entry in self._scheduled if entry.function)

    async def advance(self, seconds: float) -> None:
        """Let time pass; call what is due, in order, and let tasks that wake up run."""
        end = self.time + seconds
        while self._call_next(end):  # noqa: ASYNC110 - not a wait for something
            await asyncio.sleep(0)
        self.time = end
        await asyncio.sleep(0)

    def jump(self, seconds: float) -> None:
        """Let time pass; call what is due, in order, but let no task run."""
        end = self.time + seconds
        while self._call_next(end):
            pass
        self.time = end

    async def finish(self, task: "asyncio.Task[T]") -> T:
        """Let time pass until a task is done, a tenth of a second per millisecond."""
        while not task.done():
            await self.advance(0.1)
            await asyncio.sleep(0.001)
        return task.result()

    def _call_next(self, end: float) -> bool:
        """Call the next function that is due until `end`; return False if none is."""
        while self._scheduled and self._scheduled[0][0] <= end:
            due, _, entry = heapq.heappop(self._scheduled)
            if entry.function is not None:
                self.time = max(self.time, due)
                entry.function()
                return True
        return False

    async def _sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._call_later(seconds, woken.set)
        await woken.wait()

    def _call_later(
        self, seconds: float, function: Callable[[], object]
    ) -> ScheduledFunction:
        entry = ScheduledFunction(function)
        heapq.heappush(self._scheduled, (self.time + seconds, next(self._count), entry))
        return entry


def send_by_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send all requests through aiohttp's session: no body is small enough."""
    monkeypatch.setattr("openrouter_async.transport.direct_request.MAX_BODY_BYTES", -1)


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition is true, for at most 5 seconds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the condition has no event
            await asyncio.sleep(0.001)


async def read_all(stream: ChatStream) -> str:
    """Read a stream to its end and return the text of its chunks."""
    return "".join([chunk.text async for chunk in stream])


def without_slow_callbacks(err: str) -> str:
    """Remove what asyncio's debug mode logs about slow callbacks on a busy machine."""
    return re.sub(r"Executing <.* took [\d.]+ seconds\n", "", err)


async def ask(client: AsyncOpenRouter, *, stream: bool, **options: Any) -> str:
    """Send HELLO and return the text of the whole response."""
    send: Any = client.chat.send
    response: ChatResponse | ChatStream = await send(HELLO, stream=stream, **options)
    if isinstance(response, ChatStream):
        async with response:
            response = await response.collect()
    return response.text


async def read_results(run: BatchRun) -> list[BatchResult]:
    """Enter a run and return all its results."""
    async with run:
        return [result async for result in run]


def custom_ids(path: Path) -> list[str]:
    """Return the `custom_id` of each line of a journal or failures file."""
    return [json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()]


def prompts(count: int) -> list[str]:
    """Return different prompts: "prompt 0", "prompt 1", ..."""
    return [f"prompt {number}" for number in range(count)]
