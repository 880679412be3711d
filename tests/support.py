"""Helpers that several test modules share."""

import re
from typing import Any, Protocol

from openrouter_async import (
    AsyncOpenRouter,
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
