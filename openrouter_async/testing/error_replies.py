"""Error replies, in every form that OpenRouter, providers and gateways send."""

import email.utils
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal, TypeAlias, Unpack

import attrs

from ..protocol.decode import as_object
from .builders import completion, generation_id
from .reply import FaultFields, Reply

ErrorShape: TypeAlias = Literal[
    "openrouter",
    "string_code",
    "no_code",
    "zod",
    "openai",
    "anthropic",
    "plain",
    "html",
    "empty",
]
RetryHint: TypeAlias = Literal[
    "header",
    "header_ms",
    "header_date",
    "availability",
    "metadata",
    "metadata_raw",
    "metadata_header",
    "reset",
]
ErrorIn200Form: TypeAlias = Literal[
    "error", "user_id", "id", "no_choices", "whitespace", "choice", "nothing", "empty"
]

# Sent by OpenRouter to keep the connection of a slow plain response alive (recorded).
KEEPALIVE_SPACE = b"\n         \n"

# The message that was recorded for a status.
_MESSAGES = {
    400: "Provider returned error",
    401: "User not found.",
    402: "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
    403: "The request is prohibited due to a violation of provider Terms Of Service.",
    404: "No endpoints found that match your data policy.",
    429: "Provider returned error",
    500: "Internal Server Error",
    502: "Provider returned error",
    503: "There is no available model provider that meets your routing requirements",
    524: "A Timeout Occurred",
    529: "Provider overloaded",
}
_EDGE_PAGE = """\
<!DOCTYPE html>
<html lang="en-US">
<head><title>openrouter.ai | {status}: {title}</title></head>
<body><div id="cf-wrapper"><h1>{title} Error code {status}</h1></div></body>
</html>
"""


def default_message(status: int) -> str:
    """Return the message that OpenRouter sends with a status."""
    return _MESSAGES.get(status) or _phrase(status)


def _phrase(status: int) -> str:
    known = status in HTTPStatus.__members__.values()
    return HTTPStatus(status).phrase if known else f"Error {status}"


def error_reply(
    status: int = 500,
    message: str | None = None,
    *,
    shape: ErrorShape = "openrouter",
    code: int | str | None = None,
    error_type: str | None = None,
    provider_name: str | None = None,
    raw: Any = None,
    metadata: Mapping[str, Any] | None = None,
    availability: Mapping[str, Any] | None = None,
    user_id: str | None = None,
    retry_after: float | str | None = None,
    hints: RetryHint | tuple[RetryHint, ...] = "header",
    **fields: Unpack[FaultFields],
) -> Reply:
    """
    Return an error reply with a status of 400 or more.

    Args:
        status: HTTP status.
        message: Message of the error; None: the one that OpenRouter sends with the
            status.
        shape: Form of the body:
            - "openrouter": `{"error": {"message", "code", "metadata"}}`.
            - "string_code": the same, with the code as a string.
            - "no_code": `error_type` and `http_status` in place of the code.
            - "zod": a validation error, whose message is itself JSON.
            - "openai", "anthropic": as these APIs send it, through a gateway.
            - "plain": the error is a string.
            - "html": an error page of the content delivery network.
            - "empty": no body.
        code: `error.code`; None: the status.
        error_type: `metadata.error_type`, and `type` in the shapes that have one.
        provider_name: `metadata.provider_name`, for an error of a provider.
        raw: `metadata.raw`, the provider's error as a string or as JSON.
        metadata: Further members of `error.metadata`.
        availability: `error.availability`.
        user_id: Top-level `user_id` of the body: the id of an account.
        retry_after: Seconds to wait, or a string to send unchanged as `Retry-After`.
        hints: One or several locations in which `retry_after` is sent:
            - "header": `Retry-After`, in seconds.
            - "header_ms": `retry-after-ms`.
            - "header_date": `Retry-After`, as an HTTP date.
            - "availability": `error.availability.retry_after`.
            - "metadata": `metadata.retry_after_seconds`, rounded.
            - "metadata_raw": `metadata.retry_after_seconds_raw`, with a fraction.
            - "metadata_header": `Retry-After` in `metadata.headers`.
            - "reset": `X-RateLimit-Reset` in `metadata.headers`, in milliseconds since
              1970, counted from now.
            A string can only be sent in "header", "availability" and
            "metadata_header".
        fields: Further fields of `Reply`.
    """
    text = default_message(status) if message is None else message
    headers = dict(fields.get("headers") or {})
    named = {"error_type": error_type, "provider_name": provider_name, "raw": raw}
    known = {key: value for key, value in named.items() if value is not None}
    meta: dict[str, Any] = {**(metadata or {}), **known}
    available = None if availability is None else dict(availability)
    if retry_after is not None:
        listed = (hints,) if isinstance(hints, str) else hints
        _add_hints(retry_after, listed, headers, meta)
        if "availability" in listed:
            available = {**(available or {}), "retry_after": retry_after}
    if shape == "html":
        page = _EDGE_PAGE.format(status=status, title=_phrase(status))
        return _reply(status, headers, fields, text=page, content_type="text/html")
    if shape == "empty":
        return _reply(status, headers, fields, body=b"")
    body = _envelope(shape, status if code is None else code, text, error_type)
    # In the shape "plain" the error is a string: nothing can be added to it.
    inner = as_object(body["error"])
    if meta:
        inner["metadata"] = meta
    if available is not None:
        inner["availability"] = available
    if user_id is not None:
        body["user_id"] = user_id
    return _reply(status, headers, fields, json=body)


