"""A mapping of bounded size."""

from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["LRUCache"]

K = TypeVar("K")
V = TypeVar("V")


class LRUCache(MutableMapping[K, V]):
    """
    A mapping that keeps the entries used last; adding one may evict the oldest.

    Threads may share it. Each step is one operation of the `OrderedDict`, and an entry
    is never absent while it is moved, so that no thread creates a second one.

    Args:
        max_size: Number of entries, 1 or more.
    """

    __slots__ = ("_entries", "_max_size")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        # The entry used least recently is first.
        self._entries = OrderedDict[K, V]()

    def __getitem__(self, key: K) -> V:
        value = self._entries[key]
        # Another thread may have evicted it meanwhile.
        with suppress(KeyError):
            self._entries.move_to_end(key)
        return value

    if not TYPE_CHECKING:
        # Called several times for each request. `Mapping.get` would call `__getitem__`,
        # which calls `suppress`. Type checkers see the overloads of `Mapping`.
        def get(self, key: K, default: Any = None) -> Any:
            """Return the value of a key, or `default`; mark the entry as used."""
            entries = self._entries
            try:
                value = entries[key]
                entries.move_to_end(key)
            except KeyError:
                # There is none, or another thread has just evicted it.
                return default
            return value

    def __setitem__(self, key: K, value: V) -> None:
        self._entries[key] = value
        self._moved(key)

    def __delitem__(self, key: K) -> None:
        del self._entries[key]

    def __contains__(self, key: object) -> bool:
        """Return whether a key is there, without marking its entry as used."""
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        # A copy: reading an entry moves it, also while its keys are iterated over. It
        # is a list because making one runs no other code, such as a garbage collection.
        return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def get_or_add(self, key: K, value: V) -> V:
        """Return the value of a key; add this one if there is none."""
        found = self._entries.setdefault(key, value)
        self._moved(key)
        return found

    def discard(self, key: K) -> None:
        """Remove the entry of a key, if there is one."""
        self._entries.pop(key, None)

    def _moved(self, key: K) -> None:
        # Another thread may have evicted it, or all others, meanwhile.
        with suppress(KeyError):
            self._entries.move_to_end(key)
            while len(self._entries) > self._max_size:
                self._entries.popitem(last=False)
