"""The budget, the options and the progress of runs with hosted batches."""

import json
import random
from pathlib import Path
from typing import Any

import attrs
import pytest
from hosted_runs import (
    hosted,
    journaled,
    named,
    prompts,
    start,
)
from support import MakeClient

from openrouter_async import (
    BatchResult,
    BatchStats,
    ConfigurationError,
)
from openrouter_async.batch.hosted.intervals import HostedIntervals
from openrouter_async.testing import LocalOpenRouter

pytestmark = pytest.mark.usefixtures("quick_batches")


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
        ({"journal": Path("gs://bucket/out.jsonl")}, "shared mount, not a URL"),
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
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("openrouter_async.batch.lifetime._TICK", 0.02)
    seen: list[BatchStats] = []
    server.batches.script.running = 0.1
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
