"""A run under way: its parts, how they are put together, and how it ends."""

import asyncio
import logging
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final

from ..errors import JournalError
from ..protocol.budget import Budget
from ..protocol.concurrency import MOST
from ..protocol.overload import RepeatedFailures, all_alike, stalled
from ..transport.limiter import ConcurrencyLimiter, LimiterRegistry
from .jobs import Job, JobQueue
from .journal import Journal
from .journal_writer import JournalWriter
from .options import BatchOptions
from .progress import ProgressLine
from .request_builder import RequestBuilder
from .reservations import BudgetReservations
from .result_buffer import ResultBuffer
from .row_limiter import RateLimiter
from .rows.results import BatchResult
from .rows.stats import BatchStats, RunCounters, StopReason
from .source import Source
from .workers import Sender, WorkerPool

# Between pulling and reading: what a reader may be behind, or a slow row may hold up.
_WINDOW: Final = 1024
_TICK: Final = 0.5

logger = logging.getLogger("openrouter_async")


class BatchEngine:
    """
    Everything that works while a run is entered.

    Attributes:
        shelf: Where results are read.
        tally: The counters.
        reason: Why it ended before its rows did; None if it did not.
        failure: What ended it.
        is_over: Whether it has ended.
    """

    def __init__(
        self,
        plan: BatchOptions,
        calls: RequestBuilder,
        scopes: LimiterRegistry,
        source: Source,
        journal: Journal | None,
        threads: Executor,
        limiter: RateLimiter | None,
        *,
        stall_seconds: float,
    ) -> None:
        """
        Put it together; nothing is sent before `begin`.

        Args:
            plan: Its options.
            calls: Makes calls of rows, and sends them.
            scopes: The client's.
            source: Of its rows.
            journal: It is open.
            threads: One thread, for the journal's files.
            limiter: Of requests a minute.
            stall_seconds: So long with nothing but refusals is a stall.
        """
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._ended: float | None = None
        self._ending: asyncio.Task[None] | None = None
        self.reason: StopReason | None = None
        self.failure: BaseException | None = None
        self.tally = RunCounters()
        self._first = RepeatedFailures()
        self._journal = journal
        self._threads = threads
        self._source = source
        most = plan.fixed or MOST
        self.shelf = ResultBuffer(
            self._loop, max(_WINDOW, 4 * most), ordered=plan.ordered
        )
        self._budget: Budget | None = None
        if plan.max_cost is not None:
            self._budget = Budget(plan.max_cost, self._before)
        self._scribe: JournalWriter | None = None
        if journal is not None:
            self._scribe = JournalWriter(
                journal, threads, self.shelf.put, partial(self.halt, "journal")
            )
        self._sender = self._make_sender(plan, calls, scopes, limiter)
        self._crew = self._make_crew(calls, most)
        self._line: ProgressLine | None = None
        if plan.progress is True:
            self._line = ProgressLine(sys.stderr, plan.max_cost)
        self._lookout = Monitor(
            self._sender.doors,
            self.stats,
            self._line or (plan.progress if callable(plan.progress) else None),
            stall_seconds=stall_seconds,
            tend=None if self._scribe is None else self._scribe.tend,
            halt=self.halt,
        )

    def _make_sender(
        self,
        plan: BatchOptions,
        calls: RequestBuilder,
        scopes: LimiterRegistry,
        limiter: RateLimiter | None,
    ) -> Sender:
        cashier = None
        if self._budget is not None:
            cashier = BudgetReservations(self._budget, calls.price)
        return Sender(
            calls,
            scopes,
            self.tally,
            concurrency=plan.fixed,
            limiter=limiter,
            cashier=cashier,
            halt=self.halt,
        )

    def _make_crew(self, calls: RequestBuilder, most: int) -> WorkerPool:
        done = None if self._journal is None else self._journal.done
        intake = JobQueue(calls, self._source, self.shelf, self.tally, done, self.halt)
        return WorkerPool(
            intake, self._sender, self.tally, most, finish=self._finish, halt=self.halt
        )

    def begin(self) -> None:
        """Begin to send."""
        self._crew.hire()
        self._ending = self._loop.create_task(self._end())

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._ended is not None

    @property
    def doors(self) -> Mapping[str | None, ConcurrencyLimiter]:
        """By model."""
        return self._sender.doors

    @property
    def _before(self) -> float:
        return 0.0 if self._journal is None else self._journal.spent

    def stats(self) -> BatchStats:
        """Return a snapshot."""
        now = self._loop.time() if self._ended is None else self._ended
        return self.tally.stats(
            total=self._source.total,
            waiting=self._crew.waiting,
            budget=self._budget,
            before=self._before,
            seconds=now - self._started,
            is_over=self.is_over,
            stop_reason=self.reason,
        )

    def _finish(self, order: Job, result: BatchResult) -> None:
        """Take a row's result: count it, write it, put it where it is read."""
        self.tally.add(result)
        error, journal = result.error, self._journal
        if error is None:
            self._first.succeeded()
        elif journal is not None and journal.has_failed(order.key):
            pass  # It failed in an earlier run, too, and says nothing of the others.
        elif self._first.failed(error):
            self.halt("repeated_failure", all_alike(error))
        if self._scribe is None:
            self.shelf.put(order.number, result)
        else:
            self._scribe.add(order, result)

    # How it ends.

    def halt(self, reason: StopReason, error: BaseException | None) -> None:
        """Send nothing more, for this reason; the first one counts."""
        if self.is_over:
            return
        if self.reason is None:
            self.reason, self.failure = reason, error
        self._crew.stop()

    async def stop(self, *, drain: bool, timeout: float | None = None) -> None:  # noqa: ASYNC109 - what is out then is called back, not an error
        """Send nothing more; return when what is out is back, or called back."""
        assert self._ending is not None
        self.halt("stopped", None)
        if drain:
            await asyncio.wait({self._ending}, timeout=timeout)
        if not self.is_over:
            self._crew.cancel()
        await until_done(self._ending)

    async def wait(self) -> None:
        """Wait for its end."""
        assert self._ending is not None
        await asyncio.wait({self._ending})

    async def _end(self) -> None:
        """Wait for the last worker, and let go of everything."""
        try:
            await self._crew.gone.wait()
        finally:
            # Also where the loop itself is going down.
            await self._let_go()

    async def _let_go(self) -> None:
        try:
            for close in (self._close_journal, self._source.aclose):
                try:
                    await close()
                except Exception as error:  # noqa: BLE001 - told to the reader
                    if self.failure is None:
                        broken = isinstance(error, JournalError)
                        self.reason = "journal" if broken else "input"
                        self.failure = error
        finally:
            self._threads.shutdown(wait=False)
            self._ended = self._loop.time()
            self._lookout.end(self._line)
            self.shelf.close()

    async def _close_journal(self) -> None:
        if self._scribe is not None:
            await self._scribe.finish()
        if self._journal is not None:
            await self._loop.run_in_executor(self._threads, self._journal.close)


