"""A bounded buffer between the workers, which produce results, and their reader."""

import asyncio
from collections import deque

from ..errors import ConfigurationError
from ..transport.wait_queue import WaitQueue
from .rows.results import BatchResult


class ResultBuffer:
    """
    Results that were not read yet, in completion order or in input order.

    A producer calls `reserve` before it starts on a row, and `put` when the row has a
    result. Reservations count towards the size, so `put` never has to wait.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, size: int, *, ordered: bool
    ) -> None:
        """
        Create an empty buffer.

        Args:
            loop: The event loop that uses it.
            size: Number of rows between `reserve` and `get` at which it is full.
            ordered: If True, `get` returns results in the order of `reserve`.
        """
        self._loop = loop
        self._size = size
        self._ordered = ordered
        self._ready: deque[BatchResult] = deque()
        # Only used if ordered: results that wait for one with a lower number.
        self._waiting: dict[int, BatchResult] = {}
        self._next_number = 0
        self._reserved = 0
        self._taken = 0
        self._reader: asyncio.Future[None] | None = None
        self._producers = WaitQueue()
        self._closed = False

    @property
    def is_full(self) -> bool:
        """True if no more rows may be started now."""
        return self._reserved - self._taken >= self._size

    def reserve(self) -> int:
        """Reserve space for one result; return the result's number for `put`."""
        self._reserved += 1
        return self._reserved - 1

    def put(self, number: int, result: BatchResult) -> None:
        """Add the result with a number that `reserve` returned."""
        if self._ordered:
            self._waiting[number] = result
            while self._next_number in self._waiting:
                self._ready.append(self._waiting.pop(self._next_number))
                self._next_number += 1
        else:
            self._ready.append(result)
        self._wake_reader()

    async def wait_for_space(self) -> None:
        """Wait until the buffer is not full, or is closed."""
        while self.is_full and not self._closed:
            await self._producers.wait()

    async def get(self) -> BatchResult | None:
        """
        Return the next result; None after the last one.

        Raises:
            ConfigurationError: If two tasks call this at once.
        """
        while not self._ready:
            if self._closed:
                return None
            if self._reader is not None:
                raise ConfigurationError(
                    "Two tasks iterate over the same BatchRun. "
                    "Read the results in one task and pass them on from there."
                )
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        self._taken += 1
        # Several producers may have found the buffer not full before one of them
        # reserved, so it can hold more than its size for a while.
        if self._producers.waiters and not self.is_full:
            self._producers.wake()
        return self._ready.popleft()

    def close(self) -> None:
        """End the buffer; results that wait for an earlier one become readable."""
        self._closed = True
        self._ready += [self._waiting[number] for number in sorted(self._waiting)]
        self._waiting.clear()
        self._producers.wake_all()
        self._wake_reader()

    def clear(self) -> None:
        """Drop the results that nobody will read."""
        self._ready.clear()

    def _wake_reader(self) -> None:
        reader = self._reader
        if reader is not None and not reader.done() and (self._ready or self._closed):
            reader.set_result(None)
