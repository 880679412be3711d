"""Runs with Ray Data, on a stand-in for Ray; `tests/ray` has those with real Ray."""

# Tests look at private attributes.
# pyright: reportPrivateUsage=false

import asyncio
import json
import runpy
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hosted_runs import begin_journal, cost_in, journaled, named
from ray_stand_in import Actor, Dataset, StandIn, StandInError, Table
from support import until

from openrouter_async import (
    AsyncOpenRouter,
    AuthenticationError,
    BatchStats,
    BatchStoppedError,
    ConfigurationError,
    JournalError,
    read_journal,
)
from openrouter_async.batch.progress import ProgressLine
from openrouter_async.batch.rows.columns import COLUMNS, RowColumns
from openrouter_async.ray import RayLedger, RayRun, SendStage, StagePlan
from openrouter_async.testing import LocalOpenRouter, error_reply

MODEL = "openai/gpt-4o-mini"
EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"

MakeRun = Callable[..., RayRun]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch, server: LocalOpenRouter) -> StandIn:
    """Ray, and the environment of its workers."""
    monkeypatch.setenv("OPENROUTER_API_KEY", server.api_key)
    monkeypatch.setenv("OPENROUTER_BASE_URL", server.url)
    return StandIn(monkeypatch)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def make_run(ray: StandIn, journal: Path) -> MakeRun:
    def make(**options: Any) -> RayRun:
        usual: dict[str, Any] = {"journal": journal, "model": MODEL, "max_tokens": 20}
        return RayRun(**{**usual, **options})

    return make


@pytest.fixture
def stages() -> Iterator[list[SendStage]]:
    """The stages that a test has started; their workers are closed after it."""
    stages: list[SendStage] = []
    yield stages
    for stage in stages:
        if stage._worker is not None:
            stage._worker.close()


Execute = Callable[[Any], Awaitable[list[dict[str, Any]]]]


@pytest.fixture
def execute(stages: list[SendStage]) -> Execute:
    """Execute a dataset as an actor would."""

    async def execute(ds: Dataset) -> list[dict[str, Any]]:
        stage = ds.stage(*ds.options["fn_constructor_args"])
        stages.append(stage)
        table: Table = await stage(ds.table)
        return table.to_pylist()

    return execute


def dataset(count: int, **more: list[Any]) -> Dataset:
    numbers = range(count)
    columns = {
        "id": [f"r{n}" for n in numbers],
        "text": [f"hello {n}" for n in numbers],
    }
    return Dataset(Table({**columns, **more}))


async def _wrapped(executing: Awaitable[object]) -> None:
    """Raise an error as Ray does."""
    try:
        await executing
    except AuthenticationError as error:
        raise StandInError(str(error)) from None


def names(journal: Path) -> list[str]:
    return sorted(result.custom_id or "" for result in read_journal(journal))


async def test_dataset_gets_the_columns_of_the_results(
    make_run: MakeRun, execute: Execute, journal: Path, server: LocalOpenRouter
) -> None:
    seen: list[BatchStats] = []
    with make_run(progress=seen.append) as run:
        ds = run.send_many(dataset(20), prompt="Say {text}", custom_id="id", raw=True)
        rows = await execute(ds)
        assert list(run.in_flight.values()) == [0]
    assert run.in_flight == {}

    assert list(rows[0]) == ["id", "text", *COLUMNS, "raw"]
    assert [row["id"] for row in rows] == [f"r{number}" for number in range(20)]
    assert not any(value is None for row in rows for value in row.values())
    assert all(row["response"] and row["error_type"] == "" for row in rows)
    assert json.loads(rows[0]["raw"])["id"] == rows[0]["generation_id"]
    assert len(names(journal)) == 20
    stats = run.stats
    assert (stats.ok, stats.attempts, stats.is_over) == (20, 20, True)
    assert stats.cost == pytest.approx(server.stats.cost, abs=1e-9)
    assert seen[-1] == stats


async def test_second_run_takes_rows_from_the_journal(
    make_run: MakeRun, execute: Execute, server: LocalOpenRouter
) -> None:
    found: list[Any] = []
    runs = [make_run(), make_run()]
    for run in runs:
        with run:
            ds = run.send_many(dataset(5), prompt="{text}", custom_id="id")
            found.append([row["response"] for row in await execute(ds)])

    assert found[0] == found[1]
    assert server.capacity.admitted == 5
    assert (runs[1].stats.resumed, runs[1].stats.ok) == (5, 0)


