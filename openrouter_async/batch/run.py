"""`BatchRun`: the caller's handle on a run of many calls."""

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Generic, Protocol, Self

from ..errors import ConfigurationError, OutputError
from ..protocol.decode import as_object, decode
from ..protocol.encode import canonical
from ..transport.admission import Admission
from ..transport.concurrency_limiter import LimiterStats
from ..transport.limiter import LimiterRegistry
from .engine import BatchEngine
from .journal import Journal, RunJournal
from .lifetime import until_done
from .options import BatchOptions
from .request_builder import RequestBuilder
from .result_buffer import ResultBuffer
from .row_limiter import RateLimiter, make_rate_limiter
from .rows.items import Item, fingerprint_of, read_item
from .rows.results import BatchResult, T_co
from .rows.stats import BatchStats, RunCounters, StopReason
from .source import Source, open_source

# The other reasons are not failures: the caller stopped the run, or set a budget.
_RAISED: Final[frozenset[StopReason]] = frozenset(
    {"account", "repeated_failure", "stalled", "journal", "input", "error"}
)


class Engine(Protocol):
    """
    The engine of a run, as its handle sees it.

    Attributes:
        buffer: The results to be read.
        reason: The reason if the run ended before its rows did; otherwise None.
        failure: The error that ended the run; None if it ended without one.
    """

    buffer: ResultBuffer
    reason: StopReason | None
    failure: BaseException | None

    @property
    def is_over(self) -> bool:
        """True if the run has ended."""
        ...

    @property
    def limiters(self) -> Mapping[str | None, Admission]:
        """The concurrency limiters in use, by model."""
        ...

    def start(self) -> None:
        """Start to read rows and to send them."""

    def stop(self, reason: StopReason, error: BaseException | None) -> None:
        """Send no more rows; the first reason given is the reason of the run."""

    def stats(self) -> BatchStats:
        """Return a snapshot."""
        ...

    async def shut_down(self, *, drain: bool, timeout: float | None = None) -> None:  # noqa: ASYNC109 - at the timeout, requests are cancelled; nothing is raised
        """Send no more rows, and return when the run has ended."""

    async def wait(self) -> None:
        """Wait for the end of the run."""


MakeEngine = Callable[[Source, RunJournal | None, Executor], Engine]


