"""
The measurements of `send_many`: `python -m benchmarks.fanout [NAME ...] [--quick]`.

The server is a separate process, on its own core if there are two. `utilisation` also
runs a hand-written worker pool on aiohttp. They do not measure TLS, large responses, or
the behaviour of real providers under load. For the CPU time of a row, run
`python -m benchmarks rows`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import deque
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
)
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define

from benchmarks.environments import ROOT
from benchmarks.harness import cores
from benchmarks.rows import run_handwritten, run_send_many
from benchmarks.simulation import Simulation
from openrouter_async import AsyncOpenRouter, BatchRun

QUESTION = "Say hello."
MODEL = "openai/gpt-4o-mini"
KEY = "sk-or-v1-benchmark"
# Determined before this process is pinned to one of them.
CLIENT_CORE, SERVER_CORE = cores()


@define
class ServerProcess:
    """The server in its own process."""

    port: int

    @property
    def url(self) -> str:
        """Return the base URL."""
        return f"http://127.0.0.1:{self.port}/api/v1"

    def stats(self) -> dict[str, Any]:
        """Return the counters."""
        counters: dict[str, Any] = json.loads(self._get("stats"))
        return counters

    def set(self, **setting: float) -> None:
        """Change settings."""
        self._get("set?" + "&".join(f"{k}={v:g}" for k, v in setting.items()))

    def _get(self, path: str) -> bytes:
        url = f"http://127.0.0.1:{self.port}/{path}"
        with urllib.request.urlopen(url) as response:
            data: bytes = response.read()
        return data


@contextlib.contextmanager
def server_process(**setting: float) -> Generator[ServerProcess]:
    """Run the server in its own process."""
    options = {**setting, "core": SERVER_CORE}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.fanout_server", json.dumps(options)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield ServerProcess(int(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


# --- the measurements --------------------------------------------------------------


def utilisation(*, quick: bool) -> None:
    """(1) Responses of 0.5 s, 500 in flight: wall time, mean number in flight."""
    rows = 5000 if quick else 50_000
    ideal = rows / 500 * 0.5
    for name, work in (
        ("hand-written", run_handwritten),
        ("run", run_send_many),
    ):
        with server_process(latency=0.5) as server:
            before = server.stats()
            wall = timed(partial(work, server.url, rows, 500))
            stats = server.stats()
            mean = (stats["busy"] - before["busy"]) / wall
            show(
                f"{name}: {wall:.1f} s, ideal {ideal:.1f} s; in flight {mean:.0f} on "
                f"average, at most {stats['peak']}"
            )


def memory(*, quick: bool, rows: int = 1_000_000) -> None:
    """(2) Peak memory with few and with many rows, in separate processes."""
    few, many = (2000, 20_000) if quick else (10_000, rows)
    with server_process() as server, tempfile.TemporaryDirectory() as folder:
        for ordered in (False, True):
            peaks: list[float] = []
            for count in (few, many):
                path = Path(folder) / f"{ordered}-{count}.jsonl"
                command = ["--child", server.url, str(count), str(path)]
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.fanout", *command]
                    + (["--ordered"] if ordered else []),
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    check=True,
                )
                peaks.append(float(done.stdout))
                path.unlink()
            show(
                f"ordered={ordered}: {few:,} rows {peaks[0]:.0f} MiB, "
                f"{many:,} rows {peaks[1]:.0f} MiB: {peaks[1] - peaks[0]:+.0f} MiB"
            )


def child(url: str, rows: int, journal: str, *, ordered: bool) -> None:
    """Run in the process whose memory is measured."""

    async def prompts() -> AsyncIterator[str]:
        for number in range(rows):
            yield f"{QUESTION} {number}"

    async def main() -> None:
        async with AsyncOpenRouter(KEY, base_url=url) as client:
            async with client.chat.send_many(
                prompts(), concurrency=64, model=MODEL, journal=journal, ordered=ordered
            ) as run:
                async for result in run:
                    assert result.ok
            assert run.stats.ok == rows

    asyncio.run(main())
    # `ru_maxrss` is in KiB on Linux.
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def capacity(*, quick: bool, real: bool = False) -> None:
    """(3) A hidden limit of 64, then 256, then 32: goodput and refusals."""
    if real:
        _slow_capacity(quick=quick)
        return
    span = 20.0 if quick else 60.0
    latency, sigma = 0.2, 0.3
    mean = latency * 1.046  # the mean of a lognormal distribution with this sigma
    with server_process(latency=latency, sigma=sigma, limit=64) as server:
        changes = [(span, {"limit": 256.0}), (2 * span, {"limit": 32.0})]
        samples = asyncio.run(_watch(server, 3 * span, changes))
    for number, limit in enumerate((64, 256, 32)):
        start, settled = number * span, (10.0, min(20.0, span - 8), 5.0)[number]
        good, refused = _rates(samples, start + settled, start + span)
        show(
            f"limit {limit}: from {settled:.0f} s on {good:.0f}/s of "
            f"{limit / mean:.0f}/s ({100 * good * mean / limit:.0f} %), refused "
            f"{100 * refused:.2f} %"
        )
    # Virtual time takes no real time, so these are never shortened.
    for seconds in (10.0, 20.0, 60.0):
        slow = Simulation(seconds, sigma, 64)
        # The limit doubles three times from 8, and the calls in excess of the first
        # reduction finish.
        start = 6 * seconds
        slow.run(start + 300)
        show(
            f"virtual time, {seconds:.0f} s a response, limit 64: for 300 s from "
            f"{start:.0f} s on {100 * slow.goodput(start, start + 300):.0f} %, refused "
            f"{100 * slow.share_refused(start, start + 300):.2f} %"
        )
    free = Simulation(12.0, 0.0)
    free.run(65.0)
    show(f"virtual time, 12 s a response, no limit: {free.in_flight} in flight at 65 s")


def _slow_capacity(*, quick: bool) -> None:
    """Run the simulations of `capacity` in real time, except those of 20 and 60 s."""
    with server_process(latency=12.0) as server:
        samples = asyncio.run(_watch(server, 65.0))
    show(f"12 s a response, no limit: {samples[-1][1]['in_flight']} in flight at 65 s")
    start, end, sigma = 60.0, 120.0 if quick else 360.0, 0.3
    with server_process(latency=10.0, sigma=sigma, limit=64) as server:
        samples = asyncio.run(_watch(server, end))
    good, refused = _rates(samples, start, end)
    most = 64 / (10.0 * 1.046)
    show(
        f"10 s a response, limit 64: for {end - start:.0f} s from {start:.0f} s on "
        f"{100 * good / most:.0f} %, refused {100 * refused:.2f} %"
    )


Samples = list[tuple[float, dict[str, Any]]]
"""Counters of the server, with the seconds since the start."""


async def _watch(
    server: ServerProcess,
    seconds: float,
    changes: Iterable[tuple[float, dict[str, float]]] = (),
) -> Samples:
    """Send rows for some seconds, changing the server's settings at given times."""
    started = time.monotonic()
    samples: Samples = []

    def prompts() -> Iterator[str]:
        while True:
            yield QUESTION

    async def observe() -> None:
        left = deque(changes)
        at = 0.0
        while at < seconds:
            if left and at >= left[0][0]:
                await asyncio.to_thread(server.set, **left.popleft()[1])
            stats = await asyncio.to_thread(server.stats)
            at = time.monotonic() - started
            samples.append((at, stats))
            wait = min(0.25, left[0][0] - at if left else 0.25)
            await asyncio.sleep(max(0.0, wait))
            at = time.monotonic() - started

    async with (
        AsyncOpenRouter(KEY, base_url=server.url) as client,
        client.chat.send_many(prompts(), model=MODEL) as run,
    ):
        observing = asyncio.create_task(observe())
        reading = asyncio.create_task(_read(run))
        await asyncio.wait({observing, reading}, return_when="FIRST_COMPLETED")
        if reading.done():
            # The run failed; this raises its error.
            observing.cancel()
            await reading
        await observing
        await run.stop(drain=False)
        await reading
    return samples


