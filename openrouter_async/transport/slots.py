"""How many calls may be on their way at once."""

import asyncio
from collections import deque


class Slots:
    """
    A number of slots, first come, first served.

    Attributes:
        in_use: How many are taken.
        queued: How many calls wait for one.
    """

    __slots__ = ("_free", "_waiters", "in_use", "queued")

    def __init__(self, count: int) -> None:
        self._free = count
        # One that is no longer waited for is passed over when its turn comes.
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.in_use = 0
        self.queued = 0

    def take(self) -> bool:
        """Take a slot that is free; return False if there is none."""
        if not self._free:
            return False
        self._free -= 1
        self.in_use += 1
        return True

    async def wait(self) -> None:
        """Wait for a slot, and take it."""
        turn = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        self.queued += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # It was granted in the moment in which the caller went away.
                self.release()
            raise
        finally:
            self.queued -= 1

    def release(self) -> None:
        """Give a slot back: to whoever has waited longest."""
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.in_use -= 1
        self._free += 1
