"""A mapping of bounded size."""

from collections.abc import Iterator, MutableMapping
from typing import TypeVar

__all__ = ["LRUCache"]

K = TypeVar("K")
V = TypeVar("V")


class LRUCache(MutableMapping[K, V]):
    """
    A mapping that keeps the entries used last; adding one may evict the oldest.

    Args:
        max_size: Number of entries, 1 or more.
    """

    __slots__ = ("_entries", "_max_size")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        # A dict keeps the order of insertion: the first entry is the oldest.
        self._entries: dict[K, V] = {}

    def __getitem__(self, key: K) -> V:
        value = self._entries[key] = self._entries.pop(key)
        return value

    def __setitem__(self, key: K, value: V) -> None:
        self._entries.pop(key, None)
        if len(self._entries) >= self._max_size:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = value

    def __delitem__(self, key: K) -> None:
        del self._entries[key]

    def __contains__(self, key: object) -> bool:
        """Return whether a key is there, without marking its entry as used."""
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        # A copy: reading an entry moves it, also while its keys are iterated over.
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
