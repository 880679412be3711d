"""
Measurements of Ray Data: `python -m benchmarks.ray_data [NAME ...] [--quick]`.

    python -m benchmarks.ray_data                     # all, about 15 minutes
    python -m benchmarks.ray_data speed --plot FILE   # plots the requests in flight

Each run is a program of its own (`benchmarks.ray_driver`), which starts Ray on this
machine; the server is another one. Each case prints its figures with the target. They
do not measure several machines: the nodes of `node` are processes of this one.
"""

# The index of a ledger is private.
# The keywords of matplotlib are not typed.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

import argparse
import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import define

from benchmarks.environments import ROOT
from benchmarks.fanout import ServerProcess, server_process
from benchmarks.ray_processes import ledgers, stage_workers, wait_for
from openrouter_async import AsyncOpenRouter, read_journal
from openrouter_async.batch.ledger import Ledger
from openrouter_async.batch.rows.items import name_key
from openrouter_async.testing import LocalOpenRouter

MEBIBYTE = 1024 * 1024
COST = 0.00012
"""Dollars of each response of the server."""


@define
class Driver:
    """A program that runs one task, in its own process group."""

    process: "subprocess.Popen[str]"

    @property
    def is_running(self) -> bool:
        """True if it has not ended."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Kill the driver alone; the processes of Ray notice it."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self.end()

    def figures(self, timeout: float = 240.0) -> dict[str, Any]:
        """Wait for the end, and return what it printed."""
        try:
            out, _ = self.process.communicate(timeout=timeout)
        finally:
            self.end()
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found

    def end(self) -> None:
        """Kill what is left of the process group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


