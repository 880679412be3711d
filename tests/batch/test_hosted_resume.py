"""Runs with hosted batches that stop, resume, mix engines, and keep to a budget."""

import asyncio
import errno
import json
import random
from collections.abc import AsyncIterator, Callable
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
    AsyncOpenRouter,
    BatchResult,
    BatchRun,
    BatchStats,
    ConfigurationError,
    JournalError,
)
from openrouter_async.batch.hosted.intervals import HostedIntervals
from openrouter_async.batch.hosted.state import read_summaries
from openrouter_async.batch.jsonl import JsonLinesFile
from openrouter_async.testing import LocalOpenRouter, SeenRequest


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture(autouse=True)
def quick(server: LocalOpenRouter) -> None:
    script = server.batches.script
    script.validating, script.running = 0.0, 0.02


def is_post(seen: SeenRequest) -> bool:
    return seen.method == "POST"


def start(
    client: AsyncOpenRouter, journal: Path, rows: Any, **options: Any
) -> BatchRun[Any]:
    """Return a run that is not entered, with the request of `hosted()`."""
    usual: dict[str, Any] = {"model": MODEL, "max_tokens": 60, "intervals": FAST}
    run: BatchRun[Any] = client.batches.run(
        rows, journal=journal, **{**usual, **options}
    )
    return run


async def read_all(run: BatchRun[Any]) -> list[BatchResult]:
    async with run:
        return [result async for result in run]


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


# --- crashes: every moment between two steps ------------------------------------------


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
    server.batches.script.running = 100
    async with make_client() as client:
        await hosted(client, journal, prompts(3), wait=False)
        (batch,) = server.batches.all
        server.batches.end(batch.id, "cancelled", done=0)
        await client.batches.get(batch.id)
        await client.batches.delete(batch.id)
        cut_after(journal, 1)
        server.batches.script.running = 0
        await hosted(client, journal, prompts(3))

    assert journaled(journal) == named(3)
    assert "an earlier run ended before it was stored" in caplog.text


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
        await hosted(client, journal, prompts(3), wait=False)
        journal.with_name("out.batches.1.json").unlink()
        script.running, script.missing = 0, frozenset()
        script.missing = frozenset({"row-2"})
        results, _ = await hosted(client, journal, prompts(3))
        script.missing = frozenset()
        await hosted(client, journal, prompts(3))

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
        server.clear()
        await hosted(client, journal, prompts(3))

    assert journaled(journal) == named(3)
    assert server.batches.stats.stored == 1


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
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    """The reader stops, so that the buffer is full in the middle of a batch."""
    async with make_client() as client:
        run = client.batches.run(
            prompts(1500), model=MODEL, max_tokens=60, journal=journal, intervals=FAST
        )
        async with run:
            await anext(run)
            await until(lambda: run.stats.done >= 257)
        count = len(journaled(journal))
        _, stats = await hosted(client, journal, prompts(1500))

    assert 257 <= count < 1500
    assert journaled(journal) == named(1500)
    assert server.batches.stats.submissions == 1
    assert stats.spent == pytest.approx(server.stats.cost, abs=1e-9)


