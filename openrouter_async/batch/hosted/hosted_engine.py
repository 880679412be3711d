"""HostedEngine: the engine of a run whose rows are sent as hosted batches."""

import asyncio
import datetime as dt
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, Final, cast

from ...errors import ConfigurationError, JournalError
from ...protocol.budget import Price
from ...protocol.decode import decode
from ...protocol.encode import encode
from ...transport.admission import Admission
from ..jobs import Job, JobQueue
from ..journal import Journal
from ..lifetime import RunLifetime
from ..options import BatchOptions
from ..request_builder import RequestBuilder
from ..result_buffer import ResultBuffer
from ..rows.hash_index import HashMap64
from ..rows.items import name_key
from ..rows.results import BatchResult
from ..rows.stats import BatchStats, HostedStats, RunCounters, StopReason
from ..source import Source
from .collector import Collector
from .context import FilledGroup, HostedOptions, RunContext, logger
from .plan import BatchGroup, PlannedRow, other_slug, plan_row
from .routes import BatchRoutes
from .state import RowEntry, StateFile
from .submitter import Submitter, first_of

# Results that a slow reader may leave unread: at 10 KB each, 3 MB.
_BUFFER_SIZE: Final = 256
# A batch may have so many rows less than the maximum, and at most a hundredth less.
_MAX_LEFT_OUT: Final = 4
# Rows are not limited by the buffer: they are on the disk until their batch has ended.
_UNLIMITED: Final = 2**62