def start(url: str, journal: Path, **task: Any) -> Driver:
    """Start a driver."""
    command = [sys.executable, "-m", "benchmarks.ray_driver"]
    process = subprocess.Popen(
        [*command, json.dumps({"url": url, "journal": str(journal), **task})],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    return Driver(process)


@contextmanager
def prepared(**setting: float) -> Generator[tuple[ServerProcess, Path]]:
    """Start a server and make a place for a journal."""
    with server_process(**setting) as server, tempfile.TemporaryDirectory() as folder:
        yield server, Path(folder) / "out.jsonl"


def journaled(journal: Path) -> tuple[int, int]:
    """Return the number of rows in a journal, and of those that are in it twice."""
    names = Counter(result.custom_id for result in read_journal(journal))
    return len(names), sum(count > 1 for count in names.values())


def requests_of(server: ServerProcess) -> int:
    """Return the number of chat requests so far."""
    found: int = server.stats()["requests"]
    return found


def show(name: str, text: str, target: str, *, ok: bool) -> None:
    """Print the figures of a case."""
    print(f"{name:10} {'ok    ' if ok else 'MISSED'} {text} [{target}]", flush=True)


# --- speed ----------------------------------------------------------------------------


def speed(*, quick: bool, plot: Path | None = None) -> None:
    """(9) 2 workers with 500 in flight each, and one process with 1,000."""
    rows = 4000 if quick else 20_000
    with prepared(latency=0.5, arrivals=1) as (server, journal):
        wall, cpu = one_process(server.url, journal.with_name("one.jsonl"), rows)
        before = requests_of(server)
        driver = start(server.url, journal, rows=rows, workers=2, concurrency=500)
        figures = driver.figures()
        stats = server.stats()
        arrivals = stats["arrivals"][before:]
        span = arrivals[-1] - arrivals[0] + 0.5
        samples = figures["samples"]
        peaks: dict[str, int] = {}
        for _, flights, _, _ in samples:
            for worker, count in flights.items():
                peaks[worker] = max(peaks.get(worker, 0), count)
        around = figures["end"] - figures["ready"] - span
        per_row = steady_cpu(samples, rows)
        show(
            "speed",
            f"one process {wall:.1f} s, {1e6 * cpu / rows:.0f} us of CPU per row; Ray "
            f"{span:.1f} s from first to last call ({span / wall:.2f} x), "
            f"{around:.1f} s at the start and end, {1e6 * per_row:.0f} us per row "
            f"({per_row * rows / cpu:.2f} x); in flight {sorted(peaks.values())}; "
            f"Ray itself started in {figures['init']:.1f} s",
            "1.3 x, 12 s, 2.0 x, 500 each",
            ok=span <= 1.3 * wall and per_row * rows <= 2.0 * cpu and around <= 12.0,
        )
    if plot is not None:
        offset = time.time() - stats["now"]
        draw(plot, samples, [at + offset for at in arrivals])


def steady_cpu(samples: Sequence[Any], rows: int) -> float:
    """Return the CPU time of the workers per row, between a tenth and 0.9 of them."""
    steady = [(ok, used) for _, _, ok, used in samples if 0.1 <= ok / rows <= 0.9]
    (first, before), (last, after) = steady[0], steady[-1]
    return float((after - before) / (last - first))


def one_process(url: str, journal: Path, rows: int) -> tuple[float, float]:
    """Run `send_many` in this process; return wall and CPU time in seconds."""

    async def send() -> None:
        async with AsyncOpenRouter("k", base_url=url) as client:
            run = client.chat.send_many(
                (f"row {number}." for number in range(rows)),
                model="openai/gpt-4o-mini",
                max_tokens=20,
                concurrency=1000,
                journal=journal,
            )
            async with run:
                async for _ in run:
                    pass

    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    asyncio.run(send())
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, used


def draw(path: Path, samples: Sequence[Any], arrivals: Sequence[float]) -> None:
    """
    Draw the requests in flight over time, for each worker and as the server saw them.

    Args:
        path: The file.
        samples: Reports of the workers, one in each second.
        arrivals: Times of all requests, each of which is answered after 0.5 s.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    first = arrivals[0]
    workers = list(dict.fromkeys(name for _, found, _, _ in samples for name in found))
    times = [at - first for at, _, _, _ in samples]
    counts = [[found.get(name, 0) for _, found, _, _ in samples] for name in workers]
    labels = [f"worker {number}, reported" for number in range(1, len(workers) + 1)]
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes: Any = figure.add_subplot()
    axes.stackplot(
        times, *counts, labels=labels, step="post", colors=("#8ab8dc", "#e3b778")
    )
    grid = [0.05 * step for step in range(int((arrivals[-1] - first + 1) / 0.05))]
    seen = [
        bisect_right(arrivals, first + at) - bisect_right(arrivals, first + at - 0.5)
        for at in grid
    ]
    axes.plot(grid, seen, color="#333333", lw=1, label="both, at the server")
    axes.set_xlim(-0.5, grid[-1] + 0.5)
    axes.set_ylim(0, 1250)
    axes.set_xlabel("seconds since the first request")
    axes.set_ylabel("requests in flight")
    axes.legend(loc="upper center", ncols=3, frameon=False)
    figure.savefig(path)


# --- deaths ---------------------------------------------------------------------------


def worker(*, quick: bool) -> None:
    """(10) A worker is killed when a part of the rows was sent."""
    rows, limit = (1500, 100) if quick else (4000, 200)
    for part in (0.5,) if quick else (0.3, 0.5, 0.7, 0.85):
        with prepared(latency=0.5) as (server, journal):
            driver = start(server.url, journal, rows=rows, concurrency=limit)
            wait_for(lambda s=server, p=part: requests_of(s) >= p * rows, 200.0)  # type: ignore[misc]
            os.kill(stage_workers(driver.process.pid)[0], signal.SIGKILL)
            figures = driver.figures()
            _deaths("worker", part, figures, server, journal, rows, rows + limit + 64)


def node(*, quick: bool) -> None:
    """(10) One node of three is removed."""
    rows, limit = (1500, 100) if quick else (4000, 200)
    with prepared(latency=0.5) as (server, journal):
        driver = start(
            server.url, journal, rows=rows, concurrency=limit, nodes=3, workers=3
        )
        wait_for(lambda: requests_of(server) >= rows / 2, 200.0)
        assert driver.process.stdin is not None
        driver.process.stdin.write("remove\n")
        driver.process.stdin.flush()
        figures = driver.figures()
        highest = rows + 3 * limit + 64
        _deaths("node", 0.5, figures, server, journal, rows, highest)


def _deaths(
    name: str,
    part: float,
    figures: dict[str, Any],
    server: ServerProcess,
    journal: Path,
    rows: int,
    highest: int,
) -> None:
    calls = requests_of(server)
    done, repeated = journaled(journal)
    out, twice = figures.get("rows"), figures.get("repeated")
    show(
        name,
        f"killed at {part:.0%}: {calls - rows:+} calls; {out} rows in the output "
        f"({twice} twice), {done} in the journal ({repeated} twice)",
        f"at most {highest - rows:+}",
        ok=calls <= highest and (out, twice, done, repeated) == (rows, 0, rows, 0),
    )


def driver(*, quick: bool) -> None:
    """(10) The driver is killed twice, and started a third time."""
    rows, limit = (1500, 100) if quick else (4000, 200)
    with prepared(latency=0.5) as (server, journal):
        for part in (0.3, 0.6):
            killed = start(server.url, journal, rows=rows, concurrency=limit)
            wait_for(lambda p=part: requests_of(server) >= p * rows, 200.0)  # type: ignore[misc]
            killed.kill()
        last = start(server.url, journal, rows=rows, concurrency=limit)
        figures = last.figures()
        # Two workers, 0.5 s per call: one second of work is four times the limit.
        highest = rows + 2 * (2 * limit + 2 * 2 * limit)
        _deaths("driver", 0.3, figures, server, journal, rows, highest)


def actions(*, quick: bool) -> None:
    """(11) Four actions run the pipeline again and again."""
    rows, limit = (500, 100) if quick else (2000, 200)
    with prepared(latency=0.2) as (server, journal):
        found = ["schema", "take", "count", "write", "write"]
        out = str(journal.with_name("out"))
        driver = start(
            server.url, journal, rows=rows, concurrency=limit, actions=found, out=out
        )
        figures = driver.figures()
        calls = requests_of(server)
        done, repeated = journaled(journal)
        show(
            "actions",
            f"{' '.join(found)}: {calls} calls for {rows} rows, {done} in the journal "
            f"({repeated} twice), error {figures.get('error')}",
            f"at most {rows + 2 * limit}",
            ok=calls <= rows + 2 * limit and (done, repeated) == (rows, 0),
        )


def deadly(*, quick: bool) -> None:
    """(12) A row kills its worker each time; then the same without that row."""
    rows, limit = (500, 100) if quick else (2000, 200)
    with (
        LocalOpenRouter(keep=100) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        server.capacity.latency = 0.5
        server.reply('{"text":"die"}', when="row 7.", times=None)
        journal = Path(folder) / "out.jsonl"
        task: dict[str, Any] = {"rows": rows, "concurrency": limit, "poison": True}
        first = start(server.url, journal, **task).figures()
        calls, done = server.capacity.admitted, journaled(journal)[0]
        seconds = first["end"] - first["ready"]
        last = start(server.url, journal, **task, without="r7").figures()
        again = server.capacity.admitted - calls
        _, repeated = journaled(journal)
        highest = done + 4 * 2 * limit
        show(
            "deadly",
            f"ended after {seconds:.0f} s, {calls - done:+} calls, "
            f"{first.get('error')!r:.60}; then {last.get('rows')} rows with {again} "
            f"calls for {rows - 1 - done}, {repeated} twice",
            f"60 s, at most {highest - done:+}, nothing again",
            ok=seconds <= 60.0
            and "error" in first
            and calls <= highest
            and (last.get("rows"), again, repeated) == (rows - 1, rows - 1 - done, 0),
        )


# --- limits ---------------------------------------------------------------------------


def hidden(*, quick: bool) -> None:
    """(13) 4 workers find a limit of the server that nobody told them."""
    rows = 2000 if quick else 6000
    with prepared(latency=0.5, limit=64) as (server, journal):
        driver = start(server.url, journal, rows=rows, workers=4, concurrency="auto")
        wait_for(lambda: requests_of(server) > 0, 200.0)
        first = server.stats()
        wait_for(lambda: server.stats()["completed"] >= 0.9 * rows, 200.0)
        last = server.stats()
        driver.figures()
        mean = (last["busy"] - first["busy"]) / (last["now"] - first["now"])
        refused = server.stats()["refused"] / server.stats()["requests"]
        show(
            "hidden",
            f"{mean / 64:.1%} of 64 in flight, {refused:.1%} refused",
            "88 %, 2 %",
            ok=mean >= 0.88 * 64 and refused <= 0.02,
        )


def rate(*, quick: bool) -> None:
    """(13) rpm=6000 for two workers together."""
    rows = 1500 if quick else 3000
    with prepared(latency=0.2, arrivals=1) as (server, journal):
        driver = start(server.url, journal, rows=rows, concurrency=200, rpm=6000.0)
        driver.figures()
        arrivals = server.stats()["arrivals"]
        counts = [
            sum(at <= other < at + 10.0 for other in arrivals)
            for at in arrivals[::20]
            if at + 10.0 <= arrivals[-1]
        ]
        show(
            "rate",
            f"{min(counts)} to {max(counts)} calls in 10 s",
            "at least 930, at most 1,020",
            ok=min(counts) >= 930 and max(counts) <= 1020,
        )


def budget(*, quick: bool) -> None:
    """(13) A guaranteed budget of two workers."""
    highest = 0.01 if quick else 0.05
    with prepared(latency=0.1, cost=0.00002) as (server, journal):
        driver = start(
            server.url, journal, rows=4000, concurrency=100, max_cost=highest
        )
        figures = driver.figures()
        stats, spent = figures["stats"], server.stats()["cost"]
        show(
            "budget",
            f"${spent:.6f} of ${highest:g} spent ({stats['budget']}), "
            f"{figures.get('errors')}, stop reason {stats['stop_reason']}",
            "never exceeded",
            ok=spent <= highest and stats["stop_reason"] == "budget",
        )


# --- the ledger -----------------------------------------------------------------------


def ledger(*, quick: bool) -> None:
    """(14) Rows per second, and memory of a million names."""
    rows = 50_000 if quick else 1_000_000
    code = f"from benchmarks.ray_data import fill; fill({rows})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    per_second, memory = rows / found["cpu"], found["memory"]
    show(
        "ledger",
        f"{per_second:,.0f} rows of 1.5 KB per second of one core, "
        f"{memory:.0f} MiB for {rows:,} names",
        "20,000, 150 MB",
        ok=per_second >= 20_000 and memory <= 150,
    )


def fill(rows: int) -> None:
    """Put rows into a ledger; print its CPU time and memory."""
    text = "x" * 1100
    with tempfile.TemporaryDirectory() as folder:
        book = Ledger(Path(folder) / "out.jsonl")
        book.open()
        before, started = _resident(), time.process_time()
        making = 0.0
        for first in range(0, rows, 100):
            at = time.process_time()
            lines = b"".join(
                _line(number, text) for number in range(first, first + 100)
            )
            making += time.process_time() - at
            book.put(lines, b"")
        used = time.process_time() - started - making
        memory = _resident() - before
        assert name_key("r0") in book._journal.done  # noqa: SLF001 - the index
        book.close()
    print(json.dumps({"cpu": used, "memory": memory}))


def _line(number: int, text: str) -> bytes:
    body = {
        "id": "gen-1",
        "provider": "P",
        "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "cost": COST},
    }
    line = {
        "id": "gen-1",
        "custom_id": f"r{number}",
        "response": {"status_code": 200, "request_id": "gen-1", "body": body},
        "error": None,
        "x_openrouter": {"v": 1, "i": 0, "fp": f"{number:016x}", "cost": COST},
    }
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


def dead(*, quick: bool) -> None:
    """(14) The ledger is killed, and then stopped, while rows are sent."""
    rows, limit = (1500, 100) if quick else (4000, 200)
    for name, number in (("killed", signal.SIGKILL), ("stopped", signal.SIGSTOP)):
        with prepared(latency=0.5, arrivals=1) as (server, journal):
            first = start(server.url, journal, rows=rows, concurrency=limit)
            wait_for(lambda s=server: requests_of(s) >= rows / 2, 200.0)  # type: ignore[misc]
            victim = ledgers(first.process.pid)[0]
            now = server.stats()["now"]
            os.kill(victim, number)
            timer = threading.Timer(14.0, _kill, (victim,))
            timer.start()
            figures = first.figures()
            timer.cancel()
            last = server.stats()["arrivals"][-1] - now
            again = start(server.url, journal, rows=rows, concurrency=limit).figures()
            done, repeated = journaled(journal)
            show(
                "dead",
                f"{name}: last call {last:.1f} s later, {figures.get('error')!r:.60}; "
                f"then {again.get('rows')} rows, {done} in the journal "
                f"({repeated} twice)",
                "11 s, fails, completes",
                ok=last <= 11.0
                and "error" in figures
                and (again.get("rows"), done, repeated) == (rows, rows, 0),
            )


def _kill(pid: int) -> None:
    """Kill a process that was stopped: it holds the lock of the journal."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


CASES: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (
        *(speed, worker, node, driver, actions, deadly),
        *(hidden, rate, budget, ledger, dead),
    )
}


def main() -> None:
    """Run the requested cases."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray_data")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--quick", action="store_true", help="fewer rows; no figures")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw `speed`")
    options = parser.parse_args()
    unknown = set(options.names) - CASES.keys()
    if unknown:
        parser.error(f"unknown case: {', '.join(sorted(unknown))}")
    for name in options.names or CASES:
        more = {"plot": options.plot} if name == "speed" else {}
        CASES[name](quick=options.quick, **more)


if __name__ == "__main__":
    main()
