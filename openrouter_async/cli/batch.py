"""`openrouter-async batch`: send requests from a file, and resume from its output."""

import asyncio
import collections
import datetime as dt
import json
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Literal, Self

from attrs import asdict, evolve, frozen
from rich import box
from rich.table import Table

from openrouter_async import AsyncOpenRouter
from openrouter_async.batch import (
    BatchResult,
    BatchRun,
    BatchStats,
    errors_path,
    read_journal,
)
from openrouter_async.batch.hosted.estimate import ModelEstimate
from openrouter_async.batch.hosted.intervals import HostedIntervals
from openrouter_async.batch.hosted.state import BatchSummary, read_summaries
from openrouter_async.batch.journal import count_failures, journals_of
from openrouter_async.batch.line_readers import check_stdin
from openrouter_async.batch.progress import ProgressLine, ProgressRecords
from openrouter_async.batch.rows.items import read_item, row_name
from openrouter_async.batch.rows.stats import HostedStats
from openrouter_async.batch.source import JsonLinesSource
from openrouter_async.errors import (
    BatchStoppedError,
    ConfigurationError,
    JournalError,
    OpenRouterError,
)
from openrouter_async.protocol.budget import Price
from openrouter_async.protocol.encode import encode
from openrouter_async.types import Usage

from .connect import connect
from .console import Terminal
from .exit_codes import CommandError, ExitCode, check_text, exit_code_of
from .formatting import counted, dollars
from .signals import run_async

STDIN = "-"
STDOUT = "-"
# Ctrl-C ends a command with hosted batches within 2 s.
_HOSTED_STOP_SECONDS = 1.0


@frozen
class BatchArgs:
    """
    Arguments of `batch run` and `batch retry`.

    Attributes:
        source: File of JSON lines; "-" is stdin.
        out: Output file, the journal of the run.
        model: Model id for rows that have none; with `is_retry`, for all rows.
        prompt: Template of the prompt, with fields of the row.
        concurrency: "auto", or the number of requests in flight.
        rpm: Maximum requests per minute.
        max_cost: Maximum cost of the run in US dollars.
        timeout: Time limit for each request in seconds, including retries.
        max_tokens: Maximum number of output tokens, for rows that have none.
        limit: Maximum number of rows to read.
        progress: "auto", "json" or "none".
        dry_run: If True, send nothing.
        local: If True, use a local server.
        is_retry: If True, the source is the errors file of an earlier run.
        hosted: If True, the rows are sent as hosted batches.
        wait: If False, hosted batches are not waited for.
        poll: Seconds before the first check of hosted batches.
    """

    source: str
    out: Path
    model: str | None = None
    prompt: str | None = None
    concurrency: str = "auto"
    rpm: float | None = None
    max_cost: float | None = None
    timeout: float | None = None
    max_tokens: int | None = None
    limit: int | None = None
    progress: Literal["auto", "json", "none"] = "auto"
    dry_run: bool = False
    local: bool = False
    is_retry: bool = False
    hosted: bool = False
    wait: bool = True
    poll: float = 15.0


def send(args: BatchArgs, terminal: Terminal) -> ExitCode:
    """
    Send the rows whose response is not in the output file.

    Raises:
        CommandError: If an argument is invalid or the source cannot be read.
    """
    if str(args.out) == STDOUT:
        raise CommandError(
            "-o - is not possible: the output file is also the journal, in which the "
            "next run looks up the rows that are done. Pass the name of a file.",
            ExitCode.USAGE,
        )
    if _is_same_file(args.source, args.out):
        raise CommandError(
            "the input and the output are the same file.", ExitCode.USAGE
        )
    if args.hosted and (args.rpm is not None or args.concurrency != "auto"):
        raise CommandError(
            "--concurrency and --rpm have no effect with --hosted.", ExitCode.USAGE
        )
    rows = _open_rows(args.source, args.prompt, args.limit)
    if args.dry_run and args.hosted:
        return run_async(_hosted_dry_run(args, rows, terminal))
    if args.dry_run:
        return run_async(_dry_run(args, rows, terminal))
    return run_async(_send(args, rows, terminal))


def retry(args: BatchArgs, terminal: Terminal) -> ExitCode:
    """
    Send the failed rows of `<name>.errors.jsonl` again, into `<name>.jsonl`.

    Args:
        args: Arguments; `source` is one of the two files, and `out` is ignored.
        terminal: Output.

    Raises:
        CommandError: If an argument is invalid or the errors file cannot be read.
    """
    source, out = _retry_paths(Path(args.source))
    if not source.exists():
        terminal.note(f"Nothing to retry: {source} does not exist.")
        return ExitCode.OK
    rows = _open_rows(str(source), None, args.limit)
    return run_async(_send(evolve(args, out=out, is_retry=True), rows, terminal))


