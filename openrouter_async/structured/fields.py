"""What a class is made of: attrs, dataclasses, TypedDicts, named tuples."""

# Types are values here, and what pyright knows of them it knows in part.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import dataclasses
from collections.abc import Iterator, Mapping
from typing import (
    Any,
    Final,
    NamedTuple,
    TypeVar,
    get_args,
    get_origin,
    is_typeddict,
)

import attrs
import typing_extensions

from .docstrings import describe
from .type_hints import hints_of, unmarked

ABSENT: Final = object()
"""The default of what has none, or none that is known beforehand."""


class Field(NamedTuple):
    """
    One member of a class, or one parameter of a function.

    Attributes:
        name: Its key in JSON.
        kind: Its type.
        required: Whether there is no default.
        default: That default; `ABSENT` where it is made anew each time.
        description: What the docstring or the metadata tells; "" if nothing.
    """

    name: str
    kind: Any
    required: bool = True
    default: Any = ABSENT
    description: str = ""


def is_object(kind: Any) -> bool:
    """Tell whether a class is one whose members are known."""
    return isinstance(kind, type) and (
        attrs.has(kind)
        or dataclasses.is_dataclass(kind)
        or is_typeddict(kind)
        or typing_extensions.is_typeddict(kind)
        or is_named_tuple(kind)
    )


def is_named_tuple(kind: Any) -> bool:
    """Tell whether a class was made by `NamedTuple`."""
    return (
        isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")
    )


def members(kind: Any) -> list[Field]:
    """
    List the members of a class, in order; a generic one's with its arguments in place.

    Raises:
        TypeError: An annotation that leads nowhere.
    """
    cls: Any = get_origin(kind) or kind
    hints = hints_of(cls)
    filled = dict(zip(getattr(cls, "__parameters__", ()), get_args(kind), strict=False))
    told = describe(cls).names
    return [
        member._replace(
            kind=_fill(unmarked(hints.get(member.name, member.kind)), filled),
            description=member.description or told.get(member.name, ""),
        )
        for member in _members(cls)
    ]


def _members(cls: Any) -> Iterator[Field]:
    if attrs.has(cls):
        for field in attrs.fields(cls):
            if field.init:
                made = isinstance(field.default, attrs.Factory)  # type: ignore[arg-type]
                yield Field(
                    field.name,
                    field.type if field.type is not None else Any,
                    field.default is attrs.NOTHING,
                    ABSENT if made else field.default,
                    _described(field.metadata),
                )
    elif dataclasses.is_dataclass(cls):
        for each in dataclasses.fields(cls):
            if each.init:
                made = each.default is dataclasses.MISSING
                yield Field(
                    each.name,
                    each.type,
                    made and each.default_factory is dataclasses.MISSING,
                    ABSENT if made else each.default,
                    _described(each.metadata),
                )
    elif is_named_tuple(cls):
        for name in cls._fields:
            default = cls._field_defaults.get(name, ABSENT)
            yield Field(name, Any, default is ABSENT, default)
    else:
        for name, hint in cls.__annotations__.items():
            yield Field(name, hint, name in cls.__required_keys__)


def _described(metadata: Mapping[Any, Any]) -> str:
    text = metadata.get("description")
    return text if isinstance(text, str) else ""


def _fill(kind: Any, filled: Mapping[Any, Any]) -> Any:
    """Put a generic class's arguments in the place of its type variables."""
    if not filled:
        return kind
    if isinstance(kind, TypeVar):
        return filled.get(kind, kind)
    parameters = getattr(kind, "__parameters__", ())
    if not parameters:
        return kind
    return kind[tuple(filled.get(each, each) for each in parameters)]
