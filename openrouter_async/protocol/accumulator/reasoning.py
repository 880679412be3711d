"""The reasoning details of a message, joined where they go on."""

# To pyright, `Any` that turned out to be a dict is one of unknown keys and values. A
# typed check would be one more call at each level of each chunk.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from collections.abc import Mapping
from typing import Any

from .partial_object import PartialObject, index_of


class ReasoningAccumulator:
    """
    The `reasoning_details` so far.

    They go back to the provider as they were, or it refuses them: what belongs
    together is joined, what does not stays apart.
    """

    __slots__ = (
        "_by_id",
        "_by_index",
        "_by_type",
        "_last",
        "_last_index",
        "_last_type",
        "items",
    )

    def __init__(self) -> None:
        self.items: list[PartialObject] = []
        self._last = PartialObject()
        self._last_index: int | None = None
        self._last_type: str | None = None
        self._by_index: dict[tuple[Any, int], PartialObject] = {}
        self._by_type: dict[Any, PartialObject] = {}
        self._by_id: dict[tuple[Any, str], PartialObject] = {}

    def add(self, detail: Any) -> None:
        """Add the next fragment."""
        if not isinstance(detail, dict):
            return
        # Hundreds of fragments in a row go on with the text that the last one was of.
        index = detail.get("index")
        if (
            index is not None
            and index == self._last_index
            and detail.get("type") == self._last_type
            and type(text := detail.get("text")) is str
            and "id" not in detail
        ):
            item = self._last
            words = item.texts.get("text")
            known = item.values.get("format")
            if words and len(detail) == 4 and detail.get("format", self) == known:
                words.append(text)
                return
        else:
            item = self._item_of(detail)
        texts = item.texts
        values = item.values
        for key, value in detail.items():
            if key in texts and type(value) is str:
                texts[key].append(value)
            elif key in ("text", "summary"):
                item.append(key, value)
            elif value is not None or key not in values:
                values[key] = value

    def build(self) -> list[dict[str, Any]]:
        """Build the list, oldest first."""
        return [item.build() for item in self.items]

    def _item_of(self, detail: Mapping[str, Any]) -> PartialObject:
        """Find the item that this fragment continues, or begin one."""
        kind = detail.get("type")
        if not isinstance(kind, str):
            kind = None
        index = index_of(detail)
        name = detail.get("id") or detail.get("tool_call_id")
        item = (
            self._by_type.get(kind)
            if index is None
            else self._by_index.get((kind, index))
        )
        if item is not None:
            item = self._continued(item, detail, kind, index)
        if item is None:
            item = PartialObject()
            self.items.append(item)
            self._by_type[kind] = item
            if index is not None:
                self._by_index[kind, index] = item
        if isinstance(name, str) and name:
            self._by_id[kind, name] = item
        self._last, self._last_type, self._last_index = item, kind, index
        return item

    def _continued(
        self,
        item: PartialObject,
        detail: Mapping[str, Any],
        kind: str | None,
        index: int | None,
    ) -> PartialObject | None:
        """Return what `detail` continues, though `item` is where its place says."""
        values = item.values
        name = detail.get("id") or detail.get("tool_call_id")
        known = values.get("id") or values.get("tool_call_id")
        if name and known and name != known:
            return self._by_id.get((kind, name)) if isinstance(name, str) else None
        # Encrypted data comes whole; it can be sent again, but never goes on.
        data = values.get("data")
        if data and detail.get("data") not in (None, "", data) and not (name and known):
            return None
        # Where nothing counts the blocks, a signature closes one.
        if index is None and values.get("signature") and detail.get("text"):
            return None
        return item
