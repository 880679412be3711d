"""Error bodies in all their forms -> one exception."""

import re
from collections.abc import Mapping
from typing import Any, Final

from ..errors import (
    APIError,
    ChatError,
    MalformedResponseError,
    status_class,
)
from ..types import ChatResponse, Exchange
from .decode import decode
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
"""The status behind each `error_type`. Source: the specification's ApiErrorType."""

_IN_FLIGHT: Final = ("in_flight_budget_exhausted", "openrouter_in_flight_budget")
_DAILY_CAP: Final = ("openrouter_free_tier_daily", "free-models-per-day")
_LONGEST: Final = 300
_ERROR_STATUS: Final = range(400, 600)
_REDIRECT: Final = range(300, 400)
_OK: Final = range(200, 300)

# Compiled by the first error, not by the import.
_ACCOUNT: Final = r"\b(user|org)_[A-Za-z0-9]{6,}"
_KEY: Final = r"\bsk-[A-Za-z0-9_-]{6,}"
_TITLE: Final = r"(?i)<title[^>]*>([^<]{1,200})"
_HTML: Final = r"(?i)[\s\ufeff]*<(!doctype|!--|html|head|title|body|center|\?xml)"


def error_from_response(body: bytes, http: Exchange, *, wall: float) -> APIError:
    """
    Return the exception for a reply whose status is outside 2XX.

    Args:
        body: As it came, decompressed; it may be cut.
        http: The exchange; its `status` is set.
        wall: Seconds since the epoch, now; for waits given as a date.
    """
    text = body.decode("utf-8", "replace").strip()
    parsed: Any = text
    if text[:1] in ("{", "["):
        try:
            parsed = decode(text)
        except MalformedResponseError:
            parsed = text
    return error_from_body(parsed, http, wall=wall)


def error_from_body(
    body: Any,
    http: Exchange,
    *,
    wall: float,
    error: Any = None,
    partial: ChatResponse | None = None,
) -> APIError:
    """
    Return the exception for an error in any envelope.

    Args:
        body: The parsed body or event; text if it is no JSON.
        http: The exchange; its status decides where it is no 2XX.
        wall: Seconds since the epoch, now.
        error: The error object where it is not `body["error"]` (in a choice).
        partial: What had arrived, folded.
    """
    found = _error_object(body) if error is None else _as_object(error)
    envelope = found is not None
    facts: Mapping[str, Any] = found or {}
    metadata = _mapping(facts.get("metadata"))
    error_type = (
        _name(metadata.get("error_type"))
        or _name(facts.get("error_type"))
        or _name(facts.get("type"))
    )
    status = _status(http, facts, error_type)
    availability = _mapping(facts.get("availability"))
    daily_cap = _mentions(facts, metadata, _DAILY_CAP)
    in_flight = _mentions(facts, metadata, _IN_FLIGHT)
    verdict = availability.get("retryable")
    provider = _name(metadata.get("provider_name"))
    if http.attempts:
        http.attempts[-1].billing = (
            "insured" if _is_ok(http) else billing(status, envelope=envelope)
        )
    cls = status_class(status, envelope=envelope)
    common: dict[str, Any] = {
        "status_code": status,
        "body": body,
        "retry_after": parse_retry_after(http.headers, facts, wall=wall),
        "http": http,
        "partial": partial,
        "generation_id": http.generation_id or _text(_mapping(body).get("id")),
        "retryable": is_retryable(
            status,
            envelope=envelope,
            availability=verdict if isinstance(verdict, bool) else None,
            in_flight=in_flight,
            daily_cap=daily_cap,
        ),
        "hint": _hint(
            status, http, facts, provider=provider, daily=daily_cap, flight=in_flight
        ),
    }
    message = _message(body, facts, http)
    if not issubclass(cls, ChatError):
        return cls(message, **common)
    code = facts.get("code")
    return cls(
        message,
        code=code if isinstance(code, int | str) else None,
        error_type=error_type,
        metadata=metadata if isinstance(facts.get("metadata"), Mapping) else None,
        provider_name=provider,
        upstream=_upstream(metadata.get("raw"), message),
        **common,
    )


def scrub(text: str) -> str:
    """Return the text without account ids and keys."""
    return re.sub(_KEY, "sk-***", re.sub(_ACCOUNT, r"\1_***", text))


def page_title(text: str) -> str | None:
    """Return the title of an HTML page, or "untitled"; None if it is no page."""
    if not re.match(_HTML, text):
        return None
    title = re.search(_TITLE, text)
    return title.group(1).strip() if title else "untitled"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}  # pyright: ignore[reportUnknownVariableType]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _name(value: Any) -> str | None:
    return _trim(value) if isinstance(value, str) and value.strip() else None


def _is_ok(http: Exchange) -> bool:
    return http.status in _OK


