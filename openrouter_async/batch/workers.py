"""The workers of a run: each takes a row, sends it until it is done, takes the next."""

import asyncio
from collections.abc import Callable

from ..errors import BatchStoppedError
from .jobs import Job, JobQueue
from .row_limiter import RowLimiter
from .rows.results import BatchResult
from .rows.stats import RunCounters, StopReason
from .sender import Sender


class Worker:
    """One worker: its task, and the gate of the row that it is at."""

    __slots__ = ("gate", "is_called_back", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.gate: RowLimiter | None = None
        self.is_called_back = False

    @property
    def is_out(self) -> bool:
        """Whether a request of it is on its way."""
        return self.gate is not None and self.gate.inside


class WorkerPool:
    """
    As many workers as there is room for, for the whole run; no task for each row.

    A worker whose row waits for a repeat has no room of its own; another one is hired
    for it meanwhile, up to twice the most that may be in flight and 256.

    Attributes:
        gone: Set when the last worker has left.
    """

    def __init__(
        self,
        intake: JobQueue,
        sender: Sender,
        tally: RunCounters,
        most: int,
        *,
        finish: Callable[[Job, BatchResult], None],
        halt: Callable[[StopReason, BaseException | None], None],
    ) -> None:
        """
        Hire nobody yet.

        Args:
            intake: Where they get rows.
            sender: Sends them.
            tally: The run's counters.
            most: The most that may be in flight.
            finish: Called with each result.
            halt: Called when the run must end, and why.
        """
        self._intake = intake
        self._sender = sender
        self._tally = tally
        self._most = 2 * most + 256
        self._finish = finish
        self._halt = halt
        self._loop = asyncio.get_running_loop()
        self._hands: set[Worker] = set()
        self._idle = 0
        self._stopped = False
        self.gone = asyncio.Event()

    def hire(self) -> None:
        """Take one more worker on, unless one has no row, or money is short."""
        if self._stopped:
            # Something came home; if it is to be sent again, it is not now.
            self._loop.call_soon(self.stop)
            return
        if self._idle or self._intake.is_over or self._sender.is_short:
            return
        if len(self._hands) >= self._most:
            return
        hand = Worker()
        self._hands.add(hand)
        self._idle += 1
        hand.task = self._loop.create_task(self._work(hand))
        hand.task.add_done_callback(lambda task: self._leave(hand, task))

    def _leave(self, hand: Worker, task: "asyncio.Task[None]") -> None:
        # One that was cancelled before its first step discards itself nowhere else.
        self._hands.discard(hand)
        if task.cancelled():
            if not self._stopped:
                outside = "A worker of the run was cancelled from outside."
                self._halt("error", BatchStoppedError(outside, reason="error"))
        elif task.exception() is not None:
            self._halt("error", task.exception())
        if not self._hands:
            self.gone.set()

    def stop(self) -> None:
        """Send nothing more; what is out comes home."""
        self._stopped = True
        self._intake.close()
        # The one that stops it ends by itself.
        current = asyncio.current_task(self._loop)
        for hand in list(self._hands):
            if not hand.is_out and hand.task is not current and hand.task is not None:
                hand.task.cancel()
        if not self._hands:
            self.gone.set()

    def cancel(self) -> None:
        """Call all back at once."""
        self.stop()
        for hand in list(self._hands):
            if hand.is_out and not hand.is_called_back and hand.task is not None:
                self._tally.abandoned += 1
                hand.is_called_back = True
                hand.task.cancel()

    @property
    def waiting(self) -> int:
        """How many rows wait: for room, for a repeat, for the end of a pause."""
        at_work = len(self._hands) - self._idle
        return max(0, at_work - self._tally.in_flight)

    async def _work(self, hand: Worker) -> None:
        idle = True
        try:
            while True:
                order = await self._intake.next()
                if order is None:
                    return
                self._idle -= 1
                idle = False
                result = await self._do(order, hand)
                if result is None:
                    return
                self._finish(order, result)
                self._idle += 1
                idle = True
        finally:
            self._hands.discard(hand)
            if idle:
                self._idle -= 1

    async def _do(self, order: Job, hand: Worker) -> BatchResult | None:
        """Return what a row comes to; None: the run ended before it did."""
        call = order.call
        if call is None:
            return BatchResult(order.index, order.custom_id, error=order.fault)
        gate = hand.gate = self._sender.gate(call, self.hire)
        return await self._sender.send(order, call, gate)
