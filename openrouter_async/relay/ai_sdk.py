"""AISDKFormat: the UI message stream of Vercel's AI SDK. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define

from ..errors import MalformedResponseError, ToolArgumentsError
from ..protocol.decode import as_object, decode
from ..protocol.encode import encode
from ..protocol.templates import ChunkRun
from ..tools.events import (
    CitationReceived,
    ImageReceived,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallFinished,
    ToolCallStarted,
    ToolEvent,
    ToolResult,
    TurnFinished,
)
from ..types import ChatResponse, ToolCall
from .public_errors import PublicError
from .relay_formats import DONE_EVENT, SSE_HEADERS, data_event, text_events

_FINISH_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "error": "error",
}


@define
class _RelayedCall:
    """
    A tool call as the client knows it.

    Attributes:
        id: Its `toolCallId`.
        name: The name of the tool.
        has_input: True once its whole input was sent.
        has_output: True once its output was sent.
    """

    id: str
    name: str
    has_input: bool = False
    has_output: bool = False


class AISDKFormat:
    """
    The UI message stream of the npm package `ai`, versions 5 to 7, for `useChat`.

    The client rejects a delta without its start, and an output of an unknown tool call.
    A sequence of events that would lead to one is completed.

    Args:
        message_id: The id of the message, if it is stored; None: the client makes one.

    Source: https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
    """

    headers: Mapping[str, str] = {**SSE_HEADERS, "x-vercel-ai-ui-message-stream": "v1"}

    def __init__(self, message_id: str | None = None) -> None:
        self._message_id = message_id
        # The turn whose step is open; 0 between steps.
        self._turn = 0
        # The kind of the open part, "text" or "reasoning"; None between parts.
        self._part: str | None = None
        self._parts = 0
        # The event of a delta of the part, before the body of its text.
        self._head = b""
        self._sources = 0
        # The calls of the message by their id, and those of the turn by their index.
        self._calls: dict[str, _RelayedCall] = {}
        self._by_index: dict[int, _RelayedCall] = {}
        self._writers: dict[type[Any], Callable[[Any], bytes]] = {
            TextDelta: self._text,
            ReasoningDelta: self._reasoning,
            ToolCallStarted: self._call_started,
            ToolCallArguments: self._call_arguments,
            ToolCallFinished: self._call_finished,
            ToolResult: self._result,
            CitationReceived: self._citation,
            ImageReceived: self._image,
            TurnFinished: self._turn_finished,
        }

    def begin(self) -> bytes:
        """Return `start`."""
        message_id = {} if self._message_id is None else {"messageId": self._message_id}
        return data_event({"type": "start", **message_id})

    def event(self, event: ToolEvent) -> bytes:
        """Return the client's events for an event; often one, sometimes several."""
        return self._writers[event.__class__](event)

    def run(self, run: ChunkRun) -> bytes | None:
        """Return the bytes of chunks that have only text, or only reasoning."""
        kind = run.template.kind
        texts = [*filter(None, run.texts)]
        if kind is None or not texts:
            return None if kind is None else b""
        start = self._begin_delta(kind, 1)
        return start + text_events(self._head, texts, b'"}\n\n')

    def end(self, response: ChatResponse, usage: Mapping[str, Any] | None) -> bytes:
        """Return `finish` and `[DONE]`."""
        reason = _FINISH_REASONS.get(response.finish_reason or "", "other")
        last: dict[str, Any] = {"type": "finish", "finishReason": reason}
        if usage is not None:
            last["messageMetadata"] = {"usage": usage}
        return self._end_step() + data_event(last) + DONE_EVENT

    def error(self, error: PublicError) -> bytes:
        """Return `error` and `[DONE]`."""
        failure = {"type": "error", "errorText": error.message}
        return self._end_part() + data_event(failure) + DONE_EVENT

    def _text(self, event: TextDelta) -> bytes:
        return self._delta("text", event.text, event.turn)

    def _reasoning(self, event: ReasoningDelta) -> bytes:
        return self._delta("reasoning", event.text, event.turn)

    def _delta(self, kind: str, text: str, turn: int) -> bytes:
        start = self._begin_delta(kind, turn)
        # Written by hand, because it is the event of every token.
        return b'%b%b%b"}\n\n' % (start, self._head, encode(text)[1:-1])

    def _begin_delta(self, kind: str, turn: int) -> bytes:
        """Return what has to precede a delta of a part: often nothing."""
        if kind == self._part and turn == self._turn:
            return b""
        return self._begin_step(turn) + self._begin_part(kind)

    def _call_started(self, event: ToolCallStarted) -> bytes:
        start = self._begin_step(event.turn) + self._end_part()
        if event.index in self._by_index:
            return start
        call = self._add_call(event.index, event.id, event.name)
        return start + _tool_event(
            "tool-input-start", call, toolName=call.name, dynamic=True
        )

    def _call_arguments(self, event: ToolCallArguments) -> bytes:
        start = self._begin_step(event.turn) + self._end_part()
        call = self._by_index.get(event.index)
        if call is None or call.has_input:
            return start
        return start + _tool_event("tool-input-delta", call, inputTextDelta=event.text)

    def _call_finished(self, event: ToolCallFinished) -> bytes:
        start = self._begin_step(event.turn) + self._end_part()
        call = self._by_index.get(event.index)
        if call is None:
            name = event.call.function.name
            call = self._add_call(event.index, event.call.id, name)
        # The result names the call by the id that was sent to the model.
        self._calls.setdefault(event.call.id, call)
        return start + _input_event(call, event.call)

    def _result(self, event: ToolResult) -> bytes:
        start = self._begin_step(event.turn) + self._end_part()
        call = self._calls.get(event.call.id)
        if call is None:
            name = event.call.function.name
            call = self._calls[event.call.id] = _RelayedCall(event.call.id, name)
        start += _input_event(call, event.call)
        if call.has_output:
            return start
        call.has_output = True
        if event.error is not None:
            # The text of an exception is meant for the developer and for the model.
            invalid = isinstance(event.error, ToolArgumentsError)
            text = "The arguments are invalid." if invalid else "The tool failed."
            return start + _tool_event(
                "tool-output-error", call, errorText=text, dynamic=True
            )
        return start + _tool_event(
            "tool-output-available", call, output=_output(event), dynamic=True
        )

    def _citation(self, event: CitationReceived) -> bytes:
        # A source may be cited in the middle of a sentence: the text stays open.
        citation = as_object(event.annotation.url_citation)
        url = citation.get("url")
        if not isinstance(url, str):
            return b""
        self._sources += 1
        source = {"type": "source-url", "sourceId": f"{self._sources}", "url": url}
        if isinstance(title := citation.get("title"), str):
            source["title"] = title
        return self._begin_step(event.turn) + data_event(source)

    def _image(self, event: ImageReceived) -> bytes:
        url = as_object(as_object(event.image).get("image_url")).get("url")
        if not isinstance(url, str):
            return b""
        media_type = "image/png"
        if url.startswith("data:"):
            media_type = url[5:].partition(",")[0].partition(";")[0] or media_type
        file = {"type": "file", "url": url, "mediaType": media_type}
        return self._begin_step(event.turn) + self._end_part() + data_event(file)

    def _turn_finished(self, event: TurnFinished) -> bytes:
        return self._begin_step(event.turn) + self._end_step()

    def _begin_step(self, turn: int) -> bytes:
        if turn == self._turn:
            return b""
        ended = self._end_step()
        self._turn = turn
        return ended + data_event({"type": "start-step"})

    def _end_step(self) -> bytes:
        if not self._turn:
            return b""
        self._turn = 0
        self._by_index.clear()
        return self._end_part() + data_event({"type": "finish-step"})

    def _begin_part(self, kind: str) -> bytes:
        ended = self._end_part()
        self._parts += 1
        self._part = kind
        self._head = b'data: {"type":"%b-delta","id":"%d","delta":"' % (
            kind.encode(),
            self._parts,
        )
        return ended + data_event({"type": f"{kind}-start", "id": f"{self._parts}"})

    def _end_part(self) -> bytes:
        if self._part is None:
            return b""
        ended = {"type": f"{self._part}-end", "id": f"{self._parts}"}
        self._part = None
        return data_event(ended)

    def _add_call(self, index: int, call_id: str, name: str) -> _RelayedCall:
        # A call needs an id of its own, also where a provider gave it none.
        unique = wanted = call_id or "call"
        number = 1
        while unique in self._calls:
            number += 1
            unique = f"{wanted}_{number}"
        call = self._by_index[index] = self._calls[unique] = _RelayedCall(unique, name)
        return call


def _input_event(call: _RelayedCall, received: ToolCall) -> bytes:
    """Return the whole input of a call, unless it was sent before."""
    if call.has_input:
        return b""
    call.has_input = True
    text = received.function.arguments
    try:
        value: Any = decode(text) if text.strip() else {}
    except MalformedResponseError:
        return _tool_event(
            "tool-input-error",
            call,
            toolName=call.name,
            input=text,
            errorText="The arguments are not valid JSON.",
            dynamic=True,
        )
    return _tool_event(
        "tool-input-available", call, toolName=call.name, input=value, dynamic=True
    )


def _output(result: ToolResult) -> Any:
    """Return the output of a call as a JSON value; None if it has none."""
    if result.value is None or isinstance(result.value, str):
        return result.value
    if not isinstance(result.content, str):
        return [*result.content]
    try:
        return decode(result.content)
    except MalformedResponseError:
        return result.content


def _tool_event(kind: str, call: _RelayedCall, **fields: Any) -> bytes:
    return data_event({"type": kind, "toolCallId": call.id, **fields})
