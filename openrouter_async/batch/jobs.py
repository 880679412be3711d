"""The queue of jobs: validates rows, and skips those whose result is in the journal."""

import asyncio
from typing import Any, Final

from attrs import define

from ..errors import BatchStoppedError, ConfigurationError, JournalError
from ..protocol.budget import TokenBounds, token_bounds
from ..protocol.call import Call
from ..protocol.encode import canonical
from ..types import ChatResponse
from .journal import RunJournal
from .request_builder import RequestBuilder
from .result_buffer import ResultBuffer
from .rows.hash_index import HashSet64
from .rows.items import (
    InvalidLine,
    Row,
    fingerprint_of,
    identify_item,
    name_key,
    read_item,
    row_name,
)
from .rows.stats import RunControl, RunCounters
from .source import END, Source

# Skipping 500 rows takes a few milliseconds, in which no other task runs.
_MAX_SKIPPED_AT_ONCE: Final = 500


@define
class Job:
    """
    A row that is ready to be sent, or known to be invalid.

    Thousands of jobs exist at once, and the garbage collector visits every object
    that they refer to. A job therefore keeps the encoded request, but not the row.

    Attributes:
        number: Number of its result in the `ResultBuffer`.
        index: Index of the row, as in `Row`.
        custom_id: Name of the row, as in `Row`.
        call: The call; None if the row is invalid.
        error: The reason why the row is invalid; None if it is valid.
        item: The invalid row as it was given, for the failures file.
        fingerprint: Fingerprint of the request; 0 without a journal, and if the row
            cannot be read.
        bounds: Upper bounds on the tokens; None if unknown or without `max_cost`.
    """

    number: int
    index: int
    custom_id: str | None
    call: Call[ChatResponse] | None = None
    error: ConfigurationError | None = None
    item: Any = None
    fingerprint: int = 0
    bounds: TokenBounds | None = None

    @property
    def name(self) -> str:
        """The name of the row."""
        return row_name(self.index) if self.custom_id is None else self.custom_id


class JobQueue:
    """
    Reads rows when the result buffer has space, and turns them into jobs.

    Attributes:
        is_over: True if no more rows will be read.
    """

    def __init__(
        self,
        builder: RequestBuilder,
        source: Source,
        buffer: ResultBuffer,
        counters: RunCounters,
        control: RunControl,
        *,
        journal: RunJournal | None,
        has_budget: bool,
        check_names: bool = True,
    ) -> None:
        """
        Create the queue; nothing is read yet.

        Args:
            builder: Builds the requests.
            source: The rows.
            buffer: The buffer that reserves space for each row's result.
            counters: The run's counters.
            control: Stops the run if its rows cannot be read.
            journal: The journal, already open; None without one.
            has_budget: If True, jobs get token bounds.
            check_names: If True, a row with the name of an earlier one is invalid.
        """
        self._builder = builder
        self._source = source
        self._buffer = buffer
        self._counters = counters
        self._control = control
        self._journal = journal
        self._seen = HashSet64() if check_names else None
        self._has_budget = has_budget
        self._index = 0
        self.is_over = False

    def close(self) -> None:
        """Read no more rows."""
        self.is_over = True

    async def next(self) -> Job | None:
        """Return the next job; None if there are no more rows."""
        skipped = 0
        while not self.is_over:
            if self._buffer.is_full:
                await self._buffer.wait_for_space()
                continue
            item = await self._pull()
            if item is END:
                self.is_over = True
                return None
            try:
                job = self._make_job(item)
            except JournalError as error:
                self._control.stop("journal", error)
                return None
            if job is not None:
                return job
            self._counters.resumed += 1
            skipped += 1
            if not skipped % _MAX_SKIPPED_AT_ONCE:
                await asyncio.sleep(0)
        return None

    async def _pull(self) -> object:
        try:
            return await self._source.pull()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # The caller's iterator raised it, although this worker was not cancelled.
            # Without an error, the run would end as if it had read all rows.
            self._control.stop(
                "input",
                BatchStoppedError(
                    "The items raised CancelledError before their end.", reason="input"
                ),
            )
        except Exception as error:  # noqa: BLE001 - raised by the caller's iterator
            self._control.stop("input", error)
        return END

    def _make_job(self, item: object) -> Job | None:
        """
        Return the job of an item; None if the journal has its result.

        Raises:
            JournalError: If the journal has a different request under the same name.
        """
        index, self._index = self._index, self._index + 1
        row: Row | None = None
        given: Any = item
        try:
            row = read_item(item, index)
            given = row.params
            given = body = self._builder.body(row)
            return self._valid_job(row, body)
        except ConfigurationError as error:
            reason = error
        except TypeError as error:
            reason = ConfigurationError(f"Row {index}: {error}")
        if isinstance(item, InvalidLine):
            given = item.text
        row = row or identify_item(item, index)
        return Job(
            self._buffer.reserve(),
            row.index,
            row.custom_id,
            error=reason,
            item=given,
            fingerprint=row.fingerprint or 0,
        )

    def _valid_job(self, row: Row, body: dict[str, Any]) -> Job | None:
        call = self._builder.call(body)
        fingerprint = 0
        if self._journal is not None:
            is_retry = row.fingerprint is not None
            if not is_retry:
                # An invalid row is identified by it too: another row that has the same
                # name must not take its place in the failures file.
                row.fingerprint = fingerprint_of(canonical(body))
            fingerprint = row.fingerprint or 0
            if self._is_done(self._journal, row, fingerprint, is_retry=is_retry):
                self._journal.mark_succeeded(
                    row.name, fingerprint, row.index, call.body or b""
                )
                return None
        bounds = None
        if self._has_budget:
            bounds = token_bounds(body, len(call.body or b""))
        return Job(
            self._buffer.reserve(),
            row.index,
            row.custom_id,
            call,
            fingerprint=fingerprint,
            bounds=bounds,
        )

    def _is_done(
        self, journal: RunJournal, row: Row, fingerprint: int, *, is_retry: bool
    ) -> bool:
        """
        Return True if the journal has the result of a row.

        Raises:
            JournalError: If the journal has a different request under the same name.
            ConfigurationError: If another row has the same name: an earlier row of this
                run, or, for a row of a failures file, one that has a response.
        """
        key = name_key(row.name)
        if self._seen is not None and not self._seen.add(key):
            raise ConfigurationError(
                f"Row {row.index} has the same name as an earlier row: {row.name!r}. "
                "Give each row its own custom_id."
            )
        # Most runs start with an empty journal; the lookup would cost 1 us per row.
        known = journal.done.get(key) if journal.done else None
        if known is None:
            return False
        if known == fingerprint:
            return True
        if is_retry:
            raise ConfigurationError(
                f"Row {row.index} has the same name as another row, which has a "
                f"response: {row.name!r}. Give the row its own custom_id."
            )
        raise JournalError(
            f"The journal has a different request for {row.name!r}: the rows or "
            "the parameters have changed since it was written.",
            hint="Use a new journal, or the original rows and parameters.",
        )
