"""
JSON bytes to plain values, plain values to reply objects, and request objects back.

Both directions are hooks of a cattrs converter, made from the attrs fields on first
use. Replies are read leniently: what is not of its type degrades the one field, and
nothing raises.
"""

import json
import math
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import attrs
import orjson
from cattrs import BaseConverter

from ..errors import ConfigurationError, MalformedResponseError
from ..types import (
    ChatResponse,
    ChatStreamingResponseChunk,
    Delta,
    Exchange,
    Message,
    ToolCallFunction,
)
from .encode import encode

# --- bytes -> JSON ---------------------------------------------------------------


def decode(data: bytes | bytearray | str) -> Any:
    """
    Return the JSON value in `data`.

    Lone surrogates and a byte order mark are taken, bytes that are no UTF-8 become
    U+FFFD. An integer beyond 64 bits is read as the nearest float: to look for them
    would cost more than all the rest.

    Raises:
        MalformedResponseError: It is no JSON, or nested or long beyond reason.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass  # Its context would hold the body.
    return _decode_slowly(data)


def _decode_slowly(data: bytes | bytearray | str) -> Any:
    try:
        text = data if isinstance(data, str) else data.decode("utf-8", "replace")
        return json.loads(
            text.removeprefix("\ufeff"), parse_constant=_finite, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        fault = f"{error.msg} at character {error.pos}"
    except ValueError:
        fault = "a number in it is no finite one, or beyond reason"
    except RecursionError:
        fault = "it is nested too deeply"
    # Raised out here, so that no context of it holds the body.
    raise MalformedResponseError(f"The answer is no JSON: {fault}.")


def _finite(literal: str) -> float:
    value = float(literal)
    if not math.isfinite(value):
        raise ValueError(literal)
    return value


# --- JSON -> reply objects -------------------------------------------------------

_T = TypeVar("_T")

# One for both directions. What `Converter` adds, hooks for collections and the like,
# is nothing that these shapes ask for.
_converter = BaseConverter()


def _exact_int(value: Any) -> int | None:
    """Return a float without a fraction as an int."""
    return int(value) if value.__class__ is float and value.is_integer() else None


def _exact_float(value: Any) -> float | None:
    """Return an int as a float, if there is one that large."""
    if value.__class__ is not int:
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _words(value: Any) -> str | None:
    """Return the words of content in parts."""
    if value.__class__ is not list:
        return None
    found = [
        part["text"]
        for part in value
        if part.__class__ is dict and part.get("text").__class__ is str
    ]
    return "".join(found) if found else None


def _json_text(value: Any) -> str:
    """Return arguments that came parsed as the text that they should have been."""
    if value.__class__ is not dict and value.__class__ is not list:
        return ""
    try:
        return encode(value).decode()
    except ConfigurationError:
        return ""  # Nested too deeply to be written.


_CONVERSIONS: Final[Mapping[tuple[type[Any], str], Callable[[Any], Any]]] = {
    (Message, "content"): _words,
    (Delta, "content"): _words,
    (ToolCallFunction, "arguments"): _json_text,
}
"""What becomes of a string that came as something else."""

_COMMON: Final[Mapping[type[Any], int]] = {ChatStreamingResponseChunk: 6, Delta: 2}
"""
How many of the first fields most chunks are made of.

