"""The events of a run, and their construction from the chunks of a response."""

from collections.abc import Sequence
from typing import Any

from attrs import define

from ..protocol.accumulator.tool_calls import ToolCallAccumulator
from ..types import (
    ChatResponse,
    ChatStreamingResponseChunk,
    PartLike,
    ToolCall,
)
from ..types.shape import Shape


@define(eq=False, repr=False)
class TextDelta(Shape):
    """
    New text of a response.

    Attributes:
        text: The new text.
        turn: The number of the turn, from 1.
    """

    text: str
    turn: int


@define(eq=False, repr=False)
class ReasoningDelta(Shape):
    """
    New reasoning text of a response.

    Attributes:
        text: The new text.
        turn: The number of the turn, from 1.
    """

    text: str
    turn: int


@define(eq=False, repr=False)
class ToolCallStarted(Shape):
    """
    The first fragment of a tool call.

    Attributes:
        index: The number of the call in its turn, from 0.
        name: The name of the tool.
        turn: The number of the turn, from 1.
    """

    index: int
    name: str
    turn: int


@define(eq=False, repr=False)
class ToolCallArguments(Shape):
    """
    New text of a call's arguments: a part of a JSON text, not to be acted upon.

    Attributes:
        index: The number of the call in its turn, from 0.
        text: The new text.
        turn: The number of the turn, from 1.
    """

    index: int
    text: str
    turn: int


@define(eq=False, repr=False)
class ToolCallFinished(Shape):
    """
    A complete call; its turn has ended, and it is executed next.

    Attributes:
        index: The number of the call in its turn, from 0.
        call: The call.
        turn: The number of the turn, from 1.
    """

    index: int
    call: ToolCall
    turn: int


@define(eq=False, repr=False)
class ToolResult(Shape):
    """
    The result of a call.

    Attributes:
        call: The call.
        content: The content of the tool message for the model.
        value: The return value of the function; None if the call failed.
        error: The exception that the function raised; a `ToolArgumentsError` if the
            arguments are invalid; a `LookupError` if the tool is unknown; None if the
            call succeeded.
        turn: The number of the turn, from 1.
    """

    call: ToolCall
    content: str | Sequence[PartLike]
    value: Any
    error: Exception | None
    turn: int


@define(eq=False, repr=False)
class TurnFinished(Shape):
    """
    The end of a turn: the response is complete, and its calls have been executed.

    Attributes:
        turn: The number of the turn, from 1.
        response: The response.
    """

    turn: int
    response: ChatResponse


ToolEvent = (
    TextDelta
    | ReasoningDelta
    | ToolCallStarted
    | ToolCallArguments
    | ToolCallFinished
    | ToolResult
    | TurnFinished
)
"""The events that `run_tools(stream=True)` yields."""


class EventBuilder:
    """Builds the events of one turn from the chunks of its response."""

    def __init__(self, turn: int) -> None:
        self._turn = turn
        self._calls = ToolCallAccumulator()
        # The arguments that events have reported so far, for each call.
        self._reported: dict[int, str] = {}

    def feed(self, chunk: ChatStreamingResponseChunk) -> list[ToolEvent]:
        """Return the events of a chunk's first choice; other choices have none."""
        events: list[ToolEvent] = []
        for choice in chunk.choices:
            if choice.index:
                continue
            delta = choice.delta
            if delta.reasoning:
                events.append(ReasoningDelta(delta.reasoning, self._turn))
            if delta.content:
                events.append(TextDelta(delta.content, self._turn))
            if delta.tool_calls:
                self._calls.add([fragment.raw for fragment in delta.tool_calls])
                events += self._call_events()
        return events

    def finish(self, calls: Sequence[ToolCall]) -> list[ToolEvent]:
        """Return the events of the complete calls when the turn has ended."""
        events: list[ToolEvent] = []
        for index, call in zip(self._indexes(len(calls)), calls, strict=True):
            if index not in self._reported:
                name, text = call.function.name, call.function.arguments
                events.append(ToolCallStarted(index, name, self._turn))
                events.append(ToolCallArguments(index, text, self._turn))
            events.append(ToolCallFinished(index, call, self._turn))
        return events

    def _call_events(self) -> list[ToolEvent]:
        events: list[ToolEvent] = []
        for index, call in enumerate(self._calls.items):
            if not call.name:
                continue
            if index not in self._reported:
                self._reported[index] = ""
                events.append(ToolCallStarted(index, call.name, self._turn))
            text = str(call.build_function(complete=False)["arguments"])
            reported = self._reported[index]
            # Some providers replace the arguments at the end; a delta cannot say so.
            if len(text) > len(reported) and text.startswith(reported):
                self._reported[index] = text
                events.append(
                    ToolCallArguments(index, text[len(reported) :], self._turn)
                )
        return events

    def _indexes(self, count: int) -> Sequence[int]:
        """
        Return the index, in order of arrival, of each call of the response.

        The response has its calls in the order of the indexes that the provider gave
        them, which may differ from the order of arrival.
        """
        indexes = [call.index for call in self._calls.items]
        known = [index for index in indexes if index is not None]
        if len(set(known)) == len(known) == count:
            return sorted(range(count), key=known.__getitem__)
        return range(count)
