"""A run of many calls: what the caller holds."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, Generic, Self

from ..errors import ConfigurationError
from ..transport.limiter import LimiterRegistry, LimiterStats
from .engine import BatchEngine, until_done
from .journal import Journal
from .options import BatchOptions
from .request_builder import RequestBuilder
from .row_limiter import make_rate_limiter
from .rows.results import BatchResult, T_co
from .rows.stats import BatchStats, RunCounters, StopReason
from .source import open_source

_RAISED: Final[frozenset[StopReason]] = frozenset(
    {"account", "repeated_failure", "stalled", "journal", "input", "error"}
)


class BatchRun(Generic[T_co]):
    """
    Many calls under way; made by `client.chat.send_many(...)`.

    Nothing is read or sent before `async with`. Iterate over it for the results.
    Leaving the block, however, cancels what is still out and waits until it is gone.
    """

    def __init__(
        self, plan: BatchOptions, calls: RequestBuilder, scopes: LimiterRegistry
    ) -> None:
        self._plan = plan
        self._calls = calls
        self._scopes = scopes
        self._journal = None if plan.journal is None else Journal(plan.journal)
        self._threads: ThreadPoolExecutor | None = None
        self._running: BatchEngine | None = None
        self._is_stopped = False
        self._is_closed = False
        self._is_told = False

    # Before and after.

    async def __aenter__(self) -> Self:
        """
        Open the journal, and begin to send.

        Raises:
            JournalError: The journal is in use, or no journal.
            ConfigurationError: It was entered before; a library is not installed.
        """
        if self._threads is not None:
            raise ConfigurationError("A run runs once; make another one.")
        plan = self._plan
        limiter = None if plan.rpm is None else make_rate_limiter(plan.rpm)
        threads = ThreadPoolExecutor(1, thread_name_prefix="openrouter-journal")
        source = open_source(plan.items)
        self._threads = threads
        if self._journal is not None:
            await _open(self._journal, threads)
        self._running = BatchEngine(
            plan,
            self._calls,
            self._scopes,
            source,
            self._journal,
            threads,
            limiter,
            stall_seconds=plan.stall_timeout,
        )
        if self._is_stopped:
            self._running.halt("stopped", None)
        self._running.begin()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
        running = self._running
        if exc is not None or self._is_told or running is None:
            return
        if running.reason == "journal" and running.failure is not None:
            # Whoever read no further must know, too: its rows will be paid twice.
            raise running.failure

    async def aclose(self) -> None:
        """
        Cancel what is out, wait until it is gone, and close the journal.

        Rows that came to a result are in the journal, read or not.
        """
        running = self._running
        if self._is_closed or running is None:
            return
        if not running.is_over:
            await running.stop(drain=False)
        self._is_closed = True
        running.shelf.clear()

    close = aclose

    async def stop(self, *, drain: bool = True, timeout: float | None = None) -> None:  # noqa: ASYNC109 - what is out then is called back, not an error
        """
        Send nothing more; return when all that was out is back and written.

        Results that are not read yet can still be read. Rows that were not sent, or
        wait to be sent again, are left to the next run.

        Args:
            drain: False: what is out is cancelled, and may be billed all the same.
            timeout: Seconds after which what is out is cancelled; None: never.
        """
        if self._running is not None:
            await self._running.stop(drain=drain, timeout=timeout)
        elif self._journal is not None and self._threads is not None:
            # It is being opened.
            self._is_stopped = True
            self._journal.give_up()

    # Reading.

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchResult[T_co]:
        """
        Return the next result.

        Raises:
            OpenRouterError: What ended the run before its rows; with
                `on_error="raise"` the error of the first row that failed.
            OSError: The file of rows can not be read.
            ConfigurationError: It was not entered, or two tasks read it.
        """
        running = self._running
        if running is None:
            raise ConfigurationError(
                "A run is entered first: async with client.chat.send_many(...) as run: "
                "async for result in run: ..."
            )
        result = await running.shelf.take()
        if result is None:
            await running.wait()
            if running.failure is not None and running.reason in _RAISED:
                self._is_told = True
                raise running.failure
            raise StopAsyncIteration
        if result.error is not None and self._plan.on_error == "raise":
            await running.stop(drain=False)
            raise result.error
        return result

    @property
    def stats(self) -> BatchStats:
        """A snapshot: how far it has come."""
        if self._running is not None:
            return self._running.stats()
        return RunCounters().stats(
            total=None,
            waiting=0,
            budget=None,
            before=0.0,
            seconds=0.0,
            is_over=False,
            stop_reason=None,
        )

    @property
    def limiters(self) -> Mapping[str | None, LimiterStats]:
        """What is known of the capacity, by model."""
        if self._running is None:
            return {}
        return {model: door.stats() for model, door in self._running.doors.items()}

    def __repr__(self) -> str:
        stats, state = self.stats, "new"
        if self._running is not None:
            state = "running" if not stats.is_over else stats.stop_reason or "ended"
        return f"<BatchRun {state} {stats.ok} ok, {stats.failed} failed>"


async def _open(journal: Journal, threads: ThreadPoolExecutor) -> None:
    """Open a journal on a thread; if that fails, leave neither behind."""
    opening = threads.submit(journal.open)
    try:
        await asyncio.wrap_future(opening)
    except BaseException:
        # It may be open by now, or be it soon; the same thread closes it after that.
        journal.give_up()
        closing = asyncio.wrap_future(threads.submit(journal.close))
        threads.shutdown(wait=False)
        await until_done(closing)
        raise
