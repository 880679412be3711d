"""The engine of a run: wires its parts, monitors them, and shuts them down."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from typing import Final

from ..protocol.concurrency import MAX_LIMIT
from ..protocol.overload import stalled
from ..transport.admission import Admission
from ..transport.limiter import LimiterRegistry
from ..transport.reservations import BudgetQueue
from .jobs import JobQueue
from .journal import RunJournal
from .journal_writer import JournalWriter
from .lifetime import RunLifetime
from .options import BatchOptions
from .request_builder import RequestBuilder
from .result_buffer import ResultBuffer
from .row_limiter import RateLimiter
from .rows.stats import BatchStats, RunCounters, StopReason
from .source import Source
from .workers import RowSender, WorkerPool

# Results that a slow reader may leave unread, or that wait for one slow row when they
# are ordered. At 10 KB each, 10 MB.
_MIN_BUFFER_SIZE: Final = 1024


class BatchEngine(RunLifetime):
    """
    The parts of a run, while it is entered.

    It is the `RunControl` of its parts.
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
        max_in_flight = options.fixed_concurrency or MAX_LIMIT
        size = max(_MIN_BUFFER_SIZE, 4 * max_in_flight)
        loop = asyncio.get_running_loop()
        buffer = ResultBuffer(loop, size, ordered=options.ordered)
        super().__init__(options, source, executor, buffer)
        self._options = options
        self._journal = journal
        self._counters = RunCounters()
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

    def start(self) -> None:
        """Start to read rows and to send them."""
        self._workers.add()
        self._begin()

    @property
    def limiters(self) -> Mapping[str | None, Admission]:
        """The concurrency limiters in use, by model."""
        return self._sender.limiters

    @property
    def _earlier_cost(self) -> float:
        return 0.0 if self._journal is None else self._journal.spent

    def stats(self) -> BatchStats:
        """Return a snapshot."""
        return self._counters.stats(
            total=self._source.total,
            waiting=self._workers.waiting,
            budget=self._budget,
            earlier_cost=self._earlier_cost,
            seconds=self.seconds,
            is_over=self.is_over,
            stop_reason=self.reason,
        )

    # --- RunControl ------------------------------------------------------------------

    def stop(self, reason: StopReason, error: BaseException | None) -> None:
        """Stop sending requests. If called again, the first reason is kept."""
        if self.is_over:
            return
        self._keep_reason(reason, error)
        self._workers.stop()

    def add_worker(self) -> None:
        """Start another worker if one could send a row now."""
        self._workers.add()

    # --- RunLifetime -----------------------------------------------------------------

    def _monitor(self) -> None:
        for limiter in self.limiters.values():
            since = limiter.refused_since
            seconds = 0.0 if since is None else limiter.scope.now() - since
            if seconds >= self._options.stall_timeout:
                self.stop("stalled", stalled(seconds, limiter.refusals))
        if self._writer is not None:
            self._writer.sync()

    def _cancel(self) -> None:
        self._workers.cancel()

    async def _run_to_end(self) -> None:
        await self._workers.finished.wait()

    def _closers(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        return (self._close_journal,)

    def _release(self) -> None:
        if self._queue is not None:
            self._queue.close()

    async def _close_journal(self) -> None:
        if self._writer is not None:
            await self._writer.flush()
        if self._journal is not None:
            await self._loop.run_in_executor(self._executor, self._journal.close)
