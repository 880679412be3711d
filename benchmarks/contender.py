"""
The interface of a contender, and the modules of all contenders.

This module is not run directly. A contender does what its users would do and no more:
it reads each part of a response and counts it, so that a case can check that nothing
was left out.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from attrs import define, frozen

API_KEY = "sk-or-v1-benchmark"

HANDWRITTEN = "hand-written"
OURS = "openrouter_async"
OPENAI = "openai (httpx)"
OPENAI_AIOHTTP = "openai (aiohttp)"
OFFICIAL = "openrouter (official)"

EVERYONE = (HANDWRITTEN, OURS, OPENAI, OPENAI_AIOHTTP, OFFICIAL)
# For cases that do not depend on the transport.
LIBRARIES = (HANDWRITTEN, OURS, OPENAI, OFFICIAL)

_CLASSES = {
    HANDWRITTEN: ("benchmarks.handwritten", "Handwritten"),
    OURS: ("benchmarks.ours", "Ours"),
    OPENAI: ("benchmarks.peer_openai", "OpenAI"),
    OPENAI_AIOHTTP: ("benchmarks.peer_openai", "OpenAIOnAiohttp"),
    OFFICIAL: ("benchmarks.peer_openrouter", "OpenRouterSDK"),
}


class UnsupportedError(Exception):
    """The contender does not support what the case measures."""


@define
class StreamCounts:
    """
    The size of one stream, as a contender received it.

    Attributes:
        chunks: Number of chunks.
        characters: Length of the content of all chunks together.
        reads: Number of network reads; 0 if the contender does not know it.
    """

    chunks: int = 0
    characters: int = 0
    reads: int = 0


@frozen
class Folded:
    """
    The lengths of the parts of a response that was combined from a stream.

    Attributes:
        text: Characters of content.
        reasoning: Characters of reasoning; None if the contender does not support it.
        arguments: Characters of arguments, all tool calls together.
    """

    text: int
    reasoning: int | None
    arguments: int


class Contender(ABC):
    """
    A client under test that sends to `base_url`, with a pool of `connections`.

    Attributes:
        divisor: Divisor of the amount of work, so that slow contenders finish in time.
            Figures are per unit and do not depend on it. A server that paces its
            writes is slowed down by the same factor.
    """

    divisor: ClassVar[int] = 1

    @abstractmethod
    def __init__(self, base_url: str, connections: int) -> None: ...

    @abstractmethod
    async def aclose(self) -> None:
        """Close the pool."""

    @abstractmethod
    async def complete(self) -> str:
        """Send `QUESTION` and return the text of the response."""

    @abstractmethod
    async def stream(self, seen: Callable[[], None] | None = None) -> StreamCounts:
        """Send `QUESTION`, read the stream, and call `seen` for each chunk."""

    @abstractmethod
    async def fold(self) -> Folded:
        """Send `QUESTION` and combine the stream into one response."""

    @staticmethod
    @abstractmethod
    def encoder() -> Callable[[], bytes]:
        """Return a function that builds and encodes the request of `inputs`."""


def load(name: str) -> type[Contender]:
    """
    Import and return the contender with this name.

    Raises:
        UnsupportedError: If it is not installed.
    """
    module, attribute = _CLASSES[name]
    try:
        found: type[Contender] = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise UnsupportedError(f"cannot be imported: {error}") from error
    return found
