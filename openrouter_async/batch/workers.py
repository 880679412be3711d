"""
The workers of a run: each takes a job, sends it, and delivers its result.

A worker sends one row after the other; there is no task for each row. While the retry
loop of the transport waits to send a row again, so does its worker. `RowSender` sends
one row, `WorkerPool` has the tasks.
"""

import asyncio
from typing import Final

from ..errors import BatchStoppedError, BudgetExceededError, OpenRouterError
from ..protocol.call import Call
from ..protocol.overload import RepeatedFailures, is_fatal, repeated_failure
from ..protocol.response_parsing import usage_of
from ..transport.admission import Admission
from ..transport.limiter import LimiterRegistry
from ..transport.reservations import BudgetQueue
from ..types import ChatResponse
from .jobs import Job, JobQueue
from .journal_writer import JournalWriter
from .request_builder import RequestBuilder
from .result_buffer import ResultBuffer
from .row_limiter import RateLimiter, RowLimiter
from .rows.results import BatchResult
from .rows.stats import RunControl, RunCounters

# Workers beyond twice the concurrency limit, for rows that wait for a retry.
_EXTRA_WORKERS: Final = 256


class RowSender:
    """
    Sends one row through the budget, the limiters and the transport.

    Attributes:
        limiters: The concurrency limiters in use, by model.
    """

    def __init__(
        self,
        builder: RequestBuilder,
        registry: LimiterRegistry,
        counters: RunCounters,
        control: RunControl,
        *,
        concurrency: int | None,
        rate_limiter: RateLimiter | None,
        queue: BudgetQueue | None,
    ) -> None:
        """
        Create the sender.

        Args:
            builder: Sends the calls and parses the responses.
            registry: The client's concurrency limiters.
            counters: The run's counters.
            control: Stops the run when its budget or account is exhausted.
            concurrency: A fixed concurrency limit; None adapts it.
            rate_limiter: The limit of requests per minute; None for no limit.
            queue: The budget of the run; None if nothing is limited.
        """
        self._builder = builder
        self._registry = registry
        self._counters = counters
        self._control = control
        self._concurrency = concurrency
        self._rate_limiter = rate_limiter
        self._queue = queue
        self._loop = asyncio.get_running_loop()
        self.limiters: dict[str | None, Admission] = {}

    @property
    def has_waiters(self) -> bool:
        """True if a row waits for the budget."""
        return self._queue is not None and self._queue.has_waiters

    def row_limiter(self, call: Call[ChatResponse]) -> RowLimiter:
        """Return a limiter for the attempts of a call."""
        limiter = self.limiters.get(call.model) or self._open_limiter(call.model)
        return RowLimiter(
            limiter, self._rate_limiter, call, self._counters, self._control
        )

    def _open_limiter(self, model: str | None) -> Admission:
        key = (self._loop, self._builder.base_url, self._builder.key_id, model)
        scope = self._registry.get(key)
        limiter = scope.row_admission(self._concurrency, self._builder.concurrency)
        limiter.limiters[0].start_run()
        self.limiters[model] = limiter
        return limiter

    async def send(
        self, job: Job, call: Call[ChatResponse], limiter: RowLimiter
    ) -> BatchResult | None:
        """
        Send a row and return its result.

        Args:
            job: The job.
            call: The job's call.
            limiter: The limiter that `row_limiter` returned.

        Returns:
            None if the run stops before the row has a result.
        """
        if self._queue is not None:
            highest_cost = await self._builder.highest_cost(call.model, job.bounds)
            try:
                # Settled at the end of the call, however that ends.
                call.reservation = await self._queue.reserve(highest_cost)
            except BudgetExceededError:
                self._control.stop("budget", None)
                return None
        response = output = failure = None
        try:
            received = await self._builder.send(call, limiter)
            http, usage = received.http, usage_of(received)
            response, output = self._builder.parse(received)
        except OpenRouterError as error:
            # An OutputError has the response as `partial`: it was paid for.
            failure, http, usage = error, error.http, usage_of(error.partial)
        cost = None if usage is None else usage.cost
        if failure is not None and is_fatal(failure):
            self._control.stop("account", failure)
            return None
        return BatchResult(
            job.index,
            job.custom_id,
            response,
            failure,
            cost,
            usage,
            len(http.attempts),
            max(0.0, limiter.scope.now() - limiter.sent_at),
            output,
        )


