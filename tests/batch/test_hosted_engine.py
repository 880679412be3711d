"""Runs with hosted batches: plan, submit, watch, collect."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hosted_runs import (
    FAST,
    MODEL,
    cost_in,
    events,
    files,
    hosted,
    journaled,
    named,
    prompts,
    request,
)
from support import MakeClient

from openrouter_async import (
    BadRequestError,
    BatchItem,
    ConfigurationError,
    OutputValidationError,
    UserMessage,
)
from openrouter_async.batch.hosted.state import read_summaries
from openrouter_async.testing import LocalOpenRouter

pytestmark = pytest.mark.usefixtures("quick_batches")


async def test_every_row_has_one_result_and_its_share_of_the_cost(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    async with make_client() as client:
        results, stats = await hosted(client, journal, prompts(250), batch_rows=100)

    assert sorted(result.index for result in results) == list(range(250))
    assert all(result.ok and "You wrote" in result.text for result in results)
    assert journaled(journal) == named(250)
    assert stats.done == stats.ok == stats.attempts == 250
    assert stats.cost == stats.spent == pytest.approx(server.stats.cost, abs=1e-12)
    assert cost_in(journal) == pytest.approx(server.stats.cost, abs=1e-12)
    assert stats.hosted is not None
    assert (stats.hosted.open_batches, stats.in_flight, stats.waiting) == (0, 0, 0)
    counts = server.batches.stats
    assert (counts.stored, counts.submissions, counts.batch_reads) == (3, 3, 0)
    assert files(journal) == {"out.jsonl", "out.batches.jsonl"}
    assert events(journal).count("collected") == 3
    line = json.loads(journal.read_text().splitlines()[0])
    assert line["x_openrouter"]["batch"].startswith("batch-")


async def test_rows_are_grouped_by_what_a_batch_has_in_common(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    schema = {"type": "json_object"}
    rows = [
        request("a"),
        request("b", model="openai/gpt-5-nano"),
        request("c", provider={"only": ["OpenAI"]}),
        request("d", model="google/g"),
        request("e", model="google/g", response_format=schema),
        request("f"),
    ]
    async with make_client() as client:
        results, _ = await hosted(client, journal, rows)

    assert [result.error for result in results if not result.ok] == []
    assert sorted(len(batch.rows) for batch in server.batches.all) == [1, 1, 1, 1, 2]
    assert len({result.index for result in results}) == 6
    assert [b.provider for b in server.batches.all if b.provider] == [
        {"only": ["OpenAI"]}
    ]


async def test_second_run_sends_nothing(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    async with make_client() as client:
        await hosted(client, journal, prompts(5))
        results, stats = await hosted(client, journal, prompts(5))

    assert (results, stats.resumed, server.batches.stats.submissions) == ([], 5, 1)


async def test_without_wait_a_later_run_collects(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.running = 100
    async with make_client() as client:
        results, stats = await hosted(client, journal, prompts(5), wait=False)
        again, _ = await hosted(client, journal, prompts(5), wait=False)
        summaries = read_summaries(journal)
        server.batches.script.running = 0
        later, end = await hosted(client, journal, prompts(5), wait=False)

    assert results == again == []
    assert stats.hosted is not None
    assert (stats.hosted.open_batches, stats.in_flight) == (1, 5)
    assert (stats.hosted.oldest_seconds or 0) > 0
    assert (stats.hosted.next_expiry or 0) > 0
    assert [(s.rows, s.is_collected) for s in summaries] == [(5, False)]
    assert len(later) == end.ok == 5
    assert server.batches.stats.submissions == 1
    assert end.cost == pytest.approx(server.stats.cost)


async def test_without_wait_no_more_than_max_open_are_submitted(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.running = 100
    options: dict[str, Any] = {"wait": False, "max_open": 2, "batch_rows": 3}
    async with make_client() as client:
        _, stats = await hosted(client, journal, prompts(30), **options)
        server.batches.script.running = 0
        await hosted(client, journal, prompts(30), batch_rows=3)

    assert stats.stop_reason == "stopped"
    assert stats.in_flight == 6
    assert journaled(journal) == named(30)
    assert server.batches.stats.rows_run == 30


async def test_more_batches_wait_until_others_have_ended(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    async with make_client() as client:
        await hosted(client, journal, prompts(24), batch_rows=3, max_open=2)

    assert server.batches.stats.stored == 8
    assert journaled(journal) == named(24)


async def test_group_is_submitted_some_time_after_its_first_row(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    may_go_on = asyncio.Event()

    async def rows() -> AsyncIterator[str]:
        yield "first"
        await may_go_on.wait()
        yield "second"

    async with make_client() as client:
        intervals = attrs.evolve(FAST, fill=0.05)
        run = client.batches.run(
            rows(), model=MODEL, journal=journal, intervals=intervals
        )
        async with run:
            first = await anext(run)
            may_go_on.set()
            second = await anext(run)

    assert (first.index, second.index) == (0, 1)
    assert server.batches.stats.stored == 2


async def test_batches_are_split_by_size(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    rows = ["x" * 2000] * 5 + ["y" * 7000]
    async with make_client() as client:
        results, _ = await hosted(client, journal, rows, batch_bytes=5000)

    assert sorted(len(batch.rows) for batch in server.batches.all) == [1, 2, 2]
    (failed,) = [result for result in results if not result.ok]
    assert "more than fit into batch_bytes=5000" in str(failed.error)


async def test_row_that_cannot_be_sent_is_a_failed_row(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    rows: list[Any] = [
        "good",
        BatchItem("image", request("x", stream=True)),
        {"custom_id": "broken", "body": 7},
        {"custom_id": "b", "body": {"messages": [b"x"]}},
        {"messages": [UserMessage("x")], "max_tokens": 0},
    ]
    async with make_client() as client:
        results, stats = await hosted(client, journal, rows)

    assert (stats.ok, stats.failed) == (1, 4)
    failed = [result for result in results if not result.ok]
    assert all(isinstance(result.error, ConfigurationError) for result in failed)
    assert all(result.attempts == 0 for result in failed)
    lines = (journal.parent / "out.errors.jsonl").read_text().splitlines()
    assert {json.loads(line)["custom_id"] for line in lines} == {
        *("image", "broken", "b", "row-4")
    }


async def test_failed_rows_have_the_errors_of_calls(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.reply(status=400, when="row 3.", times=1)
    async with make_client() as client:
        results, stats = await hosted(client, journal, prompts(5))
        failures = journal.parent / "out.errors.jsonl"
        retried, _ = await hosted(client, journal, failures)

    (failed,) = [result for result in results if not result.ok]
    assert isinstance(failed.error, BadRequestError)
    assert (failed.index, failed.cost, stats.failed) == (3, None, 1)
    assert [result.index for result in retried] == [3]
    assert journaled(journal) == named(5)
    assert not failures.exists()


async def test_output_is_parsed(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.reply("not JSON", when="row 1.")
    async with make_client() as client:
        results, stats = await hosted(
            client, journal, prompts(2), output=dict[str, int]
        )

    by_index = {result.index: result for result in results}
    assert isinstance(by_index[0].output, dict)
    assert isinstance(by_index[1].error, OutputValidationError)
    assert stats.cost == pytest.approx(server.stats.cost)


async def test_on_error_raise_ends_the_run(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.reply(status=400, times=None)
    async with make_client() as client:
        with pytest.raises(BadRequestError):
            await hosted(client, journal, prompts(3), on_error="raise")
