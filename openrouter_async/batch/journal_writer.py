"""Writes results to the journal on a thread, and delivers each one once written."""

import asyncio
import time
from collections import deque
from concurrent.futures import Executor

from ..errors import ConfigurationError
from ..protocol.encode import encode
from .jobs import Job
from .journal import RunJournal
from .result_buffer import ResultBuffer
from .rows.results import BatchResult, failure_line, result_line
from .rows.stats import RunControl

_Entry = tuple[Job, BatchResult, bytes]
"""A job, its result, and its line in the failures file; b"" if it succeeded."""


class JournalWriter:
    """
    The asyncio side of a journal.

    The thread writes all results that are pending when it starts, as one group. The
    next group gathers meanwhile, so a slow disk makes groups larger, not the queue
    longer. A result is delivered when the operating system has its line: a row whose
    result was seen is never sent again, even after `kill -9`.
    """

    def __init__(
        self,
        journal: RunJournal,
        executor: Executor,
        buffer: ResultBuffer,
        control: RunControl,
    ) -> None:
        """
        Create the writer; nothing is written yet.

        Args:
            journal: The journal, already open.
            executor: One thread.
            buffer: Receives the results that are written, or cannot be written.
            control: Stops the run if the journal cannot be written.
        """
        self._journal = journal
        self._executor = executor
        self._buffer = buffer
        self._control = control
        self._loop = asyncio.get_running_loop()
        # The loop appends, the thread pops. Both are atomic operations of a deque.
        self._pending: deque[_Entry] = deque()
        self._is_writing = False
        self._syncing: asyncio.Future[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, job: Job, result: BatchResult) -> None:
        """Queue a result; this never waits."""
        line = b""
        if result.ok:
            self._journal.mark_succeeded(
                job.name, job.fingerprint, job.index, _body(job)
            )
        else:
            # Encoded here, because the caller may change the values of an invalid row.
            line = _failure_line(job, result)
        self._pending.append((job, result, line))
        if not self._is_writing:
            self._is_writing = True
            self._idle.clear()
            self._start_writing()

    def failed_before(self, job: Job) -> bool:
        """Return True if the row failed in an earlier run with this journal."""
        return self._journal.failed_before(job.name, job.fingerprint, job.index)

    def sync(self) -> None:
        """Start to flush written lines to the disk, if there are any."""
        if self._syncing is None and self._journal.has_unsynced:
            self._syncing = self._loop.run_in_executor(
                self._executor, self._journal.sync
            )
            self._syncing.add_done_callback(self._synced)

    async def flush(self) -> None:
        """Wait until every queued result is written."""
        await self._idle.wait()
        if self._syncing is not None:
            await asyncio.wait({self._syncing})

    def _start_writing(self) -> None:
        # The future is ignored: `_write` reports its errors through `_written`. It
        # raises only if the loop is closed, and then nobody is left to be told.
        self._executor.submit(self._write)

    def _write(self) -> None:
        """Write the pending results as one group. Runs on the thread."""
        group: list[_Entry] = []
        while self._pending:
            group.append(self._pending.popleft())
        error: Exception | None = None
        try:
            # Encoding the lines in a batch takes half the time of encoding each one
            # when its result arrives.
            rows = [_result_line(job, result) for job, result, _ in group if result.ok]
            failures = [line for _, _, line in group]
            self._journal.write(b"".join(rows), b"".join(failures))
        except Exception as failure:  # noqa: BLE001 - reported to the loop below
            error = failure
        # Not `run_in_executor`: its future would take one more iteration of the loop,
        # and the results that finish meanwhile would wait for another group.
        self._loop.call_soon_threadsafe(self._written, group, error)

    def _written(self, group: list[_Entry], error: Exception | None) -> None:
        if error is not None:
            self._control.stop("journal", error)
        # Delivered even if not written: the responses were paid for.
        for job, result, _ in group:
            self._buffer.put(job.number, result)
        self._is_writing = bool(self._pending)
        if self._is_writing:
            self._start_writing()
        else:
            self._idle.set()

    def _synced(self, done: "asyncio.Future[None]") -> None:
        self._syncing = None
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._control.stop("journal", error)


def _result_line(job: Job, result: BatchResult) -> bytes:
    now = time.time()
    try:
        line = encode(result_line(result, job.name, job.fingerprint, now))
    except ConfigurationError:
        # The response is nested too deeply to be encoded.
        line = encode(
            result_line(result, job.name, job.fingerprint, now, summarize=True)
        )
    return line + b"\n"


def _failure_line(job: Job, result: BatchResult) -> bytes:
    try:
        line = encode(failure_line(result, job.name, job.fingerprint))
    except ConfigurationError:
        # The response in the error is nested too deeply to be encoded.
        line = encode(failure_line(result, job.name, job.fingerprint, summarize=True))
    # The body of a valid row is JSON already.
    return line[:-1] + b',"body":' + _body(job) + b"}\n"


def _body(job: Job) -> bytes:
    if job.call is not None:
        return job.call.body or b"null"
    try:
        return encode(job.item)
    except ConfigurationError:
        # An item of any type, such as bytes: its text helps to find it.
        return encode(repr(job.item))
