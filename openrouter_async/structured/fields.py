"""Fields of a class: attrs classes, dataclasses, TypedDicts and named tuples."""

# Annotations are values here, and pyright knows the types of only some of them.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeVar, get_args

import attrs
import typing_extensions

from .docstrings import parse_docstring
from .type_hints import origin_of, resolve_hints, strip_qualifiers

NO_DEFAULT: Final = object()
"""The default of a field that has none, or whose default is made by a factory."""


class Field(NamedTuple):
    """
    One field of a class, or one parameter of a function.

    Attributes:
        name: The key in JSON.
        kind: The type.
        required: If True, the field has no default.
        default: The default; `NO_DEFAULT` if there is none, or only a factory.
        description: The description from the docstring or metadata; "" if none.
    """

    name: str
    kind: Any
    required: bool = True
    default: Any = NO_DEFAULT
    description: str = ""


def has_fields(kind: Any) -> bool:
    """Return True for a class whose fields `fields_of` can list."""
    return isinstance(kind, type) and (
        attrs.has(kind)
        or dataclasses.is_dataclass(kind)
        # It knows those of `typing` too.
        or typing_extensions.is_typeddict(kind)
        or _is_named_tuple(kind)
    )


def fields_of(kind: Any) -> list[Field]:
    """
    Return the fields of a class, in order.

    The type variables of a generic class are replaced by its arguments.

    Raises:
        TypeError: If an annotation refers to an unknown name.
    """
    cls: Any = origin_of(kind)
    hints = resolve_hints(cls)
    arguments = dict(
        zip(getattr(cls, "__parameters__", ()), get_args(kind), strict=False)
    )
    descriptions = parse_docstring(cls).entries
    return [
        field._replace(
            kind=_substitute(
                strip_qualifiers(hints.get(field.name, field.kind)), arguments
            ),
            description=field.description or descriptions.get(field.name, ""),
        )
        for field in _declared_fields(cls)
    ]


def _is_named_tuple(kind: type[Any]) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def _declared_fields(cls: Any) -> Iterator[Field]:
    if attrs.has(cls):
        for attribute in attrs.fields(cls):
            if attribute.init:
                default = attribute.default
                yield Field(
                    attribute.name,
                    attribute.type if attribute.type is not None else Any,
                    default is attrs.NOTHING,
                    NO_DEFAULT if isinstance(default, attrs.Factory) else default,  # type: ignore[arg-type]
                    _description(attribute.metadata),
                )
    elif dataclasses.is_dataclass(cls):
        for each in dataclasses.fields(cls):
            if each.init:
                no_default = each.default is dataclasses.MISSING
                yield Field(
                    each.name,
                    each.type,
                    no_default and each.default_factory is dataclasses.MISSING,
                    NO_DEFAULT if no_default else each.default,
                    _description(each.metadata),
                )
    elif _is_named_tuple(cls):
        for name in cls._fields:
            default = cls._field_defaults.get(name, NO_DEFAULT)
            yield Field(name, Any, default is NO_DEFAULT, default)
    else:
        for name, hint in cls.__annotations__.items():
            yield Field(name, hint, name in cls.__required_keys__)


def _description(metadata: Mapping[Any, Any]) -> str:
    text = metadata.get("description")
    return text if isinstance(text, str) else ""


def _substitute(kind: Any, arguments: Mapping[Any, Any]) -> Any:
    """Replace the type variables in a field's type by a generic class's arguments."""
    if not arguments:
        return kind
    if isinstance(kind, TypeVar):
        return arguments.get(kind, kind)
    parameters = getattr(kind, "__parameters__", ())
    if not parameters:
        return kind
    return kind[tuple(arguments.get(each, each) for each in parameters)]
