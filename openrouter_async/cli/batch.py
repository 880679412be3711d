"""`openrouter-async batch`: many requests from a file, with a file to go on from."""

import asyncio
import collections
import json
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Literal, Self

from attrs import frozen

from openrouter_async.batch import (
    BatchResult,
    BatchRun,
    BatchStats,
    errors_path,
    read_journal,
)
from openrouter_async.batch.progress import ProgressLine, ProgressRecords
from openrouter_async.batch.rows.hash_index import HashSet64
from openrouter_async.batch.rows.items import name_key, read_item, row_name
from openrouter_async.batch.source import JsonLinesSource
from openrouter_async.errors import (
    BatchStoppedError,
    ConfigurationError,
    JournalError,
    OpenRouterError,
)
from openrouter_async.protocol.encode import encode
from openrouter_async.types import Usage

from .connect import connect
from .console import Terminal
from .exit_codes import CommandError, ExitCode, code_of
from .signals import run_async

_ERRORS = ".errors.jsonl"


@frozen
class BatchArgs:
    """
    What is to be sent, and how.

    Attributes:
        source: A file of JSON lines, or "-".
        out: The journal.
        model: Of the rows that name none; with `again`, of all.
        prompt: A template that the fields of each line are put into.
        concurrency: "auto" or a number.
        rpm: Requests a minute.
        max_cost: US dollars.
        timeout: Seconds for a request, repeats included.
        max_tokens: Of the rows that name none.
        limit: How many rows are taken.
        progress: "auto", "json" or "none".
        dry_run: Whether nothing is sent.
        local: Whether a local server answers.
        again: Whether they are rows that failed.
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
    again: bool = False


def send(work: BatchArgs, screen: Terminal) -> ExitCode:
    """Send the rows, all that are not in the journal yet."""
    if work.source != "-" and Path(work.source).absolute() == work.out.absolute():
        raise CommandError("the output can not be the input.", ExitCode.USAGE)
    rows = _open_rows(work.source, work.prompt, work.limit)
    if work.dry_run:
        return run_async(_rehearse(work, rows, screen))
    return run_async(_send(work, rows, screen))


def retry(work: BatchArgs, screen: Terminal) -> ExitCode:
    """Send again what failed: `out.errors.jsonl`, into `out.jsonl`."""
    given = Path(work.source)
    if given.name.endswith(_ERRORS):
        out = given.with_name(given.name.removesuffix(_ERRORS) + ".jsonl")
    else:
        given, out = errors_path(given), given
    if not given.exists():
        screen.note(f"Nothing to send again: there is no {given}.")
        return ExitCode.OK
    rows = _open_rows(str(given), None, work.limit)
    return run_async(_send(_into(work, out), rows, screen))


def _open_rows(name: str, template: str | None, limit: int | None) -> JsonLinesSource:
    path = None if name == "-" else Path(name)
    try:
        if path is not None:
            # Report a missing file before anything else is opened or sent.
            path.open("rb").close()
        return JsonLinesSource(path, template=template, limit=limit)
    except OSError as error:
        raise CommandError(
            f"cannot read {name}: {error.strerror}.", ExitCode.USAGE
        ) from error
    except ConfigurationError as error:
        raise CommandError(f"--prompt: {error}", ExitCode.USAGE) from error


def _into(work: BatchArgs, out: Path) -> BatchArgs:
    return BatchArgs(
        source=work.source,
        out=out,
        model=work.model,
        concurrency=work.concurrency,
        rpm=work.rpm,
        max_cost=work.max_cost,
        timeout=work.timeout,
        progress=work.progress,
        local=work.local,
        again=True,
    )


async def _send(work: BatchArgs, rows: JsonLinesSource, screen: Terminal) -> ExitCode:
    options: dict[str, Any] = {"max_tokens": work.max_tokens}
    if work.again:
        # A row that failed brings the model that failed it.
        options["extra_body"] = {"model": work.model} if work.model else None
    else:
        options["model"] = work.model
    teller, end = _teller(work)
    async with connect(local=work.local, timeout=work.timeout) as client:
        run = client.chat.send_many(
            rows,
            concurrency=_concurrency(work.concurrency),
            max_cost=work.max_cost,
            rpm=work.rpm,
            journal=work.out,
            progress=teller,
            **options,
        )
        with _Signals(run) as signals:
            failure = await _read(run)
        end()
    stats = run.stats
    screen.note(_summary(stats, work.out))
    if failure is not None:
        screen.fail(str(failure))
        return _code(failure)
    if signals.count:
        return ExitCode.INTERRUPTED
    if stats.stop_reason == "budget":
        screen.note("Stopped by --max-cost; a higher one goes on from here.", "yellow")
        return ExitCode.BUDGET
    return ExitCode.ROWS_FAILED if stats.failed else ExitCode.OK


async def _read(run: BatchRun) -> OpenRouterError | None:
    try:
        async with run:
            async for _ in run:
                pass
    except OpenRouterError as error:
        return error
    return None


def _code(failure: OpenRouterError) -> ExitCode:
    if isinstance(failure, BatchStoppedError):
        stalled = failure.reason == "stalled"
        return ExitCode.STALLED if stalled else ExitCode.ROWS_FAILED
    if isinstance(failure, JournalError):
        return ExitCode.USAGE
    code = code_of(failure)
    # Whatever else ends a run, it is the account: a cap, say.
    return ExitCode.ACCOUNT if code is ExitCode.API else code


class _Signals:
    """The first SIGINT or SIGTERM lets what is out come home, the second does not."""

    def __init__(self, run: BatchRun) -> None:
        self._run = run
        self._loop = asyncio.get_running_loop()
        self._stops: set[asyncio.Task[None]] = set()
        self.count = 0

    def __enter__(self) -> Self:
        # Where the loop can not take signals (Windows), Ctrl-C cancels at once.
        with suppress(NotImplementedError):
            for number in (signal.SIGINT, signal.SIGTERM):
                self._loop.add_signal_handler(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(NotImplementedError):
            for number in (signal.SIGINT, signal.SIGTERM):
                self._loop.remove_signal_handler(number)

    def _heard(self) -> None:
        self.count += 1
        stop = self._loop.create_task(self._run.stop(drain=self.count == 1))
        self._stops.add(stop)
        stop.add_done_callback(self._stops.discard)


def _teller(
    work: BatchArgs,
) -> tuple[Callable[[BatchStats], None] | None, Callable[[], None]]:
    """Return who tells how it goes, and what ends that."""
    if work.progress == "none":
        return None, lambda: None
    if work.progress == "auto" and sys.stderr.isatty():
        line = ProgressLine(sys.stderr, work.max_cost)
        return line, line.end
    return ProgressRecords(sys.stderr), lambda: None


def _concurrency(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise CommandError(
            f"--concurrency is 'auto' or a number, not {text!r}.", ExitCode.USAGE
        ) from None


def _summary(stats: BatchStats, out: Path) -> str:
    parts = [f"{stats.ok:,} ok", f"{stats.failed:,} failed"]
    if stats.resumed:
        parts.append(f"{stats.resumed:,} were done before")
    if stats.abandoned:
        parts.append(f"{stats.abandoned:,} abandoned")
    parts.append(f"${stats.cost:.6g}")
    parts.append(f"{stats.seconds:.1f} s")
    where = f"; failures in {errors_path(out)}" if stats.failed else ""
    return f"{', '.join(parts)}: {out}{where}"


async def _rehearse(
    work: BatchArgs, rows: JsonLinesSource, screen: Terminal
) -> ExitCode:
    """Read all rows and tell what would be sent."""
    done = _names(work.out)
    count = bad = there = 0
    first: Mapping[str, Any] | None = None
    async with aclosing(rows):
        async for item in rows:
            try:
                row = read_item(item, count)
            except ConfigurationError as error:
                bad += 1
                if bad == 1:
                    screen.note(str(error), "yellow")
            else:
                there += row.name in done
                if first is None and isinstance(row.params, Mapping):
                    first = row.params
            count += 1
    screen.note(f"{count:,} rows, {bad:,} of them no request, {there:,} done before.")
    if first is not None:
        common = {"model": work.model, "max_tokens": work.max_tokens}
        given = {name: value for name, value in common.items() if value is not None}
        sys.stdout.write(encode({**given, **first}).decode() + "\n")
    return ExitCode.ROWS_FAILED if bad else ExitCode.OK


def _names(out: Path) -> set[str]:
    if not out.exists():
        return set()
    return {_name(result) for result in read_journal(out)}


def _name(result: BatchResult) -> str:
    return row_name(result.index) if result.custom_id is None else result.custom_id


def _failures(path: Path, done: HashSet64) -> collections.Counter[str]:
    """Count what failed by kind: each row once, and not if it has a reply by now."""
    failed: dict[str, str] = {}
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                with suppress(ValueError, KeyError, TypeError):
                    found = json.loads(line)
                    failed[found["custom_id"]] = found["error"]["type"]
    return collections.Counter(
        kind for name, kind in failed.items() if name_key(name) not in done
    )


def status(out: Path, screen: Terminal) -> ExitCode:
    """Tell what a journal has."""
    if not out.exists():
        raise CommandError(f"there is no {out}.", ExitCode.USAGE)
    count = tokens = 0
    cost = seconds = 0.0
    providers: collections.Counter[str] = collections.Counter()
    done = HashSet64()
    for result in read_journal(out):
        count += 1
        done.add(name_key(_name(result)))
        cost += result.cost or 0.0
        seconds += result.latency
        usage = result.usage or Usage()
        tokens += (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
        providers[result.provider or "unknown"] += 1
    failures = _failures(errors_path(out), done)
    facts = {
        "ok": count,
        "failed": sum(failures.values()),
        "cost": round(cost, 9),
        "tokens": tokens,
        "mean_seconds": round(seconds / count, 3) if count else None,
        "providers": dict(providers.most_common()),
        "errors": dict(failures.most_common()),
    }
    screen.out.print(json.dumps(facts, indent=2), soft_wrap=True)
    return ExitCode.OK
