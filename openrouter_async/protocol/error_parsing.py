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
from ..types import ChatResponse, Exchange
from .decode import as_object, decode
from .retry import billing, is_retryable
from .retry_after import parse_retry_after

_ERROR_TYPE_STATUS: Final[Mapping[str, int]] = {
    **dict.fromkeys(
        (
            "context_length_exceeded",
            "max_tokens_exceeded",
            "token_limit_exceeded",
            "string_too_long",
            "invalid_request",
            "invalid_prompt",
            "content_policy_violation",
            "refusal",
            "invalid_image",
            "image_too_large",
            "image_too_small",
            "unsupported_image_format",
            "image_download_failed",
        ),
        400,
    ),
    "authentication": 401,
    "payment_required": 402,
    "permission_denied": 403,
    "not_found": 404,
    "image_not_found": 404,
    "precondition_failed": 412,
    "payload_too_large": 413,
    "unprocessable": 422,
    "rate_limit_exceeded": 429,
    "server": 500,
    "unmapped": 500,
    "provider_unavailable": 502,
    "provider_overloaded": 503,
    "timeout": 504,
}
"""The status of each `error_type`. Source: the specification's ApiErrorType."""

_IN_FLIGHT: Final = ("in_flight_budget_exhausted", "openrouter_in_flight_budget")
_DAILY_CAP: Final = ("openrouter_free_tier_daily", "free-models-per-day")
# 300 characters: messages are for logs and terminals; `error.body` has all of it.
_MAX_MESSAGE: Final = 300
_ERROR_STATUS: Final = range(400, 600)
_REDIRECT: Final = range(300, 400)
_OK: Final = range(200, 300)

# `re` compiles these at the first error, not at import.
_ACCOUNT: Final = r"\b(user|org)_[A-Za-z0-9]{6,}"
_KEY: Final = r"\bsk-[A-Za-z0-9_-]{6,}"
_TITLE: Final = r"(?i)<title[^>]*>([^<]{1,200})"
_HTML: Final = r"(?i)[\s\ufeff]*<(!doctype|!--|html|head|title|body|center|\?xml)"


@frozen
class ErrorDetails:
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
    text = body.decode("utf-8", "replace").strip()
    parsed: Any = text
    if text[:1] in ("{", "["):
        try:
            parsed = decode(text)
        except MalformedResponseError:
            parsed = text
    return error_from_body(parsed, http, wall_time=wall_time)


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
    details = parse_error(body, http, error)
    fields, status, envelope = details.fields, details.status, details.envelope
    if http.attempts:
        # An error inside a 2XX was reported by OpenRouter after it had accepted the
        # request; it does not charge for these.
        http.attempts[-1].billing = (
            "insured" if http.status in _OK else billing(status, envelope=envelope)
        )
    message = _message(body, fields, http)
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
        upstream=_upstream(details.metadata.get("raw"), message),
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
    found = _error_object(body) if error is None else _as_error(error)
    fields = found or {}
    metadata = as_object(fields.get("metadata"))
    error_type = (
        _name(metadata.get("error_type"))
        or _name(fields.get("error_type"))
        or _name(fields.get("type"))
    )
    return ErrorDetails(
        fields=fields,
        metadata=metadata,
        envelope=found is not None,
        status=_status(http, fields, error_type),
        error_type=error_type,
        provider_name=_name(metadata.get("provider_name")),
        in_flight=_mentions(fields, metadata, _IN_FLIGHT),
        daily_cap=_mentions(fields, metadata, _DAILY_CAP),
    )


def _error_object(body: Any) -> Mapping[str, Any] | None:
    """
    Return the error object of a body, or None.

    The envelopes: 1. `{"error": {...}}`; 2. `{"error": "message"}`, from gateways;
    3. `{"code": ..., "message": ...}` without an envelope.
    """
    whole = as_object(body)
    found = _as_error(whole.get("error"))
    if found is None and isinstance(whole.get("message"), str) and "code" in whole:
        return whole
    return found


def _as_error(error: Any) -> Mapping[str, Any] | None:
    if isinstance(error, str) and error:
        return {"message": error}
    return as_object(error) or None


def _status(http: Exchange, fields: Mapping[str, Any], error_type: str | None) -> int:
    """
    Return the status that the exception's class is chosen by.

    The first of: 1. the status of HTTP, if outside 2XX; 2. the code in the body;
    3. the status of the error type; 4. 500.
    """
    if http.status is not None and http.status not in _OK:
        return http.status
    for value in (fields.get("code"), fields.get("http_status")):
        if isinstance(value, str) and value.isascii() and value.isdigit():
            # Four digits are enough to be outside the range.
            number: Any = int(value[:4])
        else:
            number = value
        if type(number) in (int, float) and number in _ERROR_STATUS:
            return int(number)
    return _ERROR_TYPE_STATUS.get(error_type or "", 500)


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


