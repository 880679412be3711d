"""JSON that arrives in pieces: what is kept, what is joined, what is copied."""

# To pyright, `Any` that turned out to be a dict is one of unknown keys and values. A
# typed check would be one more call at each level of each chunk.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from collections.abc import Iterator
from typing import Any


class PartialObject:
    """One JSON object that arrives in pieces; its keys stay in order of arrival."""

    __slots__ = ("texts", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.texts: dict[str, list[str]] = {}

    def append(self, key: str, value: Any) -> None:
        """Continue a text; null and what is no text leave it as it is."""
        if isinstance(value, str):
            self.values.setdefault(key, "")
            self.texts.setdefault(key, []).append(value)
        elif value is not None:
            self.values[key] = value
        elif not self.values.get(key):
            self.values[key] = None

    def text(self, key: str) -> str:
        """Return a text so far."""
        return "".join(self.texts.get(key, ()))

    def build(self) -> dict[str, Any]:
        """Build the object; a text that stayed empty is null if a null was seen."""
        return {
            key: (key in self.texts and self.text(key)) or copied(value)
            for key, value in self.values.items()
        }


def keep_last(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a value; a null takes nothing back."""
    if value is not None or key not in values:
        values[key] = value


def keep_first(values: dict[str, Any], key: str, value: Any) -> bool:
    """Set a value unless there is one; tell whether there is one now."""
    if values.get(key) in (None, ""):
        if value in (None, "") and key in values:
            return False
        values[key] = value
    return values[key] not in (None, "")


def index_of(value: Any) -> int | None:
    """Return the `index` of an object, if it is a whole number."""
    index = value.get("index") if isinstance(value, dict) else None
    return index if type(index) is int else None


def string(value: Any) -> str:
    """Return a string, or "" for what is none."""
    return value if isinstance(value, str) else ""


def copied(value: Any) -> Any:
    """Copy JSON deeply, however deep: recursion would end at the nesting it allows."""
    if not isinstance(value, (dict, list)):
        return value
    copy = value.copy()
    todo: list[Any] = [copy]
    while todo:
        node = todo.pop()
        for key, child in _members(node):
            if isinstance(child, (dict, list)):
                node[key] = child.copy()
                todo.append(node[key])
    return copy


def _members(node: Any) -> Iterator[tuple[Any, Any]]:
    return iter(node.items()) if isinstance(node, dict) else enumerate(node)
