"""Runs with hosted batches, with short intervals, for several test files."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openrouter_async import (
    AsyncOpenRouter,
    BatchItem,
    BatchResult,
    BatchRun,
    BatchStats,
    read_journal,
)
from openrouter_async.batch.hosted.intervals import HostedIntervals
from openrouter_async.testing import LocalOpenRouter, SeenRequest

MODEL = "openai/gpt-4o-mini"
FAST = HostedIntervals(
    fill=10, poll=0.02, max_poll=0.05, search=0.03, search_for=0.15, absent_for=5
)


def prompts(count: int) -> list[str]:
    return [f"row {number}." for number in range(count)]


async def hosted(
    client: AsyncOpenRouter, journal: Path, rows: Any, **options: Any
) -> tuple[list[BatchResult], BatchStats]:
    """Run to the end; return the results and the final statistics."""
    usual: dict[str, Any] = {"model": MODEL, "max_tokens": 60, "intervals": FAST}
    run = client.batches.run(rows, journal=journal, **{**usual, **options})
    results: list[BatchResult] = []
    async with run:
        async for result in run:
            results.append(result)
    return results, run.stats


async def ended_batch(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    journal: Path,
    count: int,
    status: str,
    **end: Any,
) -> str:
    """Submit rows, end their batch without collecting it, and return its id."""
    server.batches.script.running = 100
    await hosted(client, journal, prompts(count), wait=False)
    (batch,) = server.batches.all
    server.batches.end(batch.id, status, **end)
    return batch.id


def journaled(journal: Path) -> list[str]:
    """The names of the rows in a journal, sorted."""
    return sorted(
        result.custom_id or f"row-{result.index}" for result in read_journal(journal)
    )


def items(count: int) -> list[BatchItem]:
    """The rows of `prompts`, with names of their own."""
    return [
        BatchItem(f"row-{number}", request(text))
        for number, text in enumerate(prompts(count))
    ]


def named(count: int) -> list[str]:
    """The names of rows that are prompts, sorted."""
    return sorted(f"row-{number}" for number in range(count))


def cost_in(journal: Path) -> float:
    return sum(result.cost or 0.0 for result in read_journal(journal))


def events(journal: Path) -> list[str]:
    """The events in the state file of a journal, in their order."""
    path = journal.with_name(journal.stem + ".batches.jsonl")
    return [json.loads(line)["event"] for line in path.read_text().splitlines()]


def files(journal: Path) -> set[str]:
    return {path.name for path in journal.parent.iterdir()} - {journal.name + ".lock"}


def request(text: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


def start(
    client: AsyncOpenRouter, journal: Path, rows: Any, **options: Any
) -> BatchRun[Any]:
    """Return a run that is not entered, with the request of `hosted()`."""
    usual: dict[str, Any] = {"model": MODEL, "max_tokens": 60, "intervals": FAST}
    run: BatchRun[Any] = client.batches.run(
        rows, journal=journal, **{**usual, **options}
    )
    return run


def is_post(seen: SeenRequest) -> bool:
    return seen.method == "POST"


async def until(is_met: Callable[[], bool]) -> None:
    """Look every 10 ms, because a run announces nothing."""
    while not is_met():  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.01)


def state_file(journal: Path) -> Path:
    return journal.with_name("out.batches.jsonl")


def cut_after(journal: Path, count: int) -> None:
    """Leave what a crash after an event leaves: this many lines of the state file."""
    path = state_file(journal)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:count]) + lines[count][:20])


async def begin_journal(
    server: LocalOpenRouter, client: AsyncOpenRouter, journal: Path
) -> None:
    """
    Put 30 of 40 rows (`items`) into a journal: by calls, and by hosted batches.

    One of the batches expires when 6 of its 10 rows are done.
    """
    rows = items(40)
    run = client.chat.send_many(rows[:10], model=MODEL, max_tokens=60, journal=journal)
    async with run:
        async for _ in run:
            pass
    script = server.batches.script
    script.validating, script.running = 0.0, 100.0
    await hosted(client, journal, rows[:30], batch_rows=10, wait=False)
    expired, completed = server.batches.all
    server.batches.end(expired.id, "expired", done=0.6, results=True)
    server.batches.end(completed.id, "completed")
    script.running = 0.0
    await hosted(client, journal, rows[:30], batch_rows=10)
    assert [batch.status for batch in server.batches.all] == [
        *("expired", "completed", "completed")
    ]
