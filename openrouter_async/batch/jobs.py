"""The intake of a run: rows as they were given -> orders that can be sent."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from attrs import define

from ..errors import BatchStoppedError, ConfigurationError, JournalError
from ..protocol.call import Call
from ..protocol.decode import decode
from ..protocol.encode import canonical
from ..types import ChatResponse
from .request_builder import RequestBuilder
from .result_buffer import ResultBuffer
from .rows.hash_index import HashMap64, HashSet64
from .rows.items import (
    Broken,
    Row,
    fingerprint,
    name_key,
    read_item,
    row_name,
    row_of,
)
from .rows.stats import RunCounters, StopReason
from .source import END, Source

# Rows that are passed over are pulled at once; others want the loop as well.
_PASSED_OVER: Final = 500


@define
class Job:
    """
    A row that is to be sent.

    It holds no more of the row than it takes: thousands of them are out at once, and
    each object of theirs is one more for the garbage collector to walk through.

    Attributes:
        number: Of its result on the shelf.
        index: Of the row, as `Row.index`.
        custom_id: Of the row.
        call: None: it can not be sent, for the reason in `fault`.
        fault: Why it can not be sent.
        given: What can not be sent.
        key: Of its name; 0 without a journal.
        print: Of the request; 0 without a journal.
    """

    number: int
    index: int
    custom_id: str | None
    call: Call[ChatResponse] | None = None
    fault: ConfigurationError | None = None
    given: Any = None
    key: int = 0
    print: int = 0

    @property
    def name(self) -> str:
        """What it is known by."""
        return row_name(self.index) if self.custom_id is None else self.custom_id

    @property
    def body(self) -> Any:
        """The whole request; what was given, if it is none."""
        return self.given if self.call is None else decode(self.call.body or b"null")


class JobQueue:
    """
    Pulls rows as there is room for their results, and makes them ready.

    Attributes:
        is_over: Whether no more rows are pulled.
    """

    def __init__(
        self,
        calls: RequestBuilder,
        source: Source,
        shelf: ResultBuffer,
        tally: RunCounters,
        done: HashMap64 | None,
        halt: Callable[[StopReason, BaseException | None], None],
    ) -> None:
        """
        Pull nothing yet.

        Args:
            calls: Makes calls of rows.
            source: Of the rows.
            shelf: Where there must be room before a row is pulled.
            tally: The run's counters.
            done: The rows of earlier runs; None without a journal.
            halt: Called when the run must end, and why.
        """
        self._calls = calls
        self._source = source
        self._shelf = shelf
        self._tally = tally
        self._done = done
        self._seen = None if done is None else HashSet64()
        self._halt = halt
        self._index = 0
        self.is_over = False

    def close(self) -> None:
        """Pull no more."""
        self.is_over = True

    async def next(self) -> Job | None:
        """Return the next row that is to be sent; None: there is no more."""
        passed_over = 0
        while not self.is_over:
            if self._shelf.is_full:
                await self._shelf.room()
                continue
            item = await self._pull()
            if item is END:
                self.is_over = True
                return None
            try:
                order = self._order(item)
            except JournalError as error:
                self._halt("journal", error)
                return None
            if order is not None:
                return order
            self._tally.resumed += 1
            passed_over += 1
            if not passed_over % _PASSED_OVER:
                await asyncio.sleep(0)
        return None

    async def _pull(self) -> object:
        try:
            return await self._source.pull()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # The items' own, which would pass for their end.
            self._halt(
                "input", BatchStoppedError("The items were cancelled.", reason="input")
            )
        except Exception as error:  # noqa: BLE001 - the caller's own
            self._halt("input", error)
        return END

    def _order(self, item: object) -> Job | None:
        """
        Make a row ready; None: the journal has it.

        Raises:
            JournalError: The journal has another request under its name.
        """
        index, self._index = self._index, self._index + 1
        row: Row | None = None
        given: Any = item
        try:
            row = read_item(item, index)
            given = row.params
            given = self._calls.body(row)
            return self._ready(row, self._calls.call(given))
        except ConfigurationError as error:
            fault = error
        except TypeError as error:
            fault = ConfigurationError(f"Row {index}: {error}")
        if isinstance(item, Broken):
            given = item.text
        row = row or row_of(item, index)
        number = self._shelf.promise()
        return Job(number, row.index, row.custom_id, None, fault, given)

    def _ready(self, row: Row, call: Call[ChatResponse]) -> Job | None:
        key = printed = 0
        if self._done is not None:
            key = name_key(row.name)
            printed = row.print or fingerprint(canonical(call.body or b""))
            if self._is_done(row, key, printed):
                return None
        number = self._shelf.promise()
        return Job(number, row.index, row.custom_id, call, key=key, print=printed)

    def _is_done(self, row: Row, key: int, printed: int) -> bool:
        """
        Return whether the journal has a row.

        Raises:
            JournalError: The journal has another request under this name.
            ConfigurationError: This run had the name before.
        """
        assert self._done is not None
        assert self._seen is not None
        if not self._seen.add(key):
            raise ConfigurationError(
                f"Row {row.index} has the custom_id of an earlier row: {row.name!r}."
            )
        known = self._done.get(key) if self._done else None
        if known is not None and known != printed:
            raise JournalError(
                f"The journal has another request as {row.name!r}: the rows or the "
                "parameters have changed.",
                hint="Give the run a new journal, or the old rows.",
            )
        return known is not None