def _message(body: Any, fields: Mapping[str, Any], http: Exchange) -> str:
    # If the message is only white space, `detail` (FastAPI's key) may have more.
    message = fields.get("message")
    if isinstance(message, str) and message.strip():
        return _summary(message)
    for key in ("detail", "message"):
        value = as_object(body).get(key)
        if isinstance(value, str) and value:
            return _summary(value)
    if isinstance(body, str) and body.strip():
        return _summary(body)
    if http.status is not None and http.status in _REDIRECT:
        return "redirects are not followed"
    return "the server sent no message"


def _upstream(raw: Any, message: str) -> str | None:
    """
    Return the provider's own message, or None if it adds nothing to `message`.

    `metadata.raw` is the provider's body: 1. text; 2. JSON text; 3. an object. In the
    last two, the message may be nested under several names.
    """
    value = raw
    if isinstance(raw, str) and raw.lstrip()[:1] in ("{", "["):
        try:
            value = decode(raw)
        except MalformedResponseError:
            value = raw
    if value.__class__ is list and value:
        value = value[0]
    for key in ("error", "message", "detail"):
        inner = as_object(value).get(key)
        if inner.__class__ in (str, dict):
            value = inner
    if not isinstance(value, str):
        value = raw if isinstance(raw, str) else ""
    if not value.strip():
        return None
    summary = _summary(value)
    return None if summary == message else summary


def find_error(raw: Mapping[str, Any]) -> Any:
    """
    Return the error object of a body or an event; None if there is none.

    A finish reason "error" without an error object is an error too; the only cause
    that is known then is the provider's own finish reason.
    """
    error = raw.get("error")
    if error:
        return error
    choices = raw.get("choices")
    if choices.__class__ is not list:
        return None
    for choice in choices:  # pyright: ignore[reportOptionalIterable]
        if choice.__class__ is dict:
            error = choice.get("error")
            if error:
                return error
            if choice.get("finish_reason") == "error":
                return _error_from_finish_reason(choice)
    return None


def _error_from_finish_reason(choice: Mapping[str, Any]) -> dict[str, Any]:
    native = choice.get("native_finish_reason")
    reason = f" ({native})" if isinstance(native, str) and native else ""
    return {"message": f"The provider ended the response with an error{reason}."}


def with_exchange(error: OpenRouterError, http: Exchange) -> OpenRouterError:
    """Set the exchange of an error that was raised without one; return the error."""
    error.http = http
    error.generation_id = error.generation_id or http.generation_id
    return error


def scrub(text: str) -> str:
    """Return a text with account ids and keys masked."""
    return re.sub(_KEY, "sk-***", re.sub(_ACCOUNT, r"\1_***", text))


def page_title(text: str) -> str | None:
    """Return the title of an HTML page ("untitled" without one); None for others."""
    if not re.match(_HTML, text):
        return None
    title = re.search(_TITLE, text)
    return title.group(1).strip() if title else "untitled"


def _summary(text: str) -> str:
    """Return a text in one line; of an HTML page, only the title."""
    title = page_title(text)
    if title is not None:
        return f"an HTML page, {_trim(title)!r}, instead of JSON"
    return _trim(text)


def _trim(text: str) -> str:
    # Scrubbed before it is cut: the pattern would not match half an id.
    text = " ".join(scrub(text).split())
    return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 1] + "…"


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _name(value: Any) -> str | None:
    return _trim(value) if isinstance(value, str) and value.strip() else None


_STATUS_HINTS: Final[Mapping[int, str]] = {
    401: "Check OPENROUTER_API_KEY; keys: https://openrouter.ai/settings/keys.",
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
        return _trim(own)
    availability = as_object(details.fields.get("availability"))
    models: Any = availability.get("fallback_models")
    if models.__class__ is list and models:
        return _trim(f"Available models: {', '.join(map(str, models[:3]))}.")
    known = _status_hint(details)
    if known:
        return known
    ray = http.headers.get("cf-ray")
    return f"(cf-ray {ray})" if ray and not details.fields else None


def _status_hint(details: ErrorDetails) -> str | None:
    status = details.status
    if status in _REDIRECT:
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
    if details.daily_cap:
        return "The free tier's daily limit is reached; retries fail until it resets."
    return _STATUS_HINTS.get(status)
