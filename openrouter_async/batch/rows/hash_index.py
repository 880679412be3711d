"""Maps and sets of 64-bit integers in little memory: an index over millions of rows."""

from array import array
from typing import Final

_INITIAL_SIZE: Final = 1024
# Above this load, a lookup takes several probes.
_MAX_LOAD: Final = 0.6


class HashSet64:
    """
    A set of 64-bit keys other than 0, as an open-addressing hash table.

    It takes 13 to 27 bytes per key. A set of ints takes about 80.
    """

    __slots__ = ("_count", "_keys", "_mask")

    def __init__(self) -> None:
        self._count = 0
        self._allocate(_INITIAL_SIZE)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: int) -> bool:
        return self._keys[self._find(key)] != 0

    def add(self, key: int) -> bool:
        """Add a key; return False if it is in the set already."""
        index = self._find(key)
        if self._keys[index]:
            return False
        if self._count >= _MAX_LOAD * len(self._keys):
            self._grow()
            index = self._find(key)
        self._keys[index] = key
        self._count += 1
        return True

    def _find(self, key: int) -> int:
        """Return the index of a key, or of the empty entry where it belongs."""
        keys, mask = self._keys, self._mask
        # The keys are hashes, so their low bits are evenly distributed.
        index = key & mask
        # Linear probing. It ends, because the table is never full.
        while keys[index] and keys[index] != key:
            index = (index + 1) & mask
        return index

    def _allocate(self, size: int) -> None:
        self._mask = size - 1
        self._keys = array("Q", bytes(8 * size))

    def _grow(self) -> None:
        keys = self._keys
        self._allocate(2 * len(keys))
        for key in keys:
            if key:
                self._keys[self._find(key)] = key


class HashMap64(HashSet64):
    """
    A map of 64-bit keys other than 0 to 64-bit values, as an open hash table.

    It takes 27 to 54 bytes per entry, where a dict of ints takes 150. The probability
    that two of a million names share a key is 1 in 40 million. The fingerprints of
    their rows would then differ, so that the collision is reported, not overlooked.
    """

    __slots__ = ("_values",)

    def get(self, key: int) -> int | None:
        """Return the value of a key; None if the key is not in the map."""
        index = self._find(key)
        return self._values[index] if self._keys[index] else None

    def put(self, key: int, value: int) -> bool:
        """Set the value of a key; return True if the key is new."""
        is_new = self.add(key)
        self._values[self._find(key)] = value
        return is_new

    def _allocate(self, size: int) -> None:
        super()._allocate(size)
        self._values = array("Q", bytes(8 * size))

    def _grow(self) -> None:
        keys, values = self._keys, self._values
        super()._grow()
        for key, value in zip(keys, values, strict=True):
            if key:
                self._values[self._find(key)] = value
