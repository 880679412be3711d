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
from .decode import as_object, decode, decode_first
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

_NAME_STATUS: Final[Mapping[str, int]] = {
    **dict.fromkeys(
        (
            "bad_request",
            "billing_hard_limit_reached",
            "content_filter",
            "content_policy_violation",
            "failed_precondition",
            "invalid_argument",
            "invalid_prompt",
            "invalid_request",
            "invalid_type",
            "invalid_value",
            "missing_required_parameter",
            "model_not_supported",
            "out_of_range",
            "string_above_max_length",
            "unknown_parameter",
            "unsupported_parameter",
            "unsupported_value",
            "validation",
        ),
        400,
    ),
    **dict.fromkeys(
        (
            "account_deactivated",
            "authentication",
            "expired_api_key",
            "incorrect_api_key",
            "invalid_api_key",
            "invalid_authentication",
            "invalid_organization",
            "unauthenticated",
            "unauthorized",
        ),
        401,
    ),
    **dict.fromkeys(("billing", "insufficient_credits", "insufficient_balance"), 402),
    **dict.fromkeys(
        (
            "access_denied",
            "forbidden",
            "insufficient_permissions",
            "permission",
            "unsupported_country_region_territory",
        ),
        403,
    ),
    **dict.fromkeys(("model_not_found", "invalid_model", "deployment_not_found"), 404),
    "request_timeout": 408,
    **dict.fromkeys(("request_too_large", "request_entity_too_large"), 413),
    "unprocessable_entity": 422,
    **dict.fromkeys(
        (
            "insufficient_quota",
            "quota_exceeded",
            "requests",
            "resource_exhausted",
            "tokens",
            "too_many_requests",
        ),
        429,
    ),
    **dict.fromkeys(("api", "internal", "internal_server", "internal_service"), 500),
    "bad_gateway": 502,
    **dict.fromkeys(
        (
            "engine_overloaded",
            "model_overloaded",
            "server_overloaded",
            "service_unavailable",
            "slow_down",
            "unavailable",
        ),
        503,
    ),
    **dict.fromkeys(("deadline_exceeded", "gateway_timeout"), 504),
    "overloaded": 529,
}
"""
The status of further names, in the form that `_normalize` returns.

Providers behind OpenRouter use them as `code`, `type` or `status`. Source: the lists
of error codes of OpenAI, Anthropic (529 for "overloaded_error") and Google.
"""

_IN_FLIGHT: Final = ("in_flight_budget_exhausted", "openrouter_in_flight_budget")
_DAILY_CAP: Final = ("openrouter_free_tier_daily", "free-models-per-day")
# 300 characters: messages are for logs and terminals; `error.body` has all of it.
_MAX_MESSAGE: Final = 300
_ERROR_STATUS: Final = range(400, 600)
# Messages nested deeper than this are not looked for.
_MAX_DEPTH: Final = 8
# The names under which servers send the words of an error; the first that has some.
_MESSAGE_KEYS: Final = (
    "message",
    "error_message",
    "error_msg",
    "errorMessage",
    "msg",
    "detail",
    "error",
    "errors",
    "messages",
    "error_description",
    "description",
    "reason",
    "title",
    # Apigee and SOAP.
    "fault",
    "faultstring",
)
# Members of an error object that are not words for a reader.
_NOT_MESSAGES: Final = frozenset(
    {
        "code",
        "error_type",
        "http_status",
        "id",
        "metadata",
        "object",
        "param",
        "request_id",
        "status",
        "status_code",
        "statusCode",
        "type",
    }
)
_CODE_KEYS: Final = ("code", "http_status", "status", "status_code", "statusCode")
# Codes that mean success, in the bodies of servers that always send a code.
_SUCCESS_CODES: Final = (None, False, 0, 200, "", "0", "200", "ok", "success")
_REDIRECT: Final = range(300, 400)
_OK: Final = range(200, 300)

# `re` compiles these at the first error, not at import.
_ACCOUNT: Final = r"\b(user|org)_[A-Za-z0-9]{6,}"
_KEY: Final = r"\bsk-[A-Za-z0-9_-]{6,}"
_TITLE: Final = r"(?i)<title[^>]*>([^<]{1,200})"
FIELD_LINE: Final = r"[\s\ufeff]*(?::|(?:data|event|id|retry)(?::|\r|\n|\Z))"
"""The beginning of a stream of events: a comment, or a field of an event."""
_HTML: Final = r"(?i)[\s\ufeff]*<(!doctype|!--|html|head|title|body|center|\?xml)"


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
            "insured" if http.status in _OK else billing(status, envelope=envelope)
        )
    message = _message(body, error, fields, http)
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
    if error is None:
        error = error_of(body)
    found = _as_error(error)
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
        status=_status(http, (fields, first_object(body)), error_type),
        error_type=error_type,
        provider_name=_name(metadata.get("provider_name")),
        in_flight=_mentions(fields, metadata, _IN_FLIGHT),
        daily_cap=_mentions(fields, metadata, _DAILY_CAP),
    )


