"""Processes of a real Ray that are killed while rows are sent."""

import asyncio
import gc
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ray_nodes import Nodes

from benchmarks.ray_data import Driver, start
from benchmarks.ray_processes import Deadly, ledgers, stage_workers, wait_for
from openrouter_async import BatchStoppedError, JournalError, read_journal
from openrouter_async.ray import RayRun
from openrouter_async.testing import LocalOpenRouter, Reply, SeenRequest

pytestmark = [pytest.mark.filterwarnings("default")]

ROWS = 500
LIMIT = 50
# Requests in flight, and those whose lines are on their way to the ledger.
REPEATED = 2 * LIMIT
# Ray may take long to start a process on a busy machine.
PATIENCE = 120.0


@pytest.fixture(autouse=True)
def small_blocks(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every worker have rows, before any of them sends one."""
    monkeypatch.setattr("openrouter_async.ray._BLOCK_ROWS", 1)
    context = cluster.data.DataContext.get_current()
    monkeypatch.setattr(context, "wait_for_min_actors_s", int(PATIENCE))


def run_of(journal: Path, **options: Any) -> RayRun:
    usual: dict[str, Any] = {
        "journal": journal,
        "model": "openai/gpt-4o-mini",
        "max_tokens": 20,
        "workers": 2,
        "concurrency": LIMIT,
    }
    return RayRun(**(usual | options))


def table(cluster: Any, without: str = "") -> Any:
    names = [f"r{number}" for number in range(ROWS)]
    return cluster.data.from_items(
        [{"id": name, "text": f"row {name[1:]}."} for name in names if name != without],
        override_num_blocks=2,
    )


def is_complete(journal: Path, rows: int = ROWS) -> bool:
    """True if each row is in the journal once."""
    counts = Counter(result.custom_id for result in read_journal(journal))
    return len(counts) == rows and set(counts.values()) == {1}


@contextmanager
def when(condition: Callable[[], object], act: Callable[[], object]) -> Generator[None]:
    """Act on another thread when a condition is true, while the block is executed."""
    errors: list[BaseException] = []

    def watch() -> None:
        try:
            wait_for(condition, PATIENCE)
            act()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


class Barrier:
    """Holds the requests after the first ones, so that no run ends before a kill."""

    def __init__(self, server: LocalOpenRouter, passing: int) -> None:
        self._server = server
        self._passing = passing
        self._is_open = False
        server.reply(self._respond, times=None)

    async def _respond(self, _: SeenRequest) -> Reply:
        if self._server.capacity.admitted > self._passing:
            while not self._is_open:  # noqa: ASYNC110 - it is opened by another thread
                await asyncio.sleep(0.01)
        return Reply()

    def is_reached(self) -> bool:
        """True if requests are held."""
        return self._server.capacity.admitted > self._passing

    def open(self) -> None:
        """Let all requests go on."""
        self._is_open = True

    def kill_and_open(self, process: int) -> None:
        """Kill a process while requests are held."""
        kill(process)
        self.open()


def stopped(server: LocalOpenRouter) -> int:
    """Return the number of calls when no worker is left."""
    # The error of a dataset refers to its actors, which live as long.
    gc.collect()
    wait_for(lambda: not stage_workers(), PATIENCE)
    return server.capacity.admitted


def test_killed_worker_costs_no_more_than_its_requests_in_flight(
    cluster: Any, journal: Path, ray_server: LocalOpenRouter
) -> None:
    barrier = Barrier(ray_server, 150)
    with (
        when(barrier.is_reached, lambda: barrier.kill_and_open(stage_workers()[0])),
        run_of(journal) as run,
    ):
        ds = run.send_many(table(cluster), prompt="{text}", custom_id="id")
        rows = ds.take_all()

    assert len({row["id"] for row in rows}) == len(rows) == ROWS
    assert is_complete(journal)
    assert ray_server.capacity.admitted <= ROWS + REPEATED + 64


def test_killed_ledger_stops_every_worker(
    cluster: Any, journal: Path, ray_server: LocalOpenRouter
) -> None:
    # More time than a worker takes to notice it.
    ray_server.capacity.latency = 0.5
    barrier = Barrier(ray_server, 100)
    with (
        when(barrier.is_reached, lambda: barrier.kill_and_open(ledgers()[0])),
        pytest.raises(JournalError, match="ledger of the run has ended"),
        run_of(journal) as run,
    ):
        run.send_many(table(cluster), prompt="{text}", custom_id="id").take_all()
    assert stopped(ray_server) < ROWS

    with run_of(journal) as again:
        ds = again.send_many(table(cluster), prompt="{text}", custom_id="id")
        assert len(ds.take_all()) == ROWS
    assert is_complete(journal)


def test_row_that_kills_its_worker_ends_the_job(
    cluster: Any, journal: Path, ray_server: LocalOpenRouter
) -> None:
    """And the run without that row pays for nothing again."""
    ray_server.reply('{"text":"die"}', when="row 200.", times=None)
    fields: dict[str, Any] = {"prompt": "{text}", "custom_id": "id", "output": Deadly}
    with (
        pytest.raises(BatchStoppedError, match="4 workers died"),
        run_of(journal) as run,
    ):
        run.send_many(table(cluster), **fields).take_all()
    calls = stopped(ray_server)
    done = sum(1 for _ in read_journal(journal))

    assert calls <= ROWS + 4 * REPEATED
    with run_of(journal) as again:
        ds = again.send_many(table(cluster, without="r200"), **fields)
        assert len(ds.take_all()) == ROWS - 1
    assert is_complete(journal, ROWS - 1)
    assert ray_server.capacity.admitted - calls == ROWS - 1 - done


def test_removed_node_costs_no_more_than_its_requests_in_flight(
    cluster: Any, nodes: Nodes, journal: Path, ray_server: LocalOpenRouter
) -> None:
    barrier = Barrier(ray_server, 150)
    nodes.add(2)

    def busy() -> list[int]:
        return [node for node in nodes.processes() if stage_workers(node)]

    def remove() -> None:
        nodes.kill(busy()[0])
        barrier.open()

    with (
        when(lambda: barrier.is_reached() and busy(), remove),
        run_of(journal, workers=3) as run,
    ):
        ds = run.send_many(table(cluster), prompt="{text}", custom_id="id")
        rows = ds.take_all()

    assert len({row["id"] for row in rows}) == len(rows) == ROWS
    assert is_complete(journal)
    # A node may have had all workers but one.
    assert ray_server.capacity.admitted <= ROWS + 2 * REPEATED + 64


@pytest.fixture
def drive(
    cluster: Any, nodes: Nodes, journal: Path, ray_server: LocalOpenRouter
) -> Callable[..., Driver]:
    """Start another program with the same Ray and the same journal."""

    def start_one(**task: Any) -> Driver:
        usual: dict[str, Any] = {"rows": ROWS, "concurrency": LIMIT}
        return start(ray_server.url, journal, address=nodes.address, **(usual | task))

    return start_one


def test_driver_that_is_killed_twice_is_continued(
    cluster: Any,
    drive: Callable[..., Driver],
    journal: Path,
    ray_server: LocalOpenRouter,
) -> None:
    ray_server.capacity.latency = 0.5
    for calls in (120, 240):
        killed = drive()
        wait_for(lambda n=calls: ray_server.capacity.admitted >= n, PATIENCE)  # type: ignore[misc]
        killed.kill()
        wait_for(lambda: not ledgers(), PATIENCE)
    # The driver names its rows in the same way.
    with run_of(journal) as run:
        ds = run.send_many(table(cluster), prompt="{text}", custom_id="id")
        assert len(ds.take_all()) == ROWS

    assert is_complete(journal)
    # The requests in flight, and a second of work: two calls of 0.5 s for each of them.
    assert ray_server.capacity.admitted <= ROWS + 2 * (2 * LIMIT + 2 * 2 * LIMIT)


def test_second_driver_is_refused(
    cluster: Any, drive: Callable[..., Driver], journal: Path
) -> None:
    """By the lock on the file, so that it need not know of the other's cluster."""
    with run_of(journal):
        figures = drive().figures()

    assert figures["error"].startswith("JournalError: ")
    assert "is in use by another run" in figures["error"]
    assert "ready" not in figures
    with run_of(journal):
        assert not list(read_journal(journal))
