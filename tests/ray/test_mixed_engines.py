"""One journal for calls, hosted batches and a real Ray."""

from pathlib import Path
from typing import Any

import pytest
from hosted_runs import MODEL, begin_journal, cost_in, journaled, named

from openrouter_async import AsyncOpenRouter
from openrouter_async.ray import RayRun
from openrouter_async.testing import LocalOpenRouter

pytestmark = [pytest.mark.filterwarnings("default")]


async def test_journal_of_calls_and_batches_is_finished_on_ray(
    cluster: Any, journal: Path, ray_server: LocalOpenRouter
) -> None:
    before = ray_server.batches.stats.cost
    async with AsyncOpenRouter(ray_server.api_key, base_url=ray_server.url) as client:
        await begin_journal(ray_server, client, journal)
    with RayRun(journal=journal, model=MODEL, max_tokens=60, workers=1) as run:
        ds = cluster.data.from_items(
            [{"id": name, "text": f"row {name[4:]}."} for name in named(40)],
            override_num_blocks=2,
        )
        rows = run.send_many(ds, prompt="{text}", custom_id="id").take_all()

    assert before == 0.0
    assert [row["error_type"] for row in rows] == [""] * 40
    assert journaled(journal) == named(40)
    assert (run.stats.resumed, run.stats.ok) == (30, 10)
    assert run.stats.spent == pytest.approx(ray_server.stats.cost, abs=1e-9)
    assert cost_in(journal) == pytest.approx(ray_server.stats.cost, abs=1e-9)
