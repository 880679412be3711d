"""Submitter: submits batches, and finds those whose submission was not answered."""

import asyncio
import re
import time
from collections.abc import Callable, Collection
from typing import Final

from attrs import evolve

from ...errors import APIError, OpenRouterError
from ...protocol.batch_parsing import is_missing_variant
from ...protocol.overload import is_fatal
from ...types.hosted import Batch
from .context import FilledGroup, RunContext, group_of, logger, named_row, spooled_rows
from .plan import CHAT_ENDPOINT, other_slug
from .routes import is_ambiguous, submission_wait
from .spool import replace_head
from .state import HostedBatch

_MAX_AT_ONCE: Final = 4
# A submission that fails so often, and is not stored, will not succeed.
_MAX_UNANSWERED: Final = 10
# Seconds by which a batch may seem to be older than its intent.
_MAX_TIME_DIFFERENCE: Final = 60.0
# Anthropic's dated slugs, such as `claude-sonnet-5-20260101`, and OpenAI's.
_DATE: Final = re.compile(r"-?(\d{8}|\d{4}-\d{2}-\d{2})$")


class Submitter:
    """
    Submits batches, at most four at once, and at most `max_open` that are open.

    Attributes:
        active: Number of groups that are queued or being submitted.
        waiting_rows: Number of their rows.
    """

    def __init__(self, context: RunContext, changed: Callable[[], None]) -> None:
        """
        Create the submitter.

        Args:
            context: Shared state of the run.
            changed: Called when a batch was submitted, or will not be.
        """
        self._context = context
        self._changed = changed
        self._queue = asyncio.Queue[FilledGroup | HostedBatch]()
        self._slugs: dict[str, str] = {}
        # Batches whose id is not known yet.
        self._pending: dict[int, HostedBatch] = {}
        # Model and number of rows of all that is queued or being submitted.
        self._counts: dict[int, tuple[str, int]] = {}
        self._resolved = asyncio.Event()
        self.active = 0
        self.waiting_rows = 0

    @property
    def is_full(self) -> bool:
        """True if no further batch may be submitted before one has ended."""
        context = self._context
        numbers = context.state.open_batches.keys() | self._pending.keys()
        return len(numbers) >= context.options.max_open

    def open_counts(self, model: str) -> set[int]:
        """Return the numbers of rows of a model's submissions that are open."""
        return {count for name, count in self._counts.values() if name == model}

    async def wait_for_space(self) -> None:
        """Wait until few enough groups are queued, or the run must end."""
        context = self._context
        while self._queue.qsize() >= _MAX_AT_ONCE and not context.stopping.is_set():
            self._resolved.clear()
            await first_of(self._resolved, context.stopping)

    def put(self, item: FilledGroup | HostedBatch) -> None:
        """Queue a group, or a batch from an earlier run whose id is not known."""
        self.active += 1
        self.waiting_rows += len(item.rows)
        model = item.model if isinstance(item, HostedBatch) else item.group.model
        self._counts[item.number] = model, len(item.rows)
        if isinstance(item, HostedBatch):
            self._pending[item.number] = item
        self._queue.put_nowait(item)

    async def work(self) -> None:
        """Submit until the task is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_MAX_AT_ONCE):
                tasks.create_task(self._work())

    def discard(self) -> None:
        """Delete the spool files of the groups that are still queued."""
        while not self._queue.empty():
            item = self._queue.get_nowait()
            if isinstance(item, FilledGroup):
                item.writer.discard()
            self._finish(item)

    async def _work(self) -> None:
        stopping = self._context.stopping
        while True:
            item = await self._queue.get()
            try:
                if isinstance(item, HostedBatch):
                    await self._resume(item)
                elif stopping.is_set():
                    item.writer.discard()
                else:
                    await self._submit_group(item)
            finally:
                self._finish(item)

    def _finish(self, item: FilledGroup | HostedBatch) -> None:
        self.active -= 1
        self.waiting_rows -= len(item.rows)
        self._pending.pop(item.number, None)
        self._counts.pop(item.number, None)
        self._resolved.set()
        self._changed()

    async def _submit_group(self, filled: FilledGroup) -> None:
        """Wait until the group may be submitted, record the intent, and submit it."""
        context = self._context
        rows, group, writer = filled.rows, filled.group, filled.writer
        try:
            while self.is_full or self._is_ambiguous(filled):
                if self.is_full and not context.options.wait:
                    context.control.stop("stopped", None)
                self._resolved.clear()
                context.settled.clear()
                await first_of(self._resolved, context.settled, context.stopping)
                if context.stopping.is_set():
                    writer.discard()
                    return
            batch = HostedBatch(
                filled.number,
                group.model,
                None if group.provider is None else group.provider.decode(),
                rows,
                writer.size,
                sum(entry.reserved for entry in rows.values()),
                time.time(),
            )
            # At once, because other workers check the two conditions as well.
            self._pending[batch.number] = batch
            await context.in_thread(writer.finish)
        except BaseException:
            writer.discard()
            raise
        await context.in_thread(context.state.intend, batch)
        slug = self._slugs.get(batch.model)
        if slug is not None:
            await self._replace_slug(batch, slug)
        await self._submit(batch)

    def _is_ambiguous(self, filled: FilledGroup) -> bool:
        """
        Return True if the list could not tell two submissions apart.

        If the response is lost, a batch is found by model, endpoint and number of
        rows. So no two batches are submitted at once that agree in these.
        """
        model, count = filled.group.model, len(filled.rows)
        return any(
            (batch.model, len(batch.rows)) == (model, count)
            for batch in self._pending.values()
        )

    async def _submit(self, batch: HostedBatch) -> None:
        """Submit a batch until it is stored or rejected."""
        context = self._context
        failures = unanswered = 0
        while True:
            try:
                found = await context.routes.submit(context.spool(batch.number))
            except OpenRouterError as error:
                failure = error
            else:
                await self._stored(batch, found)
                return
            unanswered += is_ambiguous(failure)
            if unanswered == _MAX_UNANSWERED:
                context.control.stop("error", failure)
                return
            if not await self._may_submit_again(batch, failure, failures):
                return
            failures += 1

    async def _may_submit_again(
        self, batch: HostedBatch, failure: OpenRouterError, failures: int
    ) -> bool:
        """
        Handle a failed submission; return True if the batch is to be submitted again.

        `failures` is the number of those before it.

        The cases:
        1. The batch was not stored, and the failure is temporary: wait, then retry.
        2. The batch may have been stored: search the list; retry if it is not there.
        3. The model's slug may have another form: retry once with that form.
        4. The batch was rejected: no retry.
        """
        context = self._context
        wait = submission_wait(failure, failures)
        if wait is not None:
            logger.warning(
                "Hosted batch %d was not accepted; it is submitted again in %.1f s: %s",
                batch.number,
                wait,
                failure,
            )
            await first_of(context.stopping, timeout=wait)
            if not context.stopping.is_set():
                return True
            await self._give_up(batch)
        elif is_ambiguous(failure):
            if await self._recover(batch, failure):
                return False
            logger.warning(
                "Hosted batch %d of %d rows is submitted again: the list does not "
                "contain it.",
                batch.number,
                len(batch.rows),
            )
            return True
        elif isinstance(failure, APIError) and is_missing_variant(failure):
            if batch.slug is None:
                await self._replace_slug(batch, other_slug(batch.model))
                return True
            await self._no_variant(batch, failure)
        else:
            await self._rejected(batch, failure)
        return False

    async def _resume(self, batch: HostedBatch) -> None:
        """Find a batch that an earlier run, or a wrong match, left without an id."""
        context = self._context
        # However old the intent is: the submission may have been sent again just
        # before the earlier run was killed, and the service may still be storing it.
        if await self._search(batch) or context.stopping.is_set():
            return
        if not context.spool(batch.number).exists():
            logger.warning("Hosted batch %d was never submitted.", batch.number)
            await context.close_batch(batch)
            return
        logger.warning(
            "Hosted batch %d of %d rows is submitted: an earlier run ended before it "
            "was stored.",
            batch.number,
            len(batch.rows),
        )
        await self._submit(batch)

    # --- lost responses --------------------------------------------------------------

    async def _recover(self, batch: HostedBatch, failure: OpenRouterError) -> bool:
        """Look for a batch after a failure; return False if it was not stored."""
        logger.warning(
            "The submission of hosted batch %d was not answered (%s); looking for it "
            "in the list.",
            batch.number,
            type(failure).__name__,
        )
        return await self._search(batch) or self._context.stopping.is_set()

    async def _search(self, batch: HostedBatch) -> bool:
        """Search the list until a batch is found; return False after `search_for`."""
        context, intervals = self._context, self._context.options.intervals
        clock = asyncio.get_running_loop().time
        end = clock() + intervals.search_for
        while True:
            # Taken before the request: a batch that was stored before it is then
            # listed, unless the list lags.
            now = clock()
            try:
                found = await self._look(batch)
            except OpenRouterError as error:
                if is_fatal(error):
                    context.control.stop("account", error)
                    return True
                logger.warning("The list of batches cannot be read: %s", error)
            else:
                if found is not None:
                    logger.info("Found hosted batch %d: %s.", batch.number, found.id)
                    await self._stored(batch, found)
                    return True
                if now >= end:
                    return False
            await first_of(context.stopping, timeout=intervals.search)
            if context.stopping.is_set():
                return True

    async def _look(self, batch: HostedBatch) -> Batch | None:
        """Return a batch in the list that could be this one."""
        routes = self._context.routes
        known = self._context.state.known_ids | batch.wrong_ids
        # If nothing is found, there are at least two looks, and the second one knows
        # how far the server's time is behind.
        since = batch.time - routes.behind - _MAX_TIME_DIFFERENCE
        after: str | None = None
        while True:
            page = await routes.page({"created_after": since, "after": after})
            for found in page.batches:
                if (
                    found.id
                    and found.id not in known
                    and found.endpoint == CHAT_ENDPOINT
                    and _is_model(found.model or "", batch.model)
                    and found.counts.total == len(batch.rows)
                ):
                    return found
            after = page.next_id
            if after is None:
                return None

    async def _stored(self, batch: HostedBatch, found: Batch) -> None:
        context = self._context
        batch.id, batch.status = found.id or None, found.status
        batch.expires_at = found.expires_at
        # Before the thread has written it, so that no search adopts it meanwhile.
        context.state.known_ids.add(found.id)
        context.counters.attempts += len(batch.rows)
        await context.in_thread(context.state.submitted, batch)

    # --- rejections ------------------------------------------------------------------

    async def _replace_slug(self, batch: HostedBatch, slug: str) -> None:
        """Write the submission again, for another form of the slug."""
        self._slugs[batch.model] = batch.slug = slug
        context = self._context
        group = evolve(group_of(batch), model=slug)
        await context.in_thread(
            replace_head,
            context.spool(batch.number),
            group,
            context.options.callback_url,
        )

    async def _no_variant(self, batch: HostedBatch, error: APIError) -> None:
        error.hint = "Send the rows with chat.send_many(), at the live price."
        await self._context.fail_rows(batch, error)
        await self._context.close_batch(batch)

    async def _rejected(self, batch: HostedBatch, error: OpenRouterError) -> None:
        """Handle a batch that was not stored: stop, split it, or fail its rows."""
        context = self._context
        if is_fatal(error):
            context.control.stop("account", error)
            await self._give_up(batch)
            return
        if await self.split(batch, error):
            return
        await context.fail_rows(batch, error)
        await context.close_batch(batch)

    async def _give_up(self, batch: HostedBatch) -> None:
        for entry in batch.rows.values():
            self._context.settle(entry, None)
        await self._context.close_batch(batch)

    async def split(self, batch: HostedBatch, error: OpenRouterError) -> bool:
        """
        Submit the rows of a refused batch again, without the row that is at fault.

        If the error does not name the row, each half of the batch is submitted.

        Returns:
            False if nothing is left to try, or the error is not about rows.
        """
        context = self._context
        name = named_row(error.message, batch)
        is_about_size = isinstance(error, APIError) and error.status_code == 413
        if len(batch.rows) == 1 or (
            name is None and batch.id is None and not is_about_size
        ):
            return False
        rows = batch.rows
        if name is not None:
            await context.fail_rows(batch, error, {name})
            parts = [rows.keys() - {name}]
        else:
            names = list(rows)
            middle = len(names) // 2
            parts = [set(names[:middle]), set(names[middle:])]
        groups = [self.copy(batch, part) for part in parts]
        await context.close_batch(batch, lost=batch.cost or 0.0)
        for group in groups:
            if group is not None:
                self.put(group)
        return True

    def copy(self, batch: HostedBatch, names: Collection[str]) -> FilledGroup | None:
        """Return a new group with some rows of a batch; None if it would be empty."""
        context = self._context
        filled = context.new_group(group_of(batch))
        for entry, name, row in spooled_rows(context.spool(batch.number), batch):
            if name not in names:
                continue
            if row is None:
                # The spool file is gone; the next run reads the row from its input.
                context.settle(entry, None)
            else:
                filled.writer.add(row)
                filled.rows[name] = entry
        if not filled.rows:
            filled.writer.discard()
            return None
        return filled


def _is_model(found: str, wanted: str) -> bool:
    """Return True if a listed model is the wanted one, or its dated form."""
    listed, base = found.removesuffix(":batch"), wanted.removesuffix(":batch")
    return listed == base or _DATE.sub("", listed) == base


async def first_of(*events: asyncio.Event, timeout: float | None = None) -> None:  # noqa: ASYNC109 - no error
    """Wait until one of some events is set, or the time is over."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
