"""Collector: watches the list of batches, and takes the results of those that ended."""

import asyncio
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from attrs import define, evolve

from ...errors import (
    APIError,
    ConfigurationError,
    MalformedResponseError,
    NotFoundError,
    OpenRouterError,
    OutputError,
    PaymentRequiredError,
)
from ...extras import require
from ...protocol.batch_parsing import (
    batch_of,
    objects_in,
    read_batch_json,
    read_row,
)
from ...protocol.decode import as_object, decode
from ...protocol.encode import encode
from ...protocol.error_parsing import error_from_body
from ...protocol.overload import is_fatal
from ...protocol.response_parsing import usage_of
from ...types import ChatResponse, Exchange
from ...types.hosted import Batch
from ..rows.items import name_key
from ..rows.results import BatchResult
from .context import CHUNK_ROWS, RunContext, logger, request_of, spooled_rows
from .state import HostedBatch, RowEntry
from .submitter import Submitter

_POLL_GROWTH: Final = 1.5
_MAX_ABSENCES: Final = 5
_MAX_TRIES: Final = 3
_MAX_READ_FAILURES: Final = 5
# Two per level for 13 levels of halves, twice: a refusal that has another reason than
# one invalid row would otherwise be followed by a submission for each row.
_MAX_REFUSALS: Final = 52
# Seconds by which an intent may be older than its batch in the list.
_MAX_AGE_DIFFERENCE: Final = 3600.0
_GONE: Final = "The results of the batch are gone: {}. Its rows may have been billed."


@define
class _Outcomes:
    """
    The results of a batch, in a file.

    Attributes:
        offsets: Offset in the file of each row's result.
        weights: Weights of the rows that succeeded, by which the cost is divided.
        unknown: Number of results for rows that the batch does not have.
    """

    offsets: dict[str, int]
    weights: dict[str, float]
    unknown: int

    def shares(self, cost: float | None) -> Mapping[str, float]:
        """Return the cost of each row that succeeded; the sum is the batch's cost."""
        total = math.fsum(self.weights.values())
        if cost is None or not total:
            return {}
        shares = {name: cost * w / total for name, w in self.weights.items()}
        last = next(reversed(shares))
        shares[last] += cost - math.fsum(shares.values())
        return shares


