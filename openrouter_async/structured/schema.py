"""A type -> its JSON Schema, in the strict form that providers hold models to."""

# Types are values here, and what pyright knows of them it knows in part.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NamedTuple,
    NewType,
    TypeVar,
    get_args,
    get_origin,
)
from uuid import UUID

import typing_extensions

from .docstrings import describe
from .fields import ABSENT, Field, is_object, members
from .pydantic_schema import is_pydantic, strictly
from .type_hints import (
    ANYTHING,
    LISTS,
    MAPPINGS,
    UNIONS,
    is_alias,
    literal_values,
    stripped,
    tuple_items,
    unmarked,
)

_SIMPLE: Final[Mapping[Any, Mapping[str, str]]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    Decimal: {"type": "number"},
    str: {"type": "string"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    time: {"type": "string", "format": "time"},
    timedelta: {"type": "string", "format": "duration"},
    UUID: {"type": "string", "format": "uuid"},
}

_DEFS: Final = "#/$defs/"
_LITERALS: Final = {bool: "boolean", int: "integer", str: "string", type(None): "null"}


class Schema(NamedTuple):
    """
    A JSON Schema of a type.

    Attributes:
        document: The schema.
        name: What it may be called: at most 64 of a-z, A-Z, 0-9, "_" and "-".
        description: What the type's docstring says; "" if nothing.
        strict: Whether it is closed, so that a model can be held to it.
        wrapped: Whether the value stands in an object `{"value": ...}`, because at
            the top providers take objects only.
    """

    document: dict[str, Any]
    name: str
    description: str
    strict: bool
    wrapped: bool


def schema_of(kind: Any) -> Schema:
    """
    Make the strict schema of a type: closed objects, whose members are all asked for.

    Raises:
        TypeError: JSON has nothing for it, such as a function or bytes.
    """
    builder = _Builder(strict=True)
    try:
        node = builder.node(kind)
    except RecursionError:
        raise TypeError(
            f"{_shown(kind)} is made of itself without a class in between."
        ) from None
    target = builder.defs.get(str(node.get("$ref", "")).removeprefix(_DEFS), node)
    wrapped = target.get("type") != "object" or "anyOf" in target
    name, description = _name_of(kind), str(target.get("description", ""))
    if wrapped:
        document = _closed({"value": node})
    else:
        document = {**target, **{k: v for k, v in node.items() if k != "$ref"}}
    document = builder.finish(document)
    return Schema(document, name, description, not builder.open, wrapped)


def parameters_schema(parameters: Iterable[Field], *, strict: bool) -> dict[str, Any]:
    """
    Make the schema of a function's arguments.

    Args:
        parameters: What it takes.
        strict: All are asked for. Otherwise those with a default may be left out,
            and plain defaults are told.

    Raises:
        TypeError: JSON has nothing for one, or `strict` cannot be had.
    """
    builder = _Builder(strict=strict)
    document = builder.finish(builder.object(list(parameters)))
    if strict and builder.open:
        raise TypeError(
            "A strict schema has no mappings with free keys, and nothing of any type."
        )
    return document


class _Builder:
    """
    Makes the schema of one type and of what that is made of.

    Attributes:
        defs: The classes met, by name.
        open: Whether anything in it says less than strictness asks for.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.defs: dict[str, dict[str, Any]] = {}
        self.open = False
        self._names: dict[Any, str] = {}

    def node(self, kind: Any) -> dict[str, Any]:  # noqa: C901, PLR0911 -- a table
        """Make the schema of a type; classes go into `defs` and are referred to."""
        kind = unmarked(kind)
        if get_origin(kind) is Annotated:
            return self._annotated(*get_args(kind))
        if isinstance(kind, NewType):
            return self.node(kind.__supertype__)
        if is_alias(kind):
            return self.node(kind.__value__)
        if kind in ANYTHING:
            self.open = True
            return {}
        if isinstance(kind, TypeVar):
            return self.node(kind.__bound__ or Any)
        simple = _SIMPLE.get(kind)
        if simple is not None:
            return dict(simple)
        origin = get_origin(kind) or kind
        if origin in UNIONS:
            return self._union(get_args(kind))
        if origin is Literal or origin is typing_extensions.Literal:
            return enumerated(literal_values(kind))
        if origin is tuple:
            return self._tuple(tuple_items(kind))
        if origin in LISTS:
            (item,) = get_args(kind) or (Any,)
            return {"type": "array", "items": self.node(item)}
        if origin in MAPPINGS:
            return self._mapping(kind, *(get_args(kind) or (str, Any)))
        return self._class(kind, origin)

    def _class(self, kind: Any, origin: Any) -> dict[str, Any]:
        if isinstance(kind, type) and issubclass(kind, Enum):
            made = enumerated([member.value for member in kind])
            summary = describe(kind).summary
            return {**made, "description": summary} if summary else made
        known = self._names.get(kind)
        if known is None and (is_pydantic(kind) or is_object(origin)):
            known = self._names[kind] = self._free(_name_of(kind))
            # Entered before it is made, because it may be made of itself.
            self.defs[known] = {}
            if is_pydantic(kind):
                self._adopt(known, kind)
            else:
                summary = describe(origin).summary
                about = {"description": summary} if summary else {}
                self.defs[known] = {**about, **self.object(members(kind))}
        if known is None:
            raise TypeError(
                f"{_shown(kind)} has no JSON Schema. What has: attrs classes, "
                "dataclasses, TypedDicts, named tuples, pydantic models, enums, "
                "Literals, unions, lists, mappings with str keys, and plain values."
            )
        return {"$ref": _DEFS + known}

    def object(self, parameters: Sequence[Field]) -> dict[str, Any]:
        """Make the schema of an object with these members and no others."""
        properties: dict[str, Any] = {}
        for member in parameters:
            made = self.node(member.kind)
            if member.description and "description" not in _own(made):
                made["description"] = member.description
            if not self.strict and _is_plain(member.default):
                made["default"] = member.default
            properties[member.name] = made
        required = [m.name for m in parameters if self.strict or m.required]
        return _closed(properties, required)

    def _annotated(self, kind: Any, *notes: Any) -> dict[str, Any]:
        """Take the description from a string, a `Doc` or what else has one."""
        made = self.node(kind)
        for note in notes:
            text = note if isinstance(note, str) else getattr(note, "description", None)
            text = text or getattr(note, "documentation", None)
            if isinstance(text, str):
                made["description"] = text
        return made

    def _union(self, kinds: Sequence[Any]) -> dict[str, Any]:
        made: list[dict[str, Any]] = []
        for kind in kinds:
            node = self.node(kind)
            for branch in node["anyOf"] if node.keys() == {"anyOf"} else [node]:
                if branch not in made:
                    made.append(branch)
        return made[0] if len(made) == 1 else {"anyOf": made}

    def _tuple(self, kinds: Sequence[Any]) -> dict[str, Any]:
        if len(kinds) == 2 and kinds[1] is ...:  # noqa: PLR2004 -- tuple[X, ...]
            return {"type": "array", "items": self.node(kinds[0])}
        if not kinds:
            return {"type": "array", "items": {}, "maxItems": 0}
        return {
            "type": "array",
            "prefixItems": [self.node(kind) for kind in kinds],
            "minItems": len(kinds),
            "maxItems": len(kinds),
        }

    def _mapping(self, kind: Any, key: Any, value: Any) -> dict[str, Any]:
        if stripped(key) is not str:
            raise TypeError(f"{_shown(kind)}: the keys of a JSON object are str.")
        self.open = True
        return {"type": "object", "additionalProperties": self.node(value)}

    def _adopt(self, name: str, model: Any) -> None:
        """Take over what pydantic says of a model."""
        document: dict[str, Any] = model.model_json_schema()
        inner: dict[str, Any] = document.pop("$defs", {})
        # A model that is made of itself is among the definitions.
        own = str(document.get("$ref", "")).removeprefix(_DEFS)
        renamed = {key: name if key == own else self._free(key) for key in inner}
        for key, part in {**inner, own: inner.get(own, document)}.items():
            made, is_open = strictly(part, renamed, strict=self.strict)
            self.defs[renamed.get(key, name)] = made
            self.open |= is_open

    def _free(self, name: str) -> str:
        """Return a name that no other class has."""
        free, number = name, 2
        while free in self.defs:
            free, number = f"{name}_{number}", number + 1
        return free

    def finish(self, document: dict[str, Any]) -> dict[str, Any]:
        """
        Add the definitions that are needed.

        Strict schemas have nothing beside a `$ref`; where a description stands there,
        what is referred to is put in its place.
        """
        document = self._inlined(document)
        needed: dict[str, Any] = {}
        todo = [document]
        while todo:
            for name in sorted(_references(todo.pop())):
                if name not in needed:
                    needed[name] = self._inlined(self.defs[name])
                    todo.append(needed[name])
        if needed:
            document["$defs"] = {name: needed[name] for name in sorted(needed)}
        return document

    def _inlined(self, node: Any, trail: tuple[str, ...] = ()) -> Any:
        if isinstance(node, list):
            listed: list[Any] = node
            return [self._inlined(each, trail) for each in listed]
        if not isinstance(node, dict):
            return node
        fields = typing.cast("dict[str, Any]", node)
        reference = fields.get("$ref")
        if isinstance(reference, str) and len(fields) > 1:
            if reference in trail:
                # Within itself it would never end.
                return {"$ref": reference}
            trail = (*trail, reference)
            rest = {key: value for key, value in fields.items() if key != "$ref"}
            fields = {**self.defs[reference.removeprefix(_DEFS)], **rest}
        return {key: self._inlined(value, trail) for key, value in fields.items()}


def enumerated(values: Sequence[Any]) -> dict[str, Any]:
    """
    Make the schema of one of these values.

    Raises:
        TypeError: One of them is no plain JSON value.
    """
    for value in values:
        if not isinstance(value, str | int | float | None):
            raise TypeError(f"{value!r:.60} cannot stand in JSON as it is.")
    kinds = {_LITERALS.get(type(value), "number") for value in values}
    if any(isinstance(value, str) for value in values):
        values = [str(v) if isinstance(v, str) else v for v in values]
        kinds = {"string" if isinstance(v, str) else _LITERALS[type(v)] for v in values}
    made: dict[str, Any] = {"type": kinds.pop()} if len(kinds) == 1 else {}
    if len(values) == 1:
        return {**made, "const": values[0]}
    return {**made, "enum": list(values)}


def _closed(
    properties: Mapping[str, Any], required: Sequence[str] | None = None
) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties if required is None else required),
        "additionalProperties": False,
    }


def _references(node: Any) -> set[str]:
    if isinstance(node, list):
        return {name for each in node for name in _references(each)}
    if not isinstance(node, dict):
        return set()
    fields = typing.cast("dict[str, Any]", node)
    found = {name for value in fields.values() for name in _references(value)}
    reference = fields.get("$ref")
    if isinstance(reference, str):
        found.add(reference.removeprefix(_DEFS))
    return found


def _own(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """A class's own description is not the member's; what stands beside is."""
    return {} if "enum" in node or "const" in node else node


def _is_plain(default: Any) -> bool:
    return default is not ABSENT and type(default) in {bool, int, float, str}


def _shown(kind: Any) -> str:
    return kind.__qualname__ if isinstance(kind, type) else repr(kind)


def _name_of(kind: Any) -> str:
    """Make a name of a type: "Invoice", "list_Invoice"."""
    kind = kind if is_alias(kind) else stripped(kind)
    name = getattr(kind, "__name__", "") if not get_args(kind) else str(kind)
    # Of a dotted name, the last part.
    name = re.sub(r"[\w<>]+\.", "", name)
    return re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")[:64] or "value"