async def _read(run: BatchRun) -> None:
    async for result in run:
        assert result.ok, result.error


def _rates(samples: Samples, start: float, end: float) -> tuple[float, float]:
    """Return responses per second and refusals per response between two times."""
    kept = [sample for sample in samples if start <= sample[0] < end]
    (began, first), (ended, last) = kept[0], kept[-1]
    good = last["completed"] - first["completed"]
    return good / (ended - began), (last["refused"] - first["refused"]) / max(1, good)


def pause(*, quick: bool) -> None:
    """(4) One 429 with `Retry-After`: no request arrives before it has elapsed."""
    seconds = 1.0 if quick else 3.0
    setting = {"latency": 0.1, "retry_after": seconds, "refuse_once_at": 2000}
    with server_process(arrivals=1, **setting) as server:

        async def main() -> BatchRun:
            async with AsyncOpenRouter(KEY, base_url=server.url) as client:
                async with client.chat.send_many(
                    (QUESTION for _ in range(5000)), concurrency=128, model=MODEL
                ) as run:
                    async for result in run:
                        assert result.ok, result.error
                return run

        run = asyncio.run(main())
        stats = server.stats()
    at = stats["refused_at"]
    during = [t for t in stats["arrivals"] if at + 0.05 <= t < at + seconds]
    after = [t for t in stats["arrivals"] if t >= at + seconds]
    early = [t for t in after if t < after[0] + 0.1]
    show(
        f"{len(during)} arrivals in the pause of {seconds:g} s; {len(early)} in the "
        f"first 100 ms after it (at most {128 * 0.1 + 2:.0f}); {run.stats.ok} ok"
    )


