"""Parts that submission and collection of one run share."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from attrs import define, field, frozen

from ...errors import ConfigurationError, OpenRouterError
from ...protocol.budget import Budget
from ...protocol.encode import encode
from ..journal import Journal
from ..request_builder import RequestBuilder
from ..result_buffer import ResultBuffer
from ..rows.items import EXTENSION_KEY, name_key
from ..rows.results import BatchResult, failure_line, result_line
from ..rows.stats import RunControl, RunCounters
from .intervals import HostedIntervals
from .plan import MAX_BYTES, MAX_ROWS, BatchGroup, PlannedRow
from .routes import BatchRoutes
from .spool import SpoolWriter, name_in, read_spool, request_in
from .state import HostedBatch, RowEntry, StateFile, spool_path

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("openrouter_async")

CHUNK_ROWS: Final = 100
"""Rows whose results are written at once: at 10 KB each, 1 MB."""

_QUOTED: Final = re.compile(r"""['"`]([A-Za-z0-9_-]{1,64})['"`]""")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@frozen
class HostedOptions:
    """Options of a run that only hosted batches have; `Batches.run` documents them."""

    wait: bool = True
    batch_rows: int = MAX_ROWS
    batch_bytes: int = MAX_BYTES
    max_open: int = 20
    callback_url: str | None = None
    intervals: HostedIntervals = field(factory=HostedIntervals)

    def __attrs_post_init__(self) -> None:
        _check_range("batch_rows", self.batch_rows, MAX_ROWS)
        _check_range("batch_bytes", self.batch_bytes, 200_000_000)
        _check_range("max_open", self.max_open, 1000)
        url = self.callback_url
        if url is not None and not url.startswith("https://"):
            raise ConfigurationError(
                f"callback_url must start with https://, not {url!r}."
            )


