"""Runs with hosted batches that crash and are continued, also by another engine."""

import json
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import attrs
import pytest
from hosted_runs import (
    FAST,
    MODEL,
    cost_in,
    cut_after,
    ended_batch,
    events,
    files,
    hosted,
    items,
    journaled,
    named,
    prompts,
    state_file,
)
from support import MakeClient

from openrouter_async.testing import LocalOpenRouter, Reply, SeenRequest

pytestmark = pytest.mark.usefixtures("quick_batches")


@pytest.mark.parametrize(
    ("step", "written"),
    [("intent", 0), ("submitted", 0), ("ended", 0), ("ended", 1), ("ended", 3)],
)
async def test_crash_after_each_step_loses_and_repeats_nothing(
    server: LocalOpenRouter,
    make_client: MakeClient,
    journal: Path,
    step: str,
    written: int,
) -> None:
    server.batches.script.running = 100
    async with make_client() as client:
        await hosted(client, journal, prompts(3), wait=False)
        spool = journal.with_name("out.batches.1.json").read_bytes()
        server.batches.script.running = 0
        await hosted(client, journal, prompts(3))
        # Undo what happened after the step.
        cut_after(journal, ["intent", "submitted", "ended"].index(step) + 1)
        journal.with_name("out.batches.1.json").write_bytes(spool)
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(lines[:written]))

        _, stats = await hosted(client, journal, prompts(3))

    assert journaled(journal) == named(3)
    assert server.batches.stats.stored == 1
    assert stats.spent == pytest.approx(server.stats.cost, abs=1e-12)
    assert cost_in(journal) == pytest.approx(server.stats.cost, abs=1e-12)
    assert files(journal) == {"out.jsonl", "out.batches.jsonl"}


