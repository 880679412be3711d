"""
Ray Data: send the rows of a dataset from several processes, on several machines.

    import ray
    from openrouter_async.ray import RayRun

    with RayRun(journal="out.jsonl", model="openai/gpt-4o-mini", workers=4) as run:
        ds = ray.data.read_parquet("prompts/")
        ds = run.send_many(ds, prompt="Summarise: {text}", custom_id="id")
        ds.write_parquet("summaries/")

Each worker is an actor with a client and a run of its own. One further actor, the
ledger, holds the journal, the budget and the rate for all of them. Needs the extra
`openrouter_async[ray]`.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, Unpack

from attrs import frozen

from .batch import BatchOptions, BatchRun, Concurrency, Progress
from .batch.journal import local_path
from .batch.ledger import Grant, KnownRows, Ledger
from .batch.lifetime import call_and_log, progress_of
from .batch.options import STALL_TIMEOUT
from .batch.progress import ProgressLine
from .batch.ray_worker import BatchWorker
from .batch.rows.columns import RowColumns, result_columns
from .batch.rows.stats import BatchStats, RunCounters
from .chat import SendOptions
from .client import AsyncOpenRouter
from .errors import ConfigurationError, JournalError, OpenRouterError
from .extras import require

LEDGER_TIMEOUT: Final = 9.0
"""Seconds for a response of the ledger. Workers call it at least once a second, so that
nothing is sent 10 seconds after its last response."""

# A driver that was killed leaves its ledger for a moment, which holds the lock.
_LOCK_TIMEOUT: Final = 5.0
# Seconds between two snapshots; lines reach the disk within a second.
_TICK: Final = 0.5
# Ray Data runs 4 batches of a block at once, and 2 blocks of an actor.
_BATCHES: Final = 4
_BLOCKS: Final = 2
# 4 x 2 x 128 rows are enough for 512 requests in flight, the highest adaptive limit.
_BATCH_ROWS: Final = 128
_BLOCK_ROWS: Final = 1024
# An actor mostly waits for the network.
_CPUS: Final = 0.1


def _ray(name: str = "ray") -> Any:
    """
    Return Ray, or one of its modules.

    Raises:
        ConfigurationError: If Ray is not installed.
    """
    require("ray", "ray", "RayRun")
    return require(name, "ray", "RayRun")


class LedgerActor:
    """The process of the ledger. It returns errors, because Ray changes raised ones."""

    def __init__(self, path: str, max_cost: float | None, rpm: float | None) -> None:
        self._ledger = Ledger(
            path, max_cost=max_cost, rpm=rpm, lock_timeout=_LOCK_TIMEOUT
        )

    def call(
        self, name: str, arguments: Sequence[Any], options: Mapping[str, Any]
    ) -> tuple[Any, OpenRouterError | None]:
        """Call a method of the ledger; return its value and its error."""
        try:
            return getattr(self._ledger, name)(*arguments, **options), None
        except OpenRouterError as error:
            return None, error


class RayLedger:
    """The ledger in another process, for workers and for the driver."""

    def __init__(self, actor: Any, timeout: float | None = LEDGER_TIMEOUT) -> None:
        """
        Create the proxy.

        Args:
            actor: The handle of the `LedgerActor`.
            timeout: Seconds to wait for each response; None for no limit.
        """
        self._actor = actor
        self._timeout = timeout

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """
        Call a method of the ledger.

        Raises:
            JournalError: If the ledger has ended or does not respond.
            OpenRouterError: If the method raises it.
        """
        ray = _ray()
        try:
            # Not `ray.get`: in a process that loses its node, it never returns, and the
            # process waits for this thread before it ends.
            reply = self._actor.call.remote(name, arguments, options).future()
            value, error = reply.result(self._timeout)
        except TimeoutError:
            raise JournalError(
                f"The ledger of the run did not respond within {self._timeout:g} "
                "seconds.",
                hint="Run the same program again with the same journal.",
            ) from None
        except ray.exceptions.RayError:
            raise JournalError(
                "The ledger of the run has ended: its process was killed, or the "
                "`with RayRun(...)` block was left before the dataset was executed.",
                hint="Run the same program again with the same journal.",
            ) from None
        if error is not None:
            raise error
        return value

    def join(self, worker: str, actor: str) -> None:
        """Start a worker; an earlier worker of the same actor has died."""
        self.call("join", worker, actor)

    def known(self, names: Sequence[str], worker: str = "") -> KnownRows:
        """Return which rows need not be sent; the worker sends the others."""
        found: KnownRows = self.call("known", names, worker)
        return found

    def put(self, rows: bytes, failures: bytes) -> None:
        """Store lines of rows that succeeded, and of rows that failed."""
        self.call("put", rows, failures)

    def grant(
        self, worker: str, *, starts: bool = False, dollars: float | None = None
    ) -> Grant:
        """Return a portion of the rate, of the money, or of both."""
        granted: Grant = self.call("grant", worker, starts=starts, dollars=dollars)
        return granted

    def report(self, worker: str, stats: BatchStats, *, is_idle: bool = False) -> None:
        """Store the progress of a worker."""
        self.call("report", worker, stats, is_idle=is_idle)

    def fail(self, error: OpenRouterError) -> None:
        """Store the error that ended a worker's run."""
        self.call("fail", error)


