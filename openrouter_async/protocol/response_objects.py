"""
Plain values to response objects.

Response objects are made by structure hooks of a cattrs converter, generated from the
attrs fields on first use. They are lenient: a value of the wrong type becomes the
default of its field, and no other field is affected. `raw` keeps the original.
"""

from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import attrs
import orjson
from cattrs import BaseConverter

from ..errors import MalformedResponseError
from ..types import (
    ChatResponse,
    ChatStreamingResponseChunk,
    Choice,
    Delta,
    Exchange,
    Message,
    ReasoningDetail,
    StreamingChoice,
    ToolCall,
    ToolCallFunction,
)
from ..types.lazy import EMPTY_LIST, Deferred
from .decode import (
    LiteralFloat,
    as_object,
    decode_leniently,
    decode_text,
    to_json_text,
    to_text,
)
from .surrogates import readable

_T = TypeVar("_T")

_NESTED: Final = (dict, list)

# `Converter` adds hooks for collections and unions, which these shapes do not need.
_converter = BaseConverter()


def _exact_int(value: Any) -> int | None:
    """Return a float without a fraction as an int."""
    return int(value) if isinstance(value, float) and value.is_integer() else None


def _exact_float(value: Any) -> float | None:
    """Return an int as a float, unless it is too large for one."""
    if value.__class__ not in (int, LiteralFloat):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def content_text(value: Any) -> str | None:
    """
    Return the text of content: a string, a list of parts, or one part without a list.

    Parts that are thinking do not belong to the text. Half characters are kept. None
    means that the content has no text.
    """
    if isinstance(value, str):
        return value
    if value.__class__ is dict:
        value = [value]
    if value.__class__ is not list:
        return None
    texts = [text for part in value if isinstance(text := _part_text(part), str)]
    return "".join(texts) if texts else None


def _part_text(part: Any) -> Any:
    if part.__class__ is not dict:
        return part
    kind = part.get("type")
    if isinstance(kind, str) and ("think" in kind or "reason" in kind):
        return None
    return part.get("text")


def id_digits(value: Any) -> str:
    """Return an id that came as a number in the form of its digits."""
    if value.__class__ is float and value.is_integer():
        value = int(value)
    return str(value) if value.__class__ in (int, float) else ""


def _readable_content(value: Any) -> str | None:
    text = content_text(value)
    return None if text is None else readable(text)


def _readable_text(value: Any) -> str | None:
    """Return a text that is not of the exact class `str`: it has half characters."""
    return readable(value) if isinstance(value, str) else None


def _argument_text(value: Any) -> str:
    """Return the text of arguments that are a JSON value or have half characters."""
    if isinstance(value, str):
        return readable(value)
    return to_json_text(value) if value.__class__ in (dict, list) else ""


def index_number(value: Any) -> int | None:
    """Return an index that may have been received as 0, 0.0, "0" or "0.0"."""
    if isinstance(value, str):
        digits, _, fraction = value.strip().partition(".")
        if fraction.strip("0"):
            return None
        # Longer ones are not positions, and `int` rejects thousands of digits.
        short = len(digits) <= 9 and digits.isascii() and digits.isdecimal()
        return int(digits) if short else None
    return value if value.__class__ is int else _exact_int(value)


# Some providers send these values as other JSON values.
_CONVERSIONS: Final[Mapping[tuple[type[Any], str], Callable[[Any], Any]]] = {
    (Message, "content"): _readable_content,
    (Message, "refusal"): _readable_text,
    (Delta, "content"): _readable_content,
    (Delta, "refusal"): _readable_text,
    (ReasoningDetail, "text"): _readable_text,
    (ReasoningDetail, "summary"): _readable_text,
    (ReasoningDetail, "index"): index_number,
    (ToolCallFunction, "arguments"): _argument_text,
    (ToolCall, "id"): id_digits,
    (ToolCall, "index"): index_number,
    (Choice, "index"): index_number,
    (StreamingChoice, "index"): index_number,
}


def _read_reasoning(raw: Mapping[str, Any]) -> str | None:
    """Return the reasoning, which some providers call `reasoning_content`."""
    reasoning = raw.get("reasoning")
    if not reasoning or not isinstance(reasoning, str):
        other = raw.get("reasoning_content")
        if isinstance(other, str):
            reasoning = other or reasoning
    return _readable_text(reasoning)


