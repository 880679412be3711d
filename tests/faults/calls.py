"""Calls and clients of the fault tests."""

import time
from typing import Any, Final

from script import ScriptServer

from openrouter_async import (
    AsyncOpenRouter,
    ChatResponse,
    ChatStream,
    Timeouts,
    UserMessage,
)
from openrouter_async.stream import PendingStream
from openrouter_async.testing import Clock

KEY: Final = "sk-or-v1-0000"


class VirtualTime:
    """
    A `Clock` whose sleeps return at once and advance its time.

    Attributes:
        waits: The seconds of each sleep, oldest first.
        clock: The clock, to be passed to a client.
    """

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.clock = Clock(self._now, self._sleep, lambda: 0.5)

    def _now(self) -> float:
        return time.monotonic() + sum(self.waits)

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def open_stream(client: AsyncOpenRouter, **options: Any) -> PendingStream[ChatStream]:
    """Start a streamed call; await the result, or enter it with `async with`."""
    send: Any = client.chat.send
    messages = [UserMessage(options.pop("prompt", "hi"))]
    opening: PendingStream[ChatStream]
    opening = send(model="m", messages=messages, stream=True, **options)
    return opening


async def call(
    client: AsyncOpenRouter, kind: str = "plain", **options: Any
) -> ChatResponse:
    """Make a plain call, or open a stream and read it to its end."""
    if kind == "stream":
        async with open_stream(client, **options) as stream:
            return await stream.collect()
    send: Any = client.chat.send
    messages = [UserMessage(options.pop("prompt", "hi"))]
    response: ChatResponse = await send(model="m", messages=messages, **options)
    return response


def make_client(server: ScriptServer | str, **options: Any) -> AsyncOpenRouter:
    """Return a client that does not wait between attempts; `total` is 5 seconds."""
    usual: dict[str, Any] = {
        "api_key": KEY,
        "base_url": server if isinstance(server, str) else server.url,
        "clock": VirtualTime().clock,
        "timeouts": Timeouts(total=5.0),
    }
    return AsyncOpenRouter(**{**usual, **options})
