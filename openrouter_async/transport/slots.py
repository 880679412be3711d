"""Connection slots: how many calls may be sent at once."""

from .wait_queue import WaitQueue


class Slots:
    """
    A fixed number of slots, granted first in, first out.

    Attributes:
        in_use: Slots granted and not yet released.
    """

    __slots__ = ("_count", "_queue", "in_use")

    def __init__(self, count: int) -> None:
        self._count = count
        self._queue = WaitQueue()
        self.in_use = 0

    @property
    def queued(self) -> int:
        """Number of calls that wait for a slot."""
        return len(self._queue)

    def try_acquire(self) -> bool:
        """Take a slot if one is free; return False if not."""
        if self.in_use >= self._count:
            return False
        self.in_use += 1
        return True

    async def wait(self) -> None:
        """Wait for a slot and take it; call this only after `try_acquire` failed."""
        await self._queue.wait(undo=self.release)

    def release(self) -> None:
        """Give a slot back; the call that has waited longest gets it."""
        if not self._queue.waiters or not self._queue.wake():
            self.in_use -= 1