async def test_crash_before_the_submission_submits_it_once(
    server: LocalOpenRouter,
    make_client: MakeClient,
    journal: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with make_client() as client:
        batch_id = await ended_batch(server, client, journal, 3, "cancelled", done=0)
        await client.batches.get(batch_id)
        await client.batches.delete(batch_id)
        cut_after(journal, 1)
        server.batches.script.running = 0
        await hosted(client, journal, prompts(3))

    assert journaled(journal) == named(3)
    assert "an earlier run ended before it was stored" in caplog.text


async def test_submission_that_is_still_being_stored_is_not_repeated(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    """
    The intent is old: an earlier run sent it again, and was killed at once.

    So the age of the intent does not say when the submission was sent.
    """
    script = server.batches.script
    script.running, script.list_lag = 100, 1000
    looks = 0

    def store(seen: SeenRequest) -> bool:
        """List the batch from the second look on."""
        nonlocal looks
        looks += seen.method == "GET"
        if looks == 2:
            script.list_lag = script.running = 0
        return False

    async with make_client() as client:
        await hosted(client, journal, prompts(3), wait=False, intervals=FAST)
        cut_after(journal, 1)
        intent = json.loads(state_file(journal).read_bytes().splitlines()[0])
        intent["t"] -= 30
        state_file(journal).write_text(json.dumps(intent) + "\n")
        server.reply(status=500, path="/batches", when=store)
        await hosted(client, journal, prompts(3))

    assert looks >= 2
    assert server.batches.stats.stored == 1
    assert journaled(journal) == named(3)


async def test_batches_are_found_although_the_time_of_this_machine_is_wrong(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    """It is two hours ahead: no batch is younger than its intent."""

    async def respond(seen: SeenRequest) -> Reply:
        date = formatdate(time.time() - 7200, usegmt=True)
        return attrs.evolve(await server.batches.respond(seen), headers={"Date": date})

    server.batches.script.running = 100
    async with make_client() as client:
        await hosted(client, journal, prompts(3), wait=False)
        server.batches.all[0].created -= 7200
        server.batches.script.running = 0
        cut_after(journal, 1)
        server.reply(respond, path="/batches", times=None)
        await hosted(client, journal, prompts(3))

    assert journaled(journal) == named(3)
    assert server.batches.stats.stored == 1


async def test_intent_without_its_file_is_planned_again(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    async with make_client() as client:
        await hosted(client, journal.with_name("x.jsonl"), prompts(3))
        intent = journal.with_name("x.batches.jsonl").read_bytes().splitlines()[0]
        (batch,) = server.batches.all
        await client.batches.delete(batch.id)
        state_file(journal).write_bytes(intent + b"\n")
        await hosted(client, journal, prompts(3))
        results, _ = await hosted(client, journal, prompts(3))

    assert len(results) == 3
    assert journaled(journal) == named(3)


async def test_refused_batch_without_a_spool_file_is_planned_again(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.running = 100
    async with make_client() as client:
        await hosted(client, journal, prompts(2), wait=False)
        other = b'{"requests":[\n{"custom_id":"unknown"}\n]}'
        journal.with_name("out.batches.1.json").write_bytes(other)
        server.batches.end(server.batches.all[0].id, "failed", done=0)
        server.batches.script.running = 0
        await hosted(client, journal, prompts(2))
        await hosted(client, journal, prompts(2))

    assert journaled(journal) == named(2)


async def test_rows_that_are_done_do_not_fail_with_their_batch(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    async with make_client() as client:
        await hosted(client, journal, prompts(3))
        cut_after(journal, 3)
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(lines[0])
        server.batches.purge(server.batches.all[0].id)
        results, _ = await hosted(client, journal, prompts(3))

    assert [result.ok for result in results] == [False, False]
    assert len(journaled(journal)) == 1


async def test_rows_without_a_spool_file_are_collected(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    script = server.batches.script
    script.running, script.missing = 100, frozenset({"row-2"})
    server.reply(status=400, when="row 1.")
    async with make_client() as client:
        await hosted(client, journal, items(3), wait=False)
        journal.with_name("out.batches.1.json").unlink()
        script.running, script.missing = 0, frozenset()
        script.missing = frozenset({"row-2"})
        results, _ = await hosted(client, journal, items(3))
        script.missing = frozenset()
        await hosted(client, journal, items(3))

    assert {result.index: result.ok for result in results} == {0: True, 1: False}
    assert journaled(journal) == named(3)


async def test_cancelled_submission_is_found_by_the_next_run(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.reply(path="/batches", delay=100, when=lambda seen: seen.method == "POST")
    async with make_client() as client:
        run = client.batches.run(
            prompts(3), model=MODEL, max_tokens=60, journal=journal, intervals=FAST
        )
        async with run:
            await server.until(requests=3)
            await run.stop(drain=True, timeout=0.05)
            assert events(journal) == ["intent"]
        assert run.stats.hosted is not None
        assert (run.stats.hosted.unanswered, run.stats.hosted.open_batches) == (1, 0)
        server.clear()
        await hosted(client, journal, prompts(3))

    assert journaled(journal) == named(3)
    assert server.batches.stats.stored == 1


# --- one journal, two engines ---------------------------------------------------------


async def test_hosted_calls_and_hosted_again_on_one_journal(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    options: Any = {"model": MODEL, "max_tokens": 60}
    async with make_client() as client:
        await hosted(client, journal, prompts(10), **options)
        run = client.chat.send_many(prompts(20), journal=journal, **options)
        async with run:
            live = [result async for result in run]
        results, stats = await hosted(client, journal, prompts(30), **options)

    assert (len(live), len(results), stats.resumed) == (10, 10, 20)
    assert journaled(journal) == named(30)
    assert stats.spent == pytest.approx(server.stats.cost, abs=1e-9)


async def test_rows_that_expired_are_sent_as_calls(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    async with make_client() as client:
        await ended_batch(server, client, journal, 10, "expired", done=0.6)
        run = client.batches.run(
            prompts(10), model=MODEL, max_tokens=60, journal=journal, intervals=FAST
        )
        async with run:
            for _ in range(6):
                await anext(run)
            await run.stop()
        live = client.chat.send_many(
            prompts(10), model=MODEL, max_tokens=60, journal=journal
        )
        async with live:
            assert len([result async for result in live]) == 4

    assert journaled(journal) == named(10)
