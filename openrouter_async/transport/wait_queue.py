"""A FIFO queue of waiting tasks that loses no wake-up when a task is cancelled."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable


class WaitQueue:
    """
    Tasks that wait for something to become free, first in, first out.

    `len` is the number of tasks that wait and were not woken yet; `waiters` is empty if
    there are none.

    A task can be cancelled after `wake` chose it and before it runs. It then never
    uses what it was woken for, and the other tasks would wait although something is
    free. `wait` detects this and hands the wake-up on.
    """

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        # Not a deque: when a run with thousands of waiting tasks is cancelled, each
        # task leaves from an arbitrary position, which a deque has to search for.
        self.waiters: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self.waiters)

    async def wait(self, undo: Callable[[], object] | None = None) -> None:
        """
        Wait until `wake` chooses this task.

        Args:
            undo: Called if the task is cancelled after it was woken: frees what the
                caller of `wake` assigned to it. Defaults to `wake`, which is right
                where woken tasks look for themselves what is free.
        """
        waiter = asyncio.get_running_loop().create_future()
        self.waiters[waiter] = None
        try:
            await waiter
        except asyncio.CancelledError:
            self.waiters.pop(waiter, None)
            if not waiter.cancelled():
                (undo or self.wake)()
            raise

    def wake(self) -> bool:
        """Wake the task that has waited longest; return False if none waits."""
        while self.waiters:
            waiter, _ = self.waiters.popitem(last=False)
            # The future of a cancelled task stays in the queue until the task runs.
            if not waiter.done():
                waiter.set_result(None)
                return True
        return False

    def wake_all(self) -> None:
        """Wake every task that waits now, in order."""
        while self.wake():
            pass
