"""Budgets, progress and memory of a run."""

import asyncio
import gc
import io
import logging
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from support import MakeClient, prompts, read_results

from openrouter_async import (
    AsyncOpenRouter,
    BatchStats,
    Retries,
)
from openrouter_async.testing import (
    LocalOpenRouter,
    error_reply,
)

# --- budgets ---------------------------------------------------------------------


async def test_guaranteed_budget_is_not_exceeded(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    run = client.chat.send_many(
        prompts(500),
        model="openai/gpt-4o-mini",
        max_tokens=40,
        max_cost=0.001,
        concurrency=20,
    )
    results = await read_results(run)

    assert run.stats.budget == "guaranteed"
    assert run.stats.stop_reason == "budget"
    assert run.stats.overshoot == 0.0
    assert 0.0009 < run.stats.spent <= 0.001
    assert server.stats.cost <= 0.001
    assert len(results) > 10


async def test_budget_without_max_tokens_is_estimated(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    run = client.chat.send_many(
        prompts(500), model="openai/gpt-4o-mini", max_cost=0.001, concurrency=20
    )
    results = await read_results(run)
    mean = run.stats.cost / len(results)

    assert run.stats.budget == "estimated"
    assert run.stats.stop_reason == "budget"
    assert run.stats.spent <= 0.001 + 1.5 * mean * 20


async def test_budget_without_a_price_is_estimated(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(404), path="/endpoints")
    run = client.chat.send_many(["a"], model="m", max_tokens=5, max_cost=1)
    await read_results(run)
    assert run.stats.budget == "estimated"

    server.reply(json={"data": {}}, path="/endpoints")
    again = client.chat.send_many(["a"], model="m", max_tokens=5, max_cost=1)
    await read_results(again)
    assert again.stats.budget == "estimated"


async def test_budget_with_ambiguous_retries_is_estimated(
    client: AsyncOpenRouter,
) -> None:
    """A request might be billed twice."""
    run = client.chat.send_many(
        ["a"],
        model="openai/gpt-4o-mini",
        max_tokens=5,
        max_cost=1,
        retries=Retries(ambiguous=True),
    )
    await read_results(run)

    assert run.stats.budget == "estimated"


async def test_attempt_that_may_be_billed_counts_towards_the_budget(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(stop="close", stop_at=20)
    run = client.chat.send_many(
        ["a"], model="openai/gpt-4o-mini", max_tokens=5, max_cost=1
    )
    (result,) = await read_results(run)

    assert not result.ok
    assert run.stats.cost == 0.0
    assert 0 < run.stats.spent < 0.001


async def test_cancelled_request_counts_towards_the_budget(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("late", delay=5)
    async with client.chat.send_many(
        ["a"], model="openai/gpt-4o-mini", max_tokens=5, max_cost=1
    ) as run:
        while not run.stats.in_flight:  # noqa: ASYNC110 - no event is set for it
            await asyncio.sleep(0.01)

    assert run.stats.abandoned == 1
    assert 0 < run.stats.spent < 0.001
    assert run.stats.overshoot == 0.0


# --- progress and resources ------------------------------------------------------


async def test_progress_is_called_twice_a_second_and_at_the_end(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity.latency = 0.3
    snapshots: list[BatchStats] = []
    run = client.chat.send_many(
        prompts(3), model="m", concurrency=1, progress=snapshots.append
    )
    await read_results(run)

    assert len(snapshots) >= 2
    assert snapshots[-1].is_over
    assert snapshots[-1].done == 3
    assert not snapshots[0].is_over


async def test_exception_of_progress_is_logged(
    client: AsyncOpenRouter, caplog: pytest.LogCaptureFixture
) -> None:

    def progress(_: BatchStats) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR):
        results = await read_results(
            client.chat.send_many(["a"], model="m", progress=progress)
        )

    assert results[0].ok
    assert "progress function raised" in caplog.text


async def test_progress_line_that_cannot_be_written_is_logged(
    client: AsyncOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:

    class Gone(io.StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())

    async with asyncio.timeout(5):
        results = await read_results(
            client.chat.send_many(["a"], model="m", progress=True)
        )

    assert results[0].ok
    assert "progress function raised" in caplog.text


async def test_progress_true_writes_a_line_to_stderr(
    client: AsyncOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    await read_results(client.chat.send_many(["a"], model="m", progress=True))

    assert "1/1 100%" in capsys.readouterr().err


async def test_memory_does_not_grow_with_the_number_of_rows(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(on_call=None)
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    class Prompt(list[Any]):
        """A row that a weak reference can refer to."""

        __hash__ = object.__hash__  # type: ignore[assignment]

    def rows() -> Iterator[Any]:
        for number in range(150):
            row = Prompt([{"role": "user", "content": f"{number}"}])
            alive.add(row)
            yield row

    highest = 0
    async with client.chat.send_many(rows(), model="m", concurrency=4) as run:
        async for _ in run:
            highest = max(highest, len(alive))
    del run
    gc.collect()

    assert highest < 40
    assert len(alive) == 0


async def test_number_of_tasks_follows_the_concurrency_limit(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity.latency = 0.02
    highest = 0
    async with client.chat.send_many(prompts(60), model="m", concurrency=5) as run:
        async for _ in run:
            workers = [
                t
                for t in asyncio.all_tasks()
                if "WorkerPool._run" in repr(t.get_coro())
            ]
            highest = max(highest, len(workers))

    assert 5 <= highest <= 7


async def test_budget_for_rows_without_a_model_is_estimated(
    client: AsyncOpenRouter,
) -> None:
    """The account's default model, and its price, are unknown."""
    run = client.chat.send_many(["a", "b"], max_tokens=5, max_cost=1.0)

    results = await read_results(run)

    assert [result.ok for result in results] == [True, True]
    assert run.stats.budget == "estimated"
