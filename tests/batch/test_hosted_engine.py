"""Runs with hosted batches: submit, watch, collect, resume."""

import asyncio
import json
import logging
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
)
from support import MakeClient

from openrouter_async import (
    BadRequestError,
    BatchItem,
    ConfigurationError,
    InternalServerError,
    OutputValidationError,
    PaymentRequiredError,
    UserMessage,
)
from openrouter_async.batch.hosted.collector import result_as_line
from openrouter_async.batch.hosted.state import read_summaries
from openrouter_async.protocol.batch_parsing import read_row
from openrouter_async.testing import LocalOpenRouter, SeenRequest, completion


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture(autouse=True)
def quick(server: LocalOpenRouter) -> None:
    script = server.batches.script
    script.validating, script.running = 0.0, 0.02


def request(text: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


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


# --- results that are incomplete, wrong, or of an unusual form ------------------------


async def test_rows_missing_twice_succeed_in_a_third_batch(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    script = server.batches.script
    script.missing = frozenset({"row-1"})

    def reply(_: object) -> str:
        if server.batches.stats.stored == 3:
            script.missing = frozenset()
        return "ok"

    server.reply(reply, times=None)
    async with make_client() as client:
        results, _ = await hosted(client, journal, prompts(3))

    assert journaled(journal) == named(3)
    assert {result.index: result.attempts for result in results} == {0: 1, 1: 3, 2: 1}


async def test_row_without_result_fails_after_three_batches(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.missing = frozenset({"row-1"})
    async with make_client() as client:
        results, stats = await hosted(client, journal, prompts(3))

    (failed,) = [result for result in results if not result.ok]
    assert "3 batches that ended without a result" in str(failed.error)
    assert (failed.attempts, stats.failed, server.batches.stats.stored) == (3, 1, 3)


async def test_first_result_of_a_row_counts_and_unknown_ones_are_logged(
    server: LocalOpenRouter,
    make_client: MakeClient,
    journal: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = server.batches.script
    script.duplicated, script.unknown = frozenset({"row-1"}), True
    script.order = "input"
    async with make_client() as client:
        results, _ = await hosted(client, journal, prompts(3))

    assert len(results) == 3
    assert all(result.ok for result in results)
    assert "1 results of batch-" in caplog.text


@pytest.mark.parametrize("nan", [False, True])
async def test_inline_results_replace_missing_pages(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path, nan: bool
) -> None:
    server.batches.script.paged = False
    server.batches.script.nan = nan
    async with make_client() as client:
        results, stats = await hosted(client, journal, prompts(30))

    assert len({result.index for result in results}) == 30
    assert stats.cost == pytest.approx(server.stats.cost)
    assert server.batches.stats.batch_reads == 1
    assert files(journal) == {"out.jsonl", "out.batches.jsonl"}


async def test_truncated_results_are_read_again(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.reply(path="/results", stop="end", stop_at=300, times=2)
    async with make_client() as client:
        results, _ = await hosted(client, journal, prompts(3))

    assert len(results) == 3
    assert server.batches.stats.page_reads == 3


async def test_results_that_are_never_readable_end_the_run(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.reply(path="/results", stop="end", stop_at=300, times=None)
    async with make_client() as client:
        with pytest.raises(Exception, match="Invalid JSON"):
            await hosted(client, journal, prompts(3))
        server.clear()
        results, _ = await hosted(client, journal, prompts(3))

    assert len(results) == 3
    assert server.batches.stats.submissions == 1


@pytest.mark.parametrize("usage", ["null", "no_cost"])
async def test_unknown_cost_of_a_batch_is_not_invented(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path, usage: Any
) -> None:
    server.batches.script.usage = usage
    async with make_client() as client:
        results, stats = await hosted(client, journal, prompts(3), max_cost=1.0)

    assert [result.cost for result in results] == [None] * 3
    assert stats.spent == 0.0


async def test_cost_is_divided_by_tokens_if_they_are_known(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.row_usage = True
    server.reply(lambda _: completion("long " * 50), when="row 1.")
    async with make_client() as client:
        results, _ = await hosted(client, journal, prompts(2))

    costs = {result.index: result.cost or 0.0 for result in results}
    assert costs[1] > costs[0] > 0
    assert sum(costs.values()) == pytest.approx(server.stats.cost, abs=1e-12)


# --- ends other than completed --------------------------------------------------------


@pytest.mark.parametrize("results", [True, False])
@pytest.mark.parametrize("status", ["expired", "cancelled", "failed"])
async def test_results_of_any_end_are_taken_and_the_rest_is_sent_again(
    server: LocalOpenRouter,
    make_client: MakeClient,
    journal: Path,
    status: str,
    results: bool,
) -> None:
    script = server.batches.script
    script.running = 100
    async with make_client() as client:
        await hosted(client, journal, prompts(10), wait=False)
        (batch,) = server.batches.all
        server.batches.end(batch.id, status, done=0.6, results=results)
        script.running = 0.0
        _, stats = await hosted(client, journal, prompts(10))

    assert journaled(journal) == named(10)
    expected = 10 if results else 16
    assert server.batches.stats.rows_run == expected
    assert stats.spent == pytest.approx(server.stats.cost, abs=1e-12)
    # A failed batch without results is split in two, as its error names no row.
    split = status == "failed" and not results
    assert server.batches.stats.stored == (3 if split else 2)


async def test_batch_is_split_around_the_row_that_is_named(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    rows = [*prompts(8), bad_row()]
    async with make_client() as client:
        results, stats = await hosted(client, journal, rows)

    (failed,) = [result for result in results if not result.ok]
    assert failed.custom_id == "bad"
    assert "files must be public https URLs" in str(failed.error)
    assert (stats.ok, server.batches.stats.submissions) == (8, 2)


async def test_batch_is_halved_if_no_row_is_named(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.names_row = False
    rows = [*prompts(15), bad_row()]
    async with make_client() as client:
        results, stats = await hosted(client, journal, rows)

    assert [result.custom_id for result in results if not result.ok] == ["bad"]
    assert (stats.ok, server.batches.stats.submissions) == (15, 9)
    assert server.stats.cost == pytest.approx(stats.cost)


def bad_row() -> BatchItem:
    """A row that the plan accepts and the service refuses."""
    content = [{"type": "image_url", "image_url": {"url": "https://x/data:"}}]
    body = {"messages": [{"role": "user", "content": content}]}
    return BatchItem("bad", body)


async def test_refusals_of_every_row_do_not_end_in_a_batch_per_row(
    server: LocalOpenRouter,
    make_client: MakeClient,
    journal: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("openrouter_async.batch.hosted.collector._MAX_REFUSALS", 3)
    server.batches.script.names_row = False
    rows = [attrs.evolve(bad_row(), custom_id=f"b{n}") for n in range(16)]
    async with make_client() as client:
        _, stats = await hosted(client, journal, rows)

    assert stats.failed == 16
    assert server.batches.stats.submissions <= 8


async def test_withheld_results_wait_for_credits(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.running = 100
    async with make_client() as client:
        await hosted(client, journal, prompts(4), wait=False)
        (batch,) = server.batches.all
        server.batches.end(batch.id, "completed")
        server.batches.withhold(batch.id)
        with pytest.raises(PaymentRequiredError):
            await hosted(client, journal, prompts(4))
        server.batches.release(batch.id)
        results, _ = await hosted(client, journal, prompts(4))

    assert len(results) == 4
    assert server.batches.stats.submissions == 1
    assert server.batches.stats.rows_run == 4


async def test_purged_results_fail_the_rows(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.running = 100
    async with make_client() as client:
        await hosted(client, journal, prompts(150), wait=False)
        (batch,) = server.batches.all
        server.batches.end(batch.id, "completed")
        server.batches.purge(batch.id)
        results, stats = await hosted(client, journal, prompts(150))

    assert len(results) == stats.failed == 150
    assert all("may have been billed" in str(result.error) for result in results)
    assert stats.spent == pytest.approx(server.stats.cost)


async def test_batch_that_the_list_lacks_five_times_is_gone(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.running = 100
    async with make_client() as client:
        await hosted(client, journal, prompts(2), wait=False)
        server.batches.script.list_lag = 100
        results, _ = await hosted(client, journal, prompts(2))

    assert all("not in the list" in str(result.error) for result in results)
    assert server.batches.stats.list_reads >= 6


# --- submissions ----------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["stored_reset", "stored_502"])
async def test_lost_response_is_recovered_from_the_list(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path, fault: Any
) -> None:
    server.batches.foreign(rows=3)
    server.batches.fail_next(fault)
    async with make_client() as client:
        await hosted(client, journal, prompts(3))

    assert journaled(journal) == named(3)
    assert server.batches.stats.submissions == 1


@pytest.mark.parametrize("fault", ["lost_reset", "lost_502", "rate_limit"])
async def test_submission_that_was_not_stored_is_sent_again(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path, fault: Any
) -> None:
    server.batches.fail_next(fault)
    async with make_client() as client:
        await hosted(client, journal, prompts(3))

    assert journaled(journal) == named(3)
    assert (server.batches.stats.submissions, server.batches.stats.stored) == (2, 1)


async def test_batch_of_another_program_is_not_taken(
    server: LocalOpenRouter,
    make_client: MakeClient,
    journal: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It has the same model and number of rows, and was created at the same time."""
    other = {
        "endpoint": "/v1/chat/completions",
        "model": MODEL,
        "requests": [{"custom_id": f"o-{n}", "body": request("x")} for n in range(3)],
    }
    async with make_client() as client:
        await client.request("POST", "/batches", json=other)
        server.batches.fail_next("lost_502")
        await hosted(client, journal, prompts(3))

    assert journaled(journal) == named(3)
    assert "is not hosted batch 1" in caplog.text
    assert server.batches.stats.stored == 2


async def test_late_list_costs_one_more_batch_which_the_log_reports(
    server: LocalOpenRouter,
    make_client: MakeClient,
    journal: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.batches.script.list_lag = 0.3
    server.batches.fail_next("stored_reset")
    async with make_client() as client:
        results, _ = await hosted(client, journal, prompts(3))

    assert len(results) == 3
    assert server.batches.stats.stored == 2
    assert "is submitted again: the list does not contain it" in caplog.text


async def test_submissions_that_never_succeed_end_the_run(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.fail_next("lost_502", times=10)
    async with make_client() as client:
        with pytest.raises(Exception, match="502"):
            await hosted(
                client,
                journal,
                prompts(3),
                intervals=attrs.evolve(FAST, search_for=0.01, search=0.005),
            )
        await hosted(client, journal, prompts(3))

    assert journaled(journal) == named(3)
    assert server.batches.stats.stored == 1


@pytest.mark.parametrize("slug", ["base", "batch"])
async def test_slug_is_tried_in_both_forms(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path, slug: Any
) -> None:
    server.batches.script.slug = slug
    async with make_client() as client:
        await hosted(client, journal, prompts(9), batch_rows=3)

    assert journaled(journal) == named(9)
    assert server.batches.stats.stored == 3


async def test_model_without_batches_fails_its_rows_with_a_hint(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.no_batch = frozenset({"a/none"})
    rows = [*prompts(2), request("x", model="a/none")]
    async with make_client() as client:
        results, _ = await hosted(client, journal, rows)

    (failed,) = [result for result in results if not result.ok]
    assert "chat.send_many()" in str(failed.error)
    assert isinstance(failed.error, BadRequestError)


async def test_rejection_for_size_halves_the_batch(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.max_rows = 5
    async with make_client() as client:
        await hosted(client, journal, prompts(12))

    assert journaled(journal) == named(12)
    assert sorted(len(batch.rows) for batch in server.batches.all) == [3, 3, 3, 3]


async def test_other_rejections_fail_the_rows(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.reply(status=403, path="/batches")
    async with make_client() as client:
        results, stats = await hosted(client, journal, prompts(3))
        await hosted(client, journal, prompts(3))

    assert stats.failed == len(results) == 3
    assert journaled(journal) == named(3)


@pytest.mark.parametrize("path", ["/batches", "/results"])
async def test_problem_of_the_account_ends_the_run(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path, path: str
) -> None:
    server.reply(status=401, path=path)
    async with make_client() as client:
        with pytest.raises(Exception, match="401"):
            await hosted(client, journal, prompts(3))
        await hosted(client, journal, prompts(3))

    assert journaled(journal) == named(3)


async def test_account_problem_of_the_list_ends_the_run(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.running = 100
    async with make_client() as client:
        await hosted(client, journal, prompts(3), wait=False)
        server.reply(status=401, path="/batches")
        with pytest.raises(Exception, match="401"):
            await hosted(client, journal, prompts(3))


async def test_account_problem_of_a_search_ends_the_run(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.fail_next("stored_502")
    server.reply(status=401, path="/batches", when=lambda seen: seen.method == "GET")
    async with make_client() as client:
        with pytest.raises(Exception, match="401"):
            await hosted(client, journal, prompts(3))
        await hosted(client, journal, prompts(3))

    assert server.batches.stats.stored == 1


async def test_batches_are_found_on_any_page_of_the_list(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    batches = server.batches
    batches.script.running = 100
    for _ in range(120):
        batches.foreign()
    async with make_client() as client:
        await hosted(client, journal, prompts(3), wait=False)
        for _ in range(120):
            batches.foreign()
        batches.script.running = 0
        await hosted(client, journal, prompts(3))
        batches.fail_next("stored_502")
        crowded = False

        def crowd(seen: SeenRequest) -> bool:
            nonlocal crowded
            if seen.method == "GET" and batches.stats.stored == 2 and not crowded:
                crowded = True
                for _ in range(120):
                    batches.foreign()
            return False

        server.reply(status=500, path="/batches", when=crowd)
        await hosted(client, journal.with_name("o.jsonl"), prompts(4))

    assert journaled(journal) == named(3)
    assert batches.stats.stored == 2


async def test_response_that_is_not_a_batch_may_hide_a_stored_one(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.reply(text="stored?", status=202, path="/batches")
    async with make_client() as client:
        await hosted(client, journal, prompts(3))

    assert journaled(journal) == named(3)


async def test_many_small_batches_wait_for_their_turn(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    async with make_client() as client:
        await hosted(client, journal, prompts(20), batch_rows=1)

    assert server.batches.stats.stored == 20
    assert journaled(journal) == named(20)


async def test_failed_row_keeps_the_provider_of_its_batch(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.reply(status=400)
    provider = {"only": ["OpenAI"]}
    async with make_client() as client:
        await hosted(client, journal, prompts(1), provider=provider)

    line = json.loads((journal.parent / "out.errors.jsonl").read_text())
    assert line["body"]["provider"] == provider
    assert line["body"]["model"] == MODEL


async def test_without_wait_rows_without_a_result_are_submitted_again(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.running = 100
    invalid = [request("x", stream=True)]
    async with make_client() as client:
        _, stats = await hosted(client, journal.with_name("o"), invalid, wait=False)
        await hosted(client, journal, prompts(3), wait=False)
        server.batches.end(server.batches.all[0].id, "expired", done=0)
        _, later = await hosted(client, journal, prompts(3), wait=False)

    assert (stats.failed, stats.in_flight) == (1, 0)
    assert (later.done, later.in_flight, server.batches.stats.stored) == (0, 3, 2)


def test_result_that_is_nested_too_deeply_is_an_error_of_its_row() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    row = json.loads(result_as_line({"custom_id": "a", "response": deep}))
    assert row["custom_id"] == "a"
    assert isinstance(read_row(row), InternalServerError)


async def test_list_that_cannot_be_read_is_read_again(
    server: LocalOpenRouter,
    make_client: MakeClient,
    journal: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "openrouter_async")
    server.batches.script.running = 100
    async with make_client() as client:
        await hosted(client, journal, prompts(3), wait=False)
        server.batches.script.running = 0
        server.reply(status=404, path="/batches")
        await hosted(client, journal, prompts(3))
        server.batches.fail_next("stored_502")
        server.reply(
            status=404, path="/batches", when=lambda seen: seen.method == "GET"
        )
        await hosted(client, journal.with_name("other.jsonl"), prompts(3))

    assert "list of batches cannot be read" in caplog.text
    assert server.batches.stats.stored == 2