Where these are all there is, nothing else is looked for: a sixth of the time.
"""


@_converter.register_structure_hook_factory(attrs.has)
def _reader(cls: type[_T]) -> Callable[..., _T]:
    """
    Write and compile the function that makes a `cls` from a JSON object.

    It sets the slots of a bare instance, which takes a fifth less time than calling
    the class, and asks each value for its exact class, as JSON has no others.
    """
    names: dict[str, Any] = {"cls": cls, "new": object.__new__, "Exchange": Exchange}
    fields = attrs.fields(cls)  # type: ignore[arg-type]
    common = _COMMON.get(cls, 0)
    lines = ["def read(raw, http=None):", " get = raw.get", " self = new(cls)"]
    for field in fields[:common]:
        lines += (f" {line}" for line in _reading(cls, field, names))
    indent = " "
    if common:
        there = " and ".join(
            f"self.{f.name}" + (" is not None" if f.default is None else "")
            for f in fields[:common]
        )
        lines.append(f" if len(raw) == {common} and {there}:")
        lines += (f"  self.{f.name} = {_blank(f)}" for f in fields[common:])
        lines.append(" else:")
        indent = "  "
    for field in fields[common:]:
        lines += (f"{indent}{line}" for line in _reading(cls, field, names))
    lines.append(" return self")
    exec("\n".join(lines), names)  # noqa: S102 -- made of our own field names.
    reader: Callable[..., _T] = names["read"]
    return reader


def _blank(field: "attrs.Attribute[Any]") -> str:
    """Return the source of what a field is when nothing came."""
    if field.name == "raw":
        return "raw"
    return "None" if field.default is None else "[]"


def _reading(
    cls: type[Any], field: "attrs.Attribute[Any]", names: dict[str, Any]
) -> list[str]:
    """Return the source lines that read one field from `raw`."""
    name = field.name
    if name in {"raw", "http"}:
        if name == "raw":
            return ["self.raw = raw"]
        return ["self.http = http if http.__class__ is Exchange else Exchange()"]
    kinds = _alternatives(field.type)
    optional = type(None) in kinds
    kind = kinds[0]
    take = f"v = get({name!r})"
    nested = f"read_{name}"
    if get_origin(kind) is list:
        (member,) = get_args(kind)
        if not attrs.has(member):
            members = "[m for m in v if m.__class__ is dict]"
            return [take, f"self.{name} = {members} if v.__class__ is list else []"]
        names[nested] = _converter.get_structure_hook(member)
        one = "v[0].__class__ is dict"
        return [
            take,
            f"if not v or v.__class__ is not list: self.{name} = []",
            f"elif len(v) == 1 and {one}: self.{name} = [{nested}(v[0])]",
            f"else: self.{name} = [{nested}(m) for m in v if m.__class__ is dict]",
        ]
    if attrs.has(kind):
        names[nested] = _converter.get_structure_hook(kind)
        absent = "None" if optional else f"{nested}({{}})"
        return [
            take,
            f"self.{name} = {nested}(v) if v.__class__ is dict else {absent}",
        ]
    exact = {int: _exact_int, float: _exact_float}.get(kind)
    convert = exact or _CONVERSIONS.get((cls, name))
    names[f"convert_{name}"] = convert
    tests = (
        "v.__class__ is " + (k.__name__ if k in {str, int, float, bool} else "dict")
        for k in kinds
        if k is not type(None)
    )
    other = "None" if optional else repr(field.default)
    if convert is not None:
        other = f"{other} if v is None else convert_{name}(v)"
    return [take, f"self.{name} = v if {' or '.join(tests)} else {other}"]


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in {Union, UnionType}:
        return get_args(annotation)
    return (annotation,)


def _first_chunk(raw: dict[str, Any]) -> ChatStreamingResponseChunk:
    global _read_chunk  # noqa: PLW0603 -- compiled once, then called directly.
    reader: Any = _converter.get_structure_hook(ChatStreamingResponseChunk)
    _read_chunk = reader
    return read_chunk(raw)


_read_chunk: Callable[..., ChatStreamingResponseChunk] = _first_chunk


def parse_chunk(data: str) -> ChatStreamingResponseChunk:
    """
    Return the chunk in a JSON text; as `decode` and `read_chunk`, in one step.

    Raises:
        MalformedResponseError: It is no JSON, or no object.
    """
    try:
        raw = orjson.loads(data)
    except orjson.JSONDecodeError:
        raw = None
    if raw.__class__ is not dict:
        raw = _decode_slowly(data) if raw is None else raw
        if raw.__class__ is not dict:
            raise MalformedResponseError(
                f"An event is JSON, but no object: a {type(raw).__name__}."
            )
    return _read_chunk(raw)


def read_chunk(raw: dict[str, Any]) -> ChatStreamingResponseChunk:
    """Return the chunk in a JSON object; it keeps `raw`, and never raises."""
    return _read_chunk(raw)


def _first_response(raw: dict[str, Any], http: Exchange | None) -> ChatResponse:
    global _read_response  # noqa: PLW0603 -- likewise.
    reader: Any = _converter.get_structure_hook(ChatResponse)
    _read_response = reader
    return read_response(raw, http)


_read_response: Callable[..., ChatResponse] = _first_response


def read_response(raw: dict[str, Any], http: Exchange | None = None) -> ChatResponse:
    """Return the reply in a JSON object; it keeps `raw`, and never raises."""
    return _read_response(raw, http)