async def test_rows_are_requests_or_lists_of_messages(
    make_run: MakeRun, execute: Execute, server: LocalOpenRouter
) -> None:
    message = {"role": "user", "content": "hi", "name": None}
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": None}
    ds = dataset(1, m=[[message]], b=[body], j=[json.dumps(body)])
    with make_run() as run:
        (by_messages,) = await execute(run.send_many(ds, messages="m"))
        (by_body,) = await execute(run.send_many(ds, body="b"))
        (by_text,) = await execute(run.send_many(ds, body="j"))

    # They are the same request, whose fingerprint is its name.
    assert by_messages["response"] == by_body["response"]
    assert by_text["error_type"] == ""
    assert server.requests[0].json["messages"] == body["messages"]


async def test_invalid_rows_are_failed_rows(
    make_run: MakeRun, execute: Execute, server: LocalOpenRouter
) -> None:
    ds = dataset(3, j=["{", None, "[]"], p=["a", None, "c"])
    with make_run() as run:
        by_body = await execute(run.send_many(ds, body="j", custom_id="id"))
        by_prompt = await execute(run.send_many(ds, prompt="{p}"))

    assert [row["error_type"] for row in by_body] == ["ConfigurationError"] * 3
    assert by_body[0]["error"].startswith("Row 'r0', column 'j': ")
    assert by_body[1]["error"] == "Row 'r1' has no value in the column 'j'."
    assert [row["error_type"] for row in by_prompt] == ["", "ConfigurationError", ""]
    assert by_prompt[1]["error"].startswith("A row has no value in the field 'p'")
    assert server.capacity.admitted == 2


async def test_failed_rows_have_status_and_partial_response(
    make_run: MakeRun, execute: Execute, server: LocalOpenRouter
) -> None:
    server.reply(error_reply(400, "no")).then("no list").then("[1,2]")
    with make_run(concurrency=1) as run:
        ds = run.send_many(
            dataset(3), prompt="{text}", custom_id="id", output=list[int]
        )
        rows = await execute(ds)

    first, second, third = rows
    assert (first["error_type"], first["error_status"]) == ("BadRequestError", 400)
    assert (first["response"], first["cost"], first["output"]) == ("", 0.0, "")
    assert second["error_type"] == "OutputValidationError"
    assert (second["response"], second["error_status"]) == ("no list", 0)
    assert second["cost"] > 0.0
    assert (third["output"], third["error_type"]) == ("[1,2]", "")


async def test_exhausted_budget_leaves_rows_unsent(
    make_run: MakeRun, execute: Execute, server: LocalOpenRouter
) -> None:
    with make_run(max_cost=0.0005, rpm=600_000.0) as run:
        ds = run.send_many(dataset(100), prompt="{text}", custom_id="id")
        rows = await execute(ds)

    kinds = [row["error_type"] for row in rows]
    assert 0 < kinds.count("") < 100
    assert kinds.count("NotSent") == 100 - kinds.count("")
    assert (run.stats.stop_reason, run.stats.budget) == ("budget", "guaranteed")
    assert run.stats.spent == pytest.approx(server.stats.cost, abs=1e-9)


@pytest.mark.parametrize(
    ("concurrency", "rows", "block"),
    [("auto", 128, 1024), (10, 3, 1024), (2000, 500, 4000)],
)
def test_blocks_and_batches_fit_the_concurrency(
    make_run: MakeRun, concurrency: Any, rows: int, block: int
) -> None:
    with make_run(concurrency=concurrency, workers=3) as run:
        options = run.send_many(dataset(1), prompt="{text}").options

    assert options["batch_size"] == rows
    assert options["target_num_rows_per_block"] == block
    assert options["compute"] == {"size": 3, "max_concurrent_calls_per_actor": 2}
    assert options["num_cpus"] == 0.1
    assert "max_task_retries" not in options


async def test_client_gives_workers_its_configuration(
    make_run: MakeRun, execute: Execute, server: LocalOpenRouter
) -> None:
    client = AsyncOpenRouter(base_url=server.url, app_title="Ray")
    with make_run(client=client) as run:
        await execute(run.send_many(dataset(1), prompt="{text}"))

    assert server.requests[-1].headers["X-OpenRouter-Title"] == "Ray"


# --- errors ---------------------------------------------------------------------------


