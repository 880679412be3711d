"""Type annotations: containers, unions, literals, and what is behind aliases."""

# Types are values here, and what pyright knows of them it knows in part.
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

_MARKS: Final[tuple[Any, ...]] = (
    Required,
    NotRequired,
    typing_extensions.Required,
    typing_extensions.NotRequired,
    typing_extensions.ReadOnly,
)


LISTS: Final[frozenset[Any]] = frozenset(
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
"""Types that are arrays in JSON; tuples, which may be of fixed length, aside."""

MAPPINGS: Final[frozenset[Any]] = frozenset(
    {dict, collections.abc.Mapping, collections.abc.MutableMapping}
)
"""Types that are objects with keys that are not known beforehand."""

ANYTHING: Final[frozenset[Any]] = frozenset({Any, object, typing_extensions.Any})
"""Types that say nothing."""

UNIONS: Final = (Union, types.UnionType)

LITERALS: Final[tuple[Any, ...]] = (Literal, typing_extensions.Literal)


def hints_of(documented: Any) -> dict[str, Any]:
    """
    Return the annotations of a class or function, resolved.

    A class that names itself is found though it was made inside a function.

    Raises:
        TypeError: A name in them is not known where it was written.
    """
    name = getattr(documented, "__name__", "")
    local = {name: documented} if isinstance(documented, type) else None
    try:
        return get_type_hints(documented, localns=local, include_extras=True)
    except NameError as error:
        raise TypeError(
            f"The annotations of {name} cannot be resolved: {error}. "
            "Define what they name at the top level of a module."
        ) from error


def unmarked(kind: Any) -> Any:
    """Return a type without `Required` and the like around it."""
    while get_origin(kind) in _MARKS:
        (kind,) = get_args(kind)
    return kind


def stripped(kind: Any) -> Any:
    """Return what stands behind aliases, `NewType`s and annotations of a type."""
    while True:
        kind = unmarked(kind)
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif isinstance(kind, NewType):
            kind = kind.__supertype__
        elif is_alias(kind):
            kind = kind.__value__
        else:
            return kind


def is_alias(kind: Any) -> bool:
    """Tell whether it is a `type X = ...`."""
    return type(kind).__name__ == "TypeAliasType"


def tuple_items(kind: Any) -> tuple[Any, ...]:
    """Return what a tuple is made of: `(X, ...)` for any number, `()` for none."""
    # `get_args` can not tell `tuple[()]` from `tuple`.
    items: tuple[Any, ...] = getattr(kind, "__args__", (Any, ...))
    return items


def literal_values(kind: Any) -> list[Any]:
    """Return what a Literal may be, as JSON has it."""
    return [each.value if isinstance(each, Enum) else each for each in get_args(kind)]