def kill(*, quick: bool) -> None:
    """(5) SIGKILL at random times: lost rows, duplicate rows, repeated calls."""
    rows, kills = (2000, 5) if quick else (20_000, 25)
    generator = random.Random(1)
    # Slow enough that the run does not end before the last kill.
    latency = 0.2 if quick else 0.1
    with (
        server_process(latency=latency) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        rows_file, out = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
        _write_rows(rows_file, rows)
        killed = 0
        while True:
            process = _start(server, rows_file, out)
            try:
                code = process.wait(
                    generator.uniform(0.7, 1.5) if killed < kills else 600
                )
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed += 1
                continue
            assert code == 0, code
            break
        lines = [json.loads(line) for line in out.read_bytes().splitlines()]
        names = [line["custom_id"] for line in lines]
        stats = server.stats()
        show(
            f"{killed} kills: {len(set(names))} of {rows} rows, "
            f"{len(names) - len(set(names))} duplicates; "
            f"{stats['requests'] - rows} calls more than rows"
        )


def budget(*, quick: bool) -> None:
    """(6) A guaranteed and an estimated budget of one dollar."""
    limit = 0.1 if quick else 1.0
    for name, options, setting in (
        ("guaranteed", {"max_tokens": 500}, {"cost": 0.0005}),
        ("estimated", {}, {"cost": 0.001, "cost_sigma": 0.5}),
    ):
        with server_process(latency=0.05, **setting) as server:

            async def main(url: str, options: dict[str, Any]) -> BatchRun:
                async with AsyncOpenRouter(KEY, base_url=url) as client:
                    async with client.chat.send_many(
                        (QUESTION for _ in range(100_000)),
                        concurrency=64,
                        model=MODEL,
                        max_cost=limit,
                        **options,
                    ) as run:
                        async for result in run:
                            assert result.ok, result.error
                    return run

            run = asyncio.run(main(server.url, options))
            stats = run.stats
            cost = server.stats()["cost"]
            show(
                f"{name} ({stats.budget}): ${cost:.4f} of ${limit:g}, {stats.ok} rows, "
                f"stopped by {stats.stop_reason}"
            )


def faults(*, quick: bool) -> None:
    """(7) Faults of all kinds: every row has a result, and a response when repeated."""
    rows = 2000 if quick else 10_000
    with (
        server_process(latency=0.02, faults=1) as server,
        tempfile.TemporaryDirectory() as name,
    ):
        rows_file, out = Path(name) / "in.jsonl", Path(name) / "out.jsonl"
        _write_rows(rows_file, rows)
        code = _start(server, rows_file, out, timeout=5).wait()
        good = len(out.read_bytes().splitlines())
        errors = out.with_name("out.errors.jsonl")
        bad = len(errors.read_bytes().splitlines())
        show(f"exit {code}: {good} ok + {bad} failed = {good + bad} of {rows}")
        server.set(faults=0)
        code = _start(server, errors, out).wait()
        good = len({json.loads(x)["custom_id"] for x in out.open("rb")})
        show(f"failed rows sent again without faults: exit {code}, {good} ok of {rows}")
    with (
        server_process(latency=0.02, no_credits_at=rows // 2, arrivals=1) as server,
        tempfile.TemporaryDirectory() as name,
    ):
        rows_file, out = Path(name) / "in.jsonl", Path(name) / "out.jsonl"
        _write_rows(rows_file, rows)
        code = _start(server, rows_file, out).wait()
        stats = server.stats()
        late = [t for t in stats["arrivals"] if t > stats["refused_at"] + 0.1]
        show(f"402 at half of the rows: exit {code}, {len(late)} arrivals after 100 ms")


def interrupt(*, quick: bool) -> None:
    """(8) SIGINT: requests in flight finish; a second SIGINT ends the run at once."""
    latency = 0.5 if quick else 2.0
    for signals in (1, 2):
        with (
            server_process(latency=latency) as server,
            tempfile.TemporaryDirectory() as name,
        ):
            rows_file, out = Path(name) / "in.jsonl", Path(name) / "out.jsonl"
            _write_rows(rows_file, 2000)
            process = _start(server, rows_file, out, concurrency=200)
            while server.stats()["completed"] < 600:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            if signals == 2:
                time.sleep(0.1)
                process.send_signal(signal.SIGINT)
            started = time.monotonic()
            code = process.wait()
            seconds = time.monotonic() - started
            written = len(out.read_bytes().splitlines())
            done = server.stats()["completed"]
            show(
                f"{signals} SIGINT: exit {code} after {seconds:.2f} s; {written} rows "
                f"written, {done} completed"
            )
            if signals == 1:
                code = _start(server, rows_file, out, concurrency=500).wait()
                show(f"resumed: exit {code}, {len(out.read_bytes().splitlines())} rows")


def outage(*, quick: bool) -> None:
    """(9) All requests refused for 5 s: time until 90 % of the rate is back."""
    begin, length, rest = (10.0, 5.0, 15.0) if quick else (20.0, 5.0, 30.0)
    end = begin + length
    for retry_after in (0.0, 1.0):
        down = {"refuse_all": 1.0, "retry_after": retry_after}
        changes = [(begin, down), (end, {"refuse_all": 0.0, "retry_after": 0.0})]
        with server_process(latency=0.2, sigma=0.3, limit=150) as server:
            samples = asyncio.run(_watch(server, end + rest, changes))
        before, _ = _rates(samples, begin / 2, begin)
        # Rates are taken over a second; shorter intervals vary too much.
        back = [
            at - end
            for at, _ in samples
            if at > end + 1.1
            and _rates(samples, at - 1.1, at + 0.01)[0] >= 0.9 * before
        ]
        later, _ = _rates(samples, end + rest / 2, end + rest)
        show(
            f"Retry-After {f'{retry_after:g} s' if retry_after else 'not sent'}: "
            f"{before:.0f}/s before, 90 % of it "
            + (f"{back[0]:.1f} s after the outage" if back else "never")
            + f", {later:.0f}/s at the end"
        )


# --- helpers ---------------------------------------------------------------


def timed(work: Callable[[], Coroutine[Any, Any, object]]) -> float:
    """Run a coroutine function and return the wall seconds."""
    started = time.perf_counter()
    asyncio.run(work())
    return time.perf_counter() - started


def _write_rows(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for number in range(rows):
            message = {"role": "user", "content": f"{QUESTION} {number}"}
            body = {"model": MODEL, "messages": [message]}
            file.write(json.dumps({"custom_id": f"r{number}", "body": body}) + "\n")


def _start(
    server: ServerProcess,
    source: Path,
    out: Path,
    concurrency: int = 128,
    timeout: int = 60,
) -> "subprocess.Popen[bytes]":
    command = ["batch", "run", str(source), "-o", str(out), "-c", str(concurrency)]
    rest = ["--progress", "none", "--timeout", str(timeout)]
    return subprocess.Popen(
        [sys.executable, "-m", "openrouter_async", *command, *rest],
        env={
            **os.environ,
            "OPENROUTER_BASE_URL": server.url,
            "OPENROUTER_API_KEY": KEY,
        },
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )


def show(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


MEASUREMENTS: dict[str, Callable[..., None]] = {
    "utilisation": utilisation,
    "memory": memory,
    "capacity": capacity,
    "pause": pause,
    "kill": kill,
    "budget": budget,
    "faults": faults,
    "interrupt": interrupt,
    "outage": outage,
}


def main() -> None:
    """Run the requested measurements."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fanout")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS)
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument(
        "--real",
        action="store_true",
        help="run the slow simulations of `capacity` in real time",
    )
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--ordered", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of `memory`")
    options = parser.parse_args()
    if CLIENT_CORE is not None:
        os.sched_setaffinity(0, {CLIENT_CORE})
    if options.child:
        url, rows, path = options.child
        child(url, int(rows), path, ordered=options.ordered)
        return
    unknown = set(options.names) - MEASUREMENTS.keys()
    if unknown:
        parser.error(f"unknown measurement: {', '.join(sorted(unknown))}")
    for name in options.names or MEASUREMENTS:
        measure = MEASUREMENTS[name]
        show(f"== {name}: {(measure.__doc__ or '').strip()}")
        if measure is memory:
            memory(quick=options.quick, rows=options.rows)
        elif measure is capacity:
            capacity(quick=options.quick, real=options.real)
        else:
            measure(quick=options.quick)


if __name__ == "__main__":
    main()
