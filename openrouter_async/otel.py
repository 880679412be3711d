"""
OpenTelemetry: spans and metrics of calls and tools.

    client = AsyncOpenRouter(observer=OpenTelemetry())

Without a configured SDK it does nothing. Names follow the semantic conventions for
generative AI, which are still in development: all of them are in `NAMES`.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, cast

from opentelemetry import metrics, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from .errors import ClosedError
from .protocol.call import CallRecord
from .protocol.encode import encode
from .tools import ToolResult
from .transport.call_events import CallInfo
from .types import ChatResponse, Choice, ToolCall
from .version import __version__

NAMES: Final[Mapping[str, str]] = {
    "operation": "gen_ai.operation.name",
    "provider": "gen_ai.provider.name",
    "address": "server.address",
    "port": "server.port",
    "error": "error.type",
    "model": "gen_ai.request.model",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "max_tokens": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "stop": "gen_ai.request.stop_sequences",
    "choices": "gen_ai.request.choice.count",
    "reasoning_level": "gen_ai.request.reasoning.level",
    "stream": "gen_ai.request.stream",
    "output_type": "gen_ai.output.type",
    "conversation": "gen_ai.conversation.id",
    "response_id": "gen_ai.response.id",
    "response_model": "gen_ai.response.model",
    "finish_reasons": "gen_ai.response.finish_reasons",
    "first_chunk": "gen_ai.response.time_to_first_chunk",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cache_read": "gen_ai.usage.cache_read.input_tokens",
    "cache_write": "gen_ai.usage.cache_write.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
    "tool_name": "gen_ai.tool.name",
    "tool_type": "gen_ai.tool.type",
    "tool_call": "gen_ai.tool.call.id",
    "tool_arguments": "gen_ai.tool.call.arguments",
    "tool_result": "gen_ai.tool.call.result",
    "tool_definitions": "gen_ai.tool.definitions",
    "input_messages": "gen_ai.input.messages",
    "output_messages": "gen_ai.output.messages",
    "token_type": "gen_ai.token.type",
    "duration": "gen_ai.client.operation.duration",
    "token_usage": "gen_ai.client.token.usage",
    "time_to_first_chunk": "gen_ai.client.operation.time_to_first_chunk",
    "time_per_chunk": "gen_ai.client.operation.time_per_output_chunk",
    "tool_duration": "gen_ai.execute_tool.duration",
    "cost": "openrouter.usage.cost",
    "upstream": "openrouter.provider",
    "outcome": "openrouter.outcome",
    "attempts": "openrouter.attempts",
    "attempt": "openrouter.attempt",
}
"""Every name of an attribute, metric or event, by the word that this module uses."""

_NUMBERS: Final = (
    *("temperature", "top_p", "top_k", "max_tokens", "seed"),
    *("frequency_penalty", "presence_penalty"),
)
_SECONDS: Final = [0.01 * 2**power for power in range(14)]
_TOKENS: Final = [4.0**power for power in range(14)]
_CAPTURE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class OpenTelemetry:
    """An observer that makes spans and metrics: `AsyncOpenRouter(observer=...)`."""

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        *,
        capture_content: bool | None = None,
        chunk_metrics: bool = False,
        broadcast: bool = False,
    ) -> None:
        """
        Create the instruments.

        Args:
            tracer_provider: Defaults to the global one.
            meter_provider: Defaults to the global one.
            capture_content: If True, spans have messages, tool definitions, arguments
                and results. Defaults to the environment variable
                OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT (SPAN_ONLY or
                SPAN_AND_EVENT), and is off without it.
            chunk_metrics: If True, measure the time between chunks.
            broadcast: If True, add the ids of the span to the request for
                OpenRouter's Broadcast. It changes the bytes that the response cache
                hashes.
        """
        if capture_content is None:
            mode = os.environ.get(_CAPTURE, "").strip().upper()
            capture_content = mode in {"SPAN_ONLY", "SPAN_AND_EVENT"}
        self.capture_content = capture_content
        self.chunk_metrics = chunk_metrics
        self.broadcast = broadcast
        self.tracer = trace.get_tracer(
            "openrouter_async", __version__, tracer_provider=tracer_provider
        )
        meter = metrics.get_meter(
            "openrouter_async", __version__, meter_provider=meter_provider
        )

        def histogram(name: str, unit: str, buckets: Sequence[float]) -> Any:
            return meter.create_histogram(
                NAMES[name], unit, explicit_bucket_boundaries_advisory=buckets
            )

        self.duration = histogram("duration", "s", _SECONDS)
        self.token_usage = histogram("token_usage", "{token}", _TOKENS)
        self.first_chunk = histogram("time_to_first_chunk", "s", _SECONDS)
        self.per_chunk = histogram("time_per_chunk", "s", _SECONDS)
        self.tool_duration = histogram("tool_duration", "s", _SECONDS)

    def call_started(self, call: CallInfo) -> "CallSpan | None":
        """Start the span of a chat call; other calls have none."""
        body = call.body
        if body is None or not body.keys() & {"messages", "prompt"}:
            return None
        attributes: dict[str, Any] = {
            NAMES["operation"]: "chat",
            NAMES["provider"]: "openrouter",
            NAMES["address"]: call.host,
            NAMES["port"]: call.port,
        }
        if call.model:
            attributes[NAMES["model"]] = call.model
        span = self.tracer.start_span(
            f"chat {call.model}" if call.model else "chat",
            kind=SpanKind.CLIENT,
            attributes=attributes,
        )
        if span.is_recording():
            span.set_attributes(_request_attributes(call.stream, body))
            if self.capture_content:
                span.set_attributes(_request_content(body))
        context = span.get_span_context()
        if self.broadcast and context.is_valid:
            own = body.get("trace")
            call.add_to_body(
                {
                    "trace": {
                        "trace_id": trace.format_trace_id(context.trace_id),
                        "parent_span_id": trace.format_span_id(context.span_id),
                        **(own if isinstance(own, Mapping) else {}),
                    }
                }
            )
        return CallSpan(self, span, attributes)

    def tool_started(self, call: ToolCall, turn: int) -> "ToolSpan":  # noqa: ARG002 - protocol
        """Start the span of a tool."""
        name = call.function.name
        attributes = {NAMES["operation"]: "execute_tool", NAMES["tool_name"]: name}
        span = self.tracer.start_span(
            f"execute_tool {name}",
            attributes={
                **attributes,
                NAMES["tool_type"]: "function",
                NAMES["tool_call"]: call.id or "",
            },
        )
        if self.capture_content:
            span.set_attribute(NAMES["tool_arguments"], call.function.arguments)
        return ToolSpan(self, span, attributes)


class CallSpan:
    """The span of one call, from its start to the end of its stream."""

    def __init__(
        self, owner: OpenTelemetry, span: Span, attributes: dict[str, Any]
    ) -> None:
        self._owner = owner
        self._span = span
        self._attributes = attributes
        self._started = self._last = time.perf_counter()
        self._first: float | None = None
        self.chunk: Callable[[], object] | None = (
            self._count if owner.chunk_metrics else None
        )

    def active(self) -> AbstractContextManager[object]:
        """Return the context in which the span is the current one."""
        return _current(self._span)

    def first_chunk(self) -> None:
        """Measure the time to the first event."""
        self._last = time.perf_counter()
        self._first = self._last - self._started

    def _count(self) -> None:
        now = time.perf_counter()
        self._owner.per_chunk.record(now - self._last, self._attributes)
        self._last = now

    def finished(self, record: CallRecord, response: ChatResponse | None) -> None:
        """Record the metrics, set the final attributes, and end the span."""
        owner, span = self._owner, self._span
        attributes = self._attributes
        if response is not None and response.model:
            attributes = {**attributes, NAMES["response_model"]: response.model}
        usage = record.usage
        if usage is not None:
            for kind, count in (
                ("input", usage.prompt_tokens),
                ("output", usage.completion_tokens),
            ):
                if count is not None:
                    of_kind = {**attributes, NAMES["token_type"]: kind}
                    owner.token_usage.record(count, of_kind)
        if self._first is not None:
            owner.first_chunk.record(self._first, attributes)
        if record.outcome == "error":
            # Of a key function of the caller, the class is not known.
            kind = type(record.error).__name__ if record.error else "_OTHER"
            attributes = {**attributes, NAMES["error"]: kind}
            span.set_status(Status(StatusCode.ERROR))
        owner.duration.record(time.perf_counter() - self._started, attributes)
        if span.is_recording():
            span.set_attributes(attributes)
            span.set_attributes(_end_attributes(record, response, self._first))
            _add_attempts(span, record)
            if owner.capture_content and response is not None:
                outputs = [_output(choice) for choice in response.choices]
                span.set_attribute(NAMES["output_messages"], _json(outputs))
        span.end()


class ToolSpan:
    """The span of one call of a tool."""

    def __init__(
        self, owner: OpenTelemetry, span: Span, attributes: dict[str, Any]
    ) -> None:
        self._owner = owner
        self._span = span
        self._attributes = attributes
        self._started = time.perf_counter()

    def active(self) -> AbstractContextManager[object]:
        """Return the context in which the span is the current one."""
        return _current(self._span)

    def finished(self, result: ToolResult) -> None:
        """Set the error or the result, and end the span."""
        attributes, span = self._attributes, self._span
        # A run that was cancelled or closed is not an error of the tool.
        if result.error is not None and not isinstance(result.error, ClosedError):
            kind = type(result.error).__name__
            attributes = {**attributes, NAMES["error"]: kind}
            span.set_attribute(NAMES["error"], kind)
            span.set_status(Status(StatusCode.ERROR))
        elapsed = time.perf_counter() - self._started
        self._owner.tool_duration.record(elapsed, attributes)
        if self._owner.capture_content:
            span.set_attribute(NAMES["tool_result"], _plain(result.content))
        span.end()


def _current(span: Span) -> AbstractContextManager[object]:
    # An exception may hold text of the provider; its class is set at the end.
    return trace.use_span(span, record_exception=False, set_status_on_exception=False)


def _request_attributes(stream: bool, body: Mapping[str, Any]) -> dict[str, Any]:  # noqa: FBT001 - private
    found: dict[str, Any] = {
        name: body.get(name) for name in _NUMBERS if _is_number(body.get(name))
    }
    if _is_number(body.get("max_completion_tokens")):
        found["max_tokens"] = body["max_completion_tokens"]
    stop = body.get("stop")
    if isinstance(stop, Sequence):
        found["stop"] = [stop] if isinstance(stop, str) else [*stop]
    if _is_number(body.get("n")) and body["n"] != 1:
        found["choices"] = body["n"]
    reasoning = body.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, Mapping) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if isinstance(effort, str):
        found["reasoning_level"] = effort
    if stream:
        found["stream"] = True
    output_type = _output_type(body)
    if output_type is not None:
        found["output_type"] = output_type
    if isinstance(body.get("session_id"), str):
        found["conversation"] = body["session_id"]
    return {NAMES[name]: value for name, value in found.items()}


def _output_type(body: Mapping[str, Any]) -> str | None:
    modalities = body.get("modalities") or ()
    if "image" in modalities:
        return "image"
    if "audio" in modalities:
        return "speech"
    return None if body.get("response_format") is None else "json"


def _end_attributes(
    record: CallRecord, response: ChatResponse | None, first: float | None
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "response_id": record.http.generation_id,
        "outcome": record.outcome,
        "attempts": len(record.http.attempts),
        "first_chunk": first,
    }
    if response is not None:
        found["upstream"] = response.provider
        found["finish_reasons"] = [
            choice.finish_reason or "error" for choice in response.choices
        ]
    usage = record.usage
    if usage is not None:
        found["input_tokens"] = usage.prompt_tokens
        found["output_tokens"] = usage.completion_tokens
        found["cache_read"] = usage.prompt_tokens_details.cached_tokens
        found["cache_write"] = usage.prompt_tokens_details.cache_write_tokens
        details = usage.completion_tokens_details
        found["reasoning_tokens"] = details.reasoning_tokens
        found["cost"] = usage.cost
    return {NAMES[name]: value for name, value in found.items() if value is not None}


def _add_attempts(span: Span, record: CallRecord) -> None:
    for attempt in record.http.attempts:
        if attempt.error is not None:
            # The message after the class may hold text of the provider.
            kind = attempt.error.partition(":")[0]
            attributes: dict[str, Any] = {
                NAMES["error"]: kind if kind.isidentifier() else "_OTHER",
                "waited": attempt.waited,
                "billing": attempt.billing,
            }
            if attempt.status is not None:
                attributes["status"] = attempt.status
            span.add_event(NAMES["attempt"], attributes)


def _request_content(body: Mapping[str, Any]) -> dict[str, str]:
    messages = json.loads(encode(body.get("messages") or []))
    found = {NAMES["input_messages"]: _json([_input(each) for each in messages])}
    if body.get("tools"):
        found[NAMES["tool_definitions"]] = encode(body["tools"]).decode()
    return found


def _input(message: dict[str, Any]) -> dict[str, Any]:
    role, content = message.get("role"), message.get("content")
    if role == "tool":
        part = {"type": "tool_call_response", "id": message.get("tool_call_id")}
        return {"role": role, "parts": [{**part, "response": _cut(content)}]}
    parts = _text(content) if isinstance(content, str) else _cut(content or [])
    return {"role": role, "parts": [*parts, *_calls(message.get("tool_calls") or [])]}


def _output(choice: Choice) -> dict[str, Any]:
    message = choice.message
    reasoning = message.reasoning
    parts = [{"type": "reasoning", "content": reasoning}] if reasoning else []
    calls = _calls([call.as_request() for call in message.tool_calls])
    return {
        "role": "assistant",
        "parts": [*parts, *_text(message.content or ""), *calls],
        "finish_reason": choice.finish_reason or "error",
    }


def _text(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "content": text}] if text else []


def _calls(calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "type": "tool_call",
            "id": call.get("id"),
            "name": call["function"]["name"],
            "arguments": call["function"]["arguments"],
        }
        for call in calls
    ]


def _cut(value: Any) -> Any:
    """Return a JSON value whose data URLs are cut to their media type and size."""
    if isinstance(value, str) and value.startswith("data:"):
        return f"{value.partition(';')[0]} ({len(value)} characters)"
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        if members.get("type") == "text":
            return {"type": "text", "content": members.get("text")}
        return {name: _cut(member) for name, member in members.items()}
    if isinstance(value, list):
        return [_cut(member) for member in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _plain(value: Any) -> str:
    return _json(_cut(json.loads(encode(value))))


def _json(value: Any) -> str:
    return encode(value).decode()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
