"""Turn after turn: ask, execute what is called, tell the results."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

from ..errors import (
    ConfigurationError,
    MaxTurnsError,
    ToolArgumentsError,
    ToolCallTruncatedError,
)
from ..stream import ChatStream
from ..types import (
    ChatResponse,
    FunctionTool,
    MessageLike,
    Tool,
    ToolCall,
    ToolResponseMessage,
)
from .events import (
    EventBuilder,
    ToolEvent,
    ToolResult,
    TurnFinished,
)
from .execution import call_function, error_content, result_content, sendable_calls

T = TypeVar("T")

OnToolError = Literal["report", "raise"] | Callable[[ToolCall, Exception], str]
"""
What becomes of a tool's exception.

"report": the model is told; "raise": it leaves the run; or a function that returns what
the model is told, or raises.
"""

_FREE: Final = (None, "auto", "none")


class ToolLoop:
    """
    The turns of one run.

    Attributes:
        messages: The conversation so far: what was given, and whole turns.
        turns: Every reply, the last one last.
        results: What came of every call, in the order in which they ended.
        busy: What another task may cancel to end the run: tools, an opening stream.
        stream: The stream that is being read.
    """

    def __init__(
        self,
        ask: Callable[..., Coroutine[Any, Any, Any]],
        request: Mapping[str, Any],
        *,
        max_turns: int,
        max_parallel_tools: int,
        on_tool_error: OnToolError,
    ) -> None:
        """
        Check what was given; nothing is sent.

        Args:
            ask: Sends the conversation; takes `messages`, `tool_choice`, `stream`.
            request: `messages`, `tools` and `tool_choice` as they were given.
            max_turns: Replies asked for, 1 or more.
            max_parallel_tools: Calls of one turn executed at once, 1 or more.
            on_tool_error: What becomes of a tool's exception.

        Raises:
            ConfigurationError: A tool that cannot be executed, or a limit below 1.
            TypeError: The messages are none.
        """
        if min(max_turns, max_parallel_tools) < 1:
            raise ConfigurationError(
                f"Invalid max_turns={max_turns} or "
                f"max_parallel_tools={max_parallel_tools}: both must be 1 or more."
            )
        messages = request.get("messages") or ()
        if isinstance(messages, str) or not isinstance(messages, Sequence):
            raise TypeError("messages is a list of messages: [UserMessage('...')].")
        self.messages: list[MessageLike] = [*messages]
        self.turns: list[ChatResponse] = []
        self.results: list[ToolResult] = []
        self.busy: set[asyncio.Task[Any]] = set()
        self.stream: ChatStream | None = None
        self._ask = ask
        self._tools = _by_name(request.get("tools") or ())
        self._choice = request.get("tool_choice")
        self._max_turns = max_turns
        self._max_parallel_tools = max_parallel_tools
        self._on_tool_error = on_tool_error
        self._ids: set[str] = set()

    async def run(self, *, stream: bool) -> AsyncGenerator[ToolEvent, None]:
        """
        Run to the answer; with `stream` the events of each reply are yielded too.

        Raises:
            MaxTurnsError: The model still calls tools in its last turn.
            ToolCallTruncatedError: A call is cut off; it is not executed.
            OpenRouterError: Whatever sending raises.
        """
        turn = 0
        while True:
            turn += 1
            watch = EventBuilder(turn)
            if stream:
                async with await self._open() as self.stream:
                    async for chunk in self.stream:
                        for event in watch.see(chunk):
                            yield event
                    reply = self.stream.response
                self.stream = None
            else:
                reply = await self._ask(**self._turn(), stream=False)
            self.turns.append(reply)
            if not reply.tool_calls:
                self.messages.append(reply.message)
                yield TurnFinished(turn, reply)
                return
            self._check(reply, turn)
            echo, calls = sendable_calls(reply.message, self._ids)
            for event in watch.finish(calls) if stream else ():
                yield event
            tasks = self._start(calls, turn)
            try:
                waiting = set(tasks)
                while waiting:
                    done, waiting = await asyncio.wait(
                        waiting, return_when=asyncio.FIRST_COMPLETED
                    )
                    for task in [task for task in tasks if task in done]:
                        self.results.append(task.result())
                        yield self.results[-1]
            finally:
                await _cancel(tasks)
                self.busy.difference_update(tasks)
            # All at once: half a turn is nothing that a provider takes.
            self.messages.append(echo)
            for call, task in zip(calls, tasks, strict=True):
                content = task.result().content
                self.messages.append(ToolResponseMessage(content, tool_call_id=call.id))
            yield TurnFinished(turn, reply)

    def _turn(self) -> dict[str, Any]:
        """Return what this turn asks for; a forced call is forced only once."""
        forced = self._choice not in _FREE and bool(self.turns)
        return {
            "messages": [*self.messages],
            "tool_choice": "auto" if forced else self._choice,
        }

    async def _open(self) -> ChatStream:
        # A task, so that `aclose()` in another one can end it.
        opening = asyncio.create_task(self._ask(**self._turn(), stream=True))
        self.busy.add(opening)
        try:
            opened: ChatStream = await opening
        except asyncio.CancelledError:
            if opening.done() and not opening.cancelled() and not opening.exception():
                # It was opened in the very moment.
                await opening.result().aclose()
            raise
        finally:
            self.busy.discard(opening)
        return opened

    def _check(self, reply: ChatResponse, turn: int) -> None:
        if reply.finish_reason == "length":
            raise ToolCallTruncatedError(
                "A tool call is cut off at the token limit; it was not executed.",
                response=reply,
                messages=[*self.messages],
                hint="Raise max_completion_tokens.",
            )
        if turn == self._max_turns:
            raise MaxTurnsError(
                f"After {turn} turns the model still calls tools.",
                response=reply,
                messages=[*self.messages],
                hint="Raise max_turns, or go on from error.messages.",
            )

    def _start(
        self, calls: Sequence[ToolCall], turn: int
    ) -> list[asyncio.Task[ToolResult]]:
        slots = asyncio.Semaphore(self._max_parallel_tools)
        tasks = [
            asyncio.create_task(self._execute(call, turn, slots)) for call in calls
        ]
        self.busy.update(tasks)
        return tasks

    async def _execute(
        self, call: ToolCall, turn: int, slots: asyncio.Semaphore
    ) -> ToolResult:
        name = call.function.name
        tool = self._tools.get(name)
        if tool is None:
            known = ", ".join(self._tools) or "none"
            text = f"There is no tool {name!r}. There are: {known}."
            return ToolResult(call, error_content(text), None, LookupError(text), turn)
        try:
            args, kwargs = tool.arguments_of(call)
        except ToolArgumentsError as error:
            return ToolResult(call, error_content(error.message), None, error, turn)
        async with slots:
            try:
                value = await call_function(tool.wrapped, args, kwargs)
                return ToolResult(call, result_content(value), value, None, turn)
            except Exception as error:
                error.add_note(f"In the tool {name!r}, called as {call.id!r}.")
                if self._on_tool_error == "raise":
                    raise
                told = (
                    self._on_tool_error(call, error)
                    if callable(self._on_tool_error)
                    else error_content(f"{type(error).__name__}: {error}")
                )
                return ToolResult(call, told, None, error, turn)


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _by_name(tools: Sequence[Any]) -> dict[str, Tool[..., Any]]:
    """
    Return the tools that the model may call here; server tools are not among them.

    Raises:
        ConfigurationError: One has no function, or the name of another.
    """
    found: dict[str, Tool[..., Any]] = {}
    for each in tools:
        if isinstance(each, Tool):
            name = each.name
            if name in found:
                raise ConfigurationError(f"Two tools are called {name!r}.")
            found[name] = each
        elif isinstance(each, FunctionTool) or (
            isinstance(each, Mapping) and each.get("type") == "function"  # pyright: ignore[reportUnknownMemberType]
        ):
            raise ConfigurationError(
                f"There is no function behind {each!r:.100}: "
                "run_tools() takes what @tool or FunctionTool.from_function made."
            )
    return found
