"""Submissions of hosted batches that fail, or whose response is lost."""

import json
import logging
from pathlib import Path
from typing import Any

import attrs
import pytest
from hosted_runs import (
    FAST,
    MODEL,
    hosted,
    is_post,
    journaled,
    named,
    prompts,
    request,
)
from support import MakeClient

from openrouter_async import (
    BadRequestError,
    InternalServerError,
)
from openrouter_async.batch.hosted.collector import result_as_line
from openrouter_async.batch.hosted.submitter import Submitter
from openrouter_async.protocol.batch_parsing import read_row
from openrouter_async.testing import LocalOpenRouter, SeenRequest

pytestmark = pytest.mark.usefixtures("quick_batches")


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
    script = server.batches.script
    script.list_lag = 1000

    def list_the_second(seen: SeenRequest) -> bool:
        if is_post(seen) and server.batches.stats.stored:
            script.list_lag = 0
        return False

    server.reply(status=500, path="/batches", when=list_the_second)
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


NONE: set[int] = set()


@pytest.mark.parametrize(
    ("rows", "taken", "sizes"),
    [
        # No other submission is open.
        (400, [NONE], [200, 200]),
        # The last row is held back: no more rows follow.
        (200, [NONE, {200}], [200]),
        # It is left for the next group.
        (201, [NONE, {200}, {200}], [199, 2]),
        (201, [{199, 200}, {199, 200}, {199, 200}, {199, 200}], [198, 3]),
        # The other submission was answered meanwhile.
        (201, [NONE, {200}, NONE], [200, 1]),
        # Another batch for the row that is held back would have that row alone.
        (400, [NONE, *[{200}] * 9], [200, 200]),
        (400, [{200, 199}] * 9, [200, 200]),
        (399, [{200}] * 9, [200, 199]),
    ],
)
async def test_open_submissions_of_a_model_have_different_numbers_of_rows(
    server: LocalOpenRouter,
    make_client: MakeClient,
    journal: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    taken: list[set[int]],
    sizes: list[int],
) -> None:
    """Otherwise one of them would have to wait until the other one is stored."""
    counts = iter(taken)

    def open_counts(*_: object) -> set[int]:
        return next(counts, NONE)

    monkeypatch.setattr(Submitter, "open_counts", open_counts)
    async with make_client() as client:
        await hosted(client, journal, prompts(rows), batch_rows=200)

    found = sorted((len(batch.rows) for batch in server.batches.all), reverse=True)
    assert found == sizes
    assert journaled(journal) == named(rows)


async def test_rows_are_held_back_if_their_number_is_not_known(
    server: LocalOpenRouter,
    make_client: MakeClient,
    journal: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def open_counts(*_: object) -> set[int]:
        return {200}

    monkeypatch.setattr(Submitter, "open_counts", open_counts)
    async with make_client() as client:
        await hosted(client, journal, iter(prompts(400)), batch_rows=200)
        rows = (text for text in prompts(400))
        await hosted(client, journal.with_name("o.jsonl"), rows, batch_rows=200)

    sizes = sorted(len(batch.rows) for batch in server.batches.all)
    assert sizes == [2, 199, 199, 200, 200]


async def test_submission_waits_for_another_one_with_as_many_rows(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    """No more rows follow, so that leaving one out would cost another batch."""
    server.reply(path="/batches", delay=0.3, when=is_post)
    async with make_client() as client:
        await hosted(client, journal, prompts(400), batch_rows=200)

    assert [len(batch.rows) for batch in server.batches.all] == [200, 200]
    assert journaled(journal) == named(400)


async def test_rows_that_are_held_back_count_as_bytes(
    server: LocalOpenRouter,
    make_client: MakeClient,
    journal: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    def open_counts(*_: object) -> set[int]:
        return {199, 200}

    monkeypatch.setattr(Submitter, "open_counts", open_counts)
    rows = [*prompts(199), "x" * 50_000, "y" * 40_000]
    async with make_client() as client:
        await hosted(client, journal, rows, batch_rows=200, batch_bytes=100_000)

    assert sorted(len(batch.rows) for batch in server.batches.all) == [1, 200]


async def test_rows_without_a_name_differ_from_those_of_other_programs(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    async with make_client() as client:
        await hosted(client, journal, ["a", "b"])

    (batch,) = server.batches.all
    names = sorted(row["custom_id"] for row in batch.rows)
    assert [name[:6] for name in names] == ["row-0-", "row-1-"]
    assert {len(name) for name in names} == {22}