def _retry_paths(path: Path) -> tuple[Path, Path]:
    """
    Return the paths of the failures file and the journal, given either of them.

    Raises:
        CommandError: If the path is stdin, or a failures file that could belong to
            two journals.
    """
    if str(path) == STDIN:
        raise CommandError(
            "retry cannot read stdin: pass OUT.errors.jsonl or OUT.jsonl.",
            ExitCode.USAGE,
        )
    journals = journals_of(path)
    existing = [journal for journal in journals if journal.exists()]
    if len(existing) > 1:
        names = " or ".join(str(journal) for journal in existing)
        raise CommandError(
            f"{path} can belong to {names}. Rename the other one for this command.",
            ExitCode.USAGE,
        )
    if existing:
        return path, existing[0]
    # The name of a journal may itself end with .errors.jsonl.
    if not journals or errors_path(path).exists():
        return errors_path(path), path
    return path, journals[0]


def _is_same_file(source: str, out: Path) -> bool:
    try:
        found = os.fstat(0) if source == STDIN else Path(source).stat()
        return os.path.samestat(found, out.stat())
    except OSError:
        # One of them does not exist.
        return Path(source).absolute() == out.absolute()


def _open_rows(name: str, template: str | None, limit: int | None) -> JsonLinesSource:
    check_text(template)
    path = None if name == STDIN else Path(name)
    try:
        if path is None:
            check_stdin()
        elif not stat.S_ISFIFO(path.stat().st_mode) and not path.is_char_device():
            # Report a missing file before anything else is opened or sent. Opening a
            # pipe would take it from its writer.
            path.open("rb").close()
    except ConfigurationError as error:
        raise CommandError(f"cannot read stdin: {error}", ExitCode.USAGE) from error
    except OSError as error:
        raise CommandError(
            f"cannot read {name}: {error.strerror}.", ExitCode.USAGE
        ) from error
    try:
        return JsonLinesSource(path, template=template, limit=limit)
    except ConfigurationError as error:
        raise CommandError(f"--prompt: {error}", ExitCode.USAGE) from error


async def _send(args: BatchArgs, rows: JsonLinesSource, terminal: Terminal) -> ExitCode:
    progress, end_progress = _progress(args)
    async with connect(local=args.local, timeout=args.timeout) as client:
        run = _make_run(args, rows, client, progress)
        # Submissions in flight are found in the list by the next run.
        timeout = _HOSTED_STOP_SECONDS if args.hosted else None
        with _SignalHandlers(run, end_progress, terminal, timeout) as signals:
            error = await _consume(run)
        end_progress()
    stats = run.stats
    terminal.note(_summary(stats, args.out))
    if stats.hosted is not None:
        for note in _notes_on_batches(stats.hosted):
            terminal.note(note, "yellow")
    if error is not None:
        terminal.error(str(error))
        return _exit_code(error)
    still_running = stats.hosted is not None and stats.hosted.open_batches > 0
    if signals.count:
        return ExitCode.INTERRUPTED
    if still_running:
        return ExitCode.BATCHES_RUNNING
    if stats.stop_reason == "budget":
        terminal.note(
            "Stopped by --max-cost; the same command with a higher limit resumes the "
            "run.",
            "yellow",
        )
        return ExitCode.BUDGET
    unread = 0 if stats.total is None else stats.total - stats.done - stats.resumed
    if unread > 0:
        terminal.error(
            f"{unread:,} of {stats.total:,} rows were not read: the input was changed "
            "or truncated during the run. The same command resumes the run."
        )
        return ExitCode.ROWS_FAILED
    return ExitCode.ROWS_FAILED if stats.failed else ExitCode.OK


def _make_run(
    args: BatchArgs,
    rows: JsonLinesSource,
    client: AsyncOpenRouter,
    progress: Callable[[BatchStats], None] | None,
) -> BatchRun:
    if args.hosted:
        return client.batches.run(
            rows,
            model=args.model,
            max_tokens=args.max_tokens,
            journal=args.out,
            max_cost=args.max_cost,
            progress=progress,
            wait=args.wait,
            intervals=HostedIntervals(poll=args.poll),
        )
    options: dict[str, Any] = {"max_tokens": args.max_tokens}
    if args.is_retry:
        # A failed row contains the model that it was sent to; `model=` would not
        # replace it.
        options["extra_body"] = {"model": args.model} if args.model else None
    else:
        options["model"] = args.model
    return client.chat.send_many(
        rows,
        concurrency=_concurrency(args.concurrency),
        max_cost=args.max_cost,
        rpm=args.rpm,
        journal=args.out,
        progress=progress,
        **options,
    )


