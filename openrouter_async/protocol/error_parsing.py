"""Errors: a body in any envelope, to ErrorDetails, to the exception of its status."""

import re
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from ..errors import (
    APIError,
    ChatError,
    MalformedResponseError,
    OpenRouterError,
    status_class,
)
from ..sse import ServerSentEvent, SSEDecoder
from ..types import ChatResponse, Exchange
from ..types.shape import Value
from .decode import as_object, decode, decode_first, first_object
from .error_messages import error_message, short_name, shorten, upstream_message
from .error_status import CODE_KEYS, REDIRECT, SUCCESS, error_status
from .retry import billing, is_retryable
from .retry_after import parse_retry_after

_IN_FLIGHT: Final = ("in_flight_budget_exhausted", "openrouter_in_flight_budget")
_DAILY_CAP: Final = ("openrouter_free_tier_daily", "free-models-per-day")
# Codes that mean success, in the bodies of servers that always send a code.
_SUCCESS_CODES: Final = (None, False, 0, 200, "", "0", "200", "ok", "success")

FIELD_LINE: Final = r"[\s\ufeff]*(?::|(?:data|event|id|retry)(?::|\r|\n|\Z))"
"""The beginning of a stream of events: a comment, or a field of an event."""


@frozen(eq=False, repr=False)
class ErrorDetails(Value):
    """
    The contents of an error body, whatever its envelope.

    Attributes:
        fields: The error object; empty if the body has none.
        metadata: Its `metadata`; empty if it has none.
        envelope: If True, there is an error object, so the body is OpenRouter's and
            not that of its edge or of a proxy.
        status: The status that the exception's class is chosen by.
        error_type: The stable type, such as "provider_overloaded".
        provider_name: The provider that failed; None if OpenRouter itself did.
        in_flight: If True, credits are missing only because other requests in flight
            reserve them.
        daily_cap: If True, the free tier's daily cap is reached.
    """

    fields: Mapping[str, Any]
    metadata: Mapping[str, Any]
    envelope: bool
    status: int
    error_type: str | None
    provider_name: str | None
    in_flight: bool
    daily_cap: bool


def error_from_response(body: bytes, http: Exchange, *, wall_time: float) -> APIError:
    """
    Return the exception for a response with a status outside 2XX.

    Args:
        body: The body, decompressed; it may be cut off.
        http: The exchange, with its `status`.
        wall_time: The current time in seconds since the epoch; a wait may be given
            as a date.
    """
    parsed = _parse_body(body.decode("utf-8", "replace").strip())
    return error_from_body(parsed, http, wall_time=wall_time)


def _parse_body(text: str) -> Any:
    """
    Return the JSON of an error body; the text itself if it holds none.

    The forms: 1. JSON, with anything after it; 2. a stream of events, of which the
    first that is an error counts; 3. text.
    """
    if text.lstrip("\ufeff")[:1] in ("{", "["):
        try:
            return decode(text)
        except MalformedResponseError:
            return decode_first(text, text)
    if re.match(FIELD_LINE, text):
        decoder = SSEDecoder(limit_bytes=len(text) * 4 + 1, bare_json=True)
        for event in decoder.feed(text.encode()) + decoder.end():
            value = decode_first(event.data, None)
            if find_error(value) is not None or is_error_event(event):
                return event.data if value is None else value
    return text