class HostedEngine(RunLifetime):
    """
    The parts of a run with hosted batches, while it is entered.

    Attributes:
        limiters: Empty: hosted batches have no limits to discover.
    """

    limiters: Mapping[str | None, Admission]
    reason: StopReason | None

    def __init__(
        self,
        options: BatchOptions,
        hosted: HostedOptions,
        builder: RequestBuilder,
        routes: BatchRoutes,
        source: Source,
        journal: Journal,
        executor: Executor,
        *,
        has_output: bool,
    ) -> None:
        """
        Wire the parts; nothing is read or sent before `start`.

        Args:
            options: The options of every run.
            hosted: The options of hosted batches.
            builder: Builds the requests.
            routes: The calls of `/batches`.
            source: The rows.
            journal: The journal, already open.
            executor: One thread, for all files.
            has_output: If True, the rows ask for a type of output.
        """
        loop = asyncio.get_running_loop()
        buffer = ResultBuffer(loop, _BUFFER_SIZE, ordered=False)
        super().__init__(options, source, executor, buffer)
        self._main: asyncio.Task[None] | None = None
        self.limiters = {}
        self._wait = hosted.wait
        self._has_output = has_output
        self._counters = RunCounters()
        budget = builder.new_budget(options.max_cost, journal.spent)
        self._has_limit = options.max_cost is not None
        self._context = context = RunContext(
            self,
            hosted,
            routes,
            builder,
            journal,
            StateFile(journal.path),
            executor,
            self.buffer,
            self._counters,
            budget,
        )
        self._jobs = JobQueue(
            builder,
            source,
            ResultBuffer(self._loop, _UNLIMITED, ordered=False),
            self._counters,
            self,
            journal=journal,
            has_budget=budget is not None,
        )
        # Rows in batches of earlier runs, which are not submitted again.
        self._submitted = HashMap64()
        self._groups: dict[BatchGroup, FilledGroup] = {}
        self._prices: dict[str, Price | None] = {}
        self._is_read = False
        # Rows after the one that was read last; None as long as it is unknown.
        self._left: int | None = None
        self._changed = asyncio.Event()
        self._submitter = Submitter(context, self._batch_changed)
        self._collector = Collector(context, self._submitter)
        if budget is not None:
            budget.watch(self._money_returned)

    def start(self) -> None:
        """Start to read rows and to submit them."""
        self._main = self._loop.create_task(self._run())
        self._begin()

    def stats(self) -> BatchStats:
        """Return a snapshot."""
        context = self._context
        found = list(context.state.open_batches.values())
        batches = [batch for batch in found if batch.id is not None]
        filling = sum(group.count for group in self._groups.values())
        self._counters.in_flight = sum(len(batch.rows) for batch in batches)
        expiries = [batch.expires_at for batch in batches if batch.expires_at]
        return self._counters.stats(
            total=self._source.total,
            waiting=filling + self._submitter.waiting_rows,
            budget=context.budget if self._has_limit else None,
            earlier_cost=context.journal.spent + self._earlier_lost,
            seconds=self.seconds,
            is_over=self.is_over,
            stop_reason=self.reason,
            hosted=HostedStats(
                open_batches=len(batches),
                rows=self._counters.in_flight,
                oldest_seconds=max(
                    (time.time() - batch.time for batch in batches), default=None
                ),
                next_expiry=min(expiries, default=None),
                reserved=sum(batch.reserved for batch in batches)
                if self._has_limit
                else None,
                unanswered=len(found) - len(batches),
            ),
        )

    # --- RunControl ------------------------------------------------------------------

    def stop(self, reason: StopReason, error: BaseException | None) -> None:
        """Submit no more batches; the first reason given is the reason of the run."""
        if self.is_over:
            return
        self._keep_reason(reason, error)
        self._jobs.close()
        self._context.stopping.set()
        self._changed.set()

    def add_worker(self) -> None:
        """Do nothing: hosted batches have no workers."""

    # --- the run ---------------------------------------------------------------------

    _earlier_lost = 0.0

    async def _run(self) -> None:
        """Run until everything is collected, or the run must end."""
        context = self._context
        await context.in_thread(context.state.open)
        self._restore()
        reader = self._loop.create_task(self._read())
        submitting = self._loop.create_task(self._submitter.work())
        flushing = self._loop.create_task(self._flush_old())
        watching = self._loop.create_task(self._watch())
        tasks = {reader, submitting, flushing, watching}
        try:
            while not watching.done():
                done, tasks = await asyncio.wait(
                    tasks, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    # An error of one task ends the run.
                    task.result()
            reader.cancel()
            flushing.cancel()
            if context.stopping.is_set():
                # The submissions that were sent already get their response.
                await self._submissions_end()
        finally:
            # Never empty: `flushing` and `submitting` only end when cancelled.
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        # A submission that fails is over, and the watcher may end before its task does.
        for task in (reader, submitting, flushing):
            if not task.cancelled():
                task.result()

    def _restore(self) -> None:
        """Take over the batches that earlier runs left open."""
        context = self._context
        self._earlier_lost = context.state.lost
        if context.budget is not None:
            context.budget.spend_earlier(context.state.lost)
        for batch in context.state.open_batches.values():
            reserved = batch.reserved / max(1, len(batch.rows))
            for entry in batch.rows.values():
                self._submitted.put(name_key(entry.name), entry.fingerprint)
                if context.budget is not None:
                    entry.reserved = self._restore_reservation(reserved)
            if batch.id is None:
                self._submitter.put(batch)

    def _restore_reservation(self, amount: float) -> float:
        """Reserve again; read no further rows if `max_cost` is lower than it was."""
        budget = self._context.budget
        assert budget is not None
        reserved = budget.reserve(amount)
        if reserved is None:
            self._stop_reading()
            reserved = budget.restore(amount)
        return reserved

    async def _submissions_end(self) -> None:
        self._submitter.discard()
        while self._submitter.active:
            self._changed.clear()
            await self._changed.wait()

    def _batch_changed(self) -> None:
        self._collector.hurry()
        self._changed.set()

    # --- reading ---------------------------------------------------------------------

    async def _read(self) -> None:
        """Read all rows, and put each into the group that it is submitted with."""
        count = 0
        while (job := await self._jobs.next()) is not None:
            await self._add(job)
            count += 1
            if not count % 100:
                # Sources that never wait would leave no time for other tasks.
                await asyncio.sleep(0)
        self._is_read = True
        await self._flush(list(self._groups))
        self._changed.set()

    async def _add(self, job: Job) -> None:
        context = self._context
        total = self._source.total
        self._left = None if total is None else max(0, total - job.index - 1)
        key = name_key(job.name)
        known = self._submitted.get(key) if job.call is not None else None
        if known is not None:
            if known != job.fingerprint:
                self.stop("journal", _changed_row(job))
            return
        entry = RowEntry(job.index, job.custom_id, job.fingerprint)
        planned = self._plan(job)
        if isinstance(planned, ConfigurationError):
            result = BatchResult[Any](job.index, job.custom_id, error=planned)
            await context.deliver(None, [(entry, result, _request_of(job))])
            return
        reserved = await self._reserve(job, planned.group.model)
        if reserved is None:
            return
        entry.reserved = reserved
        await self._add_planned(planned, entry)

    def _plan(self, job: Job) -> PlannedRow | ConfigurationError:
        if job.call is None:
            assert job.error is not None
            return job.error
        body = decode(job.call.body or b"null")
        if self._has_output and body.get("provider") == {"require_parameters": True}:
            # Added for `output`. A batch runs on one provider, which is not chosen by
            # its parameters.
            del body["provider"]
        try:
            fingerprint = job.fingerprint if job.custom_id is None else None
            planned = plan_row(body, job.name, fingerprint)
        except ConfigurationError as error:
            return error
        limit = self._context.options.batch_bytes
        if len(planned.line) + 1000 > limit:
            return ConfigurationError(
                f"Row {job.name!r} has {len(planned.line)} bytes, more than fit into "
                f"batch_bytes={limit}."
            )
        return planned

    async def _add_planned(self, planned: PlannedRow, entry: RowEntry) -> None:
        options, key = self._context.options, planned.group
        filled = self._groups.get(key)
        held: list[tuple[PlannedRow, RowEntry]] = []
        if filled is not None:
            if filled.held and not self._has_to_differ(filled):
                filled.add_held()
            if filled.size + len(planned.line) + 2 > options.batch_bytes:
                await self._flush([key])
                filled = None
            elif filled.count >= options.batch_rows:
                held, filled.held = filled.held, []
                await self._flush([key])
                filled = None
        if filled is None:
            filled = self._groups[key] = self._context.new_group(key)
        for row in (*held, (planned, entry)):
            if self._has_to_differ(filled):
                filled.held.append(row)
            else:
                filled.add(*row)
        if filled.count >= options.batch_rows and not filled.held:
            await self._flush([key])

    def _has_to_differ(self, filled: FilledGroup) -> bool:
        """
        Return True if submissions that are open have as many rows, or more.

        The last few rows are held back then: with another number of rows, the list can
        tell the submissions apart, and none has to wait for the other. It waits if the
        rows that are held back are known to need a further batch.
        """
        count, most = len(filled.rows), self._context.options.batch_rows
        if not most - min(_MAX_LEFT_OUT, most // 100) <= count < most:
            return False
        if self._left is not None:
            # Those that are held, the one that was read last, and those after it.
            rows = len(filled.held) + 1 + self._left
            if math.ceil(rows / most) > math.ceil((rows - (most - count)) / most):
                return False
        taken = self._submitter.open_counts(filled.group.model)
        return all(larger in taken for larger in range(count + 1, most + 1))

    async def _flush(self, keys: list[BatchGroup]) -> None:
        """Queue groups for submission; wait if too many are queued."""
        for key in keys:
            filled = self._groups.pop(key)
            filled.add_held()
            self._submitter.put(filled)
        await self._submitter.wait_for_space()

    async def _flush_old(self) -> None:
        """Submit groups that are not full, some time after their first row."""
        fill = self._context.options.intervals.fill
        while True:
            await asyncio.sleep(fill / 10)
            now = self._loop.time()
            old = [key for key, g in self._groups.items() if g.deadline <= now]
            await self._flush(old)

    # --- money -----------------------------------------------------------------------

    async def _reserve(self, job: Job, model: str) -> float | None:
        """Reserve money for a row; None if there will not be enough."""
        context = self._context
        price = await self._price(model)
        budget = context.budget
        if budget is None:
            return 0.0
        highest = None
        if price is not None and job.bounds is not None:
            highest = price.highest_cost(job.bounds)
        while True:
            # Before the attempt, so that money that returns meanwhile is noticed.
            context.settled.clear()
            reserved = budget.reserve(highest)
            if reserved is not None:
                return reserved
            # Money comes back only from batches that were submitted.
            await self._flush(list(self._groups))
            if budget.refusal(highest) is not None or not self._wait:
                self._stop_reading()
                return None
            await context.settled.wait()

    def _money_returned(self) -> None:
        """Wake the reader; other threads may use the client's budgets."""
        with suppress(RuntimeError):
            # The loop may be closed, if the run was never left.
            self._loop.call_soon_threadsafe(self._context.settled.set)

    def _stop_reading(self) -> None:
        """Submit no further rows, but collect the batches that are open."""
        if self.reason is None:
            self.reason = "budget"
        self._jobs.close()

    async def _price(self, model: str) -> Price | None:
        """Return the batch price of a model, and warn if the live price is lower."""
        if model in self._prices:
            return self._prices[model]
        builder = self._context.builder
        base = model.removesuffix(":batch")
        batch = await builder.fetch_price(other_slug(base))
        live = await builder.fetch_price(base)
        if batch is not None and live is not None:
            higher = (batch.prompt > live.prompt, batch.completion > live.completion)
            if any(higher):
                logger.warning(
                    "%s is more expensive in batches than live: $%g and $%g per "
                    "million input and output tokens, not $%g and $%g (read at %s).",
                    base,
                    float(batch.prompt) * 1e6,
                    float(batch.completion) * 1e6,
                    float(live.prompt) * 1e6,
                    float(live.completion) * 1e6,
                    dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
                )
        self._prices[model] = batch
        return batch

    # --- watching --------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look at the list of batches until everything is collected."""
        context = self._context
        while not context.stopping.is_set():
            is_submitted = self._is_read and not self._groups
            is_submitted = is_submitted and not self._submitter.active
            if is_submitted and not self._wait:
                if self._collector.watched:
                    await self._collector.look()
                if not self._submitter.active:
                    return
                continue
            if is_submitted and not context.state.open_batches:
                return
            if await self._next_look():
                await self._collector.look()

    async def _next_look(self) -> bool:
        """Wait for the next look; return False if something else happened first."""
        changed = self._changed
        changed.clear()
        if not self._wait or not self._collector.watched:
            await changed.wait()
            return False
        end = self._loop.time() + self._collector.next_wait()
        while (left := end - self._loop.time()) > 0:
            await first_of(changed, timeout=left)
            changed.clear()
            if self._context.stopping.is_set():
                return False
        return True

    # --- the end ---------------------------------------------------------------------

    def _monitor(self) -> None:
        """Do nothing: the tasks of the run have their own intervals."""

    def _cancel(self) -> None:
        """Cancel submissions; the next run looks for these batches in the list."""
        assert self._main is not None
        self._main.cancel()

    async def _run_to_end(self) -> None:
        main = self._main
        assert main is not None
        try:
            await asyncio.wait({main})
        finally:
            main.cancel()
            await asyncio.wait({main})
            if not main.cancelled() and main.exception() is not None:
                self._fail(main.exception())

    def _fail(self, error: BaseException | None) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = cast("tuple[BaseException, ...]", error.exceptions)[0]
        self.stop("error", error)
        reason: StopReason = "journal" if isinstance(error, JournalError) else "error"
        self.reason = reason
        self.failure = error

    def _closers(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        return self._discard, self._close_state, self._close_journal

    async def _discard(self) -> None:
        """Remove what was not submitted."""
        for group in self._groups.values():
            group.writer.discard()
        self._submitter.discard()

    async def _close_state(self) -> None:
        await self._context.in_thread(self._context.state.close)

    async def _close_journal(self) -> None:
        await self._context.in_thread(self._context.journal.close)

    def _release(self) -> None:
        if self._context.budget is not None:
            self._context.budget.unwatch(self._money_returned)


def _changed_row(job: Job) -> JournalError:
    return JournalError(
        f"An open hosted batch has a different request for {job.name!r}: the rows or "
        "the parameters have changed since it was submitted.",
        hint="Use a new journal, or the original rows and parameters.",
    )


def _request_of(job: Job) -> Any:
    """Return the request of an invalid row, as far as it can be encoded."""
    if job.call is not None:
        return decode(job.call.body or b"null")
    try:
        encode(job.item)
    except ConfigurationError:
        return repr(job.item)
    return job.item