@frozen
class StagePlan:
    """
    The configuration of a worker. It has no key, because Ray shows it in its logs.

    Attributes:
        client: The client, which is pickled without its key; None for one with the
            configuration of the worker's environment.
        columns: The columns of which requests are made.
        fields: The fields and options that all rows share.
        options: The options of each worker's run.
        output: The type of each answer; None for none.
    """

    client: AsyncOpenRouter | None
    columns: RowColumns
    fields: Mapping[str, Any]
    options: Mapping[str, Any]
    output: Any = None

    @contextlib.asynccontextmanager
    async def open_run(self, options: BatchOptions) -> AsyncGenerator[BatchRun[Any]]:
        """Create a client and a run, and close both."""
        client = self.client or AsyncOpenRouter()
        async with (
            client,
            client.chat.run_of(options, self.output, dict(self.fields)) as run,
        ):
            yield run


class SendStage:
    """The function that Ray Data calls with each batch of rows, in an actor."""

    def __init__(self, plan: StagePlan, actor: Any) -> None:
        """
        Create the stage; its worker starts with the first batch.

        Args:
            plan: The plan.
            actor: The handle of the ledger.
        """
        self._plan = plan
        self._ledger = RayLedger(actor)
        self._read = plan.columns.reader()
        # An actor that is started again has the same id.
        self._actor_id = _ray().get_runtime_context().get_actor_id()
        self._lock = threading.Lock()
        self._worker: BatchWorker | None = None

    async def __call__(self, table: Any) -> Any:
        """
        Send the rows of a table.

        Args:
            table: An Arrow table.

        Returns:
            The table with the columns of the results.

        Raises:
            OpenRouterError: If the run ends for another reason than its budget.
        """
        columns = self._plan.columns
        columns.check(table.column_names)
        rows = table.select(sorted(columns.needed)).to_pylist()
        # Starting it takes a moment, in which this loop serves other batches.
        worker = await asyncio.get_running_loop().run_in_executor(
            None, self._get_worker
        )
        results = await worker.asend([self._read(row) for row in rows])
        arrow = _ray("pyarrow")
        values = result_columns(results, columns)
        for name, kind in columns.result_columns.items():
            array = arrow.array(values[name], type=getattr(arrow, kind)())
            table = table.append_column(name, array)
        return table

    def _get_worker(self) -> BatchWorker:
        with self._lock:
            if self._worker is None:
                plan = self._plan
                try:
                    self._worker = BatchWorker(
                        self._ledger, plan.open_run, plan.options, actor=self._actor_id
                    )
                except OpenRouterError as error:
                    self._ledger.fail(error)
                    raise
            return self._worker


