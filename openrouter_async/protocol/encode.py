"""
Request objects and plain values to JSON bytes.

Request objects are turned into dicts by unstructure hooks of a cattrs converter, made
from the attrs fields on first use.
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

# `Converter` adds hooks for collections and unions, which these shapes do not need.
_converter = BaseConverter()


@_converter.register_unstructure_hook_factory(attrs.has)
def _make_writer(cls: type[Any]) -> Callable[[Any], dict[str, Any]]:
    """
    Return the function that turns a `cls` into a dict, one level deep.

    Optional fields have the default None, and are left out if they are None. Fields
    with another default (`role`, `type`) are always included.
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
    """Add `content: null` beside tool calls, which OpenAI's endpoints require."""

    def write_message(message: Any) -> dict[str, Any]:
        written = write(message)
        if message.tool_calls and message.content is None:
            return {"role": message.role, "content": None, **written}
        return written

    return write_message


def unstructure(shape: Shape) -> dict[str, Any]:
    """
    Return the fields of a request object that are set, one level deep.

    `NULL` stays `NULL`. For a message, tool call, reasoning detail or annotation of a
    response, this is its `as_request()`.
    """
    fields: dict[str, Any] = _to_plain(shape)
    return fields


_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def encode(value: Any) -> bytes:
    """
    Return `value` as JSON in UTF-8, without white space, keys in their order.

    Request objects, any mappings and sequences, and integer keys are accepted. Lone
    surrogates and integers beyond 64 bits are kept. NaN and infinity are rejected at
    the top level, where the numbers of a request are; deeper down they become null,
    because a search for them would cost more than all other encoding.

    Raises:
        ConfigurationError: If a value cannot be encoded as JSON. The message gives
            the path of the value.
    """
    if value.__class__ is dict:
        for key, member in value.items():
            if member.__class__ is float and not math.isfinite(member):
                _checked(member, f"$.{key}")
    try:
        return orjson.dumps(value, default=_to_plain, option=_OPTIONS)
    except TypeError:
        # orjson does not say which value is the problem. This finds it, or encodes
        # what orjson does not support.
        return _encode_slowly(value)


def join_texts(texts: list[str], separator: bytes) -> bytes:
    r"""
    Return texts as the bodies of JSON strings, joined by a separator.

    This is faster than encoding each of them. `","` in the JSON of the list is between
    two texts, unless its first quotation mark is one of a text: it then has a backslash
    in front, as in the JSON of `x",`.

    Args:
        texts: At least one text.
        separator: The separator.
    """
    try:
        bodies = orjson.dumps(texts)[2:-2]
    except TypeError:
        # A lone surrogate.
        return separator.join([encode(text)[1:-1] for text in texts])
    if b'\\","' in bodies:
        return separator.join([orjson.dumps(text)[1:-1] for text in texts])
    return bodies.replace(b'","', separator)


# The hooks of the classes seen so far, without the converter's dispatch: a request of
# 50 messages has about a hundred objects.
_writers: Final[dict[type[Any], Callable[[Any], dict[str, Any]]]] = {}


def _to_plain(value: Any) -> Any:
    """Return a value that orjson does not support as one that it does."""
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
        # As ASCII: a lone surrogate is not valid UTF-8, but can be escaped.
        text = json.dumps(_checked(value, "$"), separators=(",", ":"))
    except RecursionError:
        raise ConfigurationError(
            "The request is nested too deeply, or contains a circular reference."
        ) from None
    return text.encode("ascii")


def _checked(value: Any, path: str) -> Any:
    """
    Return `value` converted to types that `json` can encode.

    Raises:
        ConfigurationError: If a value cannot be encoded as JSON. The message gives
            the path of the value.
    """
    if value is None or isinstance(value, str | int):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise ConfigurationError(f"{path} is {value}; JSON numbers must be finite.")
    if isinstance(value, Enum):
        return _checked(value.value, path)
    if isinstance(value, UUID):
        return str(value)
    if value.__class__ is not dict and value.__class__ is not list:
        try:
            value = _to_plain(value)
        except TypeError:
            raise ConfigurationError(
                f"{path} is of type {type(value).__name__}, which cannot be encoded as "
                "JSON."
            ) from None
    if value.__class__ is dict:
        return {
            _checked_key(key, path): _checked(member, f"{path}.{key}")
            for key, member in value.items()
        }
    return [_checked(item, f"{path}[{index}]") for index, item in enumerate(value)]


def _checked_key(key: Any, path: str) -> str:
    if isinstance(key, str):
        return str(key.value) if isinstance(key, Enum) else key
    if isinstance(key, int) and not isinstance(key, bool):
        return str(int(key))
    raise ConfigurationError(
        f"{path} has a key of type {type(key).__name__}; the keys of JSON objects must "
        "be strings."
    )


def canonical(value: Any) -> bytes:
    """
    Return `value` as JSON with the keys of all objects sorted.

    Equal requests have equal canonical JSON, whatever the order of their keys. `encode`
    must have accepted the value before.
    """
    options = _OPTIONS | orjson.OPT_SORT_KEYS
    try:
        return orjson.dumps(value, default=_to_plain, option=options)
    except TypeError:
        checked = _checked(value, "$")
    try:
        return orjson.dumps(checked, option=options)
    except TypeError:
        # Lone surrogates, integers beyond 64 bits, and more than 254 levels.
        return json.dumps(checked, sort_keys=True).encode("ascii")