class BatchRun(Generic[T_co]):
    """
    A run of many calls, created by `client.chat.send_many(...)`.

    `async with` starts it: nothing is read or sent before. Iterate over it for the
    results. Leaving the block, in any way, cancels the requests in flight and waits
    until they have ended.
    """

    def __init__(
        self,
        options: BatchOptions,
        builder: RequestBuilder,
        registry: LimiterRegistry,
        make_engine: MakeEngine | None = None,
    ) -> None:
        """
        Create a run that is not started.

        Args:
            options: The options of the run.
            builder: Builds and sends the requests.
            registry: The client's concurrency limiters.
            make_engine: Returns the engine for a source, an open journal and the
                thread of its files. None: the engine that sends each row as a call.
        """
        self._options = options
        self._make_engine = make_engine or self._make_batch_engine
        self._builder = builder
        self._registry = registry
        journal = options.journal
        self._journal: RunJournal | None
        if isinstance(journal, str | os.PathLike):
            self._journal = Journal(journal)
        else:
            self._journal = journal
        self._executor: ThreadPoolExecutor | None = None
        self._engine: Engine | None = None
        self._rate_limiter: RateLimiter | None = None
        self._is_stopped = False
        self._is_closed = False
        self._is_failure_raised = False

    # --- before and after ------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """
        Open the journal, and start to send.

        Raises:
            JournalError: If the journal is in use or is not a journal.
            ConfigurationError: If the run was entered before, or a library that an
                option needs is not installed.
        """
        if self._executor is not None:
            raise ConfigurationError(
                "A BatchRun can only be entered once. Create another one."
            )
        options = self._options
        # A missing library is reported before the journal is locked.
        self._rate_limiter = options.rate_limiter
        if options.rpm is not None:
            self._rate_limiter = make_rate_limiter(options.rpm)
        executor = ThreadPoolExecutor(1, thread_name_prefix="openrouter-journal")
        source = open_source(options.items)
        self._executor = executor
        if self._journal is not None:
            await _open(self._journal, executor)
        self._engine = self._make_engine(source, self._journal, executor)
        if self._is_stopped:
            self._engine.stop("stopped", None)
        self._engine.start()
        return self

    def _make_batch_engine(
        self, source: Source, journal: RunJournal | None, executor: Executor
    ) -> BatchEngine:
        return BatchEngine(
            self._options,
            self._builder,
            self._registry,
            source,
            journal,
            executor,
            self._rate_limiter,
        )

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
        engine = self._engine
        if exc is not None or self._is_failure_raised or engine is None:
            return
        if engine.reason == "journal" and engine.failure is not None:
            # Also raised to a caller that stopped reading: rows that are missing from
            # the journal will be sent, and billed, again.
            raise engine.failure

    async def aclose(self) -> None:
        """
        Cancel the requests in flight, wait until they have ended, close the journal.

        Every result that was completed is in the journal, even if it was not read.
        """
        engine = self._engine
        if self._is_closed or engine is None:
            return
        if not engine.is_over:
            await engine.shut_down(drain=False)
        self._is_closed = True
        engine.buffer.clear()

    close = aclose

    def fingerprint(self, item: Item) -> int:
        """
        Return the fingerprint of the request that an item becomes.

        Raises:
            TypeError: If a field has the wrong type.
            ConfigurationError: If the item cannot be sent.
        """
        body = self._builder.body(read_item(item, 0))
        self._builder.call(body)
        return fingerprint_of(canonical(body))

    def restore(self, line: bytes) -> BatchResult[T_co]:
        """Return the result in a line of a journal, with its output."""
        result = BatchResult[T_co].from_line(as_object(decode(line)))
        assert result.response is not None
        try:
            result.response, result.output = self._builder.parse(result.response)
        except OutputError as error:
            result.response, result.error = None, error
        return result

    async def stop(self, *, drain: bool = True, timeout: float | None = None) -> None:  # noqa: ASYNC109 - at the timeout, requests are cancelled; nothing is raised
        """
        Send no more requests, and return when those in flight have finished.

        Results that were not read yet can still be read. Rows that were not sent, or
        wait for a retry, are sent by the next run with the same journal.

        Args:
            drain: If False, cancel the requests in flight. They may be billed.
            timeout: Seconds after which requests in flight are cancelled; None: never.
        """
        if self._engine is not None:
            await self._engine.shut_down(drain=drain, timeout=timeout)
        elif self._journal is not None and self._executor is not None:
            # `__aenter__` is reading the journal, which takes seconds if it is large.
            self._is_stopped = True
            self._journal.cancel_open()

    # --- results ---------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchResult[T_co]:
        """
        Return the next result.

        Raises:
            OpenRouterError: If the run ended before its rows did, or, with
                `on_error="raise"`, if a row failed.
            OSError: If the file of rows cannot be read.
            ConfigurationError: If the run was not entered, or two tasks iterate.
        """
        engine = self._engine
        if engine is None:
            raise ConfigurationError(
                "The run was not started. Enter it first: "
                "async with client.chat.send_many(...) as run: "
                "async for result in run: ..."
            )
        result = await engine.buffer.get()
        if result is None:
            await engine.wait()
            if engine.failure is not None and engine.reason in _RAISED:
                self._is_failure_raised = True
                raise engine.failure
            raise StopAsyncIteration
        if result.error is not None and self._options.on_error == "raise":
            await engine.shut_down(drain=False)
            raise result.error
        return result

    @property
    def stats(self) -> BatchStats:
        """A snapshot of the progress."""
        if self._engine is not None:
            return self._engine.stats()
        return RunCounters().stats(
            total=None,
            waiting=0,
            budget=None,
            earlier_cost=0.0,
            seconds=0.0,
            is_over=False,
            stop_reason=None,
        )

    @property
    def limiters(self) -> Mapping[str | None, LimiterStats]:
        """The state of the concurrency limiters, by model."""
        if self._engine is None:
            return {}
        limiters = self._engine.limiters
        return {model: limiter.stats() for model, limiter in limiters.items()}

    def __repr__(self) -> str:
        stats, state = self.stats, "new"
        if self._engine is not None:
            state = "running" if not stats.is_over else stats.stop_reason or "ended"
        return f"<BatchRun {state} {stats.ok} ok, {stats.failed} failed>"


async def _open(journal: RunJournal, executor: ThreadPoolExecutor) -> None:
    """Open a journal on a thread; if that fails, release journal and thread."""
    opening = executor.submit(journal.open)
    try:
        await asyncio.wrap_future(opening)
    except BaseException:
        # If this task was cancelled, the thread goes on and may open the journal. The
        # same thread closes it afterwards.
        journal.cancel_open()
        closing = asyncio.wrap_future(executor.submit(journal.close))
        executor.shutdown(wait=False)
        await until_done(closing)
        raise
