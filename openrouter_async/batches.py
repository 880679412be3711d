"""The hosted-batch operations: `run`, `create`, `get`, `list`, `results`, `delete`."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Container, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Final, Required, Self, TypeVar, Unpack, overload

from typing_extensions import TypeForm

from .batch.hosted.context import HostedOptions
from .batch.hosted.estimate import HostedEstimate, estimate_rows
from .batch.hosted.hosted_engine import HostedEngine
from .batch.hosted.intervals import HostedIntervals
from .batch.hosted.plan import (
    CHAT_ENDPOINT,
    MAX_BYTES,
    MAX_ROWS,
    BatchGroup,
    other_slug,
    plan_row,
    submission_head,
    wire_name,
)
from .batch.hosted.routes import (
    BatchRoutes,
    submission_wait,
)
from .batch.journal import Journal, RunJournal
from .batch.options import BatchOptions, Items, OnError, Progress
from .batch.request_builder import RequestBuilder
from .batch.rows.items import read_item
from .batch.rows.results import BatchResult
from .batch.run import BatchRun, Engine
from .batch.source import END, Source, check_items, open_source
from .errors import APIError, ConfigurationError, NotFoundError, OpenRouterError
from .protocol.batch_parsing import is_missing_variant, objects_in, read_row
from .protocol.decode import as_object, decode
from .protocol.encode import encode
from .protocol.response_parsing import usage_of
from .protocol.settings import Settings
from .structured.output_parser import parser_of
from .transport.transport import Transport
from .types import ChatFields, ChatResponse
from .types.hosted import Batch

T = TypeVar("T")

# Submissions that are rejected by a rate limit, or find no connection.
_MAX_SUBMISSIONS: Final = 5


class HostedRunOptions(ChatFields, total=False):
    """The keywords of `Batches.run`, apart from `output`."""

    journal: Required[str | os.PathLike[str]]
    max_cost: float | None
    on_error: OnError
    progress: Progress | None
    wait: bool
    batch_rows: int
    batch_bytes: int
    max_open: int
    callback_url: str | None
    intervals: HostedIntervals | None
    usage_tag: str | None


class Batches:
    """The hosted-batch operations of a client."""

    def __init__(self, settings: Settings, transport: Transport) -> None:
        self._settings = settings
        self._transport = transport
        self._routes = BatchRoutes(settings, transport)

    async def create(
        self,
        rows: Items,
        *,
        endpoint: str = CHAT_ENDPOINT,
        callback_url: str | None = None,
        **fields: Unpack[ChatFields],
    ) -> Batch:
        """
        Submit one batch.

        If the response is lost, the batch may have been stored: look for it with
        `list()` before you submit it again. `run()` does that.

        Args:
            rows: The rows, in the forms that `chat.send_many` accepts, at most 5,000.
                For another endpoint, mappings with `custom_id` and `body`.
            endpoint: Endpoint of all rows.
            callback_url: An https URL that is called when the batch has ended.
            **fields: Fields of `ChatGenerationParams` for every row that does not set
                them itself. `model` must be the same for all rows; `provider` may
                contain `only` and `allow_fallbacks`.

        Raises:
            ConfigurationError: If a row cannot be sent in a batch; nothing is sent.
            OpenRouterError: If the submission fails.
        """
        check_items(rows)
        builder = RequestBuilder(
            self._settings, self._transport, fields, extra=None, query=None
        )
        planned = _Submission(endpoint, builder, fields)
        source = open_source(rows)
        try:
            while (item := await source.pull()) is not END:
                planned.add(item)
        finally:
            await source.aclose()
        model = planned.group.model
        try:
            return await self._submit(planned.body(model, callback_url))
        except APIError as error:
            # A 400 stored nothing. Some models are accepted in one form only.
            if not is_missing_variant(error):
                raise
            other = other_slug(model)
            return await self._submit(planned.body(other, callback_url))

    @overload
    def run(
        self, rows: Items, *, output: None = None, **options: Unpack[HostedRunOptions]
    ) -> BatchRun[None]: ...

    @overload
    def run(
        self, rows: Items, *, output: TypeForm[T], **options: Unpack[HostedRunOptions]
    ) -> BatchRun[T]: ...

    def run(
        self,
        rows: Items,
        *,
        journal: str | os.PathLike[str],
        output: Any = None,
        max_cost: float | None = None,
        on_error: OnError = "capture",
        progress: Progress | None = None,
        wait: bool = True,
        batch_rows: int = MAX_ROWS,
        batch_bytes: int = MAX_BYTES,
        max_open: int = 20,
        callback_url: str | None = None,
        intervals: HostedIntervals | None = None,
        usage_tag: str | None = None,
        **fields: Any,
    ) -> BatchRun[Any]:
        """
        Send rows as hosted batches and return a run that yields their results.

            async with client.batches.run(rows, model=M, journal="out.jsonl") as run:
                async for result in run:
                    print(result.custom_id, result.text or result.error)

        Rows are grouped, checked, split into batches and submitted; results arrive as
        batches end, in minutes to 24 hours. The ids of the batches are beside the
        journal, so that a run can end at any time and the next one collects: call
        `run` again with the same rows and journal. Rows whose result is in the journal
        are not sent, whichever engine sent them.

        Args:
            rows: The rows, in the forms that `chat.send_many` accepts.
            journal: Output file in JSON lines, which `chat.send_many` can continue.
                The batches are recorded in `out.batches.jsonl` beside it. Needs
                `openrouter_async[batch]`.
            output: The type of each answer, as in `chat.send`.
            max_cost: Maximum cost in US dollars, including earlier runs with the same
                journal. It is guaranteed under the conditions of `chat.send_many`, for
                models with a known batch price.
            on_error: The effect of a row that fails, as in `chat.send_many`.
            progress: A function of `run.stats`, or True, as in `chat.send_many`.
            wait: If False, submit all rows, collect the batches that have ended, and
                end the run.
            batch_rows: Maximum number of rows of a batch.
            batch_bytes: Maximum size of a submission.
            max_open: Maximum number of batches that have not ended.
            callback_url: An https URL that is called when a batch has ended.
            intervals: Seconds between checks of the batches.
            usage_tag: Name that the rows are counted under in `client.usage`.
            **fields: Fields of `ChatGenerationParams`, for every row that does not set
                them itself.

        Raises:
            TypeError: If an argument is unknown or has the wrong type.
            ConfigurationError: If an option is invalid.
        """
        options = BatchOptions(
            items=rows,
            journal=journal,
            max_cost=max_cost,
            on_error=on_error,
            progress=progress,
        )
        hosted = HostedOptions(
            wait=wait,
            batch_rows=batch_rows,
            batch_bytes=batch_bytes,
            max_open=max_open,
            callback_url=callback_url,
            intervals=intervals or HostedIntervals(),
        )
        parser = None if output is None else parser_of(output)
        builder = RequestBuilder(
            self._settings.with_options({"usage_tag": usage_tag}),
            self._transport,
            fields,
            extra=None,
            query=None,
            parser=parser,
        )

        def make_engine(
            source: Source, journal: RunJournal | None, executor: Executor
        ) -> Engine:
            assert isinstance(journal, Journal)
            return HostedEngine(
                options,
                hosted,
                builder,
                self._routes,
                source,
                journal,
                executor,
                has_output=parser is not None,
            )

        return BatchRun(options, builder, self._transport.limiters, make_engine)

    async def estimate(
        self, rows: Items, *, done: Container[str] = (), **fields: Unpack[ChatFields]
    ) -> HostedEstimate:
        """
        Check rows, and return the number of batches and the prices; nothing is sent.

        Args:
            rows: The rows, as for `run`.
            done: Names of rows whose result is in the journal.
            **fields: Fields of `ChatGenerationParams`, as for `run`.
        """
        check_items(rows)
        builder = RequestBuilder(
            self._settings, self._transport, fields, extra=None, query=None
        )
        source = open_source(rows)

        try:
            return await estimate_rows(source, builder, done)
        finally:
            await source.aclose()

    async def get(self, batch_id: str) -> Batch:
        """
        Return a batch. Once it has ended, the response contains all its results.

        Raises:
            NotFoundError: If it does not exist; also shortly after its creation.
            PaymentRequiredError: If its results are withheld until credits are added.
            APIError: With status 410, if its results were deleted.
        """
        return await self._routes.get(batch_id)

    def list(
        self,
        *,
        status: Sequence[str] = (),
        created_after: float | None = None,
        created_before: float | None = None,
    ) -> BatchList:
        """
        Iterate over the batches of the workspace, newest first.

        It includes batches of other keys and programs.

        Args:
            status: Statuses to include; empty for all.
            created_after: Unix time in seconds.
            created_before: Unix time in seconds.
        """
        query = {
            "status": list(status) or None,
            "created_after": created_after,
            "created_before": created_before,
        }
        return BatchList(self._routes, query)

    def results(self, batch_id: str) -> HostedResults:
        """
        Iterate over the results of a batch that has ended, in no particular order.

        `custom_id` is the one that was submitted, and `index` the position of the
        result. The cost of a row is not known, only that of the batch.
        """
        return HostedResults(self._routes, batch_id)

    async def delete(self, batch_id: str) -> Mapping[str, Any]:
        """
        Delete the requests and results of a batch that has ended.

        It does not cancel a batch, nor change what is billed.

        Returns:
            The confirmation, in which `deletion` says what happened to the copies of
            OpenRouter and of the provider.

        Raises:
            APIError: With status 409, if the batch has not ended.
        """
        return await self._routes.delete(batch_id)

    async def _submit(self, body: bytes) -> Batch:
        attempts = 0
        while True:
            try:
                return await self._routes.submit(body)
            except OpenRouterError as error:
                wait = submission_wait(error, attempts)
                attempts += 1
                if wait is None or attempts == _MAX_SUBMISSIONS:
                    raise
            await asyncio.sleep(wait)


class BatchList:
    """An async iterator over the list of batches; pages are fetched when needed."""

    def __init__(self, routes: BatchRoutes, query: Mapping[str, Any]) -> None:
        self._routes = routes
        self._query = query
        self._batches: deque[Batch] = deque()
        self._after: str | None = None
        self._is_read = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        while not self._batches:
            if self._is_read:
                raise StopAsyncIteration
            page = await self._routes.page({**self._query, "after": self._after})
            self._batches.extend(page.batches)
            self._after = page.next_id
            self._is_read = page.next_id is None
        return self._batches.popleft()


class HostedResults:
    """
    An async iterator over the results of a batch.

    They are fetched page by page. If the route of the pages is missing, they are read
    from the batch, as a whole.
    """

    def __init__(self, routes: BatchRoutes, batch_id: str) -> None:
        self._routes = routes
        self._id = batch_id
        self._rows: deque[dict[str, Any]] = deque()
        self._cursor: str | None = None
        self._is_read = False
        self._index = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchResult[None]:
        """
        Return the next result.

        Raises:
            OpenRouterError: As for `Batches.get`.
        """
        while not self._rows:
            if self._is_read:
                raise StopAsyncIteration
            await self._read()
        row = self._rows.popleft()
        index, self._index = self._index, self._index + 1
        name = row.get("custom_id")
        found = read_row(row)
        result = BatchResult[None](index, name if isinstance(name, str) else None)
        result.attempts = 1
        if isinstance(found, ChatResponse):
            result.response, result.usage = found, usage_of(found)
        else:
            result.error = found
        return result

    async def _read(self) -> None:
        try:
            rows, self._cursor = await self._routes.results_page(self._id, self._cursor)
        except NotFoundError:
            batch = await self._routes.get(self._id)
            rows, self._cursor = objects_in(batch.raw.get("results")), None
        self._rows.extend(rows)
        self._is_read = self._cursor is None


class _Submission:
    """The rows of one submission."""

    def __init__(
        self, endpoint: str, builder: RequestBuilder, fields: Mapping[str, Any]
    ) -> None:
        self._endpoint = endpoint
        self._builder = builder
        self._fields = fields
        self._lines: list[bytes] = []
        self._names: set[str] = set()
        self._group: BatchGroup | None = None

    @property
    def group(self) -> BatchGroup:
        """
        The group of all rows.

        Raises:
            ConfigurationError: If there are no rows.
        """
        if self._group is None:
            raise ConfigurationError("A batch needs at least one row.")
        return self._group

    def add(self, item: object) -> None:
        """
        Add a row.

        Raises:
            ConfigurationError: If it cannot be part of the submission.
        """
        if len(self._lines) == MAX_ROWS:
            raise ConfigurationError(
                f"A batch has at most {MAX_ROWS} rows. Use batches.run(), which splits."
            )
        row = read_item(item, len(self._lines))
        if self._endpoint == CHAT_ENDPOINT:
            body = decode(encode(self._builder.body(row)))
            planned = plan_row(body, row.name)
            name, line, group = planned.wire_name, planned.line, planned.group
        else:
            body = {**as_object(row.params)}
            name = wire_name(row.name)
            line = encode({"custom_id": name, "body": body})
            group = BatchGroup(str(self._fields.get("model") or ""))
        if name in self._names:
            raise ConfigurationError(
                f"Row {row.index} has the same name as an earlier row: {row.name!r}. "
                "Give each row its own custom_id."
            )
        if self._group not in (None, group):
            raise ConfigurationError(
                f"Row {row.name!r} differs in model, provider or response_format from "
                "the rows before it. Use batches.run(), which makes several batches."
            )
        self._names.add(name)
        self._group = group
        self._lines.append(line)

    def body(self, model: str, callback_url: str | None) -> bytes:
        """Return the body of the submission, with a form of the model's slug."""
        provider = self.group.provider
        head = submission_head(
            self._endpoint, model, callback_url=callback_url, provider=provider
        )
        return head + b",\n".join(self._lines) + b"\n]}"