async def until_done(future: "asyncio.Future[Any]") -> None:
    """Wait until it is done, even if this task is cancelled; that is raised then."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


class Monitor:
    """The one timer of a run."""

    def __init__(
        self,
        doors: Mapping[str | None, ConcurrencyLimiter],
        stats: Callable[[], BatchStats],
        tell: Callable[[BatchStats], object] | None,
        *,
        stall_seconds: float,
        tend: Callable[[], None] | None,
        halt: Callable[[StopReason, BaseException | None], None],
    ) -> None:
        """
        Begin to look.

        Args:
            doors: Of the run, by model; there will be more.
            stats: Takes a snapshot.
            tell: Called with a snapshot; what it raises is logged.
            stall_seconds: So long with nothing but refusals is a stall.
            tend: Called each time.
            halt: Called when the run must end, and why.
        """
        self._doors = doors
        self._stats = stats
        self._tell = tell
        self._stall_seconds = stall_seconds
        self._tend = tend
        self._halt = halt
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_TICK, self._look)

    def end(self, line: ProgressLine | None) -> None:
        """Look no more, but tell the end."""
        self._timer.cancel()
        self._report()
        if line is not None:
            self._guard(line.end)

    def _look(self) -> None:
        now = self._loop.time()
        for door in self._doors.values():
            since = door.refused_since
            if since is not None and now - since >= self._stall_seconds:
                self._halt("stalled", stalled(now - since, door.refusals))
        if self._tend is not None:
            self._tend()
        self._report()
        self._timer = self._loop.call_later(_TICK, self._look)

    def _report(self) -> None:
        tell = self._tell
        if tell is not None:
            self._guard(lambda: tell(self._stats()))

    def _guard(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception:
            logger.exception("progress raised; the run itself is not affected.")
