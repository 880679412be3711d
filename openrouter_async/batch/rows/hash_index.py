"""Maps and sets of 64-bit numbers in a few bytes each: which rows, of millions."""

from array import array
from typing import Final

_FIRST_SIZE: Final = 1024
# Fuller than this, a search takes several steps.
_FULL: Final = 0.6


class HashSet64:
    """A set of 64-bit keys, not 0, in an open hash table: 13 to 27 bytes each."""

    __slots__ = ("_count", "_keys", "_mask")

    def __init__(self) -> None:
        self._count = 0
        self._make(_FIRST_SIZE)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: int) -> bool:
        return self._keys[self._find(key)] != 0

    def add(self, key: int) -> bool:
        """Put a key in; return False if it is there."""
        place = self._find(key)
        if self._keys[place]:
            return False
        if self._count >= _FULL * len(self._keys):
            self._grow()
            place = self._find(key)
        self._keys[place] = key
        self._count += 1
        return True

    def _find(self, key: int) -> int:
        """Return where a key is, or where it would be."""
        keys, mask = self._keys, self._mask
        # The keys are hashes: their low bits are as good as any.
        place = key & mask
        while keys[place] and keys[place] != key:
            place = (place + 1) & mask
        return place

    def _make(self, size: int) -> None:
        self._mask = size - 1
        self._keys = array("Q", bytes(8 * size))

    def _grow(self) -> None:
        keys = self._keys
        self._make(2 * len(keys))
        for key in keys:
            if key:
                self._keys[self._find(key)] = key


class HashMap64(HashSet64):
    """
    64-bit keys, not 0, to 64-bit values, in an open hash table.

    16 to 54 bytes a row, where a dict of ints takes 150. That two names of a million
    share a key has odds of one in forty million; their rows' fingerprints would then
    differ, which is noticed.
    """

    __slots__ = ("_values",)

    def get(self, key: int) -> int | None:
        """Return the value of a key; None if it is not there."""
        place = self._find(key)
        return self._values[place] if self._keys[place] else None

    def put(self, key: int, value: int) -> bool:
        """Put a key in, or change its value; return whether it is new."""
        new = self.add(key)
        self._values[self._find(key)] = value
        return new

    def _make(self, size: int) -> None:
        super()._make(size)
        self._values = array("Q", bytes(8 * size))

    def _grow(self) -> None:
        keys, values = self._keys, self._values
        super()._grow()
        for key, value in zip(keys, values, strict=True):
            if key:
                self._values[self._find(key)] = value
