"""
JSON bytes to plain values, and plain values to response objects.

Response objects are made by structure hooks of a cattrs converter, generated from the
attrs fields on first use. They are lenient: a value of the wrong type becomes the
default of its field, and no other field is affected. `raw` keeps the original.
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
    ToolCall,
    ToolCallFunction,
)
from .encode import encode

_T = TypeVar("_T")

# --- bytes -> plain values -------------------------------------------------------


def decode(data: bytes | bytearray | str) -> Any:
    """
    Return the JSON value in `data`.

    Lone surrogates and a byte order mark are accepted; invalid UTF-8 becomes U+FFFD.
    An integer beyond 64 bits becomes the nearest float: finding such integers would
    cost more than all other decoding.

    Raises:
        MalformedResponseError: If it is not valid JSON, is nested too deeply, or
            contains a number that is not finite.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        # Leave this block first: an exception raised in it would refer to this
        # error, which holds the whole body.
        pass
    return _decode_leniently(data)


def _decode_leniently(data: bytes | bytearray | str) -> Any:
    """Decode with the standard library, which accepts more than orjson."""
    try:
        text = data if isinstance(data, str) else data.decode("utf-8", "replace")
        return json.loads(
            text.removeprefix("\ufeff"), parse_constant=_finite, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        problem = f"{error.msg} at character {error.pos}"
    except ValueError:
        problem = "a number is not finite or has too many digits"
    except RecursionError:
        problem = "it is nested too deeply"
    # Raised outside the except blocks, so that its context does not hold the body.
    raise MalformedResponseError(f"Invalid JSON: {problem}.")


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


def as_object(value: Any) -> dict[str, Any]:
    """Return a JSON object unchanged, and an empty one in place of anything else."""
    return value if value.__class__ is dict else {}


# --- plain values -> response objects --------------------------------------------

# `Converter` adds hooks for collections and unions, which these shapes do not need.
_converter = BaseConverter()


def _exact_int(value: Any) -> int | None:
    """Return a float without a fraction as an int."""
    return int(value) if value.__class__ is float and value.is_integer() else None


def _exact_float(value: Any) -> float | None:
    """Return an int as a float, unless it is too large for one."""
    if value.__class__ is not int:
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _text_of_parts(value: Any) -> str | None:
    """Return the text of content that came as a list of parts."""
    if value.__class__ is not list:
        return None
    texts = [
        part["text"]
        for part in value
        if part.__class__ is dict and part.get("text").__class__ is str
    ]
    return "".join(texts) if texts else None


def _json_text(value: Any) -> str:
    """Return tool arguments that came as an object in the form of JSON text."""
    if value.__class__ is not dict and value.__class__ is not list:
        return ""
    try:
        return encode(value).decode()
    except ConfigurationError:
        # It is nested too deeply to be encoded.
        return ""


def _digits(value: Any) -> str:
    """Return an id that came as a number in the form of its digits."""
    if value.__class__ is float and value.is_integer():
        value = int(value)
    return str(value) if value.__class__ in (int, float) else ""


# Some providers send these strings as other JSON values.
_STRING_CONVERSIONS: Final[Mapping[tuple[type[Any], str], Callable[[Any], Any]]] = {
    (Message, "content"): _text_of_parts,
    (Delta, "content"): _text_of_parts,
    (ToolCall, "id"): _digits,
    (ToolCallFunction, "arguments"): _json_text,
}

# Number of first fields that make up most chunks. If a chunk has these and no others,
# no further field is looked up, which saves a sixth of the time.
_COMMON_FIELDS: Final[Mapping[type[Any], int]] = {
    ChatStreamingResponseChunk: 6,
    Delta: 2,
}


@_converter.register_structure_hook_factory(attrs.has)
def _make_reader(cls: type[_T]) -> Callable[..., _T]:
    """
    Generate and compile the function that makes a `cls` from a JSON object.

    The function sets the attributes of an instance made by `object.__new__`, which
    takes a fifth less time than calling the class. It compares the exact class of
    each value: JSON has no subclasses, and a bool must not be accepted as an int.

    For example, this is generated for `ToolCall`. `read_function` is the function
    generated for `ToolCallFunction`, and `convert_index` is `_exact_int`::

        def read(raw, http=None):
            get = raw.get
            self = new(cls)
            v = get("id")
            self.id = (
                v if v.__class__ is str else "" if v is None else convert_id(v)
            )
            v = get("type")
            self.type = v if v.__class__ is str else "function"
            v = get("function")
            self.function = (
                read_function(v) if v.__class__ is dict else read_function({})
            )
            v = get("index")
            self.index = (
                v if v.__class__ is int else None if v is None else convert_index(v)
            )
            self.raw = raw
            return self

    For a class in _COMMON_FIELDS, the common fields are followed by an `if`: one
    branch sets all other fields to their defaults, the other looks them up.
    """
    namespace: dict[str, Any] = {
        "cls": cls,
        "new": object.__new__,
        "Exchange": Exchange,
    }
    fields = attrs.fields(cls)  # type: ignore[arg-type]
    common = _COMMON_FIELDS.get(cls, 0)
    lines = ["def read(raw, http=None):", " get = raw.get", " self = new(cls)"]
    for field in fields[:common]:
        lines += (f" {line}" for line in _lookup_lines(cls, field, namespace))
    indent = " "
    if common:
        present = " and ".join(
            f"self.{field.name}" + (" is not None" if field.default is None else "")
            for field in fields[:common]
        )
        lines.append(f" if len(raw) == {common} and {present}:")
        lines += (f"  self.{f.name} = {_default_source(f)}" for f in fields[common:])
        lines.append(" else:")
        indent = "  "
    for field in fields[common:]:
        lines += (f"{indent}{line}" for line in _lookup_lines(cls, field, namespace))
    lines.append(" return self")
    exec("\n".join(lines), namespace)  # noqa: S102 - consists of our own field names
    reader: Callable[..., _T] = namespace["read"]
    return reader


def _default_source(field: "attrs.Attribute[Any]") -> str:
    """Return the source of a field's value if the object does not have the key."""
    if field.name == "raw":
        return "raw"
    return "None" if field.default is None else "[]"


def _lookup_lines(
    cls: type[Any], field: "attrs.Attribute[Any]", namespace: dict[str, Any]
) -> list[str]:
    """
    Return the source lines that set one field.

    The cases: 1. `raw` and `http`, which are not keys; 2. lists; 3. nested response
    objects; 4. strings, numbers, booleans and plain objects.
    """
    name = field.name
    if name == "raw":
        return ["self.raw = raw"]
    if name == "http":
        return ["self.http = http if http.__class__ is Exchange else Exchange()"]
    types = _union_members(field.type)
    optional = type(None) in types
    first = types[0]
    lookup = f"v = get({name!r})"
    read = f"read_{name}"
    if get_origin(first) is list:
        (item,) = get_args(first)
        if not attrs.has(item):
            items = "[m for m in v if m.__class__ is dict]"
            return [lookup, f"self.{name} = {items} if v.__class__ is list else []"]
        namespace[read] = _converter.get_structure_hook(item)
        # Most lists have one item. Before Python 3.12, a comprehension is a function
        # call of its own.
        one = "len(v) == 1 and v[0].__class__ is dict"
        return [
            lookup,
            f"if not v or v.__class__ is not list: self.{name} = []",
            f"elif {one}: self.{name} = [{read}(v[0])]",
            f"else: self.{name} = [{read}(m) for m in v if m.__class__ is dict]",
        ]
    if attrs.has(first):
        namespace[read] = _converter.get_structure_hook(first)
        default = "None" if optional else f"{read}({{}})"
        return [
            lookup,
            f"self.{name} = {read}(v) if v.__class__ is dict else {default}",
        ]
    default = "None" if optional else repr(field.default)
    convert: Callable[[Any], Any] | None = (
        {int: _exact_int, float: _exact_float}.get(first)
    ) or _STRING_CONVERSIONS.get((cls, name))
    if convert is not None:
        namespace[f"convert_{name}"] = convert
        default = f"{default} if v is None else convert_{name}(v)"
    matches = " or ".join(
        f"v.__class__ is {t.__name__ if t in {str, int, float, bool} else 'dict'}"
        for t in types
        if t is not type(None)
    )
    return [lookup, f"self.{name} = v if {matches} else {default}"]


def _union_members(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in {Union, UnionType}:
        return get_args(annotation)
    return (annotation,)


# The functions below are replaced by the generated ones at the first call: compiling
# them at import would slow down programs that receive no response.


def _compile_chunk_reader(raw: dict[str, Any]) -> ChatStreamingResponseChunk:
    global _read_chunk  # noqa: PLW0603 - compiled once, then called directly
    reader: Any = _converter.get_structure_hook(ChatStreamingResponseChunk)
    _read_chunk = reader
    return read_chunk(raw)


_read_chunk: Callable[..., ChatStreamingResponseChunk] = _compile_chunk_reader


def parse_chunk(data: str) -> ChatStreamingResponseChunk:
    """
    Return the chunk in a JSON text: `decode` and `read_chunk` in one step.

    Raises:
        MalformedResponseError: If it is not valid JSON, or not a JSON object.
    """
    try:
        raw = orjson.loads(data)
    except orjson.JSONDecodeError:
        raw = None
    if raw.__class__ is not dict:
        raw = _decode_leniently(data) if raw is None else raw
        if raw.__class__ is not dict:
            raise MalformedResponseError(
                f"The data of an event must be a JSON object, not {type(raw).__name__}."
            )
    return _read_chunk(raw)


def read_chunk(raw: dict[str, Any]) -> ChatStreamingResponseChunk:
    """Return the chunk in a JSON object, which it keeps as `raw`. Never raises."""
    return _read_chunk(raw)


def _compile_response_reader(
    raw: dict[str, Any], http: Exchange | None
) -> ChatResponse:
    global _read_response  # noqa: PLW0603 - compiled once, then called directly
    reader: Any = _converter.get_structure_hook(ChatResponse)
    _read_response = reader
    return read_response(raw, http)


_read_response: Callable[..., ChatResponse] = _compile_response_reader


def read_response(raw: dict[str, Any], http: Exchange | None = None) -> ChatResponse:
    """Return the response in a JSON object, which it keeps as `raw`. Never raises."""
    return _read_response(raw, http)


def read_object(cls: type[_T], raw: dict[str, Any]) -> _T:
    """Return the `cls` in a JSON object, which it keeps as `raw`. Never raises."""
    reader: Any = _converter.get_structure_hook(cls)
    shape: _T = reader(raw)
    return shape
