"""The journal's asyncio side: rows go out in groups, on a thread."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from ..errors import JournalError
from .journal import Journal
from .results import BatchResult

Entry = tuple[bytes, bool, int, BatchResult]
"""A line, whether it is a success, and the result with its number on the shelf."""


class Scribe:
    """
    Writes lines, and passes each result on once its line is with the system.

    While a group is being written the next one gathers: no timer, no waiting.

    Attributes:
        journal: Where it writes.
    """

    def __init__(
        self,
        journal: Journal,
        threads: Executor,
        deliver: Callable[[int, BatchResult], None],
        fail: Callable[[JournalError], None],
    ) -> None:
        """
        Take up the pen.

        Args:
            journal: It is open.
            threads: Where to write.
            deliver: Called with each result that is written, or that can not be.
            fail: Called when the journal can not be written.
        """
        self.journal = journal
        self._threads = threads
        self._deliver = deliver
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self._pending: list[Entry] = []
        self._writing = False
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, entry: Entry) -> None:
        """Take an entry to be written; it never waits."""
        self._pending.append(entry)
        self._idle.clear()
        if not self._writing:
            self._begin()

    async def finish(self) -> None:
        """Wait until all is written."""
        await self._idle.wait()

    def _begin(self) -> None:
        group, self._pending = self._pending, []
        rows = b"".join(line for line, ok, _, _ in group if ok)
        errors = b"".join(line for line, ok, _, _ in group if not ok)
        self._writing = True
        future = self._loop.run_in_executor(
            self._threads, self.journal.write, rows, errors, self._loop.time()
        )
        future.add_done_callback(lambda done: self._written(done, group))

    def _written(self, done: "asyncio.Future[None]", group: list[Entry]) -> None:
        self._writing = False
        error = done.exception()
        if isinstance(error, JournalError):
            self._fail(error)
        # Written or not, it was paid for.
        for _, _, number, result in group:
            self._deliver(number, result)
        if self._pending:
            self._begin()
        else:
            self._idle.set()
