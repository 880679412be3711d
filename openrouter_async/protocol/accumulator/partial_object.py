"""A JSON object received in fragments, and the rules for combining values."""

# Pyright knows nothing about the keys and values of an `Any` that turned out to be a
# dict. `as_object` has the types, but would cost a function call at each level of each
# chunk.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from collections.abc import Iterator
from typing import Any

from ..response_objects import id_digits, index_number
from ..surrogates import join_halves, mark


class PartialObject:
    """
    One JSON object that arrives in fragments.

    Attributes:
        values: The latest values, by key, in order of arrival. For a key in `texts`,
            the value only keeps the position and remembers null.
        texts: The fragments of each text, joined when the object is built.
    """

    __slots__ = ("_has_halves", "texts", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.texts: dict[str, list[str]] = {}
        self._has_halves = False

    def append(self, key: str, value: Any) -> None:
        """Append to a text. Null, and values of other types, do not change it."""
        if isinstance(value, str):
            self.values.setdefault(key, "")
            self.texts.setdefault(key, []).append(value)
            if type(value) is not str:
                self._has_halves = True
        elif value is not None:
            self.values[key] = value
        elif not self.values.get(key):
            self.values[key] = None

    def text(self, key: str) -> str:
        """Return a text as far as received."""
        text = "".join(self.texts.get(key, ()))
        return mark(join_halves(text)) if self._has_halves else text

    def build(self) -> dict[str, Any]:
        """Return the object. An empty text is null if a null was received for it."""
        return {
            key: (key in self.texts and self.text(key)) or deep_copy(value)
            for key, value in self.values.items()
        }


def keep_last(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a value; null does not replace an earlier one."""
    if value is not None or key not in values:
        values[key] = value


def keep_first(values: dict[str, Any], key: str, value: Any) -> bool:
    """
    Set a value unless the key has one; null and "" may be replaced.

    Returns:
        True if the key now has a value that cannot be replaced.
    """
    if values.get(key) in (None, ""):
        if value in (None, "") and key in values:
            return False
        values[key] = value
    return values[key] not in (None, "")


def index_of(value: Any) -> int | None:
    """Return the `index` of a JSON object, or None if it has no valid one."""
    index = value.get("index") if isinstance(value, dict) else None
    return index if type(index) is int else index_number(index)


def as_string(value: Any) -> str:
    """Return a string unchanged, and "" in place of anything else."""
    return value if isinstance(value, str) else ""


def as_list(value: Any) -> list[Any]:
    """Return a list unchanged, and an empty one in place of anything else."""
    return value if isinstance(value, list) else []


def as_id(value: Any) -> str:
    """Return an id: a string, or the digits of a number; "" in place of the rest."""
    return value if isinstance(value, str) else id_digits(value)


def deep_copy(value: Any) -> Any:
    """
    Return a copy of a JSON value, at every level.

    Without recursion: JSON may be nested more deeply than Python's stack allows.
    """
    if not isinstance(value, (dict, list)):
        return value
    copy = value.copy()
    pending: list[Any] = [copy]
    while pending:
        node = pending.pop()
        for key, child in _items(node):
            if isinstance(child, (dict, list)):
                node[key] = child.copy()
                pending.append(node[key])
    return copy


def _items(node: Any) -> Iterator[tuple[Any, Any]]:
    return iter(node.items()) if isinstance(node, dict) else enumerate(node)
