"""
JSON Schemas of Python types, in the strict form of structured outputs.

In this form objects are closed (`additionalProperties` is false) and every property is
required, so that a provider can hold a model to the schema.
"""

# Annotations are values here, and pyright knows the types of only some of them.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import (
    Annotated,
    Any,
    Final,
    NamedTuple,
    NewType,
    TypeVar,
    cast,
    get_args,
    get_origin,
)
from uuid import UUID

from .docstrings import parse_docstring
from .fields import Field, fields_of, has_fields
from .pydantic_schema import is_pydantic, model_schemas, to_strict
from .type_hints import (
    ANY_TYPES,
    ARRAYS,
    LITERALS,
    MAPPINGS,
    UNIONS,
    is_alias,
    literal_values,
    origin_of,
    strip_qualifiers,
    tuple_items,
    unwrap,
)

_SCALARS: Final[Mapping[Any, Mapping[str, str]]] = {
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
_JSON_TYPES: Final = {
    bool: "boolean",
    int: "integer",
    str: "string",
    type(None): "null",
}


class Schema(NamedTuple):
    """
    The JSON Schema of a type.

    Attributes:
        document: The schema.
        name: A name for the schema: 1 to 64 letters, digits and underscores.
        description: The summary of the type's docstring; "" if there is none.
        strict: If True, the schema is closed, so that a model can be held to it.
        wrapped: If True, the value is the property "value" of an object, because
            providers accept only objects at the top level.
    """

    document: dict[str, Any]
    name: str
    description: str
    strict: bool
    wrapped: bool


def schema_of(kind: Any) -> Schema:
    """
    Return the strict schema of a type.

    Raises:
        TypeError: If the type has no JSON Schema, as bytes and functions have none.
    """
    builder = _SchemaBuilder(strict=True)
    try:
        root = builder.schema(kind)
    except RecursionError:
        raise TypeError(
            f"Unsupported recursive type {_type_name(kind)}: a type may refer to "
            "itself only by way of a class."
        ) from None
    target = builder.definitions.get(_target_of(root), root)
    wrapped = target.get("type") != "object" or "anyOf" in target
    if wrapped:
        document = _closed_object({"value": root})
    else:
        document = {**target, **{k: v for k, v in root.items() if k != "$ref"}}
    return Schema(
        document=builder.with_definitions(document),
        name=_schema_name(kind),
        description=str(target.get("description", "")),
        strict=not builder.is_open,
        wrapped=wrapped,
    )


def parameters_schema(parameters: Iterable[Field], *, strict: bool) -> dict[str, Any]:
    """
    Return the schema of a function's arguments, as an object.

    Args:
        parameters: The function's parameters.
        strict: If True, every parameter is required. If False, those with a default
            are optional, and the schema contains defaults that are plain values.

    Raises:
        TypeError: If a parameter's type has no JSON Schema, or if `strict` is True and
            the schema is open.
    """
    builder = _SchemaBuilder(strict=strict)
    document = builder.with_definitions(builder.object(list(parameters)))
    if strict and builder.is_open:
        raise TypeError(
            "A strict schema allows no mapping with arbitrary keys and no value of "
            "type Any: annotate every parameter, or leave out strict=True."
        )
    return document


class _SchemaBuilder:
    """
    Builds the schema of a type and of the classes in it.

    Attributes:
        definitions: The schema of each class in the type, by name.
        is_open: If True, some schema allows values of any type or arbitrary keys.
    """

    def __init__(self, *, strict: bool) -> None:
        self.definitions: dict[str, dict[str, Any]] = {}
        self.is_open = False
        self._strict = strict
        self._names: dict[Any, str] = {}

    def schema(self, kind: Any) -> dict[str, Any]:  # noqa: C901, PLR0911 - a table
        """Return the schema of a type; for a class, a reference to a definition."""
        kind = strip_qualifiers(kind)
        if get_origin(kind) is Annotated:
            return self._annotated(*get_args(kind))
        if isinstance(kind, NewType):
            return self.schema(kind.__supertype__)
        if is_alias(kind):
            return self.schema(kind.__value__)
        if kind in ANY_TYPES:
            self.is_open = True
            return {}
        if isinstance(kind, TypeVar):
            return self.schema(kind.__bound__ or Any)
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            return dict(scalar)
        origin = origin_of(kind)
        if origin in UNIONS:
            return self._union(get_args(kind))
        if origin in LITERALS:
            return _enum_schema(literal_values(kind))
        if origin is tuple:
            return self._tuple(tuple_items(kind))
        if origin in ARRAYS:
            (item,) = get_args(kind) or (Any,)
            return {"type": "array", "items": self.schema(item)}
        if origin in MAPPINGS:
            return self._mapping(kind, *(get_args(kind) or (str, Any)))
        return self._class(kind, origin)

    def object(self, fields: Sequence[Field]) -> dict[str, Any]:
        """Return the schema of an object with these fields and no others."""
        properties: dict[str, Any] = {}
        for field in fields:
            made = self.schema(field.kind)
            # An enum's schema has the description of the enum, and the field's is
            # more specific; any other description comes from the field's annotation.
            described = "description" in made and not made.keys() & {"enum", "const"}
            if field.description and not described:
                made["description"] = field.description
            if not self._strict and type(field.default) in {bool, int, float, str}:
                made["default"] = field.default
            properties[field.name] = made
        required = [f.name for f in fields if self._strict or f.required]
        return _closed_object(properties, required)

    def with_definitions(self, document: dict[str, Any]) -> dict[str, Any]:
        """
        Add the definitions that a schema refers to.

        Strict modes reject a `$ref` with other keywords beside it, such as a
        description. It is replaced by the definition with these keywords.
        """
        document = self._inline(document)
        needed: dict[str, Any] = {}
        pending = [document]
        while pending:
            for name in sorted(_references(pending.pop())):
                if name not in needed:
                    needed[name] = self._inline(self.definitions[name])
                    pending.append(needed[name])
        if needed:
            document["$defs"] = {name: needed[name] for name in sorted(needed)}
        return document

    def _class(self, kind: Any, origin: Any) -> dict[str, Any]:
        if isinstance(kind, type) and issubclass(kind, Enum):
            made = _enum_schema([member.value for member in kind])
            return {**made, **_summary(kind)}
        name = self._names.get(kind)
        if name is None:
            if not is_pydantic(kind) and not has_fields(origin):
                raise TypeError(
                    f"Unsupported type {_type_name(kind)}: use attrs classes, "
                    "dataclasses, TypedDicts, named tuples, pydantic models, enums, "
                    "Literals, unions, lists, mappings with str keys, or scalars."
                )
            # Reserved before its schema is built, because a class may be recursive.
            name = self._names[kind] = self._reserve(_schema_name(kind))
            if is_pydantic(kind):
                self._add_model(name, kind)
            else:
                self.definitions[name] = {
                    **_summary(origin),
                    **self.object(fields_of(kind)),
                }
        return {"$ref": _DEFS + name}

    def _annotated(self, kind: Any, *annotations: Any) -> dict[str, Any]:
        """Take the description from a string, a `Doc`, or pydantic's `Field`."""
        made = self.schema(kind)
        for each in annotations:
            text = each if isinstance(each, str) else getattr(each, "description", None)
            text = text or getattr(each, "documentation", None)
            if isinstance(text, str):
                made["description"] = text
        return made

    def _union(self, kinds: Sequence[Any]) -> dict[str, Any]:
        branches: list[dict[str, Any]] = []
        for kind in kinds:
            made = self.schema(kind)
            # A union that an alias or a `NewType` hid from Python is flattened.
            for branch in made["anyOf"] if made.keys() == {"anyOf"} else [made]:
                if branch not in branches:
                    branches.append(branch)
        return branches[0] if len(branches) == 1 else {"anyOf": branches}

    def _tuple(self, kinds: Sequence[Any]) -> dict[str, Any]:
        if kinds[1:] == (...,):
            return {"type": "array", "items": self.schema(kinds[0])}
        if not kinds:
            return {"type": "array", "items": {}, "maxItems": 0}
        return {
            "type": "array",
            "prefixItems": [self.schema(kind) for kind in kinds],
            "minItems": len(kinds),
            "maxItems": len(kinds),
        }

    def _mapping(self, kind: Any, key: Any, value: Any) -> dict[str, Any]:
        if unwrap(key) is not str:
            raise TypeError(
                f"Unsupported type {_type_name(kind)}: the keys of a JSON object "
                "must be str."
            )
        self.is_open = True
        return {"type": "object", "additionalProperties": self.schema(value)}

    def _add_model(self, name: str, model: Any) -> None:
        """Add the schemas that pydantic makes of a model and of the models in it."""
        own, schemas = model_schemas(model)
        names = {key: name if key == own else self._reserve(key) for key in schemas}
        for key, schema in schemas.items():
            made, is_open = to_strict(schema, names, strict=self._strict)
            self.definitions[names[key]] = made
            self.is_open |= is_open

    def _reserve(self, name: str) -> str:
        """Return a name that no other definition has, and keep it taken."""
        free, number = name, 2
        while free in self.definitions:
            free, number = f"{name}_{number}", number + 1
        self.definitions[free] = {}
        return free

    def _inline(self, schema: Any, path: tuple[str, ...] = ()) -> Any:
        """Replace references that have other keywords beside them."""
        if isinstance(schema, list):
            items: list[Any] = schema
            return [self._inline(each, path) for each in items]
        if not isinstance(schema, dict):
            return schema
        keywords = cast("dict[str, Any]", schema)
        name = _target_of(keywords)
        if name and len(keywords) > 1:
            if name in path:
                # Inlining a class in itself would not end.
                return {"$ref": _DEFS + name}
            path = (*path, name)
            rest = {key: value for key, value in keywords.items() if key != "$ref"}
            keywords = {**self.definitions[name], **rest}
        return {key: self._inline(value, path) for key, value in keywords.items()}


def _enum_schema(values: Sequence[Any]) -> dict[str, Any]:
    """
    Return the schema of one of several values.

    Raises:
        TypeError: If one of them is not a plain JSON value.
    """
    for value in values:
        if not isinstance(value, str | int | float | None):
            raise TypeError(
                f"Unsupported value {value!r:.60} in a Literal or Enum: "
                "use str, int, float, bool or None."
            )
    # A value may be of a subclass of str, which the encoder would reject.
    plain = [str(value) if isinstance(value, str) else value for value in values]
    types = {_JSON_TYPES.get(type(value), "number") for value in plain}
    made: dict[str, Any] = {"type": types.pop()} if len(types) == 1 else {}
    if len(plain) == 1:
        return {**made, "const": plain[0]}
    return {**made, "enum": plain}


def _closed_object(
    properties: Mapping[str, Any], required: Sequence[str] | None = None
) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties if required is None else required),
        "additionalProperties": False,
    }


