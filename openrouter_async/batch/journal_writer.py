"""The journal's asyncio side: rows go out in groups, and results after them."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

from ..errors import ConfigurationError
from ..protocol.encode import encode
from .jobs import Job
from .journal import Journal
from .rows.results import BatchResult, failure_line, result_line

Entry = tuple[Job, BatchResult, bytes]
"""A row, what it came to, and if that failed its line; it has the caller's values."""


class JournalWriter:
    """
    Writes lines, and passes each result on once its line is with the system.

    A thread takes what there is when it gets its turn; the next group gathers while it
    writes. What is in a group when the process is killed is sent again.

    Nobody asks the futures of `_write`: it fails only where the loop is closed, and
    then nobody is left to be told.
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

    def add(self, order: Job, result: BatchResult) -> None:
        """Take a result to be written; it never waits."""
        if result.ok:
            self._journal.succeeded(order.key)
            line = b""
        else:
            line = _error_line(order, result)
        self._pending.append((order, result, line))
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
        error: Exception | None = None
        try:
            # One after the other, they take half the time of one now and then.
            rows = [_row_line(order, result) for order, result, _ in group if result.ok]
            errors = [line for _, _, line in group]
            self._journal.write(b"".join(rows), b"".join(errors))
        except Exception as failure:  # noqa: BLE001 - told to the loop
            error = failure
        # A future's way back would take a turn of the loop more, and with it the room
        # of all results of that turn.
        self._loop.call_soon_threadsafe(self._written, group, error)

    def _written(self, group: list[Entry], error: Exception | None) -> None:
        if error is not None:
            self._fail(error)
        # Written or not, it was paid for.
        for order, result, _ in group:
            self._deliver(order.number, result)
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


def _row_line(order: Job, result: BatchResult) -> bytes:
    wall = time.time()
    try:
        line = encode(result_line(result, order.name, order.print, wall))
    except ConfigurationError:
        line = encode(result_line(result, order.name, order.print, wall, short=True))
    return line + b"\n"


def _error_line(order: Job, result: BatchResult) -> bytes:
    name, body = order.name, order.body
    try:
        line = encode(failure_line(result, name, body, order.print))
    except ConfigurationError:
        # What was given is no JSON, and its text must do; or what came is too deep.
        body = repr(body) if order.call is None else body
        line = encode(failure_line(result, name, body, order.print, short=True))
    return line + b"\n"
