"""Processes of a real Ray that are killed while rows are sent."""

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ray_data import Driver, start
from benchmarks.ray_processes import ledgers, stage_workers, wait_for
from openrouter_async import JournalError, read_journal
from openrouter_async.ray import RayRun
from openrouter_async.testing import LocalOpenRouter

pytestmark = [pytest.mark.filterwarnings("default")]

MODEL = "openai/gpt-4o-mini"
LIMIT = 50


def run_of(journal: Path, **options: Any) -> RayRun:
    usual: dict[str, Any] = {
        "journal": journal,
        "model": MODEL,
        "max_tokens": 20,
        "workers": 2,
    }
    usual |= {"concurrency": LIMIT, **options}
    return RayRun(**usual)


def counts(journal: Path) -> Counter[str | None]:
    return Counter(result.custom_id for result in read_journal(journal))


def table(cluster: Any, count: int) -> Any:
    return cluster.data.from_items(
        [{"id": f"r{number}", "text": f"row {number}."} for number in range(count)],
        override_num_blocks=2,
    )


@pytest.mark.usefixtures("cluster")
def test_killed_worker_costs_no_more_than_its_requests_in_flight(
    cluster: Any, journal: Path, ray_server: LocalOpenRouter
) -> None:
    ray_server.capacity.latency = 0.5
    killed: list[int] = []

    def kill(_: object) -> None:
        workers = stage_workers()
        if not killed and workers and ray_server.capacity.admitted >= 200:
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    with run_of(journal, progress=kill) as run:
        ds = run.send_many(table(cluster, 800), prompt="{text}", custom_id="id")
        rows = ds.take_all()

    assert len(killed) == 1
    assert Counter(row["id"] for row in rows) == counts(journal)
    assert len(rows) == 800
    assert set(counts(journal).values()) == {1}
    assert ray_server.capacity.admitted <= 800 + LIMIT + 64


@pytest.mark.usefixtures("cluster")
def test_killed_ledger_stops_every_worker(
    cluster: Any, journal: Path, ray_server: LocalOpenRouter
) -> None:
    ray_server.capacity.latency = 0.5
    killed_at: list[float] = []

    def kill(_: object) -> None:
        if not killed_at and ray_server.capacity.admitted >= 100:
            os.kill(ledgers()[0], signal.SIGKILL)
            killed_at.append(time.time())

    run = run_of(journal, progress=kill)
    with pytest.raises(JournalError, match="ledger of the run has ended"), run:
        run.send_many(table(cluster, 800), prompt="{text}", custom_id="id").take_all()
    calls = ray_server.capacity.admitted
    time.sleep(1.0)

    assert ray_server.capacity.admitted == calls < 800
    with run_of(journal) as again:
        ds = again.send_many(table(cluster, 800), prompt="{text}", custom_id="id")
        assert len(ds.take_all()) == 800
    assert set(counts(journal).values()) == {1}
    assert len(counts(journal)) == 800


def drive(server: LocalOpenRouter, journal: Path, **task: Any) -> Driver:
    usual: dict[str, Any] = {"rows": 600, "concurrency": LIMIT}
    return start(server.url, journal, **(usual | task))


def test_row_that_kills_its_worker_ends_the_job(
    journal: Path, server: LocalOpenRouter
) -> None:
    """And the run without that row pays for nothing again."""
    server.reply('{"text":"die"}', when="row 300.", times=None)
    figures = drive(server, journal, poison=True).figures()
    calls, done = server.capacity.admitted, len(counts(journal))

    assert "error" in figures
    assert calls <= 600 + 4 * 2 * LIMIT
    figures = drive(server, journal, poison=True, without="r300").figures()
    assert figures["rows"] == 599
    assert set(counts(journal).values()) == {1}
    assert server.capacity.admitted - calls <= 599 - done


def test_killed_driver_is_continued(journal: Path, server: LocalOpenRouter) -> None:
    server.capacity.latency = 0.5
    first = drive(server, journal)
    wait_for(lambda: server.capacity.admitted >= 200, 120.0)
    first.kill()
    figures = drive(server, journal).figures()

    assert (figures["rows"], figures["repeated"]) == (600, 0)
    assert set(counts(journal).values()) == {1}
    assert len(counts(journal)) == 600
    # A second of work of two workers, with 0.5 s for each call.
    assert server.capacity.admitted <= 600 + 2 * LIMIT + 2 * 2 * LIMIT


@pytest.mark.xfail(
    reason="Ray may give up on the actor of a removed node before it starts another.",
    strict=False,
)
def test_removed_node_costs_no_more_than_its_requests_in_flight(
    journal: Path, server: LocalOpenRouter
) -> None:
    server.capacity.latency = 0.5
    driver = drive(server, journal, nodes=3, workers=3)
    wait_for(lambda: server.capacity.admitted >= 200, 120.0)
    assert driver.process.stdin is not None
    driver.process.stdin.write("remove\n")
    driver.process.stdin.flush()
    figures = driver.figures()

    assert (figures.get("rows"), figures.get("repeated")) == (600, 0), json.dumps(
        figures.get("error")
    )
    assert set(counts(journal).values()) == {1}
    assert server.capacity.admitted <= 600 + 3 * LIMIT + 64
