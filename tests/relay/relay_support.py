"""Sources of relays, and functions that read relays."""

from typing import Any

from support import HELLO

from openrouter_async import AsyncOpenRouter, PendingStream, ToolStream, tool
from openrouter_async.relay import Relay, RelayResult

KEEP_ALIVE = b": keep-alive\n\n"
FAILURE = b"event: failure\n"
# Maximum time for an upstream to notice that its client has left, in seconds. It takes
# some milliseconds; the rest is for a busy machine.
CLOSE_SECONDS = 5


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def fail() -> str:
    """Fail."""
    raise ValueError("secret")


class Ends:
    """The results that `on_end` was called with."""

    def __init__(self) -> None:
        self.results: list[RelayResult] = []

    def __call__(self, result: RelayResult) -> None:
        self.results.append(result)

    @property
    def outcomes(self) -> list[str]:
        return [result.outcome for result in self.results]


def stream(client: AsyncOpenRouter, **options: Any) -> PendingStream[Any]:
    send: Any = client.chat.send
    pending: PendingStream[Any] = send(HELLO, stream=True, **options)
    return pending


def run(client: AsyncOpenRouter, **options: Any) -> ToolStream[Any]:
    options = {"tools": [add, fail], "stream": True, **options}
    run_tools: Any = client.chat.run_tools
    made: ToolStream[Any] = run_tools(HELLO, **options)
    return made


async def read(relay: Relay) -> bytes:
    return b"".join([data async for data in relay])


async def read_until(relay: Relay, part: bytes) -> bytes:
    data = b""
    while part not in data:
        data += await anext(relay)
    return data