class Worker:
    """
    One worker.

    Attributes:
        task: The task.
        limiter: The limiter of the row that it sends; None before the first row.
        is_cancelled: True if its request in flight was cancelled.
    """

    __slots__ = ("is_cancelled", "limiter", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.limiter: RowLimiter | None = None
        self.is_cancelled = False

    @property
    def is_in_flight(self) -> bool:
        """True if it has a request in flight."""
        return self.limiter is not None and self.limiter.is_in_flight


class WorkerPool:
    """
    The worker tasks of a run.

    A worker is added whenever another row could be sent. A row that waits for a retry
    keeps its worker but not its slot, so there may be more workers than slots, up to
    twice the concurrency limit and 256.

    Attributes:
        finished: Set when the last worker has ended.
    """

    def __init__(
        self,
        jobs: JobQueue,
        sender: RowSender,
        buffer: ResultBuffer,
        writer: JournalWriter | None,
        counters: RunCounters,
        control: RunControl,
        *,
        max_in_flight: int,
    ) -> None:
        """
        Create the pool without a worker.

        Args:
            jobs: The rows to be sent.
            sender: Sends them.
            buffer: Receives the results, unless there is a journal.
            writer: Receives the results and delivers them; None without a journal.
            counters: The run's counters.
            control: Stops the run if a worker fails or the first rows all fail.
            max_in_flight: The highest concurrency limit.
        """
        self._jobs = jobs
        self._sender = sender
        self._buffer = buffer
        self._writer = writer
        self._counters = counters
        self._control = control
        self._max_workers = 2 * max_in_flight + _EXTRA_WORKERS
        self._failures = RepeatedFailures()
        self._loop = asyncio.get_running_loop()
        self._workers: set[Worker] = set()
        # Workers that wait for a job.
        self._idle = 0
        self._is_stopped = False
        self._is_adding = False
        self._is_wanted = False
        self.finished = asyncio.Event()

    def add(self) -> None:
        """Add a worker, unless one is idle or there is nothing that it could send."""
        if self._is_stopped:
            # An attempt has just failed. Its row now waits for a retry, which must not
            # be sent: `stop` cancels workers that have no request in flight.
            self._loop.call_soon(self.stop)
            return
        self._is_wanted = True
        if self._is_adding:
            # An eager task that is being created has asked for the next worker.
            # Creating it here would nest as many calls as there are workers.
            return
        self._is_adding = True
        try:
            while self._is_wanted and self._is_useful():
                self._is_wanted = False
                self._add()
        finally:
            self._is_adding = self._is_wanted = False

    def _is_useful(self) -> bool:
        if self._idle or self._jobs.is_over or self._sender.has_waiters:
            return False
        return len(self._workers) < self._max_workers

    def _add(self) -> None:
        worker = Worker()
        self._workers.add(worker)
        self._idle += 1
        task = worker.task = self._loop.create_task(self._run(worker))
        task.add_done_callback(lambda task: self._ended(worker, task))

    def stop(self) -> None:
        """Send no more requests; those in flight finish."""
        self._is_stopped = True
        self._jobs.close()
        # The worker that calls this ends by itself.
        current = asyncio.current_task(self._loop)
        for worker in list(self._workers):
            task = worker.task
            if not worker.is_in_flight and task is not current and task is not None:
                task.cancel()
        if not self._workers:
            self.finished.set()

    def cancel(self) -> None:
        """Send no more requests, and cancel those in flight."""
        self.stop()
        for worker in list(self._workers):
            task = worker.task
            if worker.is_in_flight and not worker.is_cancelled and task is not None:
                self._counters.abandoned += 1
                worker.is_cancelled = True
                task.cancel()

    @property
    def waiting(self) -> int:
        """Number of rows that wait for a slot, a retry, or the end of a pause."""
        busy = len(self._workers) - self._idle
        return max(0, busy - self._counters.in_flight)

    def _ended(self, worker: Worker, task: "asyncio.Task[None]") -> None:
        # A worker that was cancelled before its first step has not removed itself.
        self._workers.discard(worker)
        if task.cancelled():
            if not self._is_stopped:
                # Its row would be missing from the results.
                message = "A worker task of the run was cancelled from outside."
                self._control.stop("error", BatchStoppedError(message, reason="error"))
        elif task.exception() is not None:
            self._control.stop("error", task.exception())
        if not self._workers:
            self.finished.set()

    async def _run(self, worker: Worker) -> None:
        # Set here, because an eager task runs before `create_task` returns.
        worker.task = asyncio.current_task()
        is_idle = True
        try:
            while True:
                job = await self._jobs.next()
                if job is None:
                    return
                self._idle -= 1
                is_idle = False
                call = job.call
                result: BatchResult | None
                if call is None:
                    result = BatchResult(job.index, job.custom_id, error=job.error)
                else:
                    limiter = worker.limiter = self._sender.row_limiter(call)
                    result = await self._sender.send(job, call, limiter)
                    if result is None:
                        return
                self._deliver(job, result)
                self._idle += 1
                is_idle = True
        finally:
            self._workers.discard(worker)
            if is_idle:
                self._idle -= 1

    def _deliver(self, job: Job, result: BatchResult) -> None:
        self._counters.add(result)
        error, writer = result.error, self._writer
        if error is None:
            self._failures.succeeded()
        elif writer is not None and writer.failed_before(job):
            # It failed in an earlier run too, so it says nothing about other rows.
            pass
        elif self._failures.failed(error):
            self._control.stop("repeated_failure", repeated_failure(error))
        if writer is None:
            self._buffer.put(job.number, result)
        else:
            writer.add(job, result)
