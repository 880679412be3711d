"""
A worker of a run with several processes: an event loop, a client and a run.

Each process has one `BatchWorker`. It sends the rows that it is given through one run,
whose journal, rate and money are those of the ledger. This module does not depend on
the engine that distributes the rows: any thread or event loop may call a worker.
"""

import asyncio
import threading
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final, Self, cast

from attrs import define, evolve, field

from ..errors import BatchStoppedError, JournalError, OpenRouterError
from ..protocol.decode import as_object, decode
from .ledger import LedgerCalls, different_request
from .ledger_parts import GrantedBudget, GrantedRate, LedgerJournal, LedgerThreads
from .options import BatchOptions
from .row_limiter import RateLimiter
from .rows.items import EXTENSION_KEY, InvalidLine, Item, fingerprint_of, name_key
from .rows.results import BatchResult
from .run import BatchRun

OpenRun = Callable[[BatchOptions], AbstractAsyncContextManager[BatchRun[Any]]]
"""Creates a client and a run with the given options, and closes both."""


# Seconds for the ledger to take an error; it may be the reason of the error.
_FAIL_SECONDS: Final = 1.0


@define(eq=False)
class _Group:
    """Rows that one caller waits for."""

    items: Sequence[Item | InvalidLine]
    on_done: "Callable[[_Group], object]"
    future: "Future[list[BatchResult | None]]" = field(
        factory=Future["list[BatchResult | None]"]
    )
    results: list[BatchResult | None] = field(factory=list["BatchResult | None"])
    missing: int = 0

    def set(self, position: int, result: BatchResult | None) -> None:
        """Store a result; the last one ends the group."""
        self.results[position] = result
        self.missing -= 1
        if not self.missing:
            self.on_done(self)

    def finish(self) -> None:
        """End the wait with the results."""
        if not self.future.done():
            self.future.set_result(self.results)

    def fail(self, error: BaseException) -> None:
        """End the wait with an error."""
        if not self.future.done():
            self.future.set_exception(error)


@define(eq=False)
class _Row:
    """A row that waits for its result, and all those who wait for it."""

    item: Item | InvalidLine
    targets: list[tuple[_Group, int]]
    line: bytes | None = None

    def resolve(self, result: BatchResult | None) -> None:
        for group, position in self.targets:
            group.set(position, result)