def _as_object(error: Any) -> Mapping[str, Any] | None:
    if isinstance(error, str) and error:
        return {"message": error}
    return _mapping(error) or None


def _error_object(body: Any) -> Mapping[str, Any] | None:
    """The `error` of a body; a bare `{"code", "message"}` is one too."""
    whole = _mapping(body)
    found = _as_object(whole.get("error"))
    if found is None and isinstance(whole.get("message"), str) and "code" in whole:
        return whole
    return found


def _status(http: Exchange, facts: Mapping[str, Any], error_type: str | None) -> int:
    """HTTP's own where it is no 2XX; else the code's, the kind's, or 500."""
    if http.status is not None and not _is_ok(http):
        return http.status
    value: Any
    for value in (facts.get("code"), facts.get("http_status")):
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value[:4])  # noqa: PLW2901
        if type(value) in (int, float) and value in _ERROR_STATUS:
            return int(value)
    return _ERROR_TYPE_STATUS.get(error_type or "", 500)


def _mentions(
    facts: Mapping[str, Any], metadata: Mapping[str, Any], words: tuple[str, str]
) -> bool:
    # The limit's name stands in either of two fields, and older bodies have it in
    # the message only.
    named = (metadata.get("limit_source"), metadata.get("reason"))
    message = facts.get("message")
    return any(word in named for word in words) or (
        isinstance(message, str) and any(word in message for word in words)
    )


def _message(body: Any, facts: Mapping[str, Any], http: Exchange) -> str:
    told = facts.get("message")
    if isinstance(told, str) and told.strip():
        return _words(told)
    for key in ("detail", "message"):
        value = _mapping(body).get(key)
        if isinstance(value, str) and value:
            return _words(value)
    if isinstance(body, str) and body.strip():
        return _words(body)
    if http.status is not None and http.status in _REDIRECT:
        return "a redirect, which is never followed"
    return "the server gave no message"


def _upstream(raw: Any, message: str) -> str | None:
    """The provider's own words: text, JSON text, or an object."""
    words = raw
    if isinstance(raw, str) and raw.lstrip()[:1] in ("{", "["):
        try:
            words = decode(raw)
        except MalformedResponseError:
            words = raw
    if isinstance(words, list) and words:
        words = words[0]  # pyright: ignore[reportUnknownVariableType]
    for key in ("error", "message", "detail"):
        if isinstance(words, Mapping):
            inner: Any = words.get(key)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            if isinstance(inner, str | Mapping):
                words = inner  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(words, str):
        words = raw if isinstance(raw, str) else None
    if not words or not words.strip():
        return None
    trimmed = _words(words)
    return None if trimmed == message else trimmed


def _words(text: str) -> str:
    """Of a page only its title; it may be long, and is no message."""
    title = page_title(text)
    if title is not None:
        return f"an HTML page, {_trim(title)!r}, instead of JSON"
    return _trim(text)


def _trim(text: str) -> str:
    # Scrubbed first: half an id at the cut would pass.
    text = " ".join(scrub(text).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _hint(
    status: int,
    http: Exchange,
    facts: Mapping[str, Any],
    *,
    provider: str | None,
    daily: bool,
    flight: bool,
) -> str | None:
    """What the caller can do; OpenRouter's own hint where it gives one."""
    metadata = _mapping(facts.get("metadata"))
    own = _text(metadata.get("remedy_hint"))
    if own:
        return _trim(own)
    fallbacks = _mapping(facts.get("availability")).get("fallback_models")
    if isinstance(fallbacks, list) and fallbacks:
        names = ", ".join(str(name) for name in fallbacks[:3])  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return _trim(f"Models that would do: {names}.")
    known = _status_hint(
        status, metadata, provider=provider, daily=daily, flight=flight
    )
    if known:
        return known
    ray = http.headers.get("cf-ray")
    return f"(cf-ray {ray})" if ray and not facts else None


_HINTS: Final[Mapping[int, str]] = {
    401: "Check OPENROUTER_API_KEY; keys: https://openrouter.ai/settings/keys.",
    402: "Add credits: https://openrouter.ai/settings/credits.",
}


def _status_hint(
    status: int,
    metadata: Mapping[str, Any],
    *,
    provider: str | None,
    daily: bool,
    flight: bool,
) -> str | None:
    if status in _REDIRECT:
        return "Check base_url: the key is sent to no other place."
    if status == 401 and provider:
        return (
            "The provider refused OpenRouter's key, not yours: "
            "another provider or model may work."
        )
    if status == 402 and flight:
        return "Too much is running at once: it frees up as calls end."
    if status == 404 and "routing_funnel" in metadata:
        return "No endpoint meets `provider`'s conditions or your privacy settings."
    if daily:
        return "The free tier's daily cap: no repeat before it resets will pass."
    return _HINTS.get(status)
