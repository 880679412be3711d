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

BARE = "bare"
HANDWRITTEN = "hand-written"
OURS = "openrouter_async"
OURS_CHOICES = "openrouter_async, .choices"
OURS_RAW = "openrouter_async, .raw"
OURS_JOURNAL = "openrouter_async, journal"
OPENAI = "openai (httpx)"
OPENAI_AIOHTTP = "openai (aiohttp)"
OFFICIAL = "openrouter (official)"
LITELLM = "litellm"
PYDANTIC_AI = "pydantic-ai"
LANGCHAIN = "langchain-openrouter"

PEERS = (OPENAI, OPENAI_AIOHTTP, OFFICIAL, LITELLM, PYDANTIC_AI, LANGCHAIN)


@frozen
class Entry:
    """
    The place of a contender's class, and its packages.

    Attributes:
        module: Module in this folder.
        class_name: The `Contender` in it.
        packages: The packages whose versions are reported.
        environment: Environment that it runs in (`environments.py`), if its packages
            cannot be installed together with those of the others; "" for that of the
            harness.
        does: The work of another client that its figures include, and what it does not
            check.
    """

    module: str
    class_name: str
    packages: tuple[str, ...] = ()
    environment: str = ""
    does: str = ""


_ENTRIES = {
    BARE: Entry("bare", "Bare"),
    HANDWRITTEN: Entry("handwritten", "Handwritten"),
    OURS: Entry("ours", "Ours"),
    OURS_CHOICES: Entry("ours", "OursReadingChoices"),
    OURS_RAW: Entry("ours", "OursReadingRaw"),
    OURS_JOURNAL: Entry("ours", "Ours"),
    OPENAI: Entry(
        "peer_openai",
        "OpenAI",
        ("openai",),
        does="pydantic models, built without validation. Raises for an error event; a "
        "cut-off is not detected; an error in a response with status 200 is a model "
        "full of None",
    ),
    OPENAI_AIOHTTP: Entry(
        "peer_openai", "OpenAIOnAiohttp", ("openai",), does="as above"
    ),
    OFFICIAL: Entry(
        "peer_openrouter",
        "OpenRouterSDK",
        ("openrouter",),
        does="pydantic models, validated, so that a missing key is an error. An error "
        "event or a cut-off ends the stream as if it was complete",
    ),
    LITELLM: Entry(
        "peer_litellm",
        "LiteLLM",
        ("litellm",),
        environment="litellm",
        does="converts each chunk to pydantic models of its own; cost and logging "
        "callbacks after the call. Raises for an error event, for a cut-off, and for a "
        "chunk without `created`",
    ),
    PYDANTIC_AI: Entry(
        "peer_pydantic_ai",
        "PydanticAI",
        ("pydantic-ai-slim", "openai"),
        does="an agent's run: openai's models, validated again, then messages and "
        "events of its own. Raises for an error event; a cut-off is not detected",
    ),
    LANGCHAIN: Entry(
        "peer_langchain",
        "LangChain",
        ("langchain-openrouter", "openrouter"),
        environment="langchain",
        does="messages and callbacks of its own, made of the official SDK's models; "
        "what is said there about errors applies",
    ),
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
        surplus: Number of chunks that it returns beyond the events of a stream; less
            than 0 if it omits the last two, which have no text.
    """

    divisor: ClassVar[int] = 1
    surplus: ClassVar[int] = 0

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

    async def fold(self) -> Folded:
        """
        Send `QUESTION` and combine the stream into one response.

        Raises:
            UnsupportedError: If the contender cannot combine chunks.
        """
        raise UnsupportedError("cannot combine chunks into a response")

    @staticmethod
    def encoder() -> Callable[[], bytes]:
        """
        Return a function that builds and encodes the request of `inputs`.

        Raises:
            UnsupportedError: If the contender has no function for that.
        """
        raise UnsupportedError("cannot encode a request without sending it")


def entry(name: str) -> Entry:
    """Return the entry of the contender with this name."""
    return _ENTRIES[name]


def load(name: str) -> type[Contender]:
    """
    Import and return the contender with this name.

    Raises:
        UnsupportedError: If it is not installed.
    """
    found = _ENTRIES[name]
    try:
        module = importlib.import_module(f"benchmarks.{found.module}")
    except ImportError as error:
        raise UnsupportedError(f"cannot be imported: {error}") from error
    contender: type[Contender] = getattr(module, found.class_name)
    return contender
