"""The reasoning details of a message, joined from their fragments."""

# Pyright knows nothing about the keys and values of an `Any` that turned out to be a
# dict. `as_object` has the types, but would cost a function call at each level of each
# chunk.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from collections.abc import Mapping
from typing import Any

from .partial_object import PartialObject, index_of


class ReasoningAccumulator:
    """
    The `reasoning_details` of one choice, as far as received.

    They must be sent back to the provider exactly as it produced them: signatures
    cover whole blocks. So the fragments of one block are joined, and different blocks
    are kept apart, in their order.
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
        # Fast path. Hundreds of fragments in a row continue the text of the last item;
        # type and index show that, and an id would have to be compared.
        index = detail.get("index")
        if (
            index is not None
            and index == self._last_index
            and detail.get("type") == self._last_type
            and type(text := detail.get("text")) is str
            and "id" not in detail
        ):
            item = self._last
            parts = item.texts.get("text")
            known = item.values.get("format")
            if parts and len(detail) == 4 and detail.get("format", self) == known:
                parts.append(text)
                return
        else:
            item = self._find_item(detail)
        texts = item.texts
        values = item.values
        for key, value in detail.items():
            if key in texts and type(value) is str:
                texts[key].append(value)
            elif key in ("text", "summary"):
                item.append(key, value)
            elif value is not None or key not in values:
                values[key] = value

    def last_texts(self, detail: Mapping[str, Any]) -> list[str]:
        """Return the fragments of the text or summary that was added last."""
        return self._last.texts["text" if "text" in detail else "summary"]

    def build(self) -> list[dict[str, Any]]:
        """Return the details in order of arrival."""
        return [item.build() for item in self.items]

    def _find_item(self, detail: Mapping[str, Any]) -> PartialObject:
        """
        Return the item that a fragment continues, or a new one.

        The candidate is the item of the same type and index, or the last one of the
        same type if the fragment has no index. `_continued` decides.
        """
        kind = detail.get("type")
        if not isinstance(kind, str):
            kind = None
        index = index_of(detail)
        ident = detail.get("id") or detail.get("tool_call_id")
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
        if isinstance(ident, str) and ident:
            self._by_id[kind, ident] = item
        self._last, self._last_type, self._last_index = item, kind, index
        return item

    def _continued(
        self,
        item: PartialObject,
        detail: Mapping[str, Any],
        kind: str | None,
        index: int | None,
    ) -> PartialObject | None:
        """Return the item that a fragment continues: `item`, another, or None."""
        values = item.values
        ident = detail.get("id") or detail.get("tool_call_id")
        known = values.get("id") or values.get("tool_call_id")
        # 1. Different ids under one index: the id decides.
        if ident and known and ident != known:
            return self._by_id.get((kind, ident)) if isinstance(ident, str) else None
        # 2. Encrypted data always arrives complete. Under one id, later data replaces
        # it; otherwise different data is another block.
        data = values.get("data")
        if (
            data
            and detail.get("data") not in (None, "", data)
            and not (ident and known)
        ):
            return None
        # 3. Without an index, a signature is the end of its block.
        if index is None and values.get("signature") and detail.get("text"):
            return None
        return item