class Collector:
    """Watches all open batches with the list, and collects each when it has ended."""

    def __init__(self, context: RunContext, submitter: Submitter) -> None:
        self._context = context
        self._submitter = submitter
        self._interval = context.options.intervals.poll
        self._refusals: dict[str, int] = {}
        self._read_failures: dict[int, int] = {}

    @property
    def watched(self) -> list[HostedBatch]:
        """The open batches whose id is known."""
        batches = self._context.state.open_batches.values()
        return [batch for batch in batches if batch.id is not None]

    def hurry(self) -> None:
        """Look often again, because there is a new batch."""
        self._interval = self._context.options.intervals.poll

    def next_wait(self) -> float:
        """Return the seconds until the next look; each is longer than the last."""
        intervals = self._context.options.intervals
        wait = self._interval * (0.9 + 0.2 * random.random())  # noqa: S311 - jitter
        self._interval = min(self._interval * _POLL_GROWTH, intervals.max_poll)
        return wait

    async def look(self) -> None:
        """Read the list once, and collect the batches that have ended."""
        context = self._context
        try:
            found = await self._read_list()
        except OpenRouterError as error:
            if is_fatal(error):
                context.control.stop("account", error)
            else:
                logger.warning("The list of batches cannot be read: %s", error)
            return
        now = asyncio.get_running_loop().time()
        for batch in self.watched:
            if context.stopping.is_set():
                return
            listed = found.get(cast("str", batch.id))
            if listed is None:
                await self._absent(batch, now)
                continue
            await self._seen(batch, listed)

    async def _read_list(self) -> dict[str, Batch]:
        """Return the open batches that the list contains, by id."""
        missing = {cast("str", batch.id) for batch in self.watched}
        found: dict[str, Batch] = {}
        first = min((batch.time for batch in self.watched), default=0.0)
        routes = self._context.routes
        since = first - routes.behind - _MAX_AGE_DIFFERENCE
        after: str | None = None
        while missing:
            page = await routes.page({"created_after": since, "after": after})
            for batch in page.batches:
                if batch.id in missing:
                    found[batch.id] = batch
                    missing.discard(batch.id)
            after = page.next_id
            if after is None:
                break
        return found

    async def _absent(self, batch: HostedBatch, now: float) -> None:
        """
        Ask for a batch itself if the list lacks it for ten minutes, and in five looks.

        The first looks are seconds apart, and later ones minutes. The response may
        contain all results, so it is not asked for otherwise.
        """
        batch.absences.append(now)
        is_long = now - batch.absences[0] >= self._context.options.intervals.absent_for
        if not is_long or len(batch.absences) < _MAX_ABSENCES:
            return
        batch.absences.clear()
        batch_id = cast("str", batch.id)
        try:
            found = await self._context.routes.get(batch_id)
        except NotFoundError:
            await self._lose(batch, f"{batch_id} is not in the list of batches")
        except OpenRouterError as error:
            await self._unreadable(batch, error)
        else:
            await self._seen(batch, found)

    async def _seen(self, batch: HostedBatch, found: Batch) -> None:
        """Take the status of a batch, and its results if it has ended."""
        batch.absences.clear()
        batch.status, batch.expires_at = found.status, found.expires_at
        if found.is_ended:
            await self._collect(batch, found)

    async def _lose(self, batch: HostedBatch, reason: str) -> None:
        """Fail the rows of a batch without results; it may have been billed."""
        context = self._context
        body = {"error": {"code": 410, "message": _GONE.format(reason)}}
        error = error_from_body(body, Exchange(), wall_time=0.0)
        error.hint = "Send them again with the failures file as input."
        lost = batch.cost or 0.0
        context.count_lost(batch, lost)
        await context.fail_rows(batch, error)
        await context.close_batch(batch, lost=lost)

    # --- collection ------------------------------------------------------------------

    async def _collect(self, batch: HostedBatch, listed: Batch) -> None:
        context = self._context
        batch.cost = listed.cost
        await context.in_thread(context.state.ended, batch)
        path = context.spool(batch.number).with_suffix(".results")
        try:
            if not await self._download(batch, path):
                return
            outcomes = await context.in_thread(_scan, path, batch)
            if outcomes.unknown:
                logger.warning(
                    "%d results of %s are for rows that were not submitted.",
                    outcomes.unknown,
                    batch.id,
                )
                if not outcomes.offsets:
                    await self._is_wrong(batch)
                    return
            if not outcomes.offsets and listed.status == "failed":
                await self._refused(batch, listed)
                return
            await self._take(batch, listed, path, outcomes)
        finally:
            path.unlink(missing_ok=True)

    async def _is_wrong(self, batch: HostedBatch) -> None:
        """Search again for a batch that was taken for another program's."""
        context = self._context
        logger.warning("%s is not hosted batch %d.", batch.id, batch.number)
        batch.wrong_ids.add(cast("str", batch.id))
        batch.id = batch.cost = None
        await context.in_thread(context.state.submitted, batch)
        self._submitter.put(batch)

    async def _refused(self, batch: HostedBatch, listed: Batch) -> None:
        """Submit the valid rows of a batch that failed at its validation."""
        context = self._context
        reason = (listed.error or {}).get("message")
        text = reason if isinstance(reason, str) else "The batch failed."
        body = {"error": {"code": 400, "message": text}}
        error = error_from_body(body, Exchange(), wall_time=0.0)
        # Nothing should be charged for a refused batch; but if it is, it counts.
        lost = batch.cost or 0.0
        context.count_lost(batch, lost)
        count = self._refusals.get(batch.model, 0) + 1
        self._refusals[batch.model] = count
        if count <= _MAX_REFUSALS and await self._submitter.split(batch, error):
            return
        await context.fail_rows(batch, error)
        await context.close_batch(batch, lost=lost)

    async def _take(
        self, batch: HostedBatch, listed: Batch, path: Path, outcomes: _Outcomes
    ) -> None:
        """Deliver the results of a batch, and submit the rows without one again."""
        context = self._context
        shares = outcomes.shares(batch.cost)
        lost = 0.0 if shares else batch.cost or 0.0
        context.count_lost(batch, lost)
        self._refusals.pop(batch.model, None)
        missing: set[str] = set()
        chunk: list[tuple[RowEntry, BatchResult, Any]] = []
        with path.open("rb") as file:
            for entry, name, row in spooled_rows(context.spool(batch.number), batch):
                if name_key(entry.name) in context.journal.done:
                    # An earlier run ended in the middle of this.
                    context.settle(entry, None)
                    continue
                offset = outcomes.offsets.get(name)
                if offset is None and entry.tries < _MAX_TRIES:
                    missing.add(name)
                    continue
                cost = shares.get(name)
                result = self._result(batch, entry, file, offset, cost)
                context.settle(entry, cost)
                request = None if result.ok else request_of(row, batch)
                chunk.append((entry, result, request))
                if len(chunk) == CHUNK_ROWS:
                    await context.deliver(batch, chunk)
                    chunk = []
                    if context.stopping.is_set():
                        # The batch stays open; the next run takes the rest.
                        return
        await context.deliver(batch, chunk)
        if shares:
            # As a whole: the shares of the rows have rounding errors, and their bodies
            # have no tokens.
            context.builder.count_usage(batch.model, as_object(listed.raw.get("usage")))
        again = self._submitter.copy(batch, missing) if missing else None
        await context.close_batch(batch, lost=lost)
        if again is not None:
            logger.warning(
                "%s ended as %s without a result for %d rows.",
                batch.id,
                batch.status,
                len(missing),
            )
            again.rows = {
                name: evolve(entry, tries=entry.tries + 1)
                for name, entry in again.rows.items()
            }
            self._submitter.put(again)

    def _result(
        self,
        batch: HostedBatch,
        entry: RowEntry,
        file: BinaryIO,
        offset: int | None,
        cost: float | None,
    ) -> BatchResult:
        result = BatchResult[Any](
            entry.index, entry.custom_id, cost=cost, attempts=entry.tries
        )
        if offset is None:
            result.error = MalformedResponseError(
                f"The row was in {entry.tries} batches that ended without a result "
                f"for it, the last one ({batch.id}) as {batch.status!r}."
            )
            return result
        file.seek(offset)
        found = read_row(decode(file.readline()))
        if not isinstance(found, ChatResponse):
            result.error = found
            return result
        result.usage = usage_of(found)
        try:
            result.response, result.output = self._context.builder.parse(found)
        except OutputError as error:
            result.error = error
        return result

    # --- download --------------------------------------------------------------------

    async def _download(self, batch: HostedBatch, path: Path) -> bool:
        """Write all results to a file; return False if they are not to be taken."""
        batch_id = cast("str", batch.id)
        try:
            try:
                await self._read_pages(batch_id, path)
            except NotFoundError:
                await self._read_inline(batch_id, path)
        except OpenRouterError as error:
            await self._unreadable(batch, error)
        else:
            return True
        return False

    async def _unreadable(self, batch: HostedBatch, error: OpenRouterError) -> None:
        """Handle a batch that cannot be read: gone, withheld, or to be read again."""
        control = self._context.control
        if isinstance(error, PaymentRequiredError):
            # The batch is not run again: a later run collects it.
            control.stop("account", error)
            return
        if isinstance(error, APIError) and error.status_code == 410:
            await self._lose(batch, error.message)
            return
        count = self._read_failures.get(batch.number, 0) + 1
        self._read_failures[batch.number] = count
        logger.warning("The results of %s cannot be read: %s", batch.id, error)
        if is_fatal(error):
            control.stop("account", error)
        elif count == _MAX_READ_FAILURES:
            control.stop("error", error)

    async def _read_pages(self, batch_id: str, path: Path) -> None:
        cursor: str | None = None
        with path.open("wb") as file:
            while True:
                rows, cursor = await self._context.routes.results_page(batch_id, cursor)
                for row in rows:
                    file.write(result_as_line(row))
                if cursor is None:
                    return

    async def _read_inline(self, batch_id: str, path: Path) -> None:
        """Read the results from the batch itself, which may be hundreds of MB."""
        whole = path.with_suffix(".inline")
        try:
            with whole.open("wb") as file:
                await self._context.routes.download(batch_id, file.write)
            await self._context.in_thread(_split_results, whole, path)
        finally:
            whole.unlink(missing_ok=True)


