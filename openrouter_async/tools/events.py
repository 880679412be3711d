"""The events of a run, and their construction from the chunks of a response."""

from collections.abc import Sequence
from typing import Any

from attrs import define, evolve

from ..protocol.accumulator.tool_calls import ToolCallAccumulator
from ..protocol.templates import find_template
from ..types import (
    Annotation,
    ChatResponse,
    ChatStreamingResponseChunk,
    OutputImage,
    PartLike,
    ToolCall,
)
from ..types.shape import Shape
from .call_ids import CallIds


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
class CitationReceived(Shape):
    """
    A source of the response; equal sources have one event in a turn.

    Attributes:
        annotation: The source.
        turn: The number of the turn, from 1.
    """

    annotation: Annotation
    turn: int


@define(eq=False, repr=False)
class ImageReceived(Shape):
    """
    A complete image that the model generated.

    Attributes:
        image: The image.
        turn: The number of the turn, from 1.
    """

    image: OutputImage
    turn: int


@define(eq=False, repr=False)
class ToolCallStarted(Shape):
    """
    The first fragment of a tool call.

    Attributes:
        index: The number of the call in its turn, from 0.
        name: The name of the tool.
        turn: The number of the turn, from 1.
        id: The id of the call; that of the later `ToolCallFinished.call` is the same.
    """

    index: int
    name: str
    turn: int
    id: str


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
    A complete tool call of a turn that has ended; the call is executed next.

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
    | CitationReceived
    | ImageReceived
    | ToolCallStarted
    | ToolCallArguments
    | ToolCallFinished
    | ToolResult
    | TurnFinished
)
"""The events that `run_tools(stream=True)` yields."""


class EventBuilder:
    """
    Builds the events of one turn from the chunks of its response.

    It can be used for any stream: `feed` returns the events of a chunk, and `finish`
    those of the complete calls at the end.
    """

    def __init__(self, turn: int = 1, call_ids: CallIds | None = None) -> None:
        """
        Start a turn.

        Args:
            turn: The number of the turn, from 1.
            call_ids: The call ids of the run so far; those of the turn are added.
        """
        self._turn = turn
        self._call_ids = CallIds() if call_ids is None else call_ids
        self._calls = ToolCallAccumulator()
        # The id and the arguments that events have reported so far, for each call.
        self._ids: dict[int, str] = {}
        self._reported: dict[int, str] = {}
        self._annotations: list[Annotation] = []

    def feed(self, chunk: ChatStreamingResponseChunk) -> list[ToolEvent]:
        """Return the events of a chunk's first choice; other choices have none."""
        found = find_template(chunk)
        if found is not None and found[0].kind is not None:
            # Nearly all chunks of a stream: their `choices` need not be created.
            template, text = found
            event = TextDelta if template.kind == "text" else ReasoningDelta
            return [event(text, self._turn)] if text else []
        events: list[ToolEvent] = []
        for choice in chunk.choices:
            if choice.index:
                continue
            delta = choice.delta
            if delta.reasoning:
                events.append(ReasoningDelta(delta.reasoning, self._turn))
            if delta.content:
                events.append(TextDelta(delta.content, self._turn))
            for annotation in delta.annotations:
                # Some providers send the same one with each chunk that refers to it.
                if annotation not in self._annotations:
                    self._annotations.append(annotation)
                    events.append(CitationReceived(annotation, self._turn))
            events += (ImageReceived(image, self._turn) for image in delta.images)
            if delta.tool_calls:
                self._calls.add([fragment.raw for fragment in delta.tool_calls])
                events += self._call_events()
        return events

    def started_ids(self, count: int) -> list[str | None]:
        """Return the id that an event has reported for each of the response's calls."""
        return [self._ids.get(index) for index in self._indexes(count)]

    def finish(self, calls: Sequence[ToolCall]) -> list[ToolEvent]:
        """
        Return the events of the complete calls when the turn has ended.

        Args:
            calls: The calls of the whole response. An id that differs from the one
                that an event has reported is replaced by it.
        """
        events: list[ToolEvent] = []
        for index, call in zip(self._indexes(len(calls)), calls, strict=True):
            call_id = self._ids.get(index)
            if call_id is None:
                name, text = call.function.name, call.function.arguments
                call_id = call.id
                events.append(ToolCallStarted(index, name, self._turn, call_id))
                events.append(ToolCallArguments(index, text, self._turn))
            finished = call if call_id == call.id else evolve(call, id=call_id)
            events.append(ToolCallFinished(index, finished, self._turn))
        return events

    def _call_events(self) -> list[ToolEvent]:
        events: list[ToolEvent] = []
        for index, call in enumerate(self._calls.items):
            if not call.name_is_complete:
                continue
            if index not in self._reported:
                self._reported[index] = ""
                # It does not change any more, even if a fragment brings another one.
                call_id = self._ids[index] = self._call_ids.add(call.id)
                events.append(ToolCallStarted(index, call.name, self._turn, call_id))
            # A half of a character at the end may be completed by the next fragment.
            text = call.shown_arguments
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
        named = [
            (number, call.index)
            for number, call in enumerate(self._calls.items)
            if call.name
        ]
        if len(named) != count:
            return range(count)
        numbers = [number for number, _ in named]
        known = [index for _, index in named if index is not None]
        if len(set(known)) == count:
            return [number for _, number in sorted(zip(known, numbers, strict=True))]
        return numbers