def _other_message(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message of a choice in a response that has it under another key."""
    return as_object(choice.get("delta"))


def _other_delta(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return the delta of a choice in a chunk that has it under another key."""
    return as_object(choice.get("message"))


def _add_text(message: Message, choice: Mapping[str, Any]) -> None:
    """Set the content from `text`, which the response to a `prompt` has."""
    text = choice.get("text")
    if isinstance(text, str) and text:
        message.content = readable(text)


def choice_usage(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the usage that is inside a choice, as some providers send it."""
    choices = raw.get("choices")
    for choice in choices if isinstance(choices, list) else ():  # pyright: ignore[reportUnknownVariableType]
        usage = as_object(as_object(choice).get("usage"))
        if usage:
            return usage
    return {}


# What is read from the object itself if a member is absent. It is looked up only then,
# so that it costs nothing in usual responses.
_SUBSTITUTES: Final[Mapping[tuple[type[Any], str], Callable[[Any], Any]]] = {
    (Choice, "message"): _other_message,
    (StreamingChoice, "delta"): _other_delta,
    (ChatResponse, "usage"): choice_usage,
}

# Number of first fields that make up most chunks. If a chunk has these and no others,
# no further field is looked up, which saves a sixth of the time.
_COMMON_FIELDS: Final[Mapping[type[Any], int]] = {
    ChatStreamingResponseChunk: 6,
    Delta: 2,
}

# The same for whole responses, whose common fields may be absent or null: fields that
# are only looked up if an object has other keys than those that are common.
_RARE_FIELDS: Final[Mapping[type[Any], frozenset[str]]] = {
    ChatResponse: frozenset(
        ("openrouter_metadata", "alignment", "safeguard_results", "error", "user_id")
    ),
    Message: frozenset(
        (
            "reasoning_details",
            "tool_calls",
            "annotations",
            "images",
            "audio",
            "name",
            "model",
        )
    ),
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

    For a class in _COMMON_FIELDS or _RARE_FIELDS, the common fields are followed by an
    `if`: one branch sets all other fields to their defaults, the other looks them up.
    """
    namespace: dict[str, Any] = {
        "cls": cls,
        "new": object.__new__,
        "Exchange": Exchange,
        "EMPTY": EMPTY_LIST,
    }
    common, others = _split_fields(cls)
    lines = ["def read(raw, http=None):", " get = raw.get", " self = new(cls)"]
    for field in common:
        lines += (f" {line}" for line in _lookup_lines(cls, field, namespace))
    if others:
        lines.append(f" if {_is_usual(cls, common, namespace)}:")
        lines += (
            f"  self.{_slot(cls, f.name)} = {_default_source(cls, f)}" for f in others
        )
        lines.append(" else:")
    for field in others:
        lines += (f"  {line}" for line in _lookup_lines(cls, field, namespace))
    if cls is Choice:
        namespace["add_text"] = _add_text
        lines.append(" if not self.message.content: add_text(self.message, raw)")
    lines.append(" return self")
    exec("\n".join(lines), namespace)  # noqa: S102 - consists of our own field names
    reader: Callable[..., _T] = namespace["read"]
    return reader


def _split_fields(
    cls: type[Any],
) -> tuple[list["attrs.Attribute[Any]"], list["attrs.Attribute[Any]"]]:
    """Return the fields that are always looked up, and the others."""
    fields = [*attrs.fields(cls)]
    rare = _RARE_FIELDS.get(cls, frozenset())
    if rare:
        common = [field for field in fields if field.name not in rare]
        return common, [field for field in fields if field.name in rare]
    count = _COMMON_FIELDS.get(cls, len(fields))
    return fields[:count], fields[count:]


def _is_usual(
    cls: type[Any],
    common: "list[attrs.Attribute[Any]]",
    namespace: dict[str, Any],
) -> str:
    """Return the source of a condition: the object has no other known keys."""
    if cls in _RARE_FIELDS:
        namespace["usual"] = frozenset(field.name for field in common)
        return "usual.issuperset(raw)"
    present = " and ".join(
        f"self.{_slot(cls, field.name)}"
        + (" is not None" if field.default is None else "")
        for field in common
    )
    return f"len(raw) == {len(common)} and {present}"


def _default_source(cls: type[Any], field: "attrs.Attribute[Any]") -> str:
    """Return the source of a field's value if the object does not have the key."""
    if field.name == "raw":
        return "raw"
    return "None" if field.default is None else _empty_list(_slot(cls, field.name))


def _empty_list(slot: str) -> str:
    """Return the source of an empty list, which is not created in a lazy field."""
    return "EMPTY" if slot.removeprefix("self.").startswith("_") else "[]"


def _slot(cls: type[Any], name: str) -> str:
    """Return the name of a field's slot, which a property may hide."""
    hidden = f"_{name}"
    return hidden if hasattr(cls, hidden) else name


def _lookup_lines(
    cls: type[Any], field: "attrs.Attribute[Any]", namespace: dict[str, Any]
) -> list[str]:
    """
    Return the source lines that set one field.

    The cases: 1. `raw` and `http`, which are not keys; 2. lists; 3. nested response
    objects; 4. strings, numbers, booleans and plain objects.
    """
    name = field.name
    target = f"self.{_slot(cls, name)}"
    if name == "raw":
        return [f"{target} = raw"]
    if name == "http":
        return ["self.http = http if http.__class__ is Exchange else Exchange()"]
    types = _union_members(field.type)
    optional = type(None) in types
    first = types[0]
    lookup = f"v = get({name!r})"
    read = f"read_{name}"
    if get_origin(first) is list:
        (item,) = get_args(first)
        # A list that need not exist costs time here, and in each garbage collection.
        # `choices` is usually read, and the slot holds something else in lazy chunks.
        empty = "[]" if name == "choices" else _empty_list(target)
        if not attrs.has(item):
            items = "[m for m in v if m.__class__ is dict]"
            source = f"{items} if v and v.__class__ is list else {empty}"
            return [lookup, f"{target} = {source}"]
        namespace[read] = _converter.get_structure_hook(item)
        # Most lists have one item. Before Python 3.12, a comprehension is a function
        # call of its own.
        one = "len(v) == 1 and v[0].__class__ is dict"
        return [
            lookup,
            f"if not v or v.__class__ is not list: {target} = {empty}",
            f"elif {one}: {target} = [{read}(v[0])]",
            f"else: {target} = [{read}(m) for m in v if m.__class__ is dict]",
        ]
    if attrs.has(first):
        namespace[read] = _converter.get_structure_hook(first)
        return [lookup, _object_line(cls, name, namespace, optional=optional)]
    default = "None" if optional else repr(field.default)
    convert: Callable[[Any], Any] | None = _CONVERSIONS.get((cls, name)) or (
        {int: _exact_int, float: _exact_float}.get(first)
    )
    if convert is not None:
        namespace[f"convert_{name}"] = convert
        default = f"{default} if v is None else convert_{name}(v)"
    matches = " or ".join(
        f"v.__class__ is {t.__name__ if t in {str, int, float, bool} else 'dict'}"
        for t in types
        if t is not type(None)
    )
    if name == "reasoning":
        namespace["read_reasoning"] = _read_reasoning
        matches = f"({matches} if v else v is None and 'reasoning_content' not in raw)"
        default = "read_reasoning(raw)"
    return [lookup, f"self.{name} = v if {matches} else {default}"]


def _object_line(
    cls: type[Any], name: str, namespace: dict[str, Any], *, optional: bool
) -> str:
    """Return the source line that sets a field to a nested response object."""
    default = "None" if optional else f"read_{name}({{}})"
    matches = "v.__class__ is dict"
    substitute = _SUBSTITUTES.get((cls, name))
    if substitute is not None:
        namespace[f"substitute_{name}"] = substitute
        default = f"read_{name}(substitute_{name}(raw))"
        if cls is not StreamingChoice:
            # Each chunk has a delta, which is empty in the last ones.
            matches = f"v and {matches}"
    slot = _slot(cls, name)
    if slot == name:
        return f"self.{name} = read_{name}(v) if {matches} else {default}"
    # The usage has a third of the members of a response, and few callers read it.
    namespace["Later"] = _DeferredShape
    lazy_default = "None" if optional else f"Later(read_{name}, substitute_{name}(raw))"
    return f"self.{slot} = Later(read_{name}, v) if {matches} else {lazy_default}"


class _DeferredShape(Deferred):
    """A nested response object that is made when it is read."""

    __slots__ = ("_raw", "_read")

    def __init__(self, read: Callable[..., Any], raw: dict[str, Any]) -> None:
        self._read = read
        self._raw = raw

    def create(self, shape: Any, name: str) -> Any:  # noqa: ARG002 - as declared
        return self._read(self._raw)


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


def parse_chunk(data: bytes | str) -> ChatStreamingResponseChunk:
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
        if raw is None:
            raw = decode_text(data if isinstance(data, str) else to_text(data))
        if raw.__class__ is not dict:
            raise MalformedResponseError(
                f"The data of an event must be a JSON object, not {type(raw).__name__}."
            )
    return _read_chunk(raw)


def parse_exact_chunk(
    chunk: ChatStreamingResponseChunk, data: bytes | str
) -> ChatStreamingResponseChunk:
    """
    Return a chunk in which all digits of its tool arguments are kept.

    It is another chunk only if arguments are JSON values, which is rare; numbers in
    them may have lost digits when `data` was decoded.
    """
    for choice in chunk.choices:
        for call in choice.delta.tool_calls:
            if (
                as_object(call.raw.get("function")).get("arguments").__class__
                in _NESTED
            ):
                return _read_chunk(decode_leniently(data))
    return chunk


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
