"""The journal's asyncio side: rows go out in groups, and results after them."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

from ..codec import encode
from ..errors import ConfigurationError
from .intake import Order
from .journal import Journal
from .results import BatchResult, failure_line, result_line

Entry = tuple[bytes, bool, int, BatchResult]
"""A line, whether it is a success, and the result with its number on the shelf."""


class Scribe:
    """
    Writes lines, and passes each result on once its line is with the system.

    A thread takes what there is when it gets its turn; the next group gathers while it
    writes. What is in a group when the process is killed is sent again.
    """

    def __init__(
        self,
        journal: Journal,
        threads: Executor,
        deliver: Callable[[int, BatchResult], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        """
        Take up the pen.

        Args:
            journal: It is open.
            threads: Where to wait for the disk.
            deliver: Called with each result that is written, or that can not be.
            fail: Called when the journal can not be written.
        """
        self._journal = journal
        self._threads = threads
        self._deliver = deliver
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        # The loop puts in, the thread takes out.
        self._pending: deque[Entry] = deque()
        self._writing = False
        self._syncing: asyncio.Future[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, order: Order, result: BatchResult) -> None:
        """Take a result to be written; it never waits."""
        if result.ok:
            self._journal.succeeded(order.key)
        self._pending.append((_line(order, result), result.ok, order.number, result))
        if not self._writing:
            self._writing = True
            self._idle.clear()
            self._threads.submit(self._write)

    def tend(self) -> None:
        """Hand to the disk what was written; called now and then."""
        if self._syncing is None and self._journal.is_behind:
            self._syncing = self._loop.run_in_executor(
                self._threads, self._journal.sync
            )
            self._syncing.add_done_callback(self._synced)

    async def finish(self) -> None:
        """Wait until all is written."""
        await self._idle.wait()
        if self._syncing is not None:
            await asyncio.wait({self._syncing})

    def _write(self) -> None:
        """Write what there is; on the thread."""
        group: list[Entry] = []
        while self._pending:
            group.append(self._pending.popleft())
        rows = b"".join([line for line, ok, _, _ in group if ok])
        errors = b"".join([line for line, ok, _, _ in group if not ok])
        error: Exception | None = None
        try:
            self._journal.write(rows, errors)
        except Exception as failure:  # noqa: BLE001 - told to the loop
            error = failure
        # A future's way back would take a turn of the loop more, and with it the room
        # of all results of that turn.
        self._loop.call_soon_threadsafe(self._written, group, error)

    def _written(self, group: list[Entry], error: Exception | None) -> None:
        if error is not None:
            self._fail(error)
        # Written or not, it was paid for.
        for _, _, number, result in group:
            self._deliver(number, result)
        self._writing = bool(self._pending)
        if self._writing:
            self._threads.submit(self._write)
        else:
            self._idle.set()

    def _synced(self, done: "asyncio.Future[None]") -> None:
        self._syncing = None
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._fail(error)


def _line(order: Order, result: BatchResult) -> bytes:
    name = order.name
    if result.ok:
        return encode(result_line(result, name, order.print, time.time())) + b"\n"
    try:
        return encode(failure_line(result, name, order.body, order.print)) + b"\n"
    except ConfigurationError:
        # What was given is no JSON; its text must do.
        text = repr(order.given)
        return encode(failure_line(result, name, text, order.print)) + b"\n"
