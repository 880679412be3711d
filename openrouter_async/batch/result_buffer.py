"""Results between those who make them and the one who reads them."""

import asyncio
from collections import deque

from ..errors import ConfigurationError
from .rows.results import BatchResult


class ResultBuffer:
    """
    Holds results until they are read: as they come, or in the order of their rows.

    Whoever makes them waits for room first; what is promised is always taken.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, window: int, *, ordered: bool
    ) -> None:
        """
        Make an empty one.

        Args:
            loop: Where it is used.
            window: How many rows there may be between the pulling and the reading.
            ordered: Whether results are read in the order of their rows.
        """
        self._loop = loop
        self._window = window
        self._ordered = ordered
        self._ready: deque[BatchResult] = deque()
        self._early: dict[int, BatchResult] = {}
        self._promised = 0
        self._gone = 0
        self._turn = 0
        self._reader: asyncio.Future[None] | None = None
        self._makers: deque[asyncio.Future[None]] = deque()
        self._closed = False

    @property
    def is_full(self) -> bool:
        """Whether no more rows may be pulled now."""
        return self._promised - self._gone >= self._window

    def promise(self) -> int:
        """Announce a result; return its number."""
        self._promised += 1
        return self._promised - 1

    def put(self, number: int, result: BatchResult) -> None:
        """Put a result there."""
        if self._ordered:
            self._early[number] = result
            while self._turn in self._early:
                self._ready.append(self._early.pop(self._turn))
                self._turn += 1
        else:
            self._ready.append(result)
        self._call_reader()

    async def room(self) -> None:
        """Wait until there is room for more."""
        while self.is_full and not self._closed:
            future: asyncio.Future[None] = self._loop.create_future()
            self._makers.append(future)
            await future

    async def take(self) -> BatchResult | None:
        """
        Return the next result; None: there will be no more.

        Raises:
            ConfigurationError: Two tasks read at once.
        """
        while not self._ready:
            if self._closed:
                return None
            if self._reader is not None:
                raise ConfigurationError(
                    "Two tasks read one run. Let one read, and hand the results on."
                )
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        self._gone += 1
        if not self.is_full:
            # One, for the one place that became free.
            self._call_maker()
        return self._ready.popleft()

    def close(self) -> None:
        """Say that no more will come; what is out of turn moves up."""
        self._closed = True
        self._ready += [self._early[number] for number in sorted(self._early)]
        self._early.clear()
        while self._makers:
            self._call_maker()
        self._call_reader()

    def clear(self) -> None:
        """Forget what nobody will read."""
        self._ready.clear()

    def _call_reader(self) -> None:
        reader = self._reader
        if reader is not None and not reader.done() and (self._ready or self._closed):
            reader.set_result(None)

    def _call_maker(self) -> None:
        while self._makers:
            future = self._makers.popleft()
            if not future.done():
                future.set_result(None)
                return
