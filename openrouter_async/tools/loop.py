"""The tool loop: send the conversation, execute the calls, send their results."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
    Sequence,
)
from typing import Any, Final, Self, TypeVar

from ..errors import (
    ConfigurationError,
    MaxTurnsError,
    ToolCallTruncatedError,
    ToolRunError,
    ToolRunTimeoutError,
)
from ..protocol.accumulator.choices import CUT_OFF
from ..stream import ChatStream
from ..types import (
    ChatResponse,
    ChatStreamingResponseChunk,
    FunctionTool,
    Message,
    MessageLike,
    Tool,
    ToolCall,
    ToolResponseMessage,
)
from .call_ids import CallIds
from .events import EventBuilder, ToolEvent, ToolResult, TurnFinished
from .execution import OnToolError, execute, sendable_calls, without_blank_calls
from .observation import Observer

T = TypeVar("T")
Task = asyncio.Task[ToolResult]

# Every other value of `tool_choice` forces a call.
_UNFORCED: Final = (None, "auto", "none")

_CUT_OFF_BY: Final[Mapping[str, str]] = {
    "length": "at the token limit",
    "error": "by an error of the provider",
    "content_filter": "by a content filter",
}


class ToolLoop:
    """
    The turns of one run.

    Attributes:
        messages: The conversation: the messages of the request, and complete turns.
        turns: Every response, in order.
        results: The result of every call, in the order in which they ended.
        tasks: The tasks to cancel when the run is closed: tools that run, and the
            opening of a stream.
        stream: The open stream; None between streams.
    """

    def __init__(
        self,
        ask: Callable[..., Coroutine[Any, Any, Any]],
        request: Mapping[str, Any],
        *,
        max_turns: int,
        max_parallel_tools: int,
        on_tool_error: OnToolError,
        deadline: float | None = None,
        observer: Observer | None = None,
    ) -> None:
        """
        Validate the arguments; nothing is sent.

        Args:
            ask: Function that sends a request; called with `messages`, `tool_choice`
                and `stream`.
            request: The `messages`, `tools` and `tool_choice` of the first request.
            max_turns: The maximum number of responses, 1 or more.
            max_parallel_tools: The maximum number of calls of one turn that are
                executed at the same time, 1 or more.
            on_tool_error: The handling of an exception that a tool raises.
            deadline: Maximum seconds of the whole run; None for no limit.
            observer: Observer that is notified of each tool call.

        Raises:
            ConfigurationError: If a limit is less than 1, the deadline is not
                positive, a function tool has no function, or two tools have the
                same name.
            TypeError: If `messages` is not a list of messages.
        """
        if min(max_turns, max_parallel_tools) < 1:
            raise ConfigurationError(
                f"Invalid max_turns={max_turns} or "
                f"max_parallel_tools={max_parallel_tools}: both must be 1 or more."
            )
        if deadline is not None and not deadline > 0:
            raise ConfigurationError(
                f"Invalid deadline={deadline}: pass seconds, more than 0."
            )
        messages = request.get("messages") or ()
        if isinstance(messages, str) or not isinstance(messages, Sequence):
            raise TypeError(
                f"Invalid messages of type {type(messages).__name__}: pass a list of "
                "messages, such as [UserMessage('...')]."
            )
        self.messages: list[MessageLike] = [*messages]
        self.turns: list[ChatResponse] = []
        self.results: list[ToolResult] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        self.stream: ChatStream | None = None
        self._ask = ask
        self._tools = _by_name(request.get("tools") or ())
        self._tool_choice = request.get("tool_choice")
        self._max_turns = max_turns
        self._max_parallel_tools = max_parallel_tools
        self._on_tool_error: OnToolError = on_tool_error
        self._call_ids = CallIds()
        self._deadline = deadline
        self._observer = observer
        # The time of the event loop at which the run must have ended.
        self._end: float | None = None
        self._executing: list[str] = []

    async def run(self, *, stream: bool) -> AsyncGenerator[ToolEvent, None]:
        """
        Run turns until the model responds without a call.

        Args:
            stream: If True, stream the responses and yield their events too.

        Raises:
            MaxTurnsError: If the model calls tools in the last turn.
            ToolCallTruncatedError: If a call was cut off; it is not executed.
            ToolRunError: If a call has arguments and no name.
            ToolRunTimeoutError: If the deadline passes before the run ends.
            OpenRouterError: If a request fails, as from `send`.
        """
        self._set_end()
        turn = 0
        while True:
            turn += 1
            builder = EventBuilder(turn, self._call_ids)
            if stream:
                async with await self._timed(self._open()) as self.stream:
                    async for chunk in self._chunks(self.stream):
                        for event in builder.feed(chunk):
                            yield event
                    response = self.stream.response
                self.stream = None
            else:
                asking = self._ask(**self._turn_request(), stream=False)
                response = await self._timed(asking)
            self.turns.append(response)
            received = without_blank_calls(response.message)
            if not received.tool_calls:
                self.messages.append(received)
                yield TurnFinished(turn, response)
                return
            self._check(response, received, turn)
            message, calls = sendable_calls(
                received, self._call_ids, builder.started_ids(len(received.tool_calls))
            )
            for event in builder.finish(calls) if stream else ():
                yield event
            tasks = self._start(calls, turn)
            try:
                pending = set(tasks)
                while pending:
                    done, pending = await self._wait(pending)
                    # `done` is a set; results are reported in the order of the calls.
                    for task in [task for task in tasks if task in done]:
                        self.results.append(task.result())
                        yield self.results[-1]
            finally:
                await _cancel(tasks)
                self.tasks.difference_update(tasks)
            # All at once: providers reject a conversation in which a call has no
            # result, and a further run may begin with these messages.
            self.messages.append(message)
            for call, task in zip(calls, tasks, strict=True):
                content = task.result().content
                self.messages.append(ToolResponseMessage(content, tool_call_id=call.id))
            yield TurnFinished(turn, response)

    def _set_end(self) -> None:
        if self._deadline is not None:
            self._end = asyncio.get_running_loop().time() + self._deadline

    async def _wait(self, tasks: set[Task]) -> tuple[set[Task], set[Task]]:
        """
        Wait for the next tools; return the tasks that are done, and the others.

        Raises:
            ToolRunTimeoutError: If the deadline passes.
        """
        now = asyncio.get_running_loop().time()
        done, pending = await asyncio.wait(
            tasks,
            timeout=None if self._end is None else max(0.0, self._end - now),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not done:
            raise self._timed_out()
        return done, pending

    async def _timed(self, awaitable: Awaitable[T]) -> T:
        """
        Return the result of an awaitable, which is cancelled at the deadline.

        Raises:
            ToolRunTimeoutError: If the deadline passes.
        """
        timeout = asyncio.timeout_at(self._end)
        try:
            async with timeout:
                return await awaitable
        except TimeoutError:
            if not timeout.expired():
                raise
        raise self._timed_out()

    def _chunks(self, stream: ChatStream) -> AsyncIterator[ChatStreamingResponseChunk]:
        # Without a deadline, no timer is created for each chunk.
        return stream if self._end is None else _TimedChunks(stream, self._timed)

    def _timed_out(self) -> ToolRunTimeoutError:
        tools = tuple(dict.fromkeys(self._executing))
        names = ", ".join(map(repr, tools))
        waiting_for = (
            f"the tools {names} had not returned"
            if len(tools) > 1
            else f"the tool {names} had not returned"
            if tools
            else "the model had not responded"
        )
        last = self.turns[-1] if self.turns else ChatResponse()
        return ToolRunTimeoutError(
            f"The run did not end within deadline={self._deadline:g} seconds: "
            f"{waiting_for}.",
            response=last,
            messages=[*self.messages],
            seconds=self._deadline or 0.0,
            tools=tools,
            partial=None if self.stream is None else self.stream.partial,
            hint="Raise deadline, or start another run with error.messages.",
        )

    def _turn_request(self) -> dict[str, Any]:
        """Return the fields of the next request that change from turn to turn."""
        # A forced call is forced only once; otherwise the model could never stop.
        forced = self._tool_choice not in _UNFORCED and bool(self.turns)
        return {
            "messages": [*self.messages],
            "tool_choice": "auto" if forced else self._tool_choice,
        }

    async def _open(self) -> ChatStream:
        # A task of its own, so that `aclose()` can cancel it from another task.
        opening = asyncio.create_task(self._ask(**self._turn_request(), stream=True))
        self.tasks.add(opening)
        try:
            stream: ChatStream = await opening
        except asyncio.CancelledError:
            # If it was opened at the moment of the cancellation, nobody else has it.
            if opening.done() and not opening.cancelled() and not opening.exception():
                await opening.result().aclose()
            raise
        finally:
            self.tasks.discard(opening)
        return stream

    def _check(self, response: ChatResponse, received: Message, turn: int) -> None:
        """Raise if the calls of a response must not be executed."""
        # Even if the arguments are valid JSON by chance, more of them was to come.
        reason = response.finish_reason
        if reason in CUT_OFF:
            raise ToolCallTruncatedError(
                f"A tool call was cut off {_CUT_OFF_BY[reason]}; it was not executed.",
                response=response,
                messages=[*self.messages],
                hint="Raise max_completion_tokens." if reason == "length" else None,
            )
        if not all(call.function.name for call in received.tool_calls):
            # Its arguments may be those of another call.
            raise ToolRunError(
                "A tool call has arguments and no name; no call was executed.",
                response=response,
                messages=[*self.messages],
            )
        if turn == self._max_turns:
            raise MaxTurnsError(
                f"The model still calls tools after max_turns={turn} turns.",
                response=response,
                messages=[*self.messages],
                hint="Raise max_turns, or start another run with error.messages.",
            )

    def _start(
        self, calls: Sequence[ToolCall], turn: int
    ) -> list[asyncio.Task[ToolResult]]:
        slots = asyncio.Semaphore(self._max_parallel_tools)
        tasks = [
            asyncio.create_task(
                execute(
                    call,
                    self._tools,
                    turn=turn,
                    slots=slots,
                    executing=self._executing,
                    on_tool_error=self._on_tool_error,
                    observer=self._observer,
                )
            )
            for call in calls
        ]
        self.tasks.update(tasks)
        return tasks


class _TimedChunks:
    """Iterator over the chunks of a stream, in which each wait has the deadline."""

    def __init__(
        self, stream: ChatStream, timed: Callable[[Awaitable[Any]], Awaitable[Any]]
    ) -> None:
        self._stream = stream
        self._timed = timed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatStreamingResponseChunk:
        chunk: ChatStreamingResponseChunk = await self._timed(anext(self._stream))
        return chunk


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _by_name(tools: Sequence[Any]) -> dict[str, Tool[..., Any]]:
    """
    Return the tools that have a function, by name; server tools are left out.

    Raises:
        ConfigurationError: If a function tool has no function, a function is not a
            tool, or two tools have the same name.
    """
    found: dict[str, Tool[..., Any]] = {}
    for each in tools:
        if isinstance(each, Tool):
            name = each.name
            if name in found:
                raise ConfigurationError(
                    f"Two tools are named {name!r}: rename one with @tool(name=...), "
                    "or pass prefix= to mcp_tools()."
                )
            found[name] = each
        elif isinstance(each, FunctionTool) or (
            isinstance(each, Mapping) and each.get("type") == "function"  # pyright: ignore[reportUnknownMemberType]
        ):
            raise ConfigurationError(
                f"This tool has no function: {each!r:.100}. Make the tools of "
                "run_tools() with @tool or FunctionTool.from_function()."
            )
        elif callable(each):  # pyright: ignore[reportUnknownArgumentType]
            raise ConfigurationError(
                f"A function is not a tool yet: {each!r:.100}. Decorate it with @tool."
            )
    return found
