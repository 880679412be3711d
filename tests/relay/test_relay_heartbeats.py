"""Heartbeats at each stage of a stream, in virtual time."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest
from relay_support import KEEP_ALIVE
from template_streams import DONE, FINISH, Pieces, content

from openrouter_async import ChatStream, PendingStream, ToolStream
from openrouter_async.protocol.stream_state import StreamState
from openrouter_async.relay import Relay
from openrouter_async.tools import TextDelta
from openrouter_async.types import ChatResponse, Exchange

HEARTBEAT = 0.2
SILENCE = 1.1


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while it would wait."""

    def __init__(self) -> None:
        super().__init__(VirtualSelector(self))
        self.passed = 0.0

    def time(self) -> float:
        return self.passed


class VirtualSelector(selectors.DefaultSelector):
    """A selector that lets time pass in place of waiting for sockets."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._virtual_loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "Nothing would ever wake this loop."
        self._virtual_loop.passed += timeout
        return super().select(0)


class SlowPieces(Pieces):
    """Reads that take some seconds each."""

    def __init__(self, pieces: list[bytes], pauses: list[float]) -> None:
        super().__init__(pieces, 10**6)
        self._pauses = pauses[::-1]

    async def read(self) -> bool:
        await asyncio.sleep(self._pauses.pop() if self._pauses else 0)
        return await super().read()


def pending(opening: float, *pauses: float) -> PendingStream[ChatStream]:
    """Return a stream that takes some seconds to open, and for each of its events."""

    async def open_it() -> ChatStream:
        await asyncio.sleep(opening)
        pieces = [content(text) for text in "abcde"[: len(pauses)]]
        source: Any = SlowPieces([*pieces, FINISH, DONE], [*pauses])
        return ChatStream(source, StreamState(Exchange(), wall_time=lambda: 0.0))

    return PendingStream(open_it())


class SlowTool(ToolStream[Any]):
    """A run whose tool takes some seconds, between two texts."""

    def __init__(self) -> None:
        self._texts = [TextDelta("b", 2), TextDelta("a", 1)]

    async def __anext__(self) -> TextDelta:
        if not self._texts:
            raise StopAsyncIteration
        if len(self._texts) == 1:
            await asyncio.sleep(SILENCE)
        return self._texts.pop()

    @property
    def response(self) -> ChatResponse:
        return ChatResponse(id="gen-1", model="m", choices=[], created=1)

    async def aclose(self) -> None:
        pass


def run(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


async def read(source: Any) -> list[tuple[float, bytes]]:
    """Return what a relay sends, and when."""
    loop = asyncio.get_running_loop()
    relay = Relay(source, heartbeat=HEARTBEAT)
    return [(loop.time(), data) async for data in relay]


@pytest.mark.parametrize(
    ("make", "starts"),
    [
        (lambda: pending(SILENCE, 0), 0.0),
        (lambda: pending(0, SILENCE), 0.0),
        (lambda: pending(0.05, 0.1, 0.1, SILENCE, 0.1), 0.25),
        (SlowTool, 0.0),
    ],
    ids=["before the headers", "before the first token", "mid-stream", "tool call"],
)
def test_comments_are_sent_at_each_stage(
    make: Callable[[], Any], starts: float
) -> None:
    async def main() -> list[tuple[float, bytes]]:
        return await read(make())

    sent: list[tuple[float, bytes]] = run(main())
    assert sent[0][1].startswith(KEEP_ALIVE)
    comments = [at for at, data in sent[1:] if data == KEEP_ALIVE]
    times = [starts, *comments, starts + SILENCE]
    gaps = [after - before for before, after in pairwise(times)]

    # 0.2, 0.4, 0.6, 0.8 and 1.0 seconds after the last event; the next comes at 1.1.
    assert len(comments) == 5
    assert all(0.199 < gap < 0.3 for gap in gaps[:-1])
    # A comment is an item of its own, and so between whole events.
    assert all(KEEP_ALIVE not in data for _, data in sent[1:] if data != KEEP_ALIVE)
    assert sent[-1][1].endswith(b"\n\n")


def test_no_comment_is_sent_while_data_flows() -> None:
    async def main() -> list[tuple[float, bytes]]:
        return await read(pending(0, *[0.15] * 5))

    sent: list[tuple[float, bytes]] = run(main())

    assert sent[-1][0] > 3 * HEARTBEAT
    assert b"".join(data for _, data in sent).count(KEEP_ALIVE) == 1