def _scan(path: Path, batch: HostedBatch) -> _Outcomes:
    """Find the first result of each row, and the weights of those that succeeded."""
    offsets: dict[str, int] = {}
    tokens: dict[str, float] = {}
    unknown = offset = 0
    with path.open("rb") as file:
        for line in file:
            row = decode(line)
            name = row.get("custom_id")
            if name not in batch.rows:
                unknown += 1
            elif name not in offsets:
                offsets[name] = offset
                found = read_row(row)
                if isinstance(found, ChatResponse):
                    tokens[name] = float(found.usage.total_tokens or 0)
            offset += len(line)
    if not all(tokens.values()):
        # Bodies without usage, as in the recordings: every row counts the same.
        tokens = dict.fromkeys(tokens, 1.0)
    return _Outcomes(offsets, tokens, unknown)


def _split_results(whole: Path, path: Path) -> None:
    """
    Write the results in the body of a batch as lines.

    Raises:
        MalformedResponseError: If the body is not valid JSON.
        APIError: If it is an error.
    """
    try:
        with path.open("wb") as file:
            for row in _iterate(whole):
                file.write(result_as_line(row))
    except _InvalidJSONError:
        # NaN or a huge number, which other decoders accept.
        raw = read_batch_json(whole.read_bytes(), Exchange(), 0.0)
        rows = objects_in(batch_of(raw).raw.get("results"))
        path.write_bytes(b"".join(map(result_as_line, rows)))


def result_as_line(row: Mapping[str, Any]) -> bytes:
    """Return a result as a line of JSON."""
    try:
        return encode(row) + b"\n"
    except ConfigurationError:
        error = {"message": "The result is nested too deeply.", "type": "api_error"}
        short = {"custom_id": row.get("custom_id"), "response": None, "error": error}
        return encode(short) + b"\n"


class _InvalidJSONError(Exception):
    """ijson rejects the text."""


def _iterate(path: Path) -> Iterator[Any]:
    ijson = require("ijson", "batch", "Reading the results of a hosted batch")
    with path.open("rb") as file:
        try:
            yield from ijson.items(file, "results.item", use_float=True)
        except ijson.JSONError as error:
            raise _InvalidJSONError from error
