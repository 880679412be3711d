"""Fields of shapes whose values are created on first access."""

from collections.abc import Callable
from typing import Any, Final


class Deferred:
    """
    Stands in the slot of a lazy field until the field is read.

    It may be shared by many shapes.
    """

    __slots__ = ()

    def create(self, shape: Any, name: str) -> Any:
        """Return the value of the field `name` of a shape."""
        raise NotImplementedError


class _EmptyList(Deferred):
    __slots__ = ()

    def create(self, shape: Any, name: str) -> list[Any]:  # noqa: ARG002 - as declared
        return []


EMPTY_LIST: Final[Deferred] = _EmptyList()
"""Stands for an empty list, of which each shape gets its own when it is read."""


def make_lazy(
    cls: type[Any], *names: str, read: Callable[[Any], Any] | None = None
) -> None:
    """
    Let fields of an attrs class hold a `Deferred` until they are read.

    A property takes the place of the field's slot, which is accessible under the name
    with an underscore in front. All functions of attrs, `copy` and `pickle` use the
    property. It costs 50 ns, so fast paths use the slot.

    Args:
        cls: The class.
        names: The names of the fields.
        read: Returns the value of the field in place of the usual function.
    """
    for name in names:
        slot = cls.__dict__[name]
        setattr(cls, f"_{name}", slot)
        setattr(cls, name, property(read or _reader_of(slot, name), slot.__set__))


def _reader_of(slot: Any, name: str) -> Callable[[Any], Any]:
    read, write = slot.__get__, slot.__set__

    def get(shape: Any) -> Any:
        value = read(shape)
        if isinstance(value, Deferred):
            value = value.create(shape, name)
            write(shape, value)
        return value

    return get
