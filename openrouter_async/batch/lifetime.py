"""The lifetime of a run, whatever its engine: progress reports, the end, its reason."""

import asyncio
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, Final

from ..errors import JournalError
from .options import BatchOptions
from .progress import ProgressLine
from .result_buffer import ResultBuffer
from .rows.stats import BatchStats, StopReason
from .source import Source

# Seconds: lines reach the disk within a second, as the journal promises.
_TICK: Final = 0.5

logger = logging.getLogger("openrouter_async")


class RunLifetime(ABC):
    """
    Base class of the engines: progress reports, the end of a run, and its reason.

    Attributes:
        buffer: The results to be read.
        reason: The reason if the run ended before its rows did; otherwise None.
        failure: The error that ended the run; None if it ended without one.
    """

    def __init__(
        self,
        options: BatchOptions,
        source: Source,
        executor: Executor,
        buffer: ResultBuffer,
    ) -> None:
        """
        Note the start of the run.

        Args:
            options: The options of the run.
            source: The rows; closed at the end.
            executor: The thread of the run's files; ended at the end.
            buffer: The results to be read.
        """
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._ended: float | None = None
        self._end_task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._source = source
        self._executor = executor
        self._progress = progress_of(options)
        self.buffer = buffer
        self.reason: StopReason | None = None
        self.failure: BaseException | None = None

    @property
    def is_over(self) -> bool:
        """True if the run has ended."""
        return self._ended is not None

    @property
    def seconds(self) -> float:
        """Duration of the run, so far or in total."""
        now = self._loop.time() if self._ended is None else self._ended
        return now - self._started

    # --- implemented by the engines --------------------------------------------------

    @abstractmethod
    def stats(self) -> BatchStats:
        """Return a snapshot."""

    @abstractmethod
    def stop(self, reason: StopReason, error: BaseException | None) -> None:
        """Send no more rows; the first reason given is the reason of the run."""

    @abstractmethod
    def _monitor(self) -> None:
        """Perform the periodic checks; called twice a second."""

    @abstractmethod
    def _cancel(self) -> None:
        """Cancel the requests in flight."""

    @abstractmethod
    async def _run_to_end(self) -> None:
        """Return when nothing is in flight any more."""

    @abstractmethod
    def _closers(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """Return the functions that release what the engine holds, in their order."""

    @abstractmethod
    def _release(self) -> None:
        """Release what takes no time, even if a function of `_closers` fails."""

    # --- from start to end -----------------------------------------------------------

    def _begin(self) -> None:
        """Start the reports, and the task that closes the run when it has ended."""
        self._timer = self._loop.call_later(_TICK, self._tick)
        self._end_task = self._loop.create_task(self._end())

    def _tick(self) -> None:
        self._monitor()
        self._report()
        self._timer = self._loop.call_later(_TICK, self._tick)

    def _report(self) -> None:
        progress = self._progress
        if progress is not None:
            call_and_log(lambda: progress(self.stats()))

    def _keep_reason(self, reason: StopReason, error: BaseException | None) -> None:
        """Store why the run stops; if called again, the first reason is kept."""
        if self.reason is None:
            self.reason, self.failure = reason, error

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
            self._cancel()
        await until_done(self._end_task)

    async def wait(self) -> None:
        """Wait for the end of the run."""
        assert self._end_task is not None
        await asyncio.wait({self._end_task})

    async def _end(self) -> None:
        try:
            await self._run_to_end()
        finally:
            # Also if this task is cancelled, as `asyncio.run` does when it ends while
            # a run is still entered: the journal must be written and unlocked.
            await self._close()

    async def _close(self) -> None:
        try:
            for close in (*self._closers(), self._source.aclose):
                try:
                    await close()
                except Exception as error:  # noqa: BLE001 - raised to the reader
                    if self.failure is None:
                        is_journal = isinstance(error, JournalError)
                        self.reason = "journal" if is_journal else "input"
                        self.failure = error
        finally:
            self._release()
            self._executor.shutdown(wait=False)
            self._ended = self._loop.time()
            assert self._timer is not None
            self._timer.cancel()
            self._report()
            if isinstance(self._progress, ProgressLine):
                call_and_log(self._progress.end)
            self.buffer.close()


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