def _summary(documented: Any) -> dict[str, str]:
    summary = parse_docstring(documented).summary
    return {"description": summary} if summary else {}


def _target_of(schema: Mapping[str, Any]) -> str:
    """Return the name that a schema's `$ref` refers to; "" if it has none."""
    reference = schema.get("$ref")
    # A property may be called "$ref": then the value is a schema, not a string.
    return reference.removeprefix(_DEFS) if isinstance(reference, str) else ""


def _references(schema: Any) -> set[str]:
    """Return the names that a schema refers to, at any depth."""
    if isinstance(schema, list):
        return {name for each in schema for name in _references(each)}
    if not isinstance(schema, dict):
        return set()
    keywords = cast("dict[str, Any]", schema)
    names = {name for value in keywords.values() for name in _references(value)}
    own = _target_of(keywords)
    return names | {own} if own else names


def _type_name(kind: Any) -> str:
    return kind.__qualname__ if isinstance(kind, type) else repr(kind)


def _schema_name(kind: Any) -> str:
    """Return a name for the schema of a type: "Invoice", "list_Invoice"."""
    kind = kind if is_alias(kind) else unwrap(kind)
    name = getattr(kind, "__name__", "") if not get_args(kind) else str(kind)
    # "module.Invoice" -> "Invoice"; "outer.<locals>.Invoice" -> "Invoice".
    name = re.sub(r"[\w<>]+\.", "", name)
    return re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")[:64] or "value"
