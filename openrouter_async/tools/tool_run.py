"""A run of tools, for those who await it and for those who watch it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from ..errors import ClosedError, ConfigurationError
from ..types import ChatResponse, MessageLike
from .events import ToolEvent, ToolResult
from .loop import ToolLoop

R_co = TypeVar("R_co", bound=ChatResponse, covariant=True)


class _Transcript(Generic[R_co]):
    """What a run has come to; true at any moment, after a failure too."""

    __slots__ = ("_finish", "_loop", "_reply")

    def __init__(self, loop: ToolLoop, finish: Callable[[ChatResponse], R_co]) -> None:
        self._loop = loop
        self._finish = finish
        self._reply: R_co | None = None

    @property
    def response(self) -> R_co:
        """
        The final reply, once the run has come to it.

        Raises:
            ConfigurationError: It has not.
        """
        if self._reply is None:
            raise ConfigurationError(
                "The run has no answer yet, or failed; messages has what was said."
            )
        return self._reply

    @property
    def messages(self) -> list[MessageLike]:
        """
        The conversation: what was given, and every turn since that is whole.

        A further run can begin with it, after a failure too.
        """
        return [*self._loop.messages]

    @property
    def turns(self) -> list[ChatResponse]:
        """Every reply, the last one last; each was paid for."""
        return [*self._loop.turns]

    @property
    def results(self) -> list[ToolResult]:
        """What came of every call, in the order in which they ended."""
        return [*self._loop.results]

    @property
    def cost(self) -> float:
        """US dollars that all turns cost, as far as that was told."""
        return sum(turn.usage.cost or 0.0 for turn in self._loop.turns)

    def _end(self) -> None:
        self._reply = self._finish(self._loop.turns[-1])


class ToolRun(_Transcript[R_co], Coroutine[Any, Any, "ToolRun[R_co]"]):
    """
    A run of tools: `await` it, and it returns itself.

    A coroutine like any other: it can be a task's. It is begun when it is awaited;
    cancelling it cancels the tools that run.
    """

    __slots__ = ("_coroutine",)

    def __init__(self, loop: ToolLoop, finish: Callable[[ChatResponse], R_co]) -> None:
        super().__init__(loop, finish)
        self._coroutine: Coroutine[Any, Any, ToolRun[R_co]] = self._run()

    async def _run(self) -> "ToolRun[R_co]":
        events = self._loop.run(stream=False)
        try:
            async for _ in events:
                pass
        finally:
            await events.aclose()
        self._end()
        return self

    def __await__(self) -> Generator[Any, Any, "ToolRun[R_co]"]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """Go on, as a task does."""
        return self._coroutine.send(value)

    def throw(self, *args: Any) -> Any:
        """Raise inside, as a task does."""
        return self._coroutine.throw(*args)

    def close(self) -> None:
        """Give it up before it has begun or while it waits."""
        self._coroutine.close()

    def __repr__(self) -> str:
        return f"<ToolRun of {len(self._loop.turns)} turns>"


class ToolStream(_Transcript[R_co]):
    """
    A run of tools whose events are read as they happen.

    Iterate over it once, inside `async with`: leaving the block, however, closes the
    connection and cancels the tools that run. It begins with the first event asked for.
    """

    __slots__ = ("__weakref__", "_closed", "_events", "_reading")

    def __init__(self, loop: ToolLoop, finish: Callable[[ChatResponse], R_co]) -> None:
        super().__init__(loop, finish)
        self._events: AsyncGenerator[ToolEvent, None] = loop.run(stream=True)
        self._reading = False
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ToolEvent:
        if self._reading:
            raise ConfigurationError("Two tasks read one run. Let one read.")
        if self._closed and self._reply is None:
            raise ClosedError("The run was closed.")
        self._reading = True
        try:
            return await anext(self._events)
        except StopAsyncIteration:
            if self._reply is None and not self._closed and self._loop.turns:
                self._end()
            raise
        except asyncio.CancelledError:
            task = cast("asyncio.Task[Any]", asyncio.current_task())
            if self._closed and not task.cancelling():
                raise ClosedError("The run was closed under its reader.") from None
            raise
        finally:
            self._reading = False

    async def aclose(self) -> None:
        """
        Close the connection and cancel the tools that run, from any task.

        Whoever reads gets a ClosedError. The second time nothing happens.
        """
        self._closed = True
        for task in self._loop.busy:
            task.cancel()
        if self._loop.stream is not None:
            await self._loop.stream.aclose()
        if not self._reading:
            await self._events.aclose()

    close = aclose

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<ToolStream of {len(self._loop.turns)} turns>"
