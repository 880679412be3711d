"""
The driver of the measurements with Ray Data: a program of its own, which can be killed.

`benchmarks.ray_data` and `tests/ray` start `python -m benchmarks.ray_driver TASK`,
where TASK is JSON with the fields of `Task`. It prints one line of JSON when Ray and
the journal are ready, and one at the end.
"""

# Ray's types are not known here.
# pyright: reportUnknownLambdaType=false

import importlib
import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import attrs
from attrs import define, field

from benchmarks.ray_processes import Deadly, cpu_seconds, stage_workers
from openrouter_async import BatchStats
from openrouter_async.ray import RayRun

# Imported by name: type checkers need not find it.
ray: Any = importlib.import_module("ray")

STORE_BYTES = 120 * 1024 * 1024


@define
class Task:
    """
    A run.

    Attributes:
        url: The base URL.
        journal: The journal.
        rows: Number of rows.
        actions: The actions to execute: "take_all", "schema", "take", "count", "write".
        poison: If True, a response with the text "die" kills its worker.
        nodes: Number of nodes. With more than one, the last is removed when a line
            arrives on standard input.
        address: The Ray to join; "" to start one.
    """

    url: str
    journal: str
    rows: int = 2000
    workers: int = 2
    concurrency: Any = 200
    max_cost: float | None = None
    rpm: float | None = None
    actions: list[str] = field(factory=lambda: ["take_all"])
    poison: bool = False
    without: str = ""
    nodes: int = 1
    address: str = ""
    out: str = ""


@contextmanager
def started(nodes: int, address: str) -> Generator[None]:
    """Start Ray on this machine, and stop it; or join another one."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    cluster: Any = None
    if address:
        ray.init(address=address, **options)
    elif nodes == 1:
        options |= {"num_cpus": 4, "object_store_memory": STORE_BYTES}
        ray.init(include_dashboard=False, **options)
    else:
        head = {"num_cpus": 2, "object_store_memory": STORE_BYTES}
        cluster = importlib.import_module("ray.cluster_utils").Cluster(
            initialize_head=True, head_node_args=head
        )
        added = [cluster.add_node(**head) for _ in range(nodes - 1)]
        ray.init(address=cluster.address, **options)

        def remove() -> None:
            if sys.stdin.readline():
                cluster.remove_node(added[-1], allow_graceful=False)

        threading.Thread(target=remove, daemon=True).start()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        ray.shutdown()
        if cluster is not None:
            cluster.shutdown()


def execute(ds: Any, action: str, out: str) -> Any:
    """Execute a dataset; return its rows if that is what the action gives."""
    match action:
        case "take_all":
            return ds.take_all()
        case "schema":
            ds.schema()
        case "take":
            ds.take(5)
        case "count":
            ds.select_columns(["error_type"]).count()
        case _:
            ds.write_parquet(f"{out}/{time.time_ns()}")
    return None


def main() -> None:
    """Run one task."""
    task = Task(**json.loads(sys.argv[1]))
    os.environ["OPENROUTER_BASE_URL"] = task.url
    os.environ.setdefault("OPENROUTER_API_KEY", "k")
    started_at = time.time()
    figures: dict[str, Any] = {}
    samples: list[tuple[float, dict[str, int], int, float]] = []

    def sample(stats: BatchStats) -> None:
        used = sum(cpu_seconds(pid) for pid in stage_workers())
        samples.append((time.time(), dict(runs[0].in_flight), stats.ok, used))

    runs: list[RayRun] = []
    with started(task.nodes, task.address):
        figures["init"] = time.time() - started_at
        run = RayRun(
            journal=task.journal,
            model="openai/gpt-4o-mini",
            max_tokens=20,
            workers=task.workers,
            concurrency=task.concurrency,
            max_cost=task.max_cost,
            rpm=task.rpm,
            progress=sample,
        )
        runs.append(run)
        rows: Any = None
        try:
            with run:
                print(json.dumps({"ready": True}), flush=True)
                figures["ready"] = time.time()
                ds = ray.data.range(task.rows, override_num_blocks=4).map(
                    lambda row: {"id": f"r{row['id']}", "text": f"row {row['id']}."}
                )
                if task.without:
                    without = task.without
                    ds = ds.filter(lambda row: row["id"] != without)
                ds = run.send_many(
                    ds,
                    prompt="{text}",
                    custom_id="id",
                    output=Deadly if task.poison else None,
                )
                for action in task.actions:
                    rows = execute(ds, action, task.out) or rows
        except Exception as error:  # noqa: BLE001 - the figures have it
            figures["error"] = f"{type(error).__name__}: {error}"[:300]
        figures["end"] = time.time()
        figures["samples"] = samples
        figures["stats"] = attrs.asdict(run.stats)
        if rows is not None:
            counts = Counter(row["id"] for row in rows)
            figures["rows"] = len(rows)
            figures["repeated"] = sum(count > 1 for count in counts.values())
            figures["errors"] = Counter(row["error_type"] for row in rows)
    print(json.dumps(figures, default=str), flush=True)


if __name__ == "__main__":
    main()