def error_from_body(
    body: Any,
    http: Exchange,
    *,
    wall_time: float,
    error: Any = None,
    partial: ChatResponse | None = None,
) -> APIError:
    """
    Return the exception for an error in any envelope.

    Also sets the billing of the last attempt.

    Args:
        body: The decoded body or event; text if it is not JSON.
        http: The exchange; its status is used if it is outside 2XX.
        wall_time: The current time in seconds since the epoch.
        error: The error object, if it is not `body["error"]` but in a choice.
        partial: The response accumulated before the error.
    """
    if error is None:
        error = error_of(body)
    details = parse_error(body, http, error)
    fields, status, envelope = details.fields, details.status, details.envelope
    if http.attempts:
        # An error inside a 2XX was reported by OpenRouter after it had accepted the
        # request; it does not charge for these.
        http.attempts[-1].billing = (
            "insured" if http.status in SUCCESS else billing(status, envelope=envelope)
        )
    message = error_message(body, error, fields, http)
    availability = as_object(fields.get("availability")).get("retryable")
    arguments: dict[str, Any] = {
        "status_code": status,
        "body": body,
        "retry_after": parse_retry_after(http.headers, fields, wall_time=wall_time),
        "http": http,
        "partial": partial,
        "generation_id": http.generation_id or _string(as_object(body).get("id")),
        "retryable": is_retryable(
            status,
            envelope=envelope,
            availability=availability if isinstance(availability, bool) else None,
            in_flight=details.in_flight,
            daily_cap=details.daily_cap,
        ),
        "hint": _hint(details, http),
    }
    cls = status_class(status, envelope=envelope)
    if not issubclass(cls, ChatError):
        return cls(message, **arguments)
    code = fields.get("code")
    return cls(
        message,
        code=code if isinstance(code, int | str) else None,
        error_type=details.error_type,
        metadata=details.metadata if fields.get("metadata").__class__ is dict else None,
        provider_name=details.provider_name,
        upstream=upstream_message(details.metadata.get("raw"), message),
        **arguments,
    )


def parse_error(body: Any, http: Exchange, error: Any = None) -> ErrorDetails:
    """
    Return the details of an error body.

    Args:
        body: The decoded body or event; text if it is not JSON.
        http: The exchange.
        error: The error object, if it is not `body["error"]`.
    """
    if error is None:
        error = error_of(body)
    found = _as_error(error)
    fields = found or {}
    metadata = as_object(fields.get("metadata"))
    error_type = (
        short_name(metadata.get("error_type"))
        or short_name(fields.get("error_type"))
        or short_name(fields.get("type"))
    )
    return ErrorDetails(
        fields=fields,
        metadata=metadata,
        envelope=found is not None,
        status=error_status(http, (fields, first_object(body)), error_type),
        error_type=error_type,
        provider_name=short_name(metadata.get("provider_name")),
        in_flight=_mentions(fields, metadata, _IN_FLIGHT),
        daily_cap=_mentions(fields, metadata, _DAILY_CAP),
    )


def error_of(body: Any) -> Any:
    """
    Return the error of a whole body, or None.

    The envelopes: 1. `{"error": {...}}`; 2. `{"error": "message"}`, from gateways;
    3. `{"code": ..., "message": ...}` without an envelope. Google sends each of them
    in an array.
    """
    whole = first_object(body)
    error = whole.get("error")
    if _as_error(error) is not None:
        return error
    if "code" in whole and any(
        isinstance(whole.get(name), str) for name in ("message", "msg")
    ):
        return whole
    return error or None


def _as_error(error: Any) -> Mapping[str, Any] | None:
    """Return an error in the form of an object; None if it is empty."""
    if isinstance(error, str) and error:
        parsed = decode_first(error, None) if error.lstrip()[:1] in "{[" else None
        inner = first_object(parsed)
        return first_object(inner.get("error")) or inner or {"message": error}
    return first_object(error) or None


def _mentions(
    fields: Mapping[str, Any], metadata: Mapping[str, Any], names: tuple[str, str]
) -> bool:
    # The name of a limit is in one of two fields; older bodies have it only in the
    # message.
    limits = (metadata.get("limit_source"), metadata.get("reason"))
    message = fields.get("message")
    return any(name in limits for name in names) or (
        isinstance(message, str) and any(name in message for name in names)
    )


def is_error_event(event: ServerSentEvent) -> bool:
    """Return True if the name of an event says that it is an error."""
    return event.event.strip().lower() == "error"


