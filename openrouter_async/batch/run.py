"""A run of many calls: what the caller holds."""

import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Generic, Self

from ..codec import encode
from ..errors import ConfigurationError, JournalError, RunStoppedError
from .budget import Budget
from .calls import Calls
from .control import MOST
from .crew import Crew, Order
from .door import LimitStats, Scopes
from .extras import make_limiter
from .items import name_key
from .journal import Journal
from .plan import Plan
from .progress import ProgressLine
from .results import BatchResult, T_co, failure_line, result_line
from .scribe import Scribe
from .shelf import Shelf
from .source import Source, open_source
from .stats import RunStats, StopReason, Tally
from .verdict import likeness

logger = logging.getLogger("openrouter_async")

STALL_SECONDS: Final = 900.0
"""A pause is asked again every two minutes; that is seven times."""

_TICK: Final = 0.5
_ALIKE: Final = 20
# Between pulling and reading: what a reader may be behind, or a slow row may hold up.
_WINDOW: Final = 1024
_RAISED: Final[frozenset[str]] = frozenset(
    {"account", "alike", "stalled", "journal", "source", "error"}
)


class BatchRun(Generic[T_co]):
    """
    Many calls under way; made by `client.chat.send_many(...)`.

    Nothing is read or sent before `async with`. Iterate over it for the results.
    Leaving the block, however, cancels what is still out and waits until it is gone.

    Attributes:
        stall_seconds: So long after the first of nothing but refusals it gives up; may
            be set before the block. 900: a pause is asked again every two minutes.
    """

    def __init__(self, plan: Plan, calls: Calls, scopes: Scopes) -> None:
        self.stall_seconds = STALL_SECONDS
        self._plan = plan
        self._calls = calls
        self._scopes = scopes
        self._tally = Tally()
        self._journal = None if plan.journal is None else Journal(plan.journal)
        self._threads: ThreadPoolExecutor | None = None
        self._source: Source | None = None
        self._crew: Crew | None = None
        self._scribe: Scribe | None = None
        self._shelf: Shelf | None = None
        self._budget: Budget | None = None
        self._ending: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._likeness: set[object] = set()
        self._reason: StopReason | None = None
        self._failure: BaseException | None = None
        self._started = 0.0
        self._ended: float | None = None
        self._line: ProgressLine | None = None
        self._closed = False

    # Before and after.

    async def __aenter__(self) -> Self:
        """
        Open the journal, and begin to send.

        Raises:
            JournalError: The journal is in use, or no journal.
            ConfigurationError: It was entered before; a library is not installed.
            OSError: The file of rows can not be read.
        """
        if self._threads is not None:
            raise ConfigurationError("A run runs once; make another one.")
        plan, loop = self._plan, asyncio.get_running_loop()
        limiter = None if plan.rpm is None else make_limiter(plan.rpm)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="openrouter-journal")
        try:
            if self._journal is not None:
                await loop.run_in_executor(self._threads, self._journal.open)
        except BaseException:
            self._threads.shutdown(wait=False)
            raise
        most = plan.fixed or MOST
        shelf = Shelf(loop, max(_WINDOW, 4 * most), ordered=plan.ordered)
        self._shelf = shelf
        if plan.max_cost is not None:
            spent = 0.0 if self._journal is None else self._journal.spent
            self._budget = Budget(plan.max_cost, spent)
        if self._journal is not None:
            self._scribe = Scribe(
                self._journal, self._threads, shelf.put, self._journal_failed
            )
        self._source = open_source(plan.items, self._threads)
        self._crew = Crew(
            calls=self._calls,
            source=self._source,
            shelf=shelf,
            scopes=self._scopes,
            tally=self._tally,
            concurrency=plan.fixed,
            most=most,
            limiter=limiter,
            budget=self._budget,
            done=None if self._journal is None else self._journal.done,
            finish=self._finish,
            halt=self._halt,
        )
        self._started = loop.time()
        if plan.progress is True:
            self._line = ProgressLine(sys.stderr, plan.max_cost)
        self._crew.hire()
        self._ending = loop.create_task(self._end(self._crew))
        self._timer = loop.call_later(_TICK, self._tick, self._crew)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """
        Cancel what is out, wait until it is gone, and close the journal.

        Rows that came to a result are in the journal, read or not.
        """
        if self._closed or self._crew is None:
            return
        if self._ended is None:
            await self.stop(drain=False)
        self._closed = True
        if self._shelf is not None:
            self._shelf.clear()

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
        crew, ending = self._crew, self._ending
        if crew is None or ending is None:
            return
        self._halt("stopped", None)
        if not drain:
            crew.cancel()
        done, _ = await asyncio.wait({ending}, timeout=timeout)
        if not done:
            crew.cancel()
            await asyncio.wait({ending})
        if ending.cancelled():
            return
        error = ending.exception()
        if error is not None:
            raise error

    # Reading.

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchResult[T_co]:
        """
        Return the next result.

        Raises:
            OpenRouterError: What ended the run before its rows; with
                `on_error="raise"` the error of the first row that failed.
            ConfigurationError: It was not entered, or two tasks read it.
        """
        if self._shelf is None:
            raise ConfigurationError(
                "A run is entered first: async with client.chat.send_many(...) as run: "
                "async for result in run: ..."
            )
        result = await self._shelf.take()
        if result is None:
            if self._ending is not None:
                await asyncio.wait({self._ending})
            if self._failure is not None and self._reason in _RAISED:
                raise self._failure
            raise StopAsyncIteration
        if result.error is not None and self._plan.on_error == "raise":
            await self.stop(drain=False)
            raise result.error
        return result

    @property
    def stats(self) -> RunStats:
        """A snapshot: how far it has come."""
        tally, budget, crew = self._tally, self._budget, self._crew
        now = self._ended
        if now is None:
            now = asyncio.get_running_loop().time() if crew is not None else 0.0
        resumed = 0.0 if self._journal is None else self._journal.spent
        return RunStats(
            total=None if self._source is None else self._source.total,
            done=tally.ok + tally.failed,
            ok=tally.ok,
            failed=tally.failed,
            resumed=tally.resumed,
            in_flight=tally.in_flight,
            waiting=0 if crew is None else crew.waiting,
            attempts=tally.attempts,
            refusals=tally.refusals,
            abandoned=tally.abandoned,
            cost=tally.cost,
            spent=tally.cost + resumed if budget is None else budget.spent,
            budget=None if budget is None else budget.kind,
            overshoot=None if budget is None else budget.overshoot,
            prompt_tokens=tally.prompt_tokens,
            completion_tokens=tally.completion_tokens,
            providers=dict(tally.providers),
            seconds=now - self._started,
            is_over=self._ended is not None,
            stop_reason=self._reason,
        )

    @property
    def limits(self) -> Mapping[str | None, LimitStats]:
        """What is known of the capacity, by model."""
        doors = {} if self._crew is None else self._crew.doors
        return {model: door.stats() for model, door in doors.items()}

    # What happens.

    def _finish(self, order: Order, result: BatchResult) -> None:
        """Take a row's result: count it, write it, put it where it is read."""
        self._tally.add(result)
        assert self._shelf is not None  # noqa: S101
        scribe = self._scribe
        if scribe is None:
            self._shelf.put(order.number, result)
        else:
            scribe.add((self._line_of(order, result), result.ok, order.number, result))
        if len(self._likeness) <= 1 and self._tally.ok == 0 and result.error:
            self._likeness.add(likeness(result.error))
            if self._tally.failed == _ALIKE and len(self._likeness) == 1:
                self._halt("alike", _alike(result))

    def _line_of(self, order: Order, result: BatchResult) -> bytes:
        name = order.row.name
        if result.ok:
            if self._journal is not None:
                self._journal.succeeded(name_key(name))
            found = result_line(result, name, order.print, time.time())
            return encode(found) + b"\n"
        try:
            return encode(failure_line(result, name, order.body)) + b"\n"
        except ConfigurationError:
            # What was given is no JSON; its text must do.
            return encode(failure_line(result, name, repr(order.body))) + b"\n"

    def _journal_failed(self, error: JournalError) -> None:
        self._halt("journal", error)

    def _halt(self, reason: StopReason, error: BaseException | None) -> None:
        """Send nothing more, for this reason; the first one counts."""
        if self._ended is not None:
            return
        if self._reason is None:
            self._reason, self._failure = reason, error
        if self._crew is not None:
            self._crew.stop()

    async def _end(self, crew: Crew) -> None:
        """Wait for the last worker, and let go of everything."""
        try:
            await crew.gone.wait()
            if self._scribe is not None:
                await self._scribe.finish()
        finally:
            loop = asyncio.get_running_loop()
            if self._timer is not None:
                self._timer.cancel()
            assert self._threads is not None  # noqa: S101
            assert self._source is not None  # noqa: S101
            assert self._shelf is not None  # noqa: S101
            try:
                if self._journal is not None:
                    await loop.run_in_executor(self._threads, self._journal.close)
                await self._source.aclose()
            except Exception as error:  # noqa: BLE001 - told to the reader
                if self._failure is None:
                    broken = isinstance(error, JournalError)
                    self._reason = "journal" if broken else "source"
                    self._failure = error
            self._threads.shutdown(wait=False)
            self._ended = loop.time()
            self._report()
            if self._line is not None:
                self._line.end()
            self._shelf.close()

    def _tick(self, crew: Crew) -> None:
        """Look after it, twice a second."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for door in crew.doors.values():
            since = door.refused_since
            if since is not None and now - since >= self.stall_seconds:
                self._halt("stalled", _stalled(now - since, door.refusals))
        self._report()
        self._timer = loop.call_later(_TICK, self._tick, crew)

    def _report(self) -> None:
        told: Any = self._line or self._plan.progress
        if not callable(told):
            return
        try:
            told(self.stats)
        except Exception:
            logger.exception("progress raised; the run itself is not affected.")

    def __repr__(self) -> str:
        state = (
            "new"
            if self._crew is None
            else "running"
            if self._ended is None
            else self._reason or "ended"
        )
        return f"<BatchRun {state} {self._tally.ok} ok, {self._tally.failed} failed>"


def _alike(result: BatchResult) -> RunStoppedError:
    assert result.error is not None  # noqa: S101
    error = RunStoppedError(
        f"The first {_ALIKE} rows all failed alike: {result.error}",
        reason="alike",
        http=result.error.http,
    )
    error.__cause__ = result.error
    return error


def _stalled(seconds: float, refusals: int) -> RunStoppedError:
    return RunStoppedError(
        f"Nothing but refusals for {seconds:.0f} s ({refusals} in all).",
        reason="stalled",
        hint="Started again with its journal, the run goes on.",
    )
