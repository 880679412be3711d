"""Helpers that several test modules share."""

import json
import re
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

HELLO = ChatGenerationParams(model="m", messages=[UserMessage("Say hello")])


class MakeClient(Protocol):
    """Creates clients of `server`; options replace the defaults of the fixture."""

    def __call__(self, **options: Any) -> AsyncOpenRouter:
        """Create a client, which the fixture closes."""
        ...


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
