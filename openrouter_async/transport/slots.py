"""Connection slots: how many calls may be sent at once."""

from .wait_queue import WaitQueue


class Slots:
    """
    A fixed number of slots, granted first in, first out; to the rows of runs last.

    Attributes:
        in_use: Slots granted and not yet released.
    """

    __slots__ = ("_count", "_queue", "_rows", "in_use")

    def __init__(self, count: int) -> None:
        self._count = count
        self._queue = WaitQueue()
        self._rows = WaitQueue()
        self.in_use = 0

    @property
    def queued(self) -> int:
        """Number of calls that wait for a slot."""
        return len(self._queue) + len(self._rows)

    def try_acquire(self) -> bool:
        """Take a slot if one is free; return False if not."""
        if self.in_use >= self._count:
            return False
        self.in_use += 1
        return True

    async def wait(self, *, is_row: bool = False) -> None:
        """
        Wait for a slot and take it; call this only after `try_acquire` failed.

        Args:
            is_row: If True, all other calls get a slot before this one.
        """
        queue = self._rows if is_row else self._queue
        await queue.wait(undo=self.release)

    def release(self) -> None:
        """Give a slot back; the call that has waited longest gets it."""
        if self._queue.waiters and self._queue.wake():
            return
        if not self._rows.waiters or not self._rows.wake():
            self.in_use -= 1