def first_object(body: Any) -> Mapping[str, Any]:
    """Return a JSON object, or the first one of an array; else an empty one."""
    if body.__class__ is list:
        body = next((item for item in body if item.__class__ is dict), None)
    return as_object(body)


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


def _status(
    http: Exchange, objects: tuple[Mapping[str, Any], ...], error_type: str | None
) -> int:
    """
    Return the status that the exception's class is chosen by.

    The first of: 1. the status of HTTP, if outside 2XX; 2. a number in the error, or
    in the body around it; 3. the status of the error type, of the code, the type and
    the status that are names; 4. 500.
    """
    if http.status is not None and http.status not in _OK:
        return http.status
    for fields in objects:
        for key in _CODE_KEYS:
            value = fields.get(key)
            if isinstance(value, str) and value.isascii() and value.strip().isdigit():
                # Four digits are enough to be outside the range.
                number: Any = int(value.strip()[:4])
            else:
                number = value
            if type(number) in (int, float) and number in _ERROR_STATUS:
                return int(number)
    names: list[Any] = []
    for fields in objects:
        names += (as_object(fields.get("metadata")).get("error_type"),)
        names += map(fields.get, ("error_type", "code", "type", "status"))
    # A code names the problem, where a type such as "invalid_request_error" only
    # names its class: OpenAI sends an invalid key under that type.
    for name in (*names, error_type):
        status = _status_of_name(name)
        if status is not None:
            return status
    return 500


def _status_of_name(name: Any) -> int | None:
    if not isinstance(name, str):
        return None
    name = name.strip()
    if name in _ERROR_TYPE_STATUS:
        return _ERROR_TYPE_STATUS[name]
    name = _normalize(name)
    if name.startswith("rate_limit"):
        return 429
    return _NAME_STATUS.get(name) or _ERROR_TYPE_STATUS.get(name)


def _normalize(name: str) -> str:
    """
    Return the name of an error in one spelling.

    "BadRequestError", "bad-request" and "BAD_REQUEST" all become "bad_request".
    """
    if name != name.upper():
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    name = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return re.sub(r"_(error|exception)\Z", "", name)


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


def _message(body: Any, error: Any, fields: Mapping[str, Any], http: Exchange) -> str:
    if isinstance(error, str):
        # Some gateways put the name of the status into `error`, beside the message.
        rest = {k: v for k, v in first_object(body).items() if k != "error"}
        texts = (find_message(fields), find_message(rest))
        found = ": ".join(dict.fromkeys(text for text in texts if text))
        if found:
            return _summary(found)
    # `fields` before the body: a body may have a `message` that is not the error's.
    for value in (fields, error, body):
        found = find_message(value)
        if found:
            return _summary(found)
    if http.status is not None and http.status in _REDIRECT:
        return "redirects are not followed"
    return "the server sent no message"


def find_message(value: Any, depth: int = 0) -> str:
    """
    Return the words of an error, wherever they are nested; "" if there are none.

    The cases: 1. text, which may be JSON; 2. a list, of which all are joined; 3. an
    object, whose words are under one of several names.
    """
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, str):
        text = value.strip()
        inner = decode_first(text, None) if text[:1] in ("{", "[") else None
        return find_message(inner, depth + 1) or text
    if value.__class__ is list:
        texts = (find_message(item, depth + 1) for item in value)
        return "; ".join(dict.fromkeys(text for text in texts if text))
    return _message_in(value, depth) if value.__class__ is dict else ""


def _message_in(value: Mapping[str, Any], depth: int) -> str:
    for key in _MESSAGE_KEYS:
        found = find_message(value.get(key), depth + 1)
        if found:
            return _field_path(value) + found
    if not depth:
        return ""
    # Lists by field, as Django REST framework sends them.
    texts = (
        f"{key}: {text}"
        for key, item in value.items()
        if key not in _NOT_MESSAGES and (text := find_message(item, depth + 1))
    )
    return "; ".join(texts)


def _field_path(item: Mapping[str, Any]) -> str:
    """Return the field that one of FastAPI's validation errors is about."""
    path = item.get("loc")
    if path.__class__ is not list or not path:
        return ""
    return ".".join(map(str, path)) + ": "  # pyright: ignore[reportUnknownArgumentType]


def _upstream(raw: Any, message: str) -> str | None:
    """
    Return the provider's own message, or None if it adds nothing to `message`.

    `metadata.raw` is the provider's body: text, JSON text or an object.
    """
    value = find_message(raw)
    if not value and isinstance(raw, str):
        value = raw.strip()
    if not value:
        return None
    summary = _summary(value)
    return None if summary == message else summary


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
    keys = ("code", "error_type", "error_code", *_CODE_KEYS)
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


def _status_hint(details: ErrorDetails) -> str | None:  # noqa: PLR0911 - one per hint
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