def _check_range(name: str, value: object, highest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, not {value!r}.")
    if not 1 <= value <= highest:
        raise ConfigurationError(f"{name} must be 1 to {highest}, not {value!r}.")


@define(eq=False)
class FilledGroup:
    """
    Rows that are, or will be, one submission.

    Attributes:
        number: Number of the batch.
        group: Properties that all rows share.
        writer: Its spool file.
        rows: Its rows by their name in the submission.
        deadline: Time of the event loop at which it is submitted.
        held: Its last rows, as long as the next group may get them.
    """

    number: int
    group: BatchGroup
    writer: SpoolWriter
    rows: dict[str, RowEntry]
    deadline: float
    held: list[tuple[PlannedRow, RowEntry]] = field(
        factory=list["tuple[PlannedRow, RowEntry]"]
    )

    @property
    def count(self) -> int:
        """Number of rows, with those that are held."""
        return len(self.rows) + len(self.held)

    @property
    def size(self) -> int:
        """Number of bytes, with the rows that are held."""
        return self.writer.size + sum(len(row.line) + 2 for row, _ in self.held)

    def add(self, planned: PlannedRow, entry: RowEntry) -> None:
        """Add a row."""
        self.writer.add(planned.line)
        self.rows[planned.wire_name] = entry

    def add_held(self) -> None:
        """Add the rows that were held."""
        held, self.held = self.held, []
        for planned, entry in held:
            self.add(planned, entry)


@define(eq=False)
class RunContext:
    """
    Shared state of a run with hosted batches.

    Attributes:
        control: Stops the run.
        options: Options of hosted batches.
        routes: The calls of `/batches`.
        builder: Builds requests and parses outputs.
        journal: The journal, already open.
        state: The state file.
        executor: One thread, for the journal's and the state's files.
        buffer: Receives results.
        counters: Counters of the run.
        budget: The budget; None without `max_cost`.
        settled: Set when money was returned to the budget.
        stopping: Set when the run must end.
    """

    control: RunControl
    options: HostedOptions
    routes: BatchRoutes
    builder: RequestBuilder
    journal: Journal
    state: StateFile
    executor: Executor
    buffer: ResultBuffer
    counters: RunCounters
    budget: Budget | None
    settled: asyncio.Event = field(factory=asyncio.Event)
    stopping: asyncio.Event = field(factory=asyncio.Event)

    async def in_thread(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function on the run's thread; calls are executed in their order."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self.executor, lambda: function(*args, **kwargs)
        )

    # --- money -----------------------------------------------------------------------

    def settle(self, entry: RowEntry, cost: float | None) -> None:
        """Close the reservation of a row, and count its cost in the budget."""
        if self.budget is None:
            return
        self.budget.settle(entry.reserved, cost, 0)
        self.settled.set()

    def count_lost(self, batch: HostedBatch, cost: float) -> None:
        """Count money that was charged without a result."""
        if not cost:
            return
        self.builder.count_usage(batch.model, {"cost": cost})
        self.counters.cost += cost
        if self.budget is not None:
            self.budget.spend(cost)

    # --- files -----------------------------------------------------------------------

    def spool(self, number: int) -> Path:
        """Return the path of a batch's spool file."""
        return spool_path(self.journal.path, number)

    def new_group(self, group: BatchGroup) -> FilledGroup:
        """Create an empty group and its spool file."""
        number = self.state.new_number()
        writer = SpoolWriter(self.spool(number), group, self.options.callback_url)
        deadline = asyncio.get_running_loop().time() + self.options.intervals.fill
        return FilledGroup(number, group, writer, {}, deadline)

    # --- results ---------------------------------------------------------------------

    async def deliver(
        self,
        batch: HostedBatch | None,
        results: Iterable[tuple[RowEntry, BatchResult, Any]],
    ) -> None:
        """
        Write results to the journal, and then make them readable.

        Args:
            batch: The batch that they are from; None if a row was never submitted.
            results: Rows, their results, and for those that failed their requests.
        """
        rows: list[bytes] = []
        failures: list[bytes] = []
        group = list(results)
        for entry, result, request in group:
            if result.ok:
                self.journal.mark_succeeded(
                    entry.name, entry.fingerprint, entry.index, b""
                )
                rows.append(_result_line(entry, result, batch))
            else:
                failures.append(_failure_line(entry, result, request))
        await self.in_thread(self.journal.write, b"".join(rows), b"".join(failures))
        for entry, result, _ in group:
            self.counters.add(result)
            if batch is not None and batch.id is not None:
                self.builder.count_row(
                    batch.model, entry.tries, is_failure=result.error is not None
                )
            await self._wait_for_space()
            self.buffer.put(self.buffer.reserve(), result)

    async def fail_rows(
        self,
        batch: HostedBatch,
        error: OpenRouterError,
        names: Collection[str] | None = None,
    ) -> None:
        """
        Fail rows of a batch with an error, and close their reservations.

        Args:
            batch: The batch.
            error: The error.
            names: Names of the rows in the submission; None for all.
        """
        chunk: list[tuple[RowEntry, BatchResult, Any]] = []
        for entry, name, row in spooled_rows(self.spool(batch.number), batch):
            if names is not None and name not in names:
                continue
            self.settle(entry, None)
            if name_key(entry.name) not in self.journal.done:
                chunk.append(failed_row(entry, error, row, batch))
            if len(chunk) == CHUNK_ROWS:
                await self.deliver(batch, chunk)
                chunk = []
        await self.deliver(batch, chunk)

    async def close_batch(self, batch: HostedBatch, *, lost: float = 0.0) -> None:
        """Flush the journal, mark a batch as collected, and delete its files."""
        await self.in_thread(self.journal.sync)
        await self.in_thread(self.state.collected, batch, lost=lost)
        await self.in_thread(self.spool(batch.number).unlink, missing_ok=True)
        self.settled.set()

    async def _wait_for_space(self) -> None:
        """Wait until the buffer has space for a result, or the run must end."""
        if not self.buffer.is_full or self.stopping.is_set():
            return
        space = asyncio.ensure_future(self.buffer.wait_for_space())
        stop = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait({space, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (space, stop):
                task.cancel()
            await asyncio.wait({space, stop})


def group_of(batch: HostedBatch) -> BatchGroup:
    """Return the properties that the rows of a submitted batch share."""
    provider = batch.provider
    return BatchGroup(batch.model, None if provider is None else provider.encode())


def spooled_rows(
    path: Path, batch: HostedBatch
) -> Iterator[tuple[RowEntry, str, bytes | None]]:
    """
    Yield the rows of a batch: entry, name in the submission, and the row as JSON.

    The JSON is None for rows that the spool file does not have, because somebody
    deleted it.
    """
    left = dict(batch.rows)
    for row in read_spool(path):
        name = name_in(row)
        entry = left.pop(name, None)
        if entry is not None:
            yield entry, name, row
    for name, entry in left.items():
        yield entry, name, None


def failed_row(
    entry: RowEntry, error: OpenRouterError, row: bytes | None, batch: HostedBatch
) -> tuple[RowEntry, BatchResult, Any]:
    """Return the result of a row that failed, for `RunContext.deliver`."""
    result = BatchResult[Any](
        entry.index, entry.custom_id, error=error, attempts=entry.tries
    )
    return entry, result, request_of(row, batch)


def request_of(row: bytes | None, batch: HostedBatch) -> Any:
    """Return the request of a row; None if the spool file does not have it."""
    return None if row is None else request_in(row, group_of(batch))


def named_row(message: str, batch: HostedBatch) -> str | None:
    """Return the name of the only row that an error message names; else None."""
    for pattern in (_QUOTED, _BARE):
        found: set[str] = set(pattern.findall(message)) & batch.rows.keys()
        if len(found) == 1:
            return found.pop()
    return None


def _result_line(
    entry: RowEntry, result: BatchResult, batch: HostedBatch | None
) -> bytes:
    fields = result_line(result, entry.name, entry.fingerprint, time.time())
    fields[EXTENSION_KEY]["batch"] = None if batch is None else batch.id
    # Never nested too deeply: the result was encoded when it was downloaded.
    return encode(fields) + b"\n"


def _failure_line(entry: RowEntry, result: BatchResult, request: Any) -> bytes:
    fields = failure_line(result, entry.name, entry.fingerprint)
    return encode({**fields, "body": request}) + b"\n"