class RayRun:
    """
    A run whose rows are in Ray datasets.

    `with` opens the journal; datasets from `send_many` have to be executed inside the
    block. Started again with the same journal, the program sends only the rows that
    are not in it.
    """

    def __init__(
        self,
        *,
        journal: str | os.PathLike[str],
        workers: int = 2,
        concurrency: Concurrency = "auto",
        max_cost: float | None = None,
        rpm: float | None = None,
        progress: Progress | None = None,
        stall_timeout: float = STALL_TIMEOUT,
        client: AsyncOpenRouter | None = None,
        **fields: Unpack[SendOptions],
    ) -> None:
        """
        Check the options; nothing is started before the `with` block.

        Args:
            journal: Output file in JSON lines, on the node of this program or on a
                shared mount. Required: Ray Data runs a pipeline again for each action,
                such as `take` or `write_parquet`, and what is in the journal is not
                sent again.
            workers: Number of actors.
            concurrency: Maximum number of requests in flight of each worker; "auto"
                adapts it to the capacity of the model.
            max_cost: Maximum cost in US dollars of all workers together, as in
                `chat.send_many`. Rows that it does not allow are returned with the
                `error_type` "NotSent".
            rpm: Maximum number of requests per minute of all workers together.
            progress: A function that is called with `stats` twice a second; if True,
                write a line to stderr.
            stall_timeout: Seconds without success after which a worker whose requests
                are all refused fails, as in `chat.send_many`.
            client: A client whose configuration the workers use. They read the key
                from the environment variable OPENROUTER_API_KEY of their process. None:
                a client that is configured by the workers' environment.
            **fields: Fields and options for every row, as in `chat.send`.

        Raises:
            TypeError: If an argument is unknown or has the wrong type.
            ConfigurationError: If an option is invalid, or Ray is not installed.
        """
        _ray()
        _ray("pyarrow")
        if fields.get("api_key") is not None:
            raise ConfigurationError(
                "RayRun takes no api_key, because Ray would store it. Set "
                "OPENROUTER_API_KEY for the workers, such as with "
                "ray.init(runtime_env={'env_vars': ...})."
            )
        if isinstance(workers, bool) or workers < 1:
            raise ConfigurationError(f"workers must be 1 or more, not {workers!r}.")
        self._path = str(Path(local_path(journal)).absolute())
        self._workers = workers
        self._client = client
        self._fields = {k: v for k, v in fields.items() if v is not None}
        self._max_cost, self._rpm = max_cost, rpm
        self._options: dict[str, Any] = {
            "concurrency": concurrency,
            "stall_timeout": stall_timeout,
        }
        # The same checks as in the workers, before any of them is started.
        options = BatchOptions(
            items=(),
            max_cost=max_cost,
            rpm=rpm,
            progress=progress,
            **self._options,
        )
        checker = client or AsyncOpenRouter(api_key="unused")
        checker.chat.run_of(options, None, dict(self._fields))
        self._progress = progress_of(options)
        self._concurrency = options.fixed_concurrency
        self._actor: Any = None
        self._ledger: RayLedger | None = None
        self._stats = RunCounters().stats(
            total=None,
            waiting=0,
            budget=None,
            earlier_cost=0.0,
            seconds=0.0,
            is_over=False,
            stop_reason=None,
        )
        self._ended = threading.Event()
        self._ticker: threading.Thread | None = None

    def __enter__(self) -> Self:
        """
        Open the journal.

        Raises:
            JournalError: If the journal is in use or is not a journal.
            ConfigurationError: If Ray was not initialised, or the run was entered
                before.
        """
        ray = _ray()
        if self._actor is not None:
            raise ConfigurationError(
                "A RayRun can only be entered once. Create another one."
            )
        if not ray.is_initialized():
            raise ConfigurationError(
                "Ray is not initialised. Call ray.init() before RayRun is entered."
            )
        # On this node, because the journal is a file of this node.
        placement = _ray(
            "ray.util.scheduling_strategies"
        ).NodeAffinitySchedulingStrategy(
            node_id=ray.get_runtime_context().get_node_id(), soft=False
        )
        self._actor = (
            ray.remote(LedgerActor)
            .options(num_cpus=0, max_restarts=0, scheduling_strategy=placement)
            .remote(self._path, self._max_cost, self._rpm)
        )
        self._ledger = RayLedger(self._actor, timeout=None)
        try:
            self._ledger.call("open")
        except BaseException:
            ray.kill(self._actor)
            raise
        self._ticker = threading.Thread(
            target=self._tick, name="openrouter-ray", daemon=True
        )
        self._ticker.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """
        Release the journal.

        Raises:
            OpenRouterError: If a worker's run has failed, in place of the error that
                Ray made of it; or if the journal could not be written.
        """
        assert self._ticker is not None
        assert self._ledger is not None
        self._ended.set()
        self._ticker.join()
        try:
            failure = self._ledger.call("failure")
            self._stats = self._ledger.call("close")
        except JournalError as error:
            failure = error
        finally:
            _ray().kill(self._actor)
        self._report()
        if isinstance(self._progress, ProgressLine):
            call_and_log(self._progress.end)
        if failure is not None and (exc is None or _is_from_ray(exc)):
            raise failure from exc

    @property
    def stats(self) -> BatchStats:
        """A snapshot of the progress of all workers; it is up to a second old."""
        return self._stats

    @property
    def in_flight(self) -> Mapping[str, int]:
        """Requests in flight of each worker, by its last report."""
        if self._ledger is None or self._ended.is_set():
            return {}
        found: dict[str, int] = self._ledger.call("in_flight")
        return found

    def send_many(
        self,
        ds: Any,
        *,
        prompt: str | None = None,
        messages: str | None = None,
        body: str | None = None,
        custom_id: str | None = None,
        output: Any = None,
        raw: bool = False,
    ) -> Any:
        """
        Return a dataset with the results of the rows of another one.

        The dataset is lazy: rows are sent when it is executed. Its columns are those of
        `ds`, and `response`, `finish_reason`, `model`, `provider`, `generation_id`,
        `prompt_tokens`, `completion_tokens`, `cost`, `attempts`, `seconds`,
        `error_type`, `error_status` and `error`. None of them is ever null: a row that
        succeeded has the `error_type` "".

        Args:
            ds: The dataset.
            prompt: A template of the prompt, with columns in braces.
            messages: A column of lists of messages, or of their JSON.
            body: A column of requests, or of their JSON.
            custom_id: A column with the names of the rows, each of which is unique. If
                None, the request is the name, and equal rows are sent once.
            output: The type of each answer, as in `chat.send`. The column `output` has
                its values as JSON.
            raw: If True, the column `raw` has the responses as JSON.

        Raises:
            ConfigurationError: If the run was not entered, a column is missing, or a
                column has the name of a result.
        """
        if self._ledger is None:
            raise ConfigurationError(
                "The run was not started. Enter it first: with RayRun(...) as run: ..."
            )
        columns = RowColumns(
            prompt=prompt,
            messages=messages,
            body=body,
            custom_id=custom_id,
            has_output=output is not None,
            has_raw=raw,
        )
        # Not fetched: that would run the steps before this one.
        schema = ds.schema(fetch_if_missing=False)
        if schema is not None:
            columns.check(schema.names)
        options = {
            **self._options,
            "has_rate": self._rpm is not None,
            "has_budget": self._max_cost is not None,
        }
        plan = StagePlan(self._client, columns, self._fields, options, output)
        limit = self._concurrency
        rows = _BATCH_ROWS if limit is None else -(-limit // _BATCHES)
        strategy = _ray("ray.data").ActorPoolStrategy(
            size=self._workers, max_concurrent_calls_per_actor=_BLOCKS
        )
        # Without it, a few large files would be a few blocks, each for one actor.
        split = ds.repartition(
            target_num_rows_per_block=max(_BLOCK_ROWS, _BATCHES * _BLOCKS * rows)
        )
        # Ray repeats a task until it ends, because each attempt to reach an actor on a
        # node that was removed counts as one. The ledger counts the deaths of workers.
        return split.map_batches(
            SendStage,
            fn_constructor_args=(plan, self._actor),
            batch_size=rows,
            batch_format="pyarrow",
            compute=strategy,
            num_cpus=_CPUS,
            udf_modifying_row_count=False,
        )

    def _tick(self) -> None:
        """Flush the journal and take snapshots, until the run ends."""
        assert self._ledger is not None
        while not self._ended.wait(_TICK):
            try:
                self._stats = self._ledger.call("tick")
            except JournalError:
                # The workers have failed too, and `__exit__` raises it.
                return
            self._report()

    def _report(self) -> None:
        progress = self._progress
        if progress is not None:
            call_and_log(lambda: progress(self._stats))


def _is_from_ray(error: BaseException) -> bool:
    return isinstance(error, _ray().exceptions.RayError)
