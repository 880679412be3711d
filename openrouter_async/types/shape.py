"""The base classes of all shapes, JSON values, and the explicit null."""

from enum import Enum
from typing import Any, ClassVar, Literal

import attrs

Json = Any
"""A JSON value: None, bool, int, float, str, or a list or dict of these."""


class Null(Enum):
    """The type of `NULL`."""

    NULL = None

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "NULL"


NULL = Null.NULL
"""
JSON null, as the value of a field of a request.

None means that the field is not sent. The two differ: OpenRouter's response cache
treats a null field and an absent one as different requests.
"""


class Value:
    """
    Base of immutable attrs classes.

    attrs would compile `__eq__`, `__hash__` and `__repr__` for each class, which takes
    as long as creating the rest of the class.
    """

    __slots__ = ()
    __attrs_attrs__: ClassVar[tuple["attrs.Attribute[Any]", ...]] = ()

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(
            getattr(self, attribute.name) == getattr(other, attribute.name)
            for attribute in self.__attrs_attrs__
            if attribute.eq
        )

    def __hash__(self) -> int:
        return hash(
            tuple(
                getattr(self, attribute.name)
                for attribute in self.__attrs_attrs__
                if attribute.eq
            )
        )

    def __repr__(self) -> str:
        shown = (
            f"{attribute.name}={getattr(self, attribute.name)!r}"
            for attribute in self.__attrs_attrs__
            if attribute.repr
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class Shape(Value):
    """
    Base of request and response classes.

    The repr leaves out empty fields: the repr of a request would list sixty Nones.
    """

    __slots__ = ()

    # Mutable objects have no hash.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = (
            f"{attribute.name}={value!r}"
            for attribute in self.__attrs_attrs__
            if attribute.repr
            and (value := getattr(self, attribute.name)) is not None
            and value != []
        )
        return f"{type(self).__name__}({', '.join(shown)})"


def as_plain(shape: Shape) -> dict[str, Any]:
    """
    Return the fields of a shape that are set, as plain JSON values in field order.

    None, empty lists, `raw` and `http` are left out. Nested shapes that were received
    are represented by their `raw`.
    """
    return {
        attribute.name: _plain(value)
        for attribute in shape.__attrs_attrs__
        if attribute.eq
        and (value := getattr(shape, attribute.name)) is not None
        and value != []
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Shape):
        return getattr(value, "raw", None) or as_plain(value)
    if value.__class__ is list:
        return [_plain(member) for member in value]
    return value
