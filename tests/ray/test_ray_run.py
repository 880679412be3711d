"""Datasets of a real Ray on this machine."""

import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openrouter_async import (
    AuthenticationError,
    BatchStats,
    JournalError,
    read_journal,
)
from openrouter_async.batch.rows.columns import COLUMNS
from openrouter_async.ray import RayLedger, RayRun
from openrouter_async.testing import LocalOpenRouter, error_reply

pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.usefixtures("ray_server"),
]

MODEL = "openai/gpt-4o-mini"

MakeRun = Callable[..., RayRun]


@pytest.fixture
def make_run(journal: Path) -> MakeRun:
    def make(**options: Any) -> RayRun:
        usual: dict[str, Any] = {
            "journal": journal,
            "model": MODEL,
            "max_tokens": 20,
            "workers": 1,
        }
        return RayRun(**{**usual, **options})

    return make


def names(journal: Path) -> list[str]:
    return sorted(result.custom_id or "" for result in read_journal(journal))


def table(cluster: Any, count: int) -> Any:
    return cluster.data.from_items(
        [{"id": f"r{number}", "text": f"hello {number}"} for number in range(count)],
        override_num_blocks=2,
    )


def test_dataset_gets_typed_columns_and_the_journal_every_row(
    cluster: Any, make_run: MakeRun, journal: Path, ray_server: LocalOpenRouter
) -> None:
    seen: list[BatchStats] = []
    with make_run(workers=2, progress=seen.append) as run:
        ds = run.send_many(
            table(cluster, 300), prompt="Say {text}", custom_id="id", raw=True
        )
        taken: list[dict[str, Any]] = ds.take_all()

    # Ray does not keep the order of blocks.
    rows = sorted(taken, key=lambda row: int(row["id"][1:]))
    assert [row["id"] for row in rows] == [f"r{number}" for number in range(300)]
    assert all(f"hello {row['id'][1:]}" == row["text"] for row in rows)
    assert list(rows[0]) == ["id", "text", *COLUMNS, "raw"]
    assert all(row["error_type"] == "" and row["response"] for row in rows)
    assert {type(row["cost"]) for row in rows} == {float}
    assert not any(value is None for row in rows for value in row.values())
    assert json.loads(rows[0]["raw"])["id"] == rows[0]["generation_id"]
    assert names(journal) == sorted(f"r{number}" for number in range(300))
    stats = run.stats
    assert (stats.ok, stats.failed, stats.attempts) == (300, 0, 300)
    assert stats.cost == pytest.approx(sum(row["cost"] for row in rows), abs=1e-9)
    assert stats.cost == pytest.approx(ray_server.stats.cost, abs=1e-9)
    assert seen[-1] == stats
    assert stats.is_over


def test_actions_and_runs_with_one_journal_send_each_row_once(
    cluster: Any,
    make_run: MakeRun,
    tmp_path: Path,
    journal: Path,
    ray_server: LocalOpenRouter,
) -> None:
    with make_run() as run:
        ds = run.send_many(table(cluster, 200), prompt="{text}", custom_id="id")
        assert ds.schema().names == ["id", "text", *COLUMNS]
        assert len(ds.take(5)) == 5
        assert ds.count() == 200
        ds.write_parquet(str(tmp_path / "first"))
        ds.write_parquet(str(tmp_path / "again"))
    with make_run() as run:
        ds = run.send_many(table(cluster, 200), prompt="{text}", custom_id="id")
        ds.write_parquet(str(tmp_path / "second"))

    assert ray_server.capacity.admitted <= 200 + 64
    assert len(names(journal)) == 200
    parquet: Any = importlib.import_module("pyarrow.parquet")
    first, again, second = (
        parquet.read_table(tmp_path / name).sort_by("id").select(["id", "response"])
        for name in ("first", "again", "second")
    )
    assert first.num_rows == 200
    assert first == again == second
    assert (run.stats.resumed, run.stats.ok) == (200, 0)


def test_exhausted_budget_is_no_error(
    cluster: Any, make_run: MakeRun, ray_server: LocalOpenRouter
) -> None:
    with make_run(max_cost=0.0005) as run:
        ds = run.send_many(table(cluster, 300), prompt="{text}", custom_id="id")
        rows = ds.take_all()

    kinds = [row["error_type"] for row in rows]
    assert 0 < kinds.count("") < 300
    assert kinds.count("NotSent") == 300 - kinds.count("")
    assert (run.stats.stop_reason, run.stats.budget) == ("budget", "guaranteed")
    assert run.stats.spent == pytest.approx(ray_server.stats.cost, abs=1e-9)
    assert run.stats.spent <= 0.0005


def test_account_error_is_raised_from_the_block(
    cluster: Any, make_run: MakeRun, ray_server: LocalOpenRouter
) -> None:
    ray_server.reply(error_reply(401, "No auth credentials found."), times=None)

    with (
        pytest.raises(AuthenticationError, match="No auth credentials"),
        make_run() as run,
    ):
        run.send_many(table(cluster, 5), prompt="{text}").take_all()

    assert not run.stats.in_flight


def test_dataset_that_is_executed_after_the_block_fails(
    cluster: Any, make_run: MakeRun, ray_server: LocalOpenRouter
) -> None:
    with make_run() as run:
        ds = run.send_many(table(cluster, 3), prompt="{text}")

    with pytest.raises(Exception, match=r"ledger of the run has ended"):
        ds.take_all()

    assert ray_server.capacity.admitted == 0


def test_ledger_that_does_not_respond_is_an_error(cluster: Any, tmp_path: Path) -> None:
    actor = cluster.remote(_SlowLedger).options(num_cpus=0).remote()
    try:
        with pytest.raises(JournalError, match=r"did not respond within 0\.1 seconds"):
            RayLedger(actor, timeout=0.1).put(b"", b"")
    finally:
        cluster.kill(actor)


class _SlowLedger:
    def call(self, *arguments: Any) -> None:
        time.sleep(60 + len(arguments))
