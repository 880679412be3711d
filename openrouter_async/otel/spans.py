"""OpenTelemetry: the observer, and the spans of calls and tools."""

import inspect
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Literal, get_args

from opentelemetry import _logs, metrics, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from ..errors import ClosedError, ConfigurationError
from ..protocol.call import CallRecord
from ..protocol.encode import encode
from ..tools import ToolResult
from ..transport.call_events import CallInfo
from ..types import ChatResponse, ToolCall
from ..version import __version__
from .message_content import request_content, response_content, result_content
from .names import NAMES
from .span_attributes import add_attempts, end_attributes, request_attributes

logger = logging.getLogger("openrouter_async")

CaptureMode = Literal["no_content", "span_only", "event_only", "span_and_event"]
"""The signal in which the content of messages is recorded."""

# Older versions have events only in a module that later versions have removed.
_HAS_EVENTS: Final = "event_name" in inspect.signature(_logs.Logger.emit).parameters
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
        logger_provider: _logs.LoggerProvider | None = None,
        capture_content: bool | CaptureMode | None = None,
        chunk_metrics: bool = False,
        broadcast: bool = False,
    ) -> None:
        """
        Create the instruments.

        Args:
            tracer_provider: Defaults to the global one.
            meter_provider: Defaults to the global one.
            logger_provider: Defaults to the global one. Only events need it.
            capture_content: If True or "span_only", spans have messages, tool
                definitions, arguments and results. With "event_only", each call has an
                event, which is a log record, with its messages and tool definitions;
                "span_and_event" is both. Defaults to the environment variable
                OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT, which has the same
                words in capital letters, and is off without it.
            chunk_metrics: If True, measure the time between chunks.
            broadcast: If True, add the ids of the span to the request for
                OpenRouter's Broadcast. It changes the bytes that the response cache
                hashes.

        Raises:
            ConfigurationError: If `capture_content` has an unknown value, or if events
                are requested and the installed `opentelemetry-api` has none.
        """
        mode = _capture_mode(capture_content)
        self.content_in_spans = mode in {"span_only", "span_and_event"}
        self.events = (
            _event_logger(logger_provider)
            if mode in {"event_only", "span_and_event"}
            else None
        )
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
        details = self._add_request(span, call, body)
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
        return CallSpan(self, span, attributes, details)

    def _add_request(
        self, span: Span, call: CallInfo, body: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Describe the request in the span; return its part of the later event."""
        if self.events is None and not span.is_recording():
            return None
        attributes = request_attributes(body, stream=call.stream)
        span.set_attributes(attributes)
        # Now, because the caller may change the messages while the call runs.
        if self.content_in_spans or self.events is not None:
            content = request_content(body)
            if self.content_in_spans:
                span.set_attributes(_as_json(content))
            attributes |= _named(content)
        return None if self.events is None else attributes

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
        if self.content_in_spans:
            span.set_attribute(NAMES["tool_arguments"], call.function.arguments)
        return ToolSpan(self, span, attributes)


class CallSpan:
    """
    The span of one call, from its start to the end of its stream.

    Args:
        owner: The observer, which has the instruments.
        span: The span, which has started.
        attributes: The attributes that the metrics have too.
        details: The part of the event that is known at the start; None if there is no
            event.
    """

    def __init__(
        self,
        owner: OpenTelemetry,
        span: Span,
        attributes: dict[str, Any],
        details: dict[str, Any] | None,
    ) -> None:
        self._owner = owner
        self._span = span
        self._attributes = attributes
        self._details = details
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
        try:
            if self._details is not None or span.is_recording():
                self._add_end(record, response, attributes)
        finally:
            span.end()

    def _add_end(
        self,
        record: CallRecord,
        response: ChatResponse | None,
        attributes: Mapping[str, Any],
    ) -> None:
        """Set what is known at the end, and emit the event."""
        owner, span = self._owner, self._span
        attributes = {**attributes, **end_attributes(record, response, self._first)}
        span.set_attributes(attributes)
        add_attempts(span, record)
        content: dict[str, list[Any]] = {}
        if response is not None and (owner.content_in_spans or owner.events):
            content = response_content(response)
        if owner.content_in_spans:
            span.set_attributes(_as_json(content))
        if owner.events is not None:
            owner.events.emit(
                event_name=NAMES["details"],
                timestamp=time.time_ns(),
                severity_number=_logs.SeverityNumber.INFO,
                context=trace.set_span_in_context(span),
                attributes={**(self._details or {}), **attributes, **_named(content)},
            )


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
        try:
            if self._owner.content_in_spans:
                content = result_content(result.content)
                span.set_attribute(NAMES["tool_result"], _json(content))
        finally:
            span.end()


def _current(span: Span) -> AbstractContextManager[object]:
    # An exception may hold text of the provider; its class is set at the end.
    return trace.use_span(span, record_exception=False, set_status_on_exception=False)


def _capture_mode(given: "bool | CaptureMode | None") -> CaptureMode:
    """
    Return the mode that the caller or else the environment has chosen.

    Raises:
        ConfigurationError: If the caller's value is not a mode.
    """
    modes: tuple[CaptureMode, ...] = get_args(CaptureMode)
    if isinstance(given, bool):
        return "span_only" if given else "no_content"
    chosen = os.environ.get(_CAPTURE, "").strip().lower() if given is None else given
    for mode in modes:
        if chosen == mode:
            return mode
    if given is not None:
        raise ConfigurationError(
            f"Invalid capture_content={given!r}: use True, False, None or one of "
            f"{', '.join(map(repr, modes))}."
        )
    if chosen:
        # The variable belongs to the whole process, and other libraries read it too.
        logger.warning(
            "Unknown value %r of %s: no content is captured. Use one of %s.",
            chosen,
            _CAPTURE,
            ", ".join(mode.upper() for mode in modes),
        )
    return "no_content"


def _event_logger(provider: "_logs.LoggerProvider | None") -> _logs.Logger:
    """
    Return the logger that emits events.

    Raises:
        ConfigurationError: If the installed API cannot emit events.
    """
    if not _HAS_EVENTS:
        raise ConfigurationError(
            "Message content as events needs opentelemetry-api 1.38 or later. Update "
            'it, or use capture_content="span_only".'
        )
    return _logs.get_logger("openrouter_async", __version__, provider)


def _named(content: Mapping[str, Any]) -> dict[str, Any]:
    return {NAMES[word]: value for word, value in content.items()}


def _as_json(content: Mapping[str, Any]) -> dict[str, str]:
    """Return attributes of a span, whose values cannot be objects."""
    return {NAMES[word]: _json(value) for word, value in content.items()}


def _json(value: Any) -> str:
    return encode(value).decode()