def _reply(
    status: int, headers: Mapping[str, str], fields: FaultFields, **body: Any
) -> Reply:
    return attrs.evolve(Reply(**fields), status=status, headers=headers, **body)


def _add_hints(
    wait: float | str,
    hints: tuple[RetryHint, ...],
    headers: dict[str, str],
    meta: dict[str, Any],
) -> None:
    """Add the hints to the response headers and to the error's metadata, in place."""
    repeated: dict[str, str] = {}
    if "header" in hints:
        headers["Retry-After"] = f"{wait}"
    if "metadata_header" in hints:
        repeated["Retry-After"] = f"{wait}"
    if not isinstance(wait, str):
        at = time.time() + wait
        if "header_ms" in hints:
            headers["retry-after-ms"] = f"{round(wait * 1000)}"
        if "header_date" in hints:
            headers["Retry-After"] = email.utils.formatdate(at, usegmt=True)
        if "metadata" in hints:
            meta["retry_after_seconds"] = round(wait)
        if "metadata_raw" in hints:
            meta["retry_after_seconds_raw"] = float(wait)
        if "reset" in hints:
            repeated["X-RateLimit-Reset"] = f"{round(at * 1000)}"
    if repeated:
        meta["headers"] = {**meta.get("headers", {}), **repeated}


def _envelope(
    shape: ErrorShape, code: int | str, text: str, error_type: str | None
) -> dict[str, Any]:
    if shape == "zod":
        issues = f'[{{"code":"invalid_type","path":["messages"],"message":"{text}"}}]'
        return {"success": False, "error": {"name": "ZodError", "message": issues}}
    if shape == "openai":
        kind = error_type or "invalid_request_error"
        return {"error": {"message": text, "type": kind, "param": None, "code": code}}
    if shape == "anthropic":
        kind = error_type or "api_error"
        return {"type": "error", "error": {"type": kind, "message": text}}
    if shape == "plain":
        return {"error": text}
    if shape == "no_code":
        kind = error_type or "unmapped"
        return {"error": {"message": text, "error_type": kind, "http_status": code}}
    return {
        "error": {"message": text, "code": f"{code}" if shape != "openrouter" else code}
    }


def error_in_200(
    form: ErrorIn200Form = "error",
    code: int | str = 502,
    message: str = "Provider returned error",
    *,
    error_type: str | None = None,
    text: str = "",
    **fields: Unpack[FaultFields],
) -> Reply:
    """
    Return a reply with status 200 whose body is an error or an empty completion.

    Args:
        form: Form of the body:
            - "error": only the error.
            - "user_id", "id", "no_choices": the error beside this member.
            - "whitespace": the error after the white space that keeps the connection
              alive.
            - "choice": a completion of `text` with the error in its choice.
            - "nothing": a completion with `choices: []`, no error.
            - "empty": a completion without content and finish reason, no error, as a
              provider's cold start leaves it.
        code: `error.code`.
        message: `error.message`.
        error_type: `error.metadata.error_type`.
        text: Content of the completion, for "choice" and "empty".
        fields: Further fields of `Reply`.
    """
    inner: dict[str, Any] = {"message": message, "code": code}
    if error_type is not None:
        inner["metadata"] = {"error_type": error_type}
    body: dict[str, Any] = {"error": inner}
    if form == "user_id":
        body["user_id"] = "user_2local"
    elif form == "id":
        body = {"id": generation_id(), **body}
    elif form == "no_choices":
        body = {"choices": [], **body}
    elif form == "whitespace":
        fields["prefix"] = KEEPALIVE_SPACE * 3
    elif form == "nothing":
        body = {**completion(), "choices": []}
    elif form in ("choice", "empty"):
        body = completion(text)
        choice = body["choices"][0]
        choice.update(finish_reason=None, native_finish_reason=None)
        if form == "choice":
            choice.update(finish_reason="error", error=inner)
    return attrs.evolve(Reply(**fields), json=body)
