"""
Request objects and plain values to JSON bytes.

The hooks of a cattrs converter are made from the attrs fields on first use.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final
from uuid import UUID

import attrs
import orjson
from cattrs import BaseConverter
from cattrs.fns import identity
from cattrs.gen import make_dict_unstructure_fn, override

from ..errors import ConfigurationError
from ..types import AssistantMessage
from ..types.shape import Shape

# One for both directions. What `Converter` adds, hooks for collections and the like,
# is nothing that these shapes ask for.
_converter = BaseConverter()


@_converter.register_unstructure_hook_factory(attrs.has)
def _writer(cls: type[Any]) -> Callable[[Any], dict[str, Any]]:
    """
    Make the function that turns a `cls` into a dict of what is set, one level deep.

    None, the default of what may be left out, is left out; a field with any other
    default (`role`, `type`) is always there.
    """
    if hasattr(cls, "as_request"):
        return lambda instance: instance.as_request()
    overrides: dict[str, Any] = {
        field.name: override(
            omit_if_default=field.default is None, unstruct_hook=identity
        )
        for field in attrs.fields(cls)
    }
    write = make_dict_unstructure_fn(
        cls, _converter, _cattrs_use_linecache=False, **overrides
    )
    return _with_null_content(write) if cls is AssistantMessage else write


def _with_null_content(
    write: Callable[[Any], dict[str, Any]],
) -> Callable[[Any], dict[str, Any]]:
    """Say `content: null` beside tool calls; OpenAI's own endpoints ask for it."""

    def write_message(message: Any) -> dict[str, Any]:
        sent = write(message)
        if message.tool_calls and message.content is None:
            return {"role": message.role, "content": None, **sent}
        return sent

    return write_message


def unstructure(shape: Shape) -> dict[str, Any]:
    """
    Return what is set of a request object, one level deep; `NULL` stays `NULL`.

    A message, tool call, reasoning detail or annotation of a reply is its
    `as_request()`.
    """
    plain: dict[str, Any] = _default(shape)
    return plain


_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def encode(value: Any) -> bytes:
    """
    Return `value` as JSON, in UTF-8, without white space, keys in their order.

    Request objects, mappings and sequences of any kind are taken, and integers as
    keys. Lone surrogates and integers beyond 64 bits go out as they are. NaN and the
    infinities are refused where the numbers of a request stand, at the top; further
    down they are null, since to look for them would cost more than all the rest.

    Raises:
        ConfigurationError: Something in it is no JSON; the message says where.
    """
    if value.__class__ is dict:
        for key, member in value.items():
            if member.__class__ is float and not math.isfinite(member):
                _plain(member, f"$.{key}")
    try:
        return orjson.dumps(value, default=_default, option=_OPTIONS)
    except TypeError:
        return _encode_slowly(value)


# The hooks of the classes met so far, without the converter's dispatch around them: a
# request of 50 messages is a hundred objects.
_writers: Final[dict[type[Any], Callable[[Any], dict[str, Any]]]] = {}


def _default(value: Any) -> Any:
    """Return what orjson does not know as something that it does."""
    kind: type[Any] = value.__class__
    write = _writers.get(kind)
    if write is not None:
        return write(value)
    if issubclass(kind, Shape):
        write = _writers[kind] = _converter.get_unstructure_hook(kind)
        return write(value)
    if issubclass(kind, Mapping):
        return dict(value)
    if issubclass(kind, Sequence) and not issubclass(kind, bytes | bytearray):
        return list(value)
    raise TypeError


def _encode_slowly(value: Any) -> bytes:
    try:
        # ASCII, because a lone surrogate is no UTF-8, but may be escaped.
        return json.dumps(_plain(value, "$"), separators=(",", ":")).encode("ascii")
    except RecursionError:
        raise ConfigurationError(
            "The request is nested too deeply, or contains itself."
        ) from None


def _plain(value: Any, place: str) -> Any:
    """Return `value` as what `json` takes; refuse the rest by its place."""
    if value is None or isinstance(value, str | int):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise ConfigurationError(f"{place} is {value}, which JSON does not have.")
    if isinstance(value, Enum):
        return _plain(value.value, place)
    if isinstance(value, UUID):
        return str(value)
    if value.__class__ is not dict and value.__class__ is not list:
        try:
            value = _default(value)
        except TypeError:
            raise ConfigurationError(
                f"{place} is of type {type(value).__name__}, which JSON does not have."
            ) from None
    if value.__class__ is dict:
        return {
            _key(key, place): _plain(member, f"{place}.{key}")
            for key, member in value.items()
        }
    return [_plain(member, f"{place}[{at}]") for at, member in enumerate(value)]


def _key(key: Any, place: str) -> str:
    if isinstance(key, str):
        return str(key.value) if isinstance(key, Enum) else key
    if isinstance(key, int) and not isinstance(key, bool):
        return str(int(key))
    raise ConfigurationError(
        f"{place} has a key of type {type(key).__name__}; JSON has only strings."
    )


def canonical(data: bytes) -> bytes:
    """Return the same JSON with the keys of all objects sorted."""
    try:
        return orjson.dumps(orjson.loads(data), option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        # What orjson does not read or write was written by the standard library.
        return json.dumps(json.loads(data), sort_keys=True).encode("ascii")
