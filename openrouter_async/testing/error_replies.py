"""Error replies in every envelope that has been seen."""

import email.utils
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal, TypeAlias, Unpack

import attrs

from .builders import completion, generation_id
from .reply import FaultFields, Reply
from .seen_requests import an_object

Shape: TypeAlias = Literal[
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
Hint: TypeAlias = Literal[
    "header",
    "header_ms",
    "header_date",
    "availability",
    "metadata",
    "metadata_raw",
    "metadata_header",
    "reset",
]
FailedForm: TypeAlias = Literal[
    "error", "user_id", "id", "no_choices", "whitespace", "choice", "nothing", "empty"
]

# What keeps a slow plain reply alive, as recorded.
WHITE_SPACE = b"\n         \n"

# The server's own words, where they were recorded.
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


def words(status: int) -> str:
    """Tell what OpenRouter says to a status."""
    return _MESSAGES.get(status) or _phrase(status)


def _phrase(status: int) -> str:
    known = status in HTTPStatus.__members__.values()
    return HTTPStatus(status).phrase if known else f"Error {status}"


def error_reply(
    status: int = 500,
    message: str | None = None,
    *,
    shape: Shape = "openrouter",
    code: int | str | None = None,
    error_type: str | None = None,
    provider_name: str | None = None,
    raw: Any = None,
    metadata: Mapping[str, Any] | None = None,
    availability: Mapping[str, Any] | None = None,
    user_id: str | None = None,
    retry_after: float | str | None = None,
    hints: Hint | tuple[Hint, ...] = "header",
    **fields: Unpack[FaultFields],
) -> Reply:
    """
    Make an error reply.

    Args:
        status: HTTP's status.
        message: OpenRouter's own words for the status, unless given.
        shape: The envelope. "openrouter"; "string_code", the same with a string code;
            "no_code", with `error_type` and `http_status` in place of it; "zod", of
            the validated routes; "openai" and "anthropic", of gateways; "plain", the
            error a string; "html", the edge's page; "empty", no body.
        code: The status, unless given.
        error_type: Goes into the metadata.
        provider_name: Goes into the metadata: the error is relayed from a provider.
        raw: The provider's own words, a string or JSON, into the metadata.
        metadata: Added to it.
        availability: The object beside it.
        user_id: The account's id, beside the error.
        retry_after: Seconds; a string goes into the header as it is.
        hints: Where `retry_after` is told, in one place or several: "header",
            "header_ms" (`retry-after-ms`), "header_date" (an HTTP date),
            "availability", "metadata" and "metadata_raw"
            (`retry_after_seconds`, with and without fraction),
            "metadata_header" (`metadata.headers`), "reset" (`X-RateLimit-Reset`, in
            milliseconds since 1970, counted from now).
        fields: The rest of `Reply`.
    """
    text = words(status) if message is None else message
    headers = dict(fields.get("headers") or {})
    named = {"error_type": error_type, "provider_name": provider_name, "raw": raw}
    known = {key: value for key, value in named.items() if value is not None}
    meta: dict[str, Any] = {**(metadata or {}), **known}
    available = None if availability is None else dict(availability)
    if retry_after is not None:
        places = (hints,) if isinstance(hints, str) else hints
        found = _hint(retry_after, places, headers, meta)
        available = {**(available or {}), **found} if found else available
    if shape == "html":
        page = _EDGE_PAGE.format(status=status, title=_phrase(status))
        return _reply(status, headers, fields, text=page, content_type="text/html")
    if shape == "empty":
        return _reply(status, headers, fields, body=b"")
    body = _envelope(shape, status if code is None else code, text, error_type)
    # A plain string has no room for them.
    inner = an_object(body["error"])
    if meta:
        inner["metadata"] = meta
    if available is not None:
        inner["availability"] = available
    if user_id is not None:
        body["user_id"] = user_id
    return _reply(status, headers, fields, json=body)


def _reply(
    status: int, headers: Mapping[str, str], fields: FaultFields, **said: Any
) -> Reply:
    return attrs.evolve(Reply(**fields), status=status, headers=headers, **said)


def _hint(
    wait: float | str,
    hints: tuple[Hint, ...],
    headers: dict[str, str],
    meta: dict[str, Any],
) -> dict[str, Any]:
    """Write the wait into headers and metadata; return what availability tells."""
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
    return {"retry_after": wait} if "availability" in hints else {}


def _envelope(
    shape: Shape, code: int | str, text: str, error_type: str | None
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
    form: FailedForm = "error",
    code: int | str = 502,
    message: str = "Provider returned error",
    *,
    error_type: str | None = None,
    text: str = "",
    **fields: Unpack[FaultFields],
) -> Reply:
    """
    Make a reply of status 200 that is a failure all the same.

    Args:
        form: "error": nothing but the error. "user_id", "id", "no_choices": beside
            that. "whitespace": after the keep-alive's white space. "choice": in a
            choice that has `text` so far. "nothing": no choices and no error.
            "empty": no content and no finish reason, as a cold start leaves it.
        code: The status it should have had.
        message: The error's.
        error_type: Goes into the error's metadata.
        text: What had been written, for "choice".
        fields: The rest of `Reply`.
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
        fields["prefix"] = WHITE_SPACE * 3
    elif form == "nothing":
        body = {**completion(), "choices": []}
    elif form in ("choice", "empty"):
        body = completion(text)
        choice = body["choices"][0]
        choice.update(finish_reason=None, native_finish_reason=None)
        if form == "choice":
            choice.update(finish_reason="error", error=inner)
    return attrs.evolve(Reply(**fields), json=body)
