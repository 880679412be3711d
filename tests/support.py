"""Helpers that several test modules share."""

import asyncio
import heapq
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from openrouter_async import (
    AsyncOpenRouter,
    BatchResult,
    BatchRun,
    ChatGenerationParams,
    ChatStream,
    UserMessage,
)
from openrouter_async.testing import Clock

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
        while self._scheduled and self._scheduled[0][0] <= end:
            due, _, entry = heapq.heappop(self._scheduled)
            if entry.function is not None:
                self.time = max(self.time, due)
                entry.function()
                await asyncio.sleep(0)
        self.time = end
        await asyncio.sleep(0)

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


async def read_all(stream: ChatStream) -> str:
    """Read a stream to its end and return the text of its chunks."""
    return "".join([chunk.text async for chunk in stream])


def without_slow_callbacks(err: str) -> str:
    """Remove what asyncio's debug mode logs about slow callbacks on a busy machine."""
    return re.sub(r"Executing <.* took [\d.]+ seconds\n", "", err)


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
