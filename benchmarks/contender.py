"""
What a contender can be asked to do, and where each is found.

Not run by itself. A contender does what its users would do and no more: it reads each
piece of what comes and adds it up, so that a case can see that nothing was left out.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from attrs import define, frozen

API_KEY = "sk-or-v1-benchmark"

HAND = "hand"
OURS = "openrouter_async"
OPENAI = "openai (httpx)"
OPENAI_AIOHTTP = "openai (aiohttp)"
OFFICIAL = "openrouter (official)"

EVERYONE = (HAND, OURS, OPENAI, OPENAI_AIOHTTP, OFFICIAL)
# For cases where the transport plays no part.
LIBRARIES = (HAND, OURS, OPENAI, OFFICIAL)

_PLACES = {
    HAND: ("benchmarks.handwritten", "Hand"),
    OURS: ("benchmarks.ours", "Ours"),
    OPENAI: ("benchmarks.peer_openai", "OpenAI"),
    OPENAI_AIOHTTP: ("benchmarks.peer_openai", "OpenAIOnAiohttp"),
    OFFICIAL: ("benchmarks.peer_openrouter", "OpenRouterSDK"),
}


class UnsupportedError(Exception):
    """This contender does not offer what the case is about."""


@define
class Tally:
    """
    What a contender got out of one stream.

    Attributes:
        chunks: How many chunks it saw.
        characters: How long the content was, all chunks together.
        reads: In how many reads it came, where the contender knows.
    """

    chunks: int = 0
    characters: int = 0
    reads: int = 0


@frozen
class Folded:
    """
    What a stream came to: the length of each thing that is added up.

    Attributes:
        text: Characters of content.
        reasoning: Characters of reasoning; None where the contender has no name for it.
        arguments: Characters of arguments, all tool calls together.
    """

    text: int
    reasoning: int | None
    arguments: int


class Contender(ABC):
    """
    A client under test, with a pool of `connections`, pointed at `base_url`.

    Attributes:
        heft: How many times less work it is given, so that a run ends in time. The
            figures are per unit, so this does not change them. Where the server
            paces, it paces as much slower.
    """

    heft: ClassVar[int] = 1

    @abstractmethod
    def __init__(self, base_url: str, connections: int) -> None: ...

    @abstractmethod
    async def aclose(self) -> None:
        """Close the pool."""

    @abstractmethod
    async def complete(self) -> str:
        """Ask `QUESTION`; return the text of the whole reply."""

    @abstractmethod
    async def stream(self, seen: Callable[[], None] | None = None) -> Tally:
        """Ask `QUESTION`; read the streamed reply, and call `seen` at each chunk."""

    @abstractmethod
    async def fold(self) -> Folded:
        """Ask `QUESTION`; read the streamed reply into one whole reply."""

    @staticmethod
    @abstractmethod
    def encoder() -> Callable[[], bytes]:
        """A function that builds the request of `inputs` and encodes it, no I/O."""


def load(name: str) -> type[Contender]:
    """
    The contender of this name; only now is what it needs imported.

    Raises:
        UnsupportedError: It is not installed.
    """
    module, attribute = _PLACES[name]
    try:
        found: type[Contender] = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise UnsupportedError(f"cannot be imported: {error}") from error
    return found
