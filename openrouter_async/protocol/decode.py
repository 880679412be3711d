"""
JSON bytes to plain values.

Decoding is lenient: what servers send that is nearly JSON is accepted.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from ..errors import MalformedResponseError
from .surrogates import mark_texts


def decode(data: bytes | bytearray | str) -> Any:
    """
    Return the JSON value in `data`.

    Lone surrogates and a byte order mark are accepted; invalid UTF-8 becomes U+FFFD. A
    number that is not finite, or has thousands of digits, becomes None, also in the
    spellings of C and C++, such as `-nan`. An integer beyond 64 bits becomes the
    nearest float, because finding such integers would cost more than all other
    decoding. The arguments of a tool call are decoded exactly.

    Raises:
        MalformedResponseError: If `data` is not valid JSON, or is nested too deeply.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        # Leave this block first: an exception raised in it would refer to this
        # error, which holds the whole body.
        value = _UNDECODED
    # To search a short text takes less time than to look at the messages.
    if value is _UNDECODED or (
        (len(data) <= _SHORT or not _is_without_calls(value))
        and _has_json_arguments(data)
    ):
        return decode_leniently(data)
    return value


def _is_without_calls(value: Any) -> bool:
    """
    Return True if a value is a response whose messages have no tool calls.

    This spares most responses a search of their bytes, which are megabytes if they
    contain images.
    """
    if value.__class__ is not dict or value.get("choices").__class__ is not list:
        return False
    for choice in value["choices"]:
        message: Any = choice.get("message") if choice.__class__ is dict else None
        if (
            message.__class__ is not dict
            or message.get("content").__class__ is not str
            or message.get("tool_calls")
            or message.get("function_call")
        ):
            return False
    return True


def to_text(data: bytes) -> str:
    """Return UTF-8 as text, with U+FFFD in place of invalid bytes."""
    return data.decode("utf-8", "replace")


def decode_text(text: str) -> Any:
    """Return the JSON value in a text; its bytes were rejected, perhaps as UTF-8."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    return decode_leniently(text)


def decode_finite(data: bytes | bytearray | str) -> Any:
    """
    Return the JSON value in `data`, of which nothing may become None.

    Raises:
        MalformedResponseError: If `decode` raises it, or a number is not finite.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    return decode_leniently(data, strict=True)


_UNDECODED: Final = object()
_SHORT: Final = 16 * 1024
# Servers in C and C++ write `-nan` and `inf`, which `json` does not know. Not compiled
# here: `re` caches, and few programs ever receive one.
_NOT_FINITE: Final = r"(?i)[-+]?(?:nan|inf(?:inity)?)\b"
_STRING_OR_NOT_FINITE: Final = rf'{_NOT_FINITE}|"[^"\\]*(?:\\.[^"\\]*)*"'


def decode_leniently(data: bytes | bytearray | str, *, strict: bool = False) -> Any:
    """
    Decode with the standard library, which accepts more than orjson.

    Texts with half characters are marked. If arguments of a tool call are JSON values,
    all digits of numbers are kept.
    """
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    text = text.removeprefix("\ufeff")
    parse_float = _exact_float_of if _has_json_arguments(text) else _float_of
    respelled = text
    try:
        return mark_texts(
            json.loads(
                text,
                parse_constant=_finite if strict else _float_of,
                parse_float=_finite if strict else parse_float,
                parse_int=int if strict else _int_of,
            )
        )
    except json.JSONDecodeError as error:
        problem = f"{error.msg} at character {error.pos}"
        if not strict and re.match(_NOT_FINITE, text[error.pos : error.pos + 9]):
            respelled = re.sub(_STRING_OR_NOT_FINITE, _null_of, text)
    except ValueError:
        problem = "a number is not finite or has too many digits"
    except RecursionError:
        problem = "it is nested too deeply"
    if respelled != text:
        return decode_leniently(respelled)
    # Raised outside the except blocks, so that its context does not hold the body.
    raise MalformedResponseError(f"Invalid JSON: {problem}.")


def decode_first(text: str, default: Any) -> Any:
    """
    Return the JSON value at the beginning of a text, whatever follows it.

    Args:
        text: The text; white space in front of the value is skipped.
        default: Returned if the text does not begin with a JSON value.
    """
    try:
        value, _ = json.JSONDecoder().raw_decode(text.lstrip("\ufeff \t\r\n"))
    except (ValueError, RecursionError):
        return default
    return value


class LiteralFloat(float):
    """A number with more digits than a float has; `to_json_text` writes them all."""

    __slots__ = ("literal",)

    literal: str

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        return float, (float(self),)


# Any decimal number of 15 digits survives as a float.
_FLOAT_DIGITS: Final = 15
# `int` rejects more than 4,300 digits.
_MAX_INT_DIGITS: Final = 4000


def _finite(literal: str) -> float:
    value = float(literal)
    if not math.isfinite(value):
        raise ValueError(literal)
    return value


def decode_strictly(text: str) -> Any:
    """
    Return the JSON value in `text`; an integer beyond 64 bits becomes a float.

    Raises:
        ValueError: If it is not valid JSON in every respect, or is nested too deeply.
    """
    return orjson.loads(text)


def _null_of(token: "re.Match[str]") -> str:
    """Return a string unchanged, and null for a number that is not finite."""
    return token[0] if token[0].startswith('"') else "null"


def _float_of(literal: str) -> float | None:
    """Return None for a number that is not finite; it must not cost the response."""
    value = float(literal)
    return value if math.isfinite(value) else None


def _exact_float_of(literal: str) -> float | None:
    value = _float_of(literal)
    if value is None or len(literal) <= _FLOAT_DIGITS:
        return value
    exact = LiteralFloat(value)
    exact.literal = literal
    return exact


def _int_of(literal: str) -> int | None:
    return int(literal) if len(literal) <= _MAX_INT_DIGITS else None


def _has_json_arguments(data: bytes | bytearray | str) -> bool:
    """Return True if arguments of a tool call are JSON values instead of their text."""
    # The search for the name alone is fast, and usually fails.
    if isinstance(data, str):
        return '"arguments"' in data and bool(
            re.search(r'"arguments"\s*:\s*[\[{]', data)
        )
    return b'"arguments"' in data and bool(re.search(rb'"arguments"\s*:\s*[\[{]', data))


def to_json_text(value: Any) -> str:
    """
    Return tool arguments that came as a JSON value in the form of JSON text.

    All digits of its numbers are kept. A value that is nested too deeply gives "".
    """
    try:
        return _write_json(value)
    except RecursionError:
        return ""


def _write_json(value: Any) -> str:
    if isinstance(value, LiteralFloat):
        return value.literal
    if isinstance(value, dict):
        members = value.items()  # pyright: ignore[reportUnknownVariableType]
        pairs = (f"{_write_json(k)}:{_write_json(v)}" for k, v in members)  # pyright: ignore[reportUnknownVariableType]
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_write_json, value))}]"  # pyright: ignore[reportUnknownArgumentType]
    return json.dumps(value, ensure_ascii=False)


def as_object(value: Any) -> dict[str, Any]:
    """Return a JSON object unchanged, and an empty one in place of anything else."""
    return value if value.__class__ is dict else {}


def first_object(body: Any) -> Mapping[str, Any]:
    """Return a JSON object, or the first one of an array; else an empty one."""
    if body.__class__ is list:
        body = next((item for item in body if item.__class__ is dict), None)
    return as_object(body)
