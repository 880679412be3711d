"""Attributes of spans, from requests and the records of calls."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.trace import Span

from ..protocol.call import CallRecord
from ..types import ChatResponse
from .names import NAMES

_NUMBERS: Final = (
    *("temperature", "top_p", "top_k", "max_tokens", "seed"),
    *("frequency_penalty", "presence_penalty"),
)


def request_attributes(body: Mapping[str, Any], *, stream: bool) -> dict[str, Any]:
    """Return the attributes that a request has from its start."""
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


def end_attributes(
    record: CallRecord, response: ChatResponse | None, first: float | None
) -> dict[str, Any]:
    """
    Return the attributes of a call that are known at its end.

    Args:
        record: The record of the call.
        response: The response, or the part that was received; None if nothing was.
        first: Seconds until the first chunk; None for a plain call.
    """
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


def add_attempts(span: Span, record: CallRecord) -> None:
    """Add an event to a span for each attempt that failed."""
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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
