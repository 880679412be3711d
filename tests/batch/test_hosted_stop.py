"""Runs with hosted batches that stop early, or whose files cannot be used."""

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hosted_runs import (
    FAST,
    MODEL,
    cut_after,
    events,
    files,
    hosted,
    is_post,
    journaled,
    named,
    prompts,
    start,
    state_file,
    until,
)
from support import MakeClient, read_results

from openrouter_async import (
    JournalError,
)
from openrouter_async.batch.hosted.state import read_summaries
from openrouter_async.batch.jsonl import JsonLinesFile
from openrouter_async.testing import LocalOpenRouter

pytestmark = pytest.mark.usefixtures("quick_batches")

# Every write fails as on a full disk.
FULL = Path("/dev/full")


@pytest.fixture
def small_buffer(monkeypatch: pytest.MonkeyPatch) -> int:
    """A buffer that few rows fill; the size."""
    monkeypatch.setattr("openrouter_async.batch.hosted.hosted_engine._BUFFER_SIZE", 30)
    return 30


async def test_stop_leaves_the_batches_to_the_next_run(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.running = 100

    async def rows() -> AsyncIterator[str]:
        for text in prompts(5):
            yield text
        await asyncio.sleep(100)

    async with make_client() as client:
        run = client.batches.run(
            rows(),
            model=MODEL,
            max_tokens=60,
            journal=journal,
            intervals=FAST,
            batch_rows=2,
        )
        async with run:
            await server.until(requests=4)
            await until(lambda: server.batches.stats.stored >= 2)
            await run.stop()
            stats = run.stats
            assert "stopped" in repr(run)
            assert run.limiters == {}
        server.batches.script.running = 0
        await hosted(client, journal, prompts(5))

    assert (stats.stop_reason, stats.in_flight) == ("stopped", 4)
    assert journaled(journal) == named(5)
    assert server.batches.stats.rows_run == 5
    assert files(journal) == {"out.jsonl", "out.batches.jsonl"}


async def test_block_that_is_left_early_keeps_what_was_collected(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path, small_buffer: int
) -> None:
    """The reader stops, so that the buffer is full in the middle of a batch."""
    async with make_client() as client:
        run = client.batches.run(
            prompts(400), model=MODEL, max_tokens=60, journal=journal, intervals=FAST
        )
        async with run:
            await anext(run)
            await until(lambda: run.stats.done > small_buffer)
        count = len(journaled(journal))
        _, stats = await hosted(client, journal, prompts(400))

    assert small_buffer < count < 400
    assert journaled(journal) == named(400)
    assert server.batches.stats.submissions == 1
    assert stats.spent == pytest.approx(server.stats.cost, abs=1e-9)


async def test_stop_with_a_full_buffer_leaves_the_batch_open(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path, small_buffer: int
) -> None:
    async with make_client() as client:
        run = start(client, journal, prompts(399), batch_rows=200)
        async with run:
            await until(lambda: run.stats.done > small_buffer)
            await run.stop()
            await run.stop()
            read = [result async for result in run]
        _, stats = await hosted(client, journal, prompts(399))

    assert small_buffer < len(read) < 399
    assert journaled(journal) == named(399)
    assert server.batches.stats.submissions == 2
    assert stats.spent == pytest.approx(server.stats.cost, abs=1e-9)


async def test_stop_discards_what_is_queued(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.reply(path="/batches", delay=0.1, when=is_post, times=None)
    async with make_client() as client:
        run = start(client, journal, prompts(30), batch_rows=1)
        async with run:
            await until(lambda: bool(server.batches.stats.stored))
            await run.stop()
        server.clear()
        await hosted(client, journal, prompts(30))

    assert journaled(journal) == named(30)
    assert server.batches.stats.rows_run == 30
    assert files(journal) == {"out.jsonl", "out.batches.jsonl"}


async def test_leaving_the_block_discards_what_waits_for_other_batches(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.running = 100
    async with make_client() as client:
        run = start(client, journal, prompts(10), batch_rows=1, max_open=1)
        async with run:
            await until(lambda: run.stats.in_flight >= 1)
        names = files(journal)

    assert names == {"out.jsonl", "out.batches.jsonl", "out.batches.1.json"}
    assert server.batches.stats.stored == 1


@pytest.mark.parametrize("fault", ["rate_limit", "lost_502"])
async def test_stop_ends_a_submission_that_does_not_succeed(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path, fault: Any
) -> None:
    server.batches.fail_next(fault, times=100)
    intervals = attrs.evolve(FAST, search=100, search_for=200)
    async with make_client() as client:
        run = start(client, journal, prompts(3), intervals=intervals)
        async with run:
            await until(lambda: bool(server.batches.stats.submissions))
            await asyncio.sleep(0.05)
            await run.stop()

    assert events(journal) == (
        ["intent", "collected"] if fault == "rate_limit" else ["intent"]
    )


async def test_stop_leaves_the_search_for_batches_to_the_next_run(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.running = 100
    async with make_client() as client:
        # The list tells them apart by their models.
        rows = [
            {"messages": [{"role": "user", "content": text}], "model": f"a/{text[4]}"}
            for text in prompts(6)
        ]
        await hosted(client, journal, rows, wait=False)
        lines = state_file(journal).read_bytes().splitlines(keepends=True)
        intents = [line for line in lines if b'"intent"' in line]
        dropped = b'{"event":"submitted","n":1,"id":null}\n'
        state_file(journal).write_bytes(b"".join([*intents, dropped]))
        server.reply(path="/batches", delay=0.1, times=4)
        run = start(client, journal, rows)
        async with run:
            await asyncio.sleep(0.05)
            await run.stop()
        server.batches.script.running = 0
        await hosted(client, journal, rows)

    assert journaled(journal) == named(6)
    assert server.batches.stats.stored == 6


async def test_stop_ends_the_wait_for_money(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.running = 100
    async with make_client() as client:
        run = start(client, journal, prompts(100), max_cost=5e-3)
        async with run:
            await until(lambda: run.stats.in_flight >= 1)
            await run.stop()
        assert run.stats.stop_reason == "stopped"
        lower = start(client, journal, prompts(100), max_cost=1e-6)
        async with lower:
            await asyncio.sleep(0.05)
            await lower.stop()

    assert lower.stats.stop_reason == "budget"
    assert lower.stats.in_flight == run.stats.in_flight


async def test_second_run_on_the_same_journal_is_refused(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.running = 100
    async with make_client() as client:
        run = client.batches.run(
            prompts(1), model=MODEL, journal=journal, intervals=FAST
        )
        async with run:
            with pytest.raises(JournalError, match="in use by another run"):
                await hosted(client, journal, prompts(1))


@pytest.mark.parametrize(
    "text",
    ["not JSON\n", '{"event": "intent"}\n', '{"n": 1}\n', "[1]\n"],
)
async def test_file_that_is_not_a_state_file_is_left_alone(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path, text: str
) -> None:
    state_file(journal).write_text(text)
    async with make_client() as client:
        with pytest.raises(JournalError, match="line 1, is not a line of a state file"):
            await hosted(client, journal, prompts(1))

    assert state_file(journal).read_text() == text


async def test_state_file_that_cannot_be_opened_ends_the_run(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    state_file(journal).mkdir()
    async with make_client() as client:
        with pytest.raises(JournalError, match=r"out\.batches\.jsonl cannot be used"):
            await hosted(client, journal, prompts(1))


async def test_state_file_on_a_full_disk_ends_the_run(
    server: LocalOpenRouter,
    make_client: MakeClient,
    journal: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def append(file: JsonLinesFile, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(JsonLinesFile, "append", append)
    async with make_client() as client:
        with pytest.raises(JournalError, match="No space left on device"):
            await hosted(client, journal, prompts(1))

    assert server.batches.stats.submissions == 0


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
async def test_submission_on_a_full_disk_ends_the_run_and_leaves_no_file(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    journal.with_name("out.batches.1.json").symlink_to(FULL)

    async with make_client() as client:
        with pytest.raises(JournalError, match=r"1\.json, .* No space left on device"):
            await hosted(client, journal, prompts(1))

    assert server.batches.stats.submissions == 0
    assert files(journal) == {"out.jsonl", "out.batches.jsonl"}


async def test_summaries_ignore_a_line_that_a_crash_cut_short(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    assert read_summaries(journal) == []
    async with make_client() as client:
        await hosted(client, journal, prompts(2))
    cut_after(journal, 3)

    (summary,) = read_summaries(journal)
    assert (summary.status, summary.is_collected) == ("completed", False)
    assert summary.cost == pytest.approx(server.stats.cost)


@pytest.mark.parametrize("is_failing", [False, True])
async def test_rows_whose_source_cannot_be_closed_end_the_run(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path, is_failing: bool
) -> None:
    class Rows:
        def __aiter__(self) -> AsyncIterator[str]:
            return self

        async def __anext__(self) -> str:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            raise OSError("close")

    if is_failing:
        state_file(journal).write_text("not JSON\n")
    async with make_client() as client:
        run = start(client, journal, Rows())
        with pytest.raises(Exception, match="state file" if is_failing else "close"):
            await read_results(run)


async def test_row_of_an_open_batch_must_not_change(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.running = 100
    async with make_client() as client:
        await hosted(client, journal, prompts(2), wait=False)
        with pytest.raises(JournalError, match="a different request for 'row-0'"):
            await hosted(client, journal, ["other", "row 1."])


async def test_rows_that_raise_end_the_run_but_batches_go_on(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    async def rows() -> AsyncIterator[str]:
        yield "row 0."
        raise OSError("disk")

    async with make_client() as client:
        with pytest.raises(OSError, match="disk"):
            await hosted(client, journal, rows())
        await hosted(client, journal, prompts(1))

    assert journaled(journal) == named(1)
