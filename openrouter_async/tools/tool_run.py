"""A run of tools, as a coroutine and as a stream of events."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from ..errors import ClosedError, ConfigurationError
from ..types import ChatResponse, MessageLike
from .events import ToolEvent, ToolResult
from .loop import ToolLoop

R_co = TypeVar("R_co", bound=ChatResponse, covariant=True)


class _RunState(Generic[R_co]):
    """The state of a run; it can be read at any time, also after a failure."""

    __slots__ = ("_finish", "_loop", "_response")

    def __init__(self, loop: ToolLoop, finish: Callable[[ChatResponse], R_co]) -> None:
        """
        Create the state of a run that has not started.

        Args:
            loop: The turns.
            finish: Makes the final response from the last one; it parses the output.
        """
        self._loop = loop
        self._finish = finish
        self._response: R_co | None = None

    @property
    def response(self) -> R_co:
        """
        The final response.

        Raises:
            ConfigurationError: If the run has not ended, or has failed.
        """
        if self._response is None:
            raise ConfigurationError(
                "The run has no final response, because it has not ended or has "
                "failed; its messages have the conversation so far."
            )
        return self._response

    @property
    def messages(self) -> list[MessageLike]:
        """
        The conversation: the messages of the request, and every complete turn.

        Another run can start with it, also after a failure.
        """
        return [*self._loop.messages]

    @property
    def turns(self) -> list[ChatResponse]:
        """Every response, in order; each one was billed."""
        return [*self._loop.turns]

    @property
    def results(self) -> list[ToolResult]:
        """The result of every call, in the order in which they ended."""
        return [*self._loop.results]

    @property
    def cost(self) -> float:
        """The cost of all turns in US dollars; a turn without a cost counts as 0."""
        return sum(turn.usage.cost or 0.0 for turn in self._loop.turns)

    def _set_response(self) -> None:
        self._response = self._finish(self._loop.turns[-1])


class ToolRun(_RunState[R_co], Coroutine[Any, Any, "ToolRun[R_co]"]):
    """
    A run of tools; `await` executes it and returns the run itself.

    It is a coroutine and can be passed to `asyncio.create_task`. Nothing is sent before
    it is awaited. Cancelling it cancels the tools that are running.
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
        self._set_response()
        return self

    def __await__(self) -> Generator[Any, Any, "ToolRun[R_co]"]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """Resume the coroutine; for the event loop."""
        return self._coroutine.send(value)

    def throw(self, *args: Any) -> Any:
        """Raise an exception in the coroutine; for the event loop."""
        return self._coroutine.throw(*args)

    def close(self) -> None:
        """Close the coroutine; one that was never awaited sends nothing."""
        self._coroutine.close()

    def __repr__(self) -> str:
        return f"<ToolRun of {len(self._loop.turns)} turns>"


class ToolStream(_RunState[R_co]):
    """
    A run of tools as an iterator over its events.

    Iterate over it once, inside `async with`: leaving the block in any way closes the
    connection and cancels the tools that are running. Nothing is sent before the first
    event is requested.
    """

    __slots__ = ("__weakref__", "_closed", "_events", "_reading")

    def __init__(self, loop: ToolLoop, finish: Callable[[ChatResponse], R_co]) -> None:
        super().__init__(loop, finish)
        self._events: AsyncGenerator[ToolEvent, None] = loop.run(stream=True)
        self._reading = False
        self._closed = False

    @property
    def partial(self) -> ChatResponse | None:
        """
        The response of the current turn, as received so far.

        Between two turns, it is the last response; None if nothing was received.
        """
        if self._loop.stream is not None:
            return self._loop.stream.partial
        return self._loop.turns[-1] if self._loop.turns else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ToolEvent:
        if self._reading:
            raise ConfigurationError(
                "Two tasks iterate over one ToolStream: iterate in one task only."
            )
        if self._closed and self._response is None:
            raise ClosedError("The run was closed before it ended.")
        self._reading = True
        try:
            return await anext(self._events)
        except StopAsyncIteration:
            if self._response is None and not self._closed and self._loop.turns:
                self._set_response()
            raise
        except asyncio.CancelledError:
            # `aclose()` cancels the tasks that this one waits for; a cancellation of
            # this task itself is passed on.
            task = cast("asyncio.Task[Any]", asyncio.current_task())
            if self._closed and not task.cancelling():
                raise ClosedError("The run was closed by another task.") from None
            raise
        finally:
            self._reading = False

    async def aclose(self) -> None:
        """
        Close the connection and cancel the tools that are running.

        It can be called from any task, and more than once. A task that is waiting for
        an event gets a ClosedError.
        """
        self._closed = True
        for task in self._loop.tasks:
            task.cancel()
        if self._loop.stream is not None:
            await self._loop.stream.aclose()
        # A generator that is running in another task cannot be closed; it ends by
        # itself, because its task or its stream was cancelled.
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
