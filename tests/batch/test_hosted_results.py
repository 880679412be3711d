"""Results of hosted batches, and batches with other ends than "completed"."""

import time
from pathlib import Path
from typing import Any

import attrs
import pytest
from hosted_runs import (
    FAST,
    ended_batch,
    files,
    hosted,
    items,
    journaled,
    named,
    prompts,
)
from support import MakeClient

from openrouter_async import (
    BatchItem,
    PaymentRequiredError,
)
from openrouter_async.testing import LocalOpenRouter, SeenRequest, completion

pytestmark = pytest.mark.usefixtures("quick_batches")


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
        results, _ = await hosted(client, journal, items(3))

    assert journaled(journal) == named(3)
    assert {result.index: result.attempts for result in results} == {0: 1, 1: 3, 2: 1}


async def test_row_without_result_fails_after_three_batches(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.missing = frozenset({"row-1"})
    async with make_client() as client:
        results, stats = await hosted(client, journal, items(3))

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
        results, _ = await hosted(client, journal, items(3))

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
    async with make_client() as client:
        await ended_batch(
            server, client, journal, 10, status, done=0.6, results=results
        )
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
    async with make_client() as client:
        batch_id = await ended_batch(server, client, journal, 4, "completed")
        server.batches.withhold(batch_id)
        with pytest.raises(PaymentRequiredError):
            await hosted(client, journal, prompts(4))
        server.batches.release(batch_id)
        results, _ = await hosted(client, journal, prompts(4))

    assert len(results) == 4
    assert server.batches.stats.submissions == 1
    assert server.batches.stats.rows_run == 4


async def test_purged_results_fail_the_rows(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    async with make_client() as client:
        batch_id = await ended_batch(server, client, journal, 150, "completed")
        server.batches.purge(batch_id)
        results, stats = await hosted(client, journal, prompts(150))

    assert len(results) == stats.failed == 150
    assert all("may have been billed" in str(result.error) for result in results)
    assert stats.spent == pytest.approx(server.stats.cost)


@pytest.mark.parametrize("absent_for", [0.0, 0.2])
async def test_batch_that_the_list_lacks_for_long_is_gone(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path, absent_for: float
) -> None:
    intervals = attrs.evolve(FAST, absent_for=absent_for)
    async with make_client() as client:
        batch_id = await ended_batch(server, client, journal, 2, "completed")
        await client.batches.get(batch_id)
        await client.batches.delete(batch_id)
        reads = server.batches.stats.list_reads
        begin = time.monotonic()
        results, _ = await hosted(client, journal, prompts(2), intervals=intervals)

    assert len(results) == 2
    assert all("not in the list" in str(result.error) for result in results)
    assert server.batches.stats.list_reads - reads >= 5
    assert time.monotonic() - begin >= absent_for


@pytest.mark.parametrize("looks_until_it_ends", [7, 17])
async def test_batch_that_the_list_lacks_is_asked_for(
    server: LocalOpenRouter,
    make_client: MakeClient,
    journal: Path,
    looks_until_it_ends: int,
) -> None:
    """It is once or several times, and runs or has ended then."""
    script = server.batches.script
    script.running, script.list_lag = 100, 1000
    looks = 0

    def end_late(seen: SeenRequest) -> bool:
        nonlocal looks
        looks += seen.path.endswith("/batches") and seen.method == "GET"
        if looks == looks_until_it_ends:
            script.running = 0
        return False

    server.reply(status=500, path="/batches", when=end_late)
    intervals = attrs.evolve(FAST, absent_for=0.0)
    async with make_client() as client:
        await hosted(client, journal, prompts(2), intervals=intervals)

    assert journaled(journal) == named(2)
    assert server.batches.stats.batch_reads == -(-looks_until_it_ends // 5)


async def test_batch_that_the_list_lacks_may_be_withheld(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    intervals = attrs.evolve(FAST, absent_for=0.0)
    async with make_client() as client:
        batch_id = await ended_batch(server, client, journal, 2, "completed")
        server.batches.withhold(batch_id)
        server.batches.script.list_lag = 1000
        with pytest.raises(PaymentRequiredError):
            await hosted(client, journal, prompts(2), intervals=intervals)
        server.batches.release(batch_id)
        await hosted(client, journal, prompts(2), intervals=intervals)

    assert journaled(journal) == named(2)


async def test_batch_that_the_list_lacks_for_a_while_is_not_gone(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    script = server.batches.script
    script.list_lag = 1000
    looks = 0

    def list_late(seen: SeenRequest) -> bool:
        nonlocal looks
        looks += seen.method == "GET"
        if looks == 8:
            script.list_lag = 0
        return False

    server.reply(status=500, path="/batches", when=list_late)
    intervals = attrs.evolve(FAST, absent_for=600)
    async with make_client() as client:
        await hosted(client, journal, prompts(2), intervals=intervals)

    assert looks >= 8
    assert journaled(journal) == named(2)
