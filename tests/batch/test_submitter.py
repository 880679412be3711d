"""Hosted batches: groups that are queued when a run ends, and money that is lost."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from openrouter_async import APIConnectionError
from openrouter_async.batch.hosted.context import FilledGroup, RunContext
from openrouter_async.batch.hosted.plan import BatchGroup
from openrouter_async.batch.hosted.routes import submission_wait
from openrouter_async.batch.hosted.spool import SpoolWriter
from openrouter_async.batch.hosted.submitter import Submitter
from openrouter_async.batch.rows.stats import RunCounters
from openrouter_async.protocol.budget import Budget


async def test_discard_deletes_the_files_of_queued_groups(tmp_path: Path) -> None:
    unused: Any = None
    finished: list[int] = []
    submitter = Submitter(unused, lambda: finished.append(1))
    path = tmp_path / "out.batches.1.json"
    group = BatchGroup("m")
    writer = SpoolWriter(path, group, None)
    submitter.put(FilledGroup(1, group, writer, {}, 0.0))
    existed = path.exists()

    submitter.discard()

    assert existed
    assert not path.exists()
    assert (submitter.active, finished) == (0, [1])


@pytest.mark.parametrize(("failures", "wait"), [(0, 0.3), (3, 2.4), (5000, 30.0)])
def test_wait_for_a_connection_doubles_up_to_half_a_minute(
    failures: int, wait: float
) -> None:
    found = submission_wait(APIConnectionError("Cannot connect."), failures)

    assert found is not None
    assert 0.5 * wait <= found <= 1.5 * wait


def test_money_that_a_batch_lost_is_spent_from_the_budget() -> None:
    budget, counted = Budget(1.0), RunCounters()
    batch: Any = SimpleNamespace(model="m")
    context: Any = SimpleNamespace(
        builder=Mock(),
        counters=counted,
        budget=budget,
    )

    RunContext.count_lost(context, batch, 0.25)

    assert (budget.spent, counted.cost) == (0.25, 0.25)