async def _consume(run: BatchRun) -> OpenRouterError | None:
    """Consume all results, which are in the journal; return the error of the run."""
    try:
        async with run:
            async for _ in run:
                pass
    except OpenRouterError as error:
        return error
    return None


def _exit_code(error: OpenRouterError) -> ExitCode:
    if isinstance(error, BatchStoppedError):
        stalled = error.reason == "stalled"
        return ExitCode.STALLED if stalled else ExitCode.ROWS_FAILED
    if isinstance(error, JournalError):
        return ExitCode.USAGE
    code = exit_code_of(error)
    # An API error ends a run only if it concerns the account, such as a spending cap.
    return ExitCode.ACCOUNT if code is ExitCode.API else code


class _SignalHandlers:
    """
    Handlers for SIGINT and SIGTERM while a run is active.

    The first signal stops the run and waits for the requests in flight; the second
    one cancels them.

    Attributes:
        count: Number of signals received.
    """

    def __init__(
        self,
        run: BatchRun,
        end_progress: Callable[[], None],
        terminal: Terminal,
        timeout: float | None,
    ) -> None:
        self._run = run
        self._end_progress = end_progress
        self._terminal = terminal
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self.count = 0

    def __enter__(self) -> Self:
        # Where the event loop cannot handle signals (Windows), Ctrl-C cancels at once.
        with suppress(NotImplementedError):
            for number in (signal.SIGINT, signal.SIGTERM):
                self._loop.add_signal_handler(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(NotImplementedError):
            for number in (signal.SIGINT, signal.SIGTERM):
                self._loop.remove_signal_handler(number)

    def _explain(self) -> str:
        if self._timeout is not None:
            return "Stopping: submitted batches continue; run it again to collect them."
        count = self._run.stats.in_flight
        return (
            f"Stopping: waiting for {counted(count, 'request')} in flight. A second "
            "Ctrl-C cancels them; they may be billed."
        )

    async def _stop_run(self, *, drain: bool) -> None:
        await self._run.stop(drain=drain, timeout=self._timeout)

    def _stop(self) -> None:
        self.count += 1
        if self.count == 1:
            self._end_progress()
            self._terminal.note(self._explain())
        task = self._loop.create_task(self._stop_run(drain=self.count == 1))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _progress(
    args: BatchArgs,
) -> tuple[Callable[[BatchStats], None] | None, Callable[[], None]]:
    """Return the progress callback, and a function to call when the run has ended."""
    if args.progress == "none":
        return None, lambda: None
    if args.progress == "auto" and sys.stderr.isatty():
        line = ProgressLine(sys.stderr, args.max_cost)
        return line, line.end
    return ProgressRecords(sys.stderr), lambda: None


def _concurrency(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise CommandError(
            f"Invalid value for --concurrency: {text!r} is not 'auto' or a number.",
            ExitCode.USAGE,
        ) from None


def _notes_on_batches(hosted: HostedStats) -> Iterator[str]:
    """Yield what happens to the batches that a run leaves behind."""
    if hosted.open_batches:
        reserved = ""
        if hosted.reserved is not None:
            reserved = f" (${hosted.reserved:.6g} reserved)"
        yield (
            "Still running at OpenRouter, and billed: "
            f"{counted(hosted.open_batches, 'batch', 'batches')} with "
            f"{counted(hosted.rows, 'row')}{reserved}. The same command collects the "
            "results."
        )
    if hosted.unanswered:
        yield (
            f"{counted(hosted.unanswered, 'submission')} had no response; the same "
            "command looks in the list of batches."
        )


def _summary(stats: BatchStats, out: Path) -> str:
    parts = [f"{stats.ok:,} ok", f"{stats.failed:,} failed"]
    if stats.resumed:
        parts.append(f"{stats.resumed:,} done before")
    if stats.abandoned:
        parts.append(f"{stats.abandoned:,} cancelled")
    parts.append(f"${stats.cost:.6g}")
    parts.append(f"{stats.seconds:.1f} s")
    files = f"output in {out}"
    if errors_path(out).exists():
        files += f", failed rows in {errors_path(out)}"
    return f"{', '.join(parts)}; {files}"


async def _dry_run(
    args: BatchArgs, rows: JsonLinesSource, terminal: Terminal
) -> ExitCode:
    """Read and check all rows, and print the body of the first valid request."""
    terminal.require_stdout()
    done = _done_names(args.out)
    count = invalid = already_done = 0
    first: Mapping[str, Any] | None = None
    async with aclosing(rows):
        async for item in rows:
            try:
                row = read_item(item, count)
            except ConfigurationError as error:
                invalid += 1
                if invalid == 1:
                    terminal.note(str(error), "yellow")
            else:
                already_done += row.name in done
                if first is None and isinstance(row.params, Mapping):
                    first = row.params
            count += 1
    terminal.note(
        f"{count:,} rows, {invalid:,} of them invalid, {already_done:,} done before."
    )
    if first is not None:
        common = {"model": args.model, "max_tokens": args.max_tokens}
        given = {name: value for name, value in common.items() if value is not None}
        sys.stdout.write(encode({**given, **first}).decode() + "\n")
    return ExitCode.ROWS_FAILED if invalid else ExitCode.OK


async def _hosted_dry_run(
    args: BatchArgs, rows: JsonLinesSource, terminal: Terminal
) -> ExitCode:
    """Check all rows, and print the number of batches and both prices."""
    async with connect(local=args.local, timeout=args.timeout) as client:
        found = await client.batches.estimate(
            rows,
            done=_done_names(args.out),
            model=args.model,
            max_tokens=args.max_tokens,
        )
    if found.problem is not None:
        terminal.note(str(found.problem), "yellow")
    batches = sum(model.batches for model in found.models)
    terminal.note(
        f"{found.rows:,} rows, {found.invalid:,} of them invalid, {found.done:,} done "
        f"before; {counted(batches, 'batch', 'batches')}."
    )
    for model in found.models:
        terminal.out.print(_estimate_line(model), soft_wrap=True)
    terminal.note(f"Prices read at {found.read_at:%Y-%m-%d %H:%M} UTC.")
    return ExitCode.ROWS_FAILED if found.invalid else ExitCode.OK


def _estimate_line(model: ModelEstimate) -> str:
    rows = f"{model.model}: {counted(model.rows, 'row')}"
    batch = _price_text(model.batch_price, model.batch_cost)
    live = _price_text(model.live_price, model.live_cost)
    return f"{rows}; in batches {batch}; live {live}"


def _price_text(price: Price | None, cost: float | None) -> str:
    if price is None:
        return "unknown"
    prompt, completion = float(price.prompt) * 1e6, float(price.completion) * 1e6
    text = f"${prompt:g} + ${completion:g} per million tokens"
    return text if cost is None else f"{text}, at most {dollars(cost)}"


def _done_names(out: Path) -> set[str]:
    if not out.exists():
        return set()
    return {_name(result) for result in read_journal(out)}


def _name(result: BatchResult) -> str:
    return row_name(result.index) if result.custom_id is None else result.custom_id


def status(out: Path, terminal: Terminal) -> ExitCode:
    """
    Print the totals of an output file as JSON.

    Raises:
        CommandError: If the file does not exist.
        JournalError: If it is not the output of a run.
    """
    if not out.exists():
        raise CommandError(f"{out} does not exist.", ExitCode.USAGE)
    count = tokens = 0
    cost = seconds = 0.0
    providers: collections.Counter[str] = collections.Counter()
    for result in read_journal(out):
        count += 1
        cost += result.cost or 0.0
        seconds += result.latency
        usage = result.usage or Usage()
        tokens += (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
        providers[result.provider or "unknown"] += 1
    errors = count_failures(out)
    totals: dict[str, Any] = {
        "ok": count,
        "failed": errors.total(),
        "cost": round(cost, 9),
        "tokens": tokens,
        "mean_seconds": round(seconds / count, 3) if count else None,
        "providers": dict(providers.most_common()),
        "errors": dict(errors.most_common()),
    }
    terminal.require_stdout()
    summaries = read_summaries(out)
    if summaries:
        totals["batches"] = [asdict(summary) for summary in summaries]
        terminal.err.print(_batch_table(summaries))
    sys.stdout.write(json.dumps(totals, indent=2) + "\n")
    return ExitCode.OK


def _state(summary: BatchSummary) -> str:
    """Return the state of a batch in one word or two."""
    if summary.is_collected:
        return "not stored" if summary.id is None else "collected"
    return summary.status or ("no response" if summary.id is None else "submitted")


def _batch_table(summaries: list[BatchSummary]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("", "batch", "model", "rows", "status", "cost", "submitted"):
        # Nothing is cut off: the id is needed to ask the service about a batch.
        table.add_column(name, overflow="fold")
    for summary in summaries:
        when = dt.datetime.fromtimestamp(summary.time).astimezone()
        table.add_row(
            str(summary.number),
            summary.id or "unknown",
            summary.model,
            f"{summary.rows:,}",
            _state(summary),
            dollars(summary.cost),
            f"{when:%Y-%m-%d %H:%M}",
        )
    return table