async def test_stop_with_a_full_buffer_leaves_the_batch_open(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    async with make_client() as client:
        run = start(client, journal, prompts(800), batch_rows=400)
        async with run:
            await until(lambda: run.stats.done >= 257)
            await run.stop()
            await run.stop()
            read = [result async for result in run]
        _, stats = await hosted(client, journal, prompts(800))

    assert 257 <= len(read) < 800
    assert journaled(journal) == named(800)
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
            await read_all(run)


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
    server.batches.script.running = 100
    async with make_client() as client:
        await hosted(client, journal, prompts(10), wait=False)
        (batch,) = server.batches.all
        server.batches.end(batch.id, "expired", done=0.6)
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


# --- money ----------------------------------------------------------------------------


async def test_guaranteed_budget_is_never_exceeded(
    server: LocalOpenRouter, make_client: MakeClient, tmp_path: Path
) -> None:
    chance = random.Random(7)
    async with make_client() as client:
        for number in range(8):
            server.clear()
            limit = 10 ** chance.uniform(-5, -2.5)
            _, stats = await hosted(
                client,
                tmp_path / f"{number}.jsonl",
                prompts(chance.randint(1, 60)),
                max_cost=limit,
                batch_rows=chance.randint(1, 20),
                max_open=chance.randint(1, 4),
            )

            assert stats.budget == "guaranteed"
            assert server.stats.cost <= limit
            assert stats.spent == pytest.approx(server.stats.cost, abs=1e-12)
            assert (stats.stop_reason == "budget") is (stats.done < (stats.total or 0))


async def test_budget_of_unknown_prices_is_an_estimate(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    async with make_client() as client:
        _, stats = await hosted(
            client, journal, prompts(40), max_cost=1.0, max_tokens=None
        )

    assert (stats.budget, stats.ok) == ("estimated", 40)
    # Eight rows of unknown cost, and then the rest.
    assert len(server.batches.all[0].rows) == 8


async def test_money_of_open_batches_stays_reserved(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    server.batches.script.running = 100
    async with make_client() as client:
        _, first = await hosted(
            client, journal, prompts(100), max_cost=2e-3, wait=False
        )
        _, second = await hosted(
            client, journal, prompts(100), max_cost=2e-3, wait=False
        )
        _, lower = await hosted(
            client, journal, prompts(100), max_cost=1e-6, wait=False
        )
        server.batches.script.running = 0
        _, last = await hosted(client, journal, prompts(100), max_cost=1.0)

    assert first.stop_reason == second.stop_reason == lower.stop_reason == "budget"
    assert 0 < first.in_flight < 100
    assert second.in_flight == lower.in_flight == first.in_flight
    assert last.spent == pytest.approx(server.stats.cost)
    assert journaled(journal) == named(100)


@pytest.mark.parametrize("price", [0.5, 2.0])
async def test_batch_price_above_the_live_price_is_reported(
    server: LocalOpenRouter,
    make_client: MakeClient,
    journal: Path,
    caplog: pytest.LogCaptureFixture,
    price: float,
) -> None:
    server.batches.script.price = price
    async with make_client() as client:
        await hosted(client, journal, prompts(2))

    assert ("more expensive in batches than live: $0.3 and $1.2" in caplog.text) is (
        price > 1
    )


# --- options and progress -------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"batch_rows": 0}, "batch_rows must be 1 to 5000"),
        ({"batch_bytes": 300_000_000}, "batch_bytes must be 1 to 200000000"),
        ({"max_open": 0}, "max_open must be 1 to 1000"),
        ({"callback_url": "http://x"}, "callback_url must start with https"),
        ({"journal": "s3://bucket/out.jsonl"}, "not a URL"),
        ({"max_cost": 0}, "max_cost must be greater than 0"),
    ],
)
async def test_invalid_option_is_rejected(
    make_client: MakeClient, journal: Path, options: Any, problem: str
) -> None:
    async with make_client() as client:
        with pytest.raises(ConfigurationError, match=problem):
            start(client, options.pop("journal", journal), ["a"], **options)
        with pytest.raises(TypeError, match="must be an integer"):
            client.batches.run(["a"], journal=journal, max_open=True)
        with pytest.raises(TypeError):
            start(client, journal, ["a"], rpm=5)


async def test_progress_has_the_open_batches(
    server: LocalOpenRouter,
    make_client: MakeClient,
    journal: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[BatchStats] = []
    server.batches.script.running = 0.6
    async with make_client() as client:
        await hosted(client, journal, prompts(3), progress=seen.append)
        await hosted(client, journal, prompts(4), progress=True)

    assert any(s.hosted is not None and s.hosted.open_batches for s in seen)
    assert seen[-1].is_over
    assert "4/4 100%" in capsys.readouterr().err


async def test_callback_url_is_passed_on(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    url = "https://example.com/done"
    async with make_client() as client:
        await hosted(client, journal, prompts(1), callback_url=url)

    assert server.batches.all[0].callback_url == url


def test_intervals_are_scaled_together() -> None:
    scaled = HostedIntervals().scaled(0.1)

    ratios = {
        getattr(scaled, name.name) / getattr(HostedIntervals(), name.name)
        for name in attrs.fields(HostedIntervals)
    }
    assert {round(ratio, 9) for ratio in ratios} == {0.1}


async def test_journal_line_has_the_cost_of_a_hosted_row(
    server: LocalOpenRouter, make_client: MakeClient, journal: Path
) -> None:
    async with make_client() as client:
        await hosted(client, journal, prompts(1))

    (line,) = journal.read_text().splitlines()
    result = BatchResult[None].from_line(json.loads(line))
    assert "usage" not in json.loads(line)["response"]["body"]
    assert result.cost == pytest.approx(server.stats.cost)