def find_error(raw: Any) -> Any:
    """
    Return the error of a body or an event; None if there is none.

    The cases: 1. a key `error`; 2. an error in a choice; 3. a finish reason "error"
    without an error object: the only cause that is known then is the provider's own
    finish reason; 4. without any choice, an error without an envelope. An array
    counts as its first object.
    """
    whole: Mapping[str, Any] = raw if raw.__class__ is dict else first_object(raw)
    error = whole.get("error")
    if error:
        return error
    choices = whole.get("choices")
    if choices.__class__ is list and choices:
        for choice in choices:  # pyright: ignore[reportOptionalIterable]
            if choice.__class__ is dict:
                error = choice.get("error")
                if error:
                    return error
                if choice.get("finish_reason") == "error":
                    return _error_from_finish_reason(choice)
        return None
    return whole if _is_bare_error(whole) else None


def _is_bare_error(whole: Mapping[str, Any]) -> bool:
    """Return True if an object without choices says that something failed."""
    names = ("error_message", "error_msg", "errorMessage", "detail", "errors")
    if any(whole.get(name) for name in names):
        return True
    if not whole.get("message") and not whole.get("msg"):
        return False
    keys = ("code", "error_type", "error_code", *CODE_KEYS)
    return (
        any(whole.get(key) not in _SUCCESS_CODES for key in keys)
        or whole.get("success") is False
        or "error" in (whole.get("object"), whole.get("type"))
    )


def _error_from_finish_reason(choice: Mapping[str, Any]) -> dict[str, Any]:
    native = choice.get("native_finish_reason")
    reason = f" ({native})" if isinstance(native, str) and native else ""
    return {"message": f"The provider ended the response with an error{reason}."}


def with_exchange(error: OpenRouterError, http: Exchange) -> OpenRouterError:
    """Set the exchange of an error that was raised without one; return the error."""
    error.http = http
    error.generation_id = error.generation_id or http.generation_id
    return error


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


# "gpt-4o is not a valid model ID", as recorded.
_INVALID_MODEL: Final = "is not a valid model ID"
_STATUS_HINTS: Final[Mapping[int, str]] = {
    401: "Check OPENROUTER_API_KEY or api_key=; keys: "
    "https://openrouter.ai/settings/keys.",
    402: "Add credits: https://openrouter.ai/settings/credits.",
}


def _hint(details: ErrorDetails, http: Exchange) -> str | None:
    """
    Return what the caller can do about an error.

    The first of: 1. OpenRouter's own hint; 2. the models that it suggests; 3. the
    hint for the status; 4. the id that Cloudflare's support asks for, if the body is
    not OpenRouter's.
    """
    own = _string(details.metadata.get("remedy_hint"))
    if own:
        return shorten(own)
    availability = as_object(details.fields.get("availability"))
    models: Any = availability.get("fallback_models")
    if models.__class__ is list and models:
        return shorten(f"Available models: {', '.join(map(str, models[:3]))}.")
    known = _status_hint(details)
    if known:
        return known
    ray = http.headers.get("cf-ray")
    return f"(cf-ray {ray})" if ray and not details.fields else None


def _status_hint(details: ErrorDetails) -> str | None:  # noqa: PLR0911 - one per hint
    status = details.status
    if status in REDIRECT:
        return "Check base_url; the key is not sent to other origins."
    if status == 401 and details.provider_name:
        return (
            "The provider rejected OpenRouter's key, not yours; "
            "try another provider or model."
        )
    if status == 402 and details.in_flight:
        return "Requests in flight reserve the credits; retry when some have finished."
    if status == 404 and "routing_funnel" in details.metadata:
        return "No endpoint matches the `provider` options and your privacy settings."
    if status == 404 and not details.envelope:
        return "Check base_url: it ends with the path of the API, such as /api/v1."
    if status == 400 and _INVALID_MODEL in str(details.fields.get("message")):
        return (
            "An id has the form author/model, such as openai/gpt-4o-mini; all ids: "
            "https://openrouter.ai/models."
        )
    if details.daily_cap:
        return "The free tier's daily limit is reached; retries fail until it resets."
    return _STATUS_HINTS.get(status)
