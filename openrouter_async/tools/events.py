"""What happens in a run, as it happens."""

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
    More words of an answer.

    Attributes:
        text: The new words.
        turn: The turn, from 1.
    """

    text: str
    turn: int


@define(eq=False, repr=False)
class ReasoningDelta(Shape):
    """
    More thoughts.

    Attributes:
        text: The new thoughts.
        turn: The turn, from 1.
    """

    text: str
    turn: int


@define(eq=False, repr=False)
class ToolCallStarted(Shape):
    """
    The model has begun to call a tool.

    Attributes:
        index: Which call of the turn, from 0.
        name: The tool's name.
        turn: The turn, from 1.
    """

    index: int
    name: str
    turn: int


@define(eq=False, repr=False)
class ToolCallArguments(Shape):
    """
    More of a call's arguments; part of a JSON text, not to be acted upon.

    Attributes:
        index: Which call of the turn, from 0.
        text: The new part.
        turn: The turn, from 1.
    """

    index: int
    text: str
    turn: int


@define(eq=False, repr=False)
class ToolCallFinished(Shape):
    """
    A call is whole: its turn has ended, and it is about to be executed.

    Attributes:
        index: Which call of the turn, from 0.
        call: The call.
        turn: The turn, from 1.
    """

    index: int
    call: ToolCall
    turn: int


@define(eq=False, repr=False)
class ToolResult(Shape):
    """
    What came of a call.

    Attributes:
        call: The call.
        content: What the model is told.
        value: What the function returned; None if it failed.
        error: Why it failed: its own exception, a `ToolArgumentsError`, a
            `LookupError` for a tool that there is not; None if it did not.
        turn: The turn, from 1.
    """

    call: ToolCall
    content: str | Sequence[PartLike]
    value: Any
    error: Exception | None
    turn: int


@define(eq=False, repr=False)
class TurnFinished(Shape):
    """
    A reply is there, and so are the results of its calls.

    Attributes:
        turn: The turn, from 1.
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
"""What `run_tools(stream=True)` yields."""


class EventBuilder:
    """Sees events in the chunks of one turn."""

    def __init__(self, turn: int) -> None:
        self._turn = turn
        self._calls = ToolCallAccumulator()
        # The arguments told of each call that was told of.
        self._told: dict[int, str] = {}

    def see(self, chunk: ChatStreamingResponseChunk) -> list[ToolEvent]:
        """Return what is new in the first choice."""
        found: list[ToolEvent] = []
        for choice in chunk.choices:
            if choice.index:
                continue
            delta = choice.delta
            if delta.reasoning:
                found.append(ReasoningDelta(delta.reasoning, self._turn))
            if delta.content:
                found.append(TextDelta(delta.content, self._turn))
            if delta.tool_calls:
                self._calls.add([fragment.raw for fragment in delta.tool_calls])
                found += self._new()
        return found

    def _new(self) -> list[ToolEvent]:
        found: list[ToolEvent] = []
        for place, call in enumerate(self._calls.items):
            if not call.name:
                continue
            if place not in self._told:
                self._told[place] = ""
                found.append(ToolCallStarted(place, call.name, self._turn))
            text = str(call.build_function(whole=False)["arguments"])
            told = self._told[place]
            if len(text) > len(told) and text.startswith(told):
                self._told[place] = text
                found.append(ToolCallArguments(place, text[len(told) :], self._turn))
        return found

    def finish(self, calls: Sequence[ToolCall]) -> list[ToolEvent]:
        """Return what remains to be told when the turn has ended with these calls."""
        found: list[ToolEvent] = []
        for place, call in zip(self._order(len(calls)), calls, strict=True):
            if place not in self._told:
                name, text = call.function.name, call.function.arguments
                found.append(ToolCallStarted(place, name, self._turn))
                found.append(ToolCallArguments(place, text, self._turn))
            found.append(ToolCallFinished(place, call, self._turn))
        return found

    def _order(self, count: int) -> Sequence[int]:
        """Return which call of those seen each call of the reply is."""
        indexes = [call.index for call in self._calls.items]
        known = [index for index in indexes if index is not None]
        if len(set(known)) == len(known) == count:
            return sorted(range(count), key=known.__getitem__)
        return range(count)
