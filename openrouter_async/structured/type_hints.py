"""Inspection of type annotations: containers, unions, literals and aliases."""

# Annotations are values here, and pyright knows the types of only some of them.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import collections
import collections.abc
import types
from enum import Enum
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NewType,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import typing_extensions

_QUALIFIERS: Final[tuple[Any, ...]] = (
    Required,
    NotRequired,
    typing_extensions.Required,
    typing_extensions.NotRequired,
    typing_extensions.ReadOnly,
)

ARRAYS: Final[frozenset[Any]] = frozenset(
    {
        list,
        set,
        frozenset,
        collections.deque,
        collections.abc.Sequence,
        collections.abc.MutableSequence,
        collections.abc.Set,
        collections.abc.MutableSet,
        collections.abc.Iterable,
        collections.abc.Collection,
    }
)
"""Origins of types that are arrays in JSON, except tuples, which may have a length."""

MAPPINGS: Final[frozenset[Any]] = frozenset(
    {dict, collections.abc.Mapping, collections.abc.MutableMapping}
)
"""Origins of types that are objects with arbitrary keys in JSON."""

ANY_TYPES: Final[frozenset[Any]] = frozenset({Any, object, typing_extensions.Any})
"""Types that accept every JSON value."""

UNIONS: Final[tuple[Any, ...]] = (Union, types.UnionType)
LITERALS: Final[tuple[Any, ...]] = (Literal, typing_extensions.Literal)


def resolve_hints(documented: Any) -> dict[str, Any]:
    """
    Return the annotations of a class or function, with strings evaluated.

    Raises:
        TypeError: If an annotation refers to an unknown name.
    """
    name = getattr(documented, "__name__", "")
    # A class that is defined in a function may refer to itself; its name is neither
    # global nor a builtin.
    local = {name: documented} if isinstance(documented, type) else None
    try:
        return get_type_hints(documented, localns=local, include_extras=True)
    except NameError as error:
        raise TypeError(
            f"Cannot resolve the annotations of {name}: {error}. "
            "Define the names that they use at the top level of a module."
        ) from error


def origin_of(kind: Any) -> Any:
    """Return the class behind a generic alias, or the type itself."""
    return get_origin(kind) or kind


def strip_qualifiers(kind: Any) -> Any:
    """Return a type without `Required`, `NotRequired` and `ReadOnly` around it."""
    while get_origin(kind) in _QUALIFIERS:
        (kind,) = get_args(kind)
    return kind


def unwrap(kind: Any) -> Any:
    """Return the type behind qualifiers, `Annotated`, `NewType` and aliases."""
    while True:
        kind = strip_qualifiers(kind)
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif isinstance(kind, NewType):
            kind = kind.__supertype__
        elif is_alias(kind):
            kind = kind.__value__
        else:
            return kind


def is_alias(kind: Any) -> bool:
    """Return True for an alias made by `type X = ...`."""
    # By name: Python 3.11 has only the class of typing_extensions.
    return type(kind).__name__ == "TypeAliasType"


def tuple_items(kind: Any) -> tuple[Any, ...]:
    """Return the item types of a tuple: `(X, ...)` for any length, `()` for none."""
    # `get_args` returns () both for `tuple[()]` and for `tuple`.
    items: tuple[Any, ...] = getattr(kind, "__args__", (Any, ...))
    return items


def literal_values(kind: Any) -> list[Any]:
    """Return the values of a `Literal` as they are in JSON."""
    return [each.value if isinstance(each, Enum) else each for each in get_args(kind)]
