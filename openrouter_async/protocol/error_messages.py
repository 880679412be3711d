"""The words of an error body, in one line without ids and keys."""

import re
from collections.abc import Mapping
from typing import Any, Final

from ..types import Exchange
from .decode import decode_first, first_object
from .error_status import REDIRECT

# 300 characters: messages are for logs and terminals; `error.body` has all of it.
_MAX_MESSAGE: Final = 300
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

# `re` compiles these at the first error, not at import.
_ACCOUNT: Final = r"\b(user|org)_[A-Za-z0-9]{6,}"
_KEY: Final = r"\bsk-[A-Za-z0-9_-]{6,}"
_TITLE: Final = r"(?i)<title[^>]*>([^<]{1,200})"
_HTML: Final = r"(?i)[\s\ufeff]*<(!doctype|!--|html|head|title|body|center|\?xml)"


def error_message(
    body: Any, error: Any, fields: Mapping[str, Any], http: Exchange
) -> str:
    """
    Return the message of an error, for its exception.

    Args:
        body: The decoded body or event; text if it is not JSON.
        error: The error in it; None if it has none.
        fields: The error in the form of an object; empty if it has none.
        http: The exchange.
    """
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
    if http.status is not None and http.status in REDIRECT:
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


def upstream_message(raw: Any, message: str) -> str | None:
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
        return f"an HTML page, {shorten(title)!r}, instead of JSON"
    return shorten(text)


def shorten(text: str) -> str:
    """Return a text in one line of bounded length, without ids and keys."""
    # Scrubbed before it is cut: the pattern would not match half an id.
    text = " ".join(scrub(text).split())
    return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 1] + "…"


def short_name(value: Any) -> str | None:
    """Return a name that is text, in the form of `shorten`; None for anything else."""
    return shorten(value) if isinstance(value, str) and value.strip() else None
