"""The engine of a run: wires its parts, monitors them, and shuts them down."""

import asyncio
import logging
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Final

from ..errors import JournalError
from ..protocol.concurrency import MAX_LIMIT
from ..protocol.overload import stalled
from ..transport.admission import Admission
from ..transport.limiter import LimiterRegistry
from ..transport.reservations import BudgetQueue
from .jobs import JobQueue
from .journal import RunJournal
from .journal_writer import JournalWriter
from .options import BatchOptions
from .progress import ProgressLine
from .request_builder import RequestBuilder
from .result_buffer import ResultBuffer
from .row_limiter import RateLimiter
from .rows.stats import BatchStats, RunCounters, StopReason
from .source import Source
from .workers import RowSender, WorkerPool

# Results that a slow reader may leave unread, or that wait for one slow row when they
# are ordered. At 10 KB each, 10 MB.
_MIN_BUFFER_SIZE: Final = 1024
# Seconds: lines reach the disk within a second, as the journal promises.
_TICK: Final = 0.5

logger = logging.getLogger("openrouter_async")


class BatchEngine:
    """
    The parts of a run, while it is entered.

    It is the `RunControl` of its parts.

    Attributes:
        buffer: The results to be read.
        reason: The reason if the run ended before its rows did; otherwise None.
        failure: The error that ended the run; None if it ended without one.
    """

    def __init__(
        self,
        options: BatchOptions,
        builder: RequestBuilder,
        registry: LimiterRegistry,
        source: Source,
        journal: RunJournal | None,
        executor: Executor,
        rate_limiter: RateLimiter | None,
    ) -> None:
        """
        Wire the parts; nothing is read or sent before `start`.

        Args:
            options: The options of the run.
            builder: Builds and sends the requests.
            registry: The client's concurrency limiters.
            source: The rows.
            journal: The journal, already open; None without one.
            executor: One thread, for the journal's files.
            rate_limiter: The limit of requests per minute; None for no limit.
        """
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._ended: float | None = None
        self._end_task: asyncio.Task[None] | None = None
        self.reason: StopReason | None = None
        self.failure: BaseException | None = None
        self._options = options
        self._source = source
        self._journal = journal
        self._executor = executor
        self._counters = RunCounters()
        max_in_flight = options.fixed_concurrency or MAX_LIMIT
        self.buffer = ResultBuffer(
            self._loop,
            max(_MIN_BUFFER_SIZE, 4 * max_in_flight),
            ordered=options.ordered,
        )
        self._writer: JournalWriter | None = None
        if journal is not None:
            self._writer = JournalWriter(journal, executor, self.buffer, self)
        money = options.budget_source
        budget = (
            builder.new_budget(options.max_cost, self._earlier_cost)
            if money is None
            else money.budget
        )
        self._queue = None
        if budget is not None:
            extend = None if money is None else money.extend
            self._queue = BudgetQueue(budget, extend=extend)
        # Without a limit of its own, the run has no budget to report.
        has_limit = options.max_cost is not None or money is not None
        self._budget = budget if has_limit else None
        self._sender = RowSender(
            builder,
            registry,
            self._counters,
            self,
            concurrency=options.fixed_concurrency,
            rate_limiter=rate_limiter,
            queue=self._queue,
        )
        jobs = JobQueue(
            builder,
            source,
            self.buffer,
            self._counters,
            self,
            journal=journal,
            has_budget=self._queue is not None,
            check_names=options.check_names,
        )
        self._workers = WorkerPool(
            jobs,
            self._sender,
            self.buffer,
            self._writer,
            self._counters,
            self,
            max_in_flight=max_in_flight,
        )
        self._progress = progress_of(options)
        self._timer = self._loop.call_later(_TICK, self._tick)

    def start(self) -> None:
        """Start to read rows and to send them."""
        self._workers.add()
        self._end_task = self._loop.create_task(self._end())

    @property
    def is_over(self) -> bool:
        """True if the run has ended."""
        return self._ended is not None

    @property
    def limiters(self) -> Mapping[str | None, Admission]:
        """The concurrency limiters in use, by model."""
        return self._sender.limiters

    @property
    def _earlier_cost(self) -> float:
        return 0.0 if self._journal is None else self._journal.spent

    def stats(self) -> BatchStats:
        """Return a snapshot."""
        now = self._loop.time() if self._ended is None else self._ended
        return self._counters.stats(
            total=self._source.total,
            waiting=self._workers.waiting,
            budget=self._budget,
            earlier_cost=self._earlier_cost,
            seconds=now - self._started,
            is_over=self.is_over,
            stop_reason=self.reason,
        )

    # --- RunControl ------------------------------------------------------------------

    def stop(self, reason: StopReason, error: BaseException | None) -> None:
        """Stop sending requests. If called again, the first reason is kept."""
        if self.is_over:
            return
        if self.reason is None:
            self.reason, self.failure = reason, error
        self._workers.stop()

    def add_worker(self) -> None:
        """Start another worker if one could send a row now."""
        self._workers.add()

    # --- monitoring ------------------------------------------------------------------

    def _tick(self) -> None:
        for limiter in self.limiters.values():
            since = limiter.refused_since
            seconds = 0.0 if since is None else limiter.scope.now() - since
            if seconds >= self._options.stall_timeout:
                self.stop("stalled", stalled(seconds, limiter.refusals))
        if self._writer is not None:
            self._writer.sync()
        self._report()
        self._timer = self._loop.call_later(_TICK, self._tick)

    def _report(self) -> None:
        progress = self._progress
        if progress is not None:
            call_and_log(lambda: progress(self.stats()))

    # --- the end ---------------------------------------------------------------------

    async def shut_down(self, *, drain: bool, timeout: float | None = None) -> None:  # noqa: ASYNC109 - at the timeout, requests are cancelled; nothing is raised
        """
        Send no more requests, and return when the run has ended.

        Args:
            drain: If True, wait for requests in flight. If False, cancel them.
            timeout: Seconds after which requests in flight are cancelled; None: never.
        """
        assert self._end_task is not None
        self.stop("stopped", None)
        if drain:
            await asyncio.wait({self._end_task}, timeout=timeout)
        if not self.is_over:
            self._workers.cancel()
        await until_done(self._end_task)

    async def wait(self) -> None:
        """Wait for the end of the run."""
        assert self._end_task is not None
        await asyncio.wait({self._end_task})

    async def _end(self) -> None:
        try:
            await self._workers.finished.wait()
        finally:
            # Also if this task is cancelled, as `asyncio.run` does when it ends while
            # a run is still entered: the journal must be written and unlocked.
            await self._close()

    async def _close(self) -> None:
        try:
            for close in (self._close_journal, self._source.aclose):
                try:
                    await close()
                except Exception as error:  # noqa: BLE001 - raised to the reader
                    if self.failure is None:
                        is_journal = isinstance(error, JournalError)
                        self.reason = "journal" if is_journal else "input"
                        self.failure = error
        finally:
            if self._queue is not None:
                self._queue.close()
            self._executor.shutdown(wait=False)
            self._ended = self._loop.time()
            self._timer.cancel()
            self._report()
            if isinstance(self._progress, ProgressLine):
                call_and_log(self._progress.end)
            self.buffer.close()

    async def _close_journal(self) -> None:
        if self._writer is not None:
            await self._writer.flush()
        if self._journal is not None:
            await self._loop.run_in_executor(self._executor, self._journal.close)


def progress_of(options: BatchOptions) -> Callable[[BatchStats], object] | None:
    """Return the function that a run calls with its statistics; None for none."""
    if options.progress is True:
        return ProgressLine(sys.stderr, options.max_cost)
    return options.progress if callable(options.progress) else None


def call_and_log(function: Callable[[], object]) -> None:
    """Call a function of the caller; its errors do not end the run."""
    try:
        function()
    except Exception:
        logger.exception("The progress function raised an error; the run continues.")


async def until_done(future: "asyncio.Future[Any]") -> None:
    """Wait for a future even if this task is cancelled, and raise that afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
