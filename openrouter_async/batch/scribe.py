"""The journal's asyncio side: rows go out in groups, and results after them."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from ..codec import encode
from ..errors import ConfigurationError
from .intake import Order
from .journal import Journal
from .results import BatchResult, failure_line, result_line

_GATHER_SECONDS: Final = 0.002
"""Between two groups: a hop to the thread and back costs as much as half a call."""

Entry = tuple[bytes, bool, int, BatchResult]
"""A line, whether it is a success, and the result with its number on the shelf."""


class Scribe:
    """
    Writes lines, and passes each result on once its line is with the system.

    While a group is being written, on a thread, and a moment longer, the next one
    gathers. What is in a group when the process is killed is sent again.
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
        self._pending: list[Entry] = []
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
            self._loop.call_soon(self._write)

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
        group, self._pending = self._pending, []
        rows = b"".join([line for line, ok, _, _ in group if ok])
        errors = b"".join([line for line, ok, _, _ in group if not ok])
        future = self._loop.run_in_executor(
            self._threads, self._journal.write, rows, errors
        )
        future.add_done_callback(lambda done: self._written(group, _error(done)))

    def _written(self, group: list[Entry], error: BaseException | None) -> None:
        if error is not None:
            self._fail(error)
        # Written or not, it was paid for.
        for _, _, number, result in group:
            self._deliver(number, result)
        self._writing = bool(self._pending)
        if self._writing:
            self._loop.call_later(_GATHER_SECONDS, self._write)
        else:
            self._idle.set()

    def _synced(self, done: "asyncio.Future[None]") -> None:
        self._syncing = None
        error = _error(done)
        if error is not None:
            self._fail(error)


def _error(done: "asyncio.Future[None]") -> BaseException | None:
    return None if done.cancelled() else done.exception()


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