class BatchWorker:
    """
    Sends rows through one run, for as long as the process lives.

    The run has an event loop and a thread of its own, because an engine may block its
    loops. A row that is in the ledger is not sent again; rows with the same name are
    sent once. `send` and `asend` may be called by any thread at any time.
    """

    def __init__(
        self,
        ledger: LedgerCalls,
        open_run: OpenRun,
        options: Mapping[str, Any],
        *,
        actor: str | None = None,
        report_interval: float = 1.0,
    ) -> None:
        """
        Start the thread, and wait until the run has started.

        Args:
            ledger: The ledger.
            open_run: Creates the client and the run.
            options: `concurrency` and `stall_timeout` of the run; `has_rate` and
                `has_budget`, which are True if the ledger grants these.
            actor: The id of the actor that the engine restarts when this process dies;
                None if it restarts none.
            report_interval: Seconds between two reports to the ledger.

        Raises:
            OpenRouterError: If the run cannot be started.
        """
        self.name = uuid.uuid4().hex
        self._actor = self.name if actor is None else actor
        self._ledger_calls = ledger
        self._open_run = open_run
        self._options = dict(options)
        self._report_interval = report_interval
        self._has_rate = bool(self._options.pop("has_rate", False))
        self._has_budget = bool(self._options.pop("has_budget", False))
        self._rows: dict[str, _Row] = {}
        self._groups: set[_Group] = set()
        # Held while the loop is given a callback, and when it has stopped.
        self._ending = threading.Lock()
        self._has_ended = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue: deque[Item | InvalidLine] = deque()
        self._queued: asyncio.Event
        self._run: BatchRun[Any]
        self._main: asyncio.Task[None]
        self._budget: GrantedBudget | None = None
        self._failure: BaseException | None = None
        self._is_over = False
        self._loop = asyncio.new_event_loop()
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run_thread,
            args=(started,),
            name="openrouter-worker",
            daemon=True,
        )
        self._thread.start()
        started.result()

    def send(self, items: Sequence[Item | InvalidLine]) -> list[BatchResult | None]:
        """
        Send rows, and wait for their results.

        Args:
            items: The rows. Those without a `custom_id` are named by their requests.

        Returns:
            The results in the order of the rows; None for a row that was not sent,
            because the budget is exhausted.

        Raises:
            OpenRouterError: If the run has ended, for another reason than its budget.
        """
        return self._submit(items).result()

    async def asend(
        self, items: Sequence[Item | InvalidLine]
    ) -> list[BatchResult | None]:
        """Send rows as `send` does, without blocking the event loop that calls it."""
        return await asyncio.wrap_future(self._submit(items))

    def close(self) -> None:
        """Cancel the requests in flight, and end the thread."""
        with self._ending:
            if not self._has_ended:
                self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _submit(
        self, items: Sequence[Item | InvalidLine]
    ) -> "Future[list[BatchResult | None]]":
        group = _Group(items, self._group_done)
        group.results = [None] * len(items)
        group.missing = len(items)
        if not items:
            group.finish()
            return group.future
        group.future.add_done_callback(lambda _: self._groups.discard(group))
        # A callback that is scheduled after the loop has stopped would never run.
        with self._ending:
            if not self._has_ended:
                self._groups.add(group)
                self._loop.call_soon_threadsafe(self._accept, group)
                return group.future
        group.fail(self._failure or _closed())
        return group.future

    # --- the thread ------------------------------------------------------------------

    def _run_thread(self, started: "Future[None]") -> None:
        asyncio.set_event_loop(self._loop)
        self._main = self._loop.create_task(self._work(started))
        try:
            self._loop.run_until_complete(self._main)
        except asyncio.CancelledError:
            self._failure = self._failure or _closed()
        except Exception as error:  # noqa: BLE001 - raised to the callers
            self._failure = error
            if not started.done():
                started.set_exception(error)
        finally:
            with self._ending:
                self._has_ended = True
            self._end_groups(self._failure or _closed())
            self._loop.close()

    async def _work(self, started: "Future[None]") -> None:
        self._queued = asyncio.Event()
        self._report_lock = asyncio.Lock()
        ledger = LedgerThreads(self._ledger_calls)
        self._journal = LedgerJournal(self._ledger_calls, self._restore)
        self._ledger = ledger
        rate: RateLimiter | None = None
        if self._has_rate:
            rate = GrantedRate(ledger, self.name)
        if self._has_budget:
            self._budget = GrantedBudget(ledger, self.name)
        options = BatchOptions(
            items=self,
            journal=self._journal,
            check_names=False,
            rate_limiter=rate,
            budget_source=self._budget,
            **self._options,
        )
        try:
            await ledger.call("join", self.name, self._actor)
            async with self._open_run(options) as run:
                self._run = run
                started.set_result(None)
                await self._serve(run)
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
            ledger.close()

    async def _serve(self, run: BatchRun[Any]) -> None:
        """Pass results on until the run fails. An exhausted budget is not a failure."""
        reading = self._loop.create_task(self._read(run))
        reporting = self._loop.create_task(self._report(run))
        try:
            await asyncio.gather(reading, reporting)
        except OpenRouterError as error:
            self._failure = error
            await self._fail(error)
            # Nobody waits for rows that are not delivered any more.
            self._end_groups(error)
            raise
        finally:
            for task in (reading, reporting):
                task.cancel()
            await asyncio.wait({reading, reporting})

    async def _read(self, run: BatchRun[Any]) -> None:
        async for result in run:
            # A run that cannot write delivers its results all the same. The ledger
            # does not have them, so they do not count.
            if self._journal.failure is None:
                self._finish(result)
        # The budget is exhausted. Rows that are done can still be asked for.
        self._is_over = True
        self._queue.clear()
        rows, self._rows = self._rows, {}
        for row in rows.values():
            self._resolve_late(row)

    async def _report(self, run: BatchRun[Any]) -> None:
        while True:
            await asyncio.sleep(self._report_interval)
            await self._tell(run)

    async def _tell(self, run: BatchRun[Any]) -> None:
        budget = self._budget
        # One report after the other: each replaces the one before.
        async with self._report_lock if budget is None else budget.lock:
            is_idle = budget is not None and not self._rows and budget.give_back()
            await self._ledger.call("report", self.name, run.stats, is_idle=is_idle)

    async def _fail(self, error: Exception) -> None:
        """Tell the ledger why the run ends, if it responds."""
        if not isinstance(error, OpenRouterError):
            return
        with suppress(JournalError, TimeoutError):
            async with asyncio.timeout(_FAIL_SECONDS):
                await self._ledger.call("fail", error)

    # --- rows ------------------------------------------------------------------------

    def _accept(self, group: _Group) -> None:
        """Take a group of rows, on the thread of the loop."""
        if self._failure is not None:
            group.fail(self._failure)
            return
        self._add_task(self._start(group))

    async def _start(self, group: _Group) -> None:
        """Ask the ledger which rows are done, and queue all of them."""
        try:
            named = [self._name(item) for item in group.items]
            names = list(dict.fromkeys(name for name, _ in named))
            sender = "" if self._is_over else self.name
            known = await self._ledger.call("known", names, sender)
        except Exception as error:  # noqa: BLE001 - raised to the caller
            await self._reject(group, error)
            return
        for position, (name, item) in enumerate(named):
            row = self._rows.get(name)
            if row is not None and row.item == item:
                # It is on its way, for a task that was started twice.
                row.targets.append((group, position))
                continue
            if row is not None:
                await self._reject(group, different_request(name))
                return
            row = _Row(item, [(group, position)], known.lines.get(name))
            self._add(name, row, has_failed=name in known.failed)

    async def _reject(self, group: _Group, error: Exception) -> None:
        await self._fail(error)
        group.fail(error)

    def _name(self, item: Item | InvalidLine) -> tuple[str, Item | InvalidLine]:
        """Return the name of a row, and the row with this name."""
        if isinstance(item, InvalidLine):
            name = item.custom_id
            if name is None:
                name = _hex(fingerprint_of(item.text.encode("utf-8", "replace")))
            return name, evolve(item, custom_id=name)
        row = cast("Mapping[str, Any]", item)
        name = row.get("custom_id")
        if name is None:
            try:
                name = _hex(self._run.fingerprint(row["body"]))
            except (OpenRouterError, TypeError):
                # The run rejects it, and says why.
                name = _hex(
                    fingerprint_of(repr(row["body"]).encode("utf-8", "replace"))
                )
            row = {**row, "custom_id": name}
        return name, row

    def _add(self, name: str, row: _Row, *, has_failed: bool) -> None:
        if self._is_over:
            self._resolve_late(row)
            return
        self._rows[name] = row
        if row.line is not None:
            extension = as_object(as_object(decode(row.line)).get(EXTENSION_KEY))
            self._journal.done[name_key(name)] = int(extension["fp"], 16)
        elif has_failed:
            self._journal.failed.add(name)
        self._queue.append(row.item)
        self._queued.set()

    def _resolve_late(self, row: _Row) -> None:
        """Resolve a row after the end of the run: from its line, if it has one."""
        row.resolve(None if row.line is None else self._run.restore(row.line))

    def _restore(self, name: str) -> None:
        """Resolve a row from its line in the journal."""
        row = self._forget(name)
        assert row.line is not None
        row.resolve(self._run.restore(row.line))

    def _finish(self, result: BatchResult) -> None:
        assert result.custom_id is not None
        self._forget(result.custom_id).resolve(result)

    def _forget(self, name: str) -> _Row:
        self._journal.done.pop(name_key(name), None)
        self._journal.failed.discard(name)
        return self._rows.pop(name)

    def _group_done(self, group: _Group) -> None:
        if self._rows:
            group.finish()
            return
        # Nothing else is on its way, so this may be the last that the engine wants of
        # this process: the ledger gets the money back before the engine ends it.
        self._add_task(self._finish_last(group))

    async def _finish_last(self, group: _Group) -> None:
        try:
            await self._tell(self._run)
        except JournalError as error:
            group.fail(error)
        else:
            group.finish()

    def _add_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _end_groups(self, error: BaseException) -> None:
        for group in list(self._groups):
            group.fail(error)

    # --- the run's source ------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        """Return the next row, and wait for it; there is always another one."""
        while not self._queue:
            self._queued.clear()
            await self._queued.wait()
        return cast("Item", self._queue.popleft())


def _hex(fingerprint: int) -> str:
    return f"{fingerprint:016x}"


def _closed() -> BatchStoppedError:
    return BatchStoppedError("The worker was closed.", reason="stopped")