async def test_error_of_a_worker_replaces_the_error_of_ray(
    make_run: MakeRun, execute: Execute, server: LocalOpenRouter
) -> None:
    server.reply(error_reply(401, "No auth credentials found."), times=None)

    run = make_run().__enter__()
    ds = run.send_many(dataset(2), prompt="{text}")
    with pytest.raises(StandInError) as raised:
        await _wrapped(execute(ds))

    with pytest.raises(AuthenticationError) as caught:
        run.__exit__(StandInError, raised.value, None)

    assert caught.value.__cause__ is raised.value


async def test_error_of_a_worker_is_raised_even_if_it_was_caught(
    make_run: MakeRun, execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENROUTER_API_KEY")
    run = make_run().__enter__()
    ds = run.send_many(dataset(1), prompt="{text}")
    with pytest.raises(ConfigurationError, match="No API key"):
        await execute(ds)

    with pytest.raises(ConfigurationError, match="No API key"):
        run.__exit__(None, None, None)


async def test_row_that_kills_its_workers_is_an_error(
    make_run: MakeRun, stages: list[SendStage], ray: StandIn, server: LocalOpenRouter
) -> None:
    ray.actor_id = "actor"
    server.capacity.latency = 60.0
    run = make_run().__enter__()
    ds = run.send_many(dataset(1), prompt="{text}", custom_id="id")

    async def restarted() -> Any:
        stages.append(ds.stage(*ds.options["fn_constructor_args"]))
        return await stages[-1](ds.table)

    for number in range(4):
        sending = asyncio.create_task(restarted())
        await until(lambda sent=number: server.capacity.admitted > sent)  # type: ignore[misc]
        assert stages[-1]._worker is not None
        stages[-1]._worker.close()
        with pytest.raises(BatchStoppedError, match="worker was closed"):
            await sending
    with pytest.raises(BatchStoppedError, match=r"4 workers died .* row 'r0'"):
        await restarted()

    assert server.capacity.admitted == 4
    with pytest.raises(BatchStoppedError, match=r"4 workers died .* row 'r0'"):
        run.__exit__(None, None, None)


def test_error_of_the_block_is_raised_unchanged(make_run: MakeRun) -> None:
    with pytest.raises(ZeroDivisionError), make_run():
        raise ZeroDivisionError


async def test_ledger_that_dies_is_an_error(
    make_run: MakeRun, execute: Execute, ray: StandIn, server: LocalOpenRouter
) -> None:
    run = make_run().__enter__()
    ticker = run._ticker
    assert ticker is not None
    ray.actors[-1].is_dead = True
    await until(lambda: not ticker.is_alive())
    ds = run.send_many(dataset(1), prompt="{text}")
    with pytest.raises(JournalError, match="was left before"):
        await execute(ds)

    with pytest.raises(JournalError, match="ledger of the run has ended"):
        run.__exit__(None, None, None)

    ray.actors[-1].instance.call("close", (), {})
    assert server.capacity.admitted == 0


def test_ledger_that_does_not_respond_is_an_error(ray: StandIn) -> None:
    actor = Actor(None)
    actor.is_slow = True

    with pytest.raises(JournalError, match=r"did not respond within 0\.01 seconds"):
        RayLedger(actor, timeout=0.01).put(b"", b"")


async def test_worker_that_cannot_start_is_an_error(
    make_run: MakeRun, execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run().__enter__()
    monkeypatch.setenv("OPENROUTER_BASE_URL", "ftp://host")
    with pytest.raises(ConfigurationError, match="http"):
        await execute(run.send_many(dataset(1), prompt="{text}"))

    with pytest.raises(ConfigurationError, match="http"):
        run.__exit__(None, None, None)


async def test_batches_of_an_actor_share_its_worker(
    make_run: MakeRun, stages: list[SendStage]
) -> None:
    with make_run() as run:
        ds = run.send_many(dataset(2), prompt="{text}", custom_id="id")
        stages.append(ds.stage(*ds.options["fn_constructor_args"]))
        await asyncio.gather(*(stages[0](ds.table) for _ in range(3)))
        worker = stages[0]._worker

        assert await stages[0](ds.table)
        assert stages[0]._worker is worker
    assert run.stats.attempts == 2


async def test_column_that_appears_late_is_an_error(
    make_run: MakeRun, stages: list[SendStage]
) -> None:
    with make_run() as run:
        ds = Dataset(Table({"text": ["a"], "model": ["b"]}), has_schema=False)
        found = run.send_many(ds, prompt="{text}")
        stage = found.stage(*found.options["fn_constructor_args"])

        with pytest.raises(ConfigurationError, match="has a column 'model'"):
            await stage(ds.table)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"journal": "s3://bucket/out.jsonl"}, "shared mount, not a URL"),
        ({"workers": 0}, "workers must be 1 or more, not 0"),
        ({"api_key": "k"}, "RayRun takes no api_key"),
        ({"concurrency": 0}, "concurrency must be 'auto' or an integer"),
        ({"max_cost": -1.0}, "max_cost must be greater than 0"),
    ],
)
def test_invalid_option_is_one_clear_sentence(
    make_run: MakeRun, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        make_run(**options)


def test_unknown_field_is_an_error(make_run: MakeRun) -> None:
    with pytest.raises(TypeError, match="modl"):
        make_run(modl="m")


@pytest.mark.parametrize("library", ["ray", "pyarrow"])
def test_missing_extra_is_named(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(
        ConfigurationError,
        match=rf"needs {library}.*pip install 'openrouter_async\[ray\]'",
    ):
        make_run()


def test_ray_that_is_not_initialised_is_an_error(
    make_run: MakeRun, ray: StandIn
) -> None:
    ray.is_initialized_value = False

    with pytest.raises(ConfigurationError, match=r"Call ray\.init\(\)"):
        make_run().__enter__()


def test_journal_in_use_is_refused(
    make_run: MakeRun, ray: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openrouter_async.ray._LOCK_TIMEOUT", 0.0)

    with make_run(), pytest.raises(JournalError, match="in use by another run"):
        make_run().__enter__()

    assert [actor.is_dead for actor in ray.actors] == [True, True]


def test_run_is_entered_before_it_sends_and_only_once(make_run: MakeRun) -> None:
    run = make_run()
    assert not run.stats.done
    with pytest.raises(ConfigurationError, match="was not started"):
        run.send_many(dataset(1), prompt="{text}")
    with run, pytest.raises(ConfigurationError, match="only be entered once"):
        run.__enter__()


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({}, "Pass one of prompt=, messages= and body="),
        ({"prompt": "{text}", "body": "id"}, "Pass one of prompt="),
        ({"prompt": "{txt}"}, "no column 'txt'; its columns: id, model, text"),
        ({"prompt": "{text[0].x:{id}}"}, "has a column 'model', and so have"),
        ({"body": "text", "custom_id": "name"}, "no column 'name'"),
    ],
)
def test_wrong_columns_are_an_error_at_the_start(
    make_run: MakeRun, columns: dict[str, Any], problem: str
) -> None:
    with make_run() as run:
        ds = dataset(1, model=["m"])
        with pytest.raises(ConfigurationError, match=problem):
            run.send_many(ds, **columns)


def test_plan_has_no_key(ray: StandIn, server: LocalOpenRouter) -> None:
    import pickle  # noqa: PLC0415 - only this test needs it

    client = AsyncOpenRouter(base_url=server.url)
    plan = StagePlan(client, RowColumns(prompt="{text}"), {"model": MODEL}, {})

    assert server.api_key.encode() not in pickle.dumps(plan)
    assert server.api_key not in repr(plan)


def test_progress_line_ends(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    with make_run(progress=True) as run:
        assert isinstance(run._progress, ProgressLine)
        deadline = time.monotonic() + 5.0
        while run.stats.seconds == 0.0 and time.monotonic() < deadline:
            time.sleep(0.01)

    assert "0 | 0.0/s | in flight 0 | $0" in capsys.readouterr().err


async def test_journal_of_calls_and_batches_is_finished_on_ray(
    make_run: MakeRun, execute: Execute, journal: Path, server: LocalOpenRouter
) -> None:
    async with AsyncOpenRouter(server.api_key, base_url=server.url) as client:
        await begin_journal(server, client, journal)
    with make_run(max_tokens=60) as run:
        ds = Dataset(
            Table({"id": named(40), "text": [f"row {name[4:]}." for name in named(40)]})
        )
        rows = await execute(run.send_many(ds, prompt="{text}", custom_id="id"))

    assert [row["error_type"] for row in rows] == [""] * 40
    assert journaled(journal) == named(40)
    assert (run.stats.resumed, run.stats.ok) == (30, 10)
    assert run.stats.spent == pytest.approx(server.stats.cost, abs=1e-9)
    assert cost_in(journal) == pytest.approx(server.stats.cost, abs=1e-9)


def test_example_of_the_page_runs(
    ray: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "batch_ray.py"))

    assert capsys.readouterr().out == "2 rows sent, 0 from the journal\n"
    assert names(tmp_path / "out.jsonl") == ["a", "b"]
