"""
The cost of tracing: `python -m benchmarks.tracing`.

It measures the CPU time of a plain call, one at a time, and of a chunk of a stream with
one event per network read: without an observer, with `OpenTelemetry` and no SDK, with
the SDK, and with the SDK and `chunk_metrics=True`. Spans and metrics are recorded and
not exported. All take turns, each in a new process.
"""

import argparse
import asyncio
import gc
import statistics
import subprocess
import sys
from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from benchmarks import harness, inputs
from benchmarks.case import Job, Stopwatch
from benchmarks.contender import API_KEY
from openrouter_async import AsyncOpenRouter, UserMessage
from openrouter_async.otel import OpenTelemetry
from openrouter_async.tools import Observer

KINDS: Final = ("none", "no SDK", "SDK", "chunk metrics")
CALLS: Final = 1000
STREAMS: Final = 5
# Scenario of the server: chunks, events per write, pause in microseconds.
CHUNKS: Final = 1000
SCENARIO: Final = f"text-{CHUNKS}-1-300"


def make_observer(kind: str) -> Observer | None:
    """Return the observer of one kind, and configure the SDK if it needs one."""
    if kind == "none":
        return None
    if kind != "no SDK":
        trace.set_tracer_provider(TracerProvider())
        metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
    return OpenTelemetry(chunk_metrics=kind == "chunk metrics")


async def plain(observer: Observer | None, url: str) -> float:
    """Return the microseconds of CPU per plain call."""
    messages = [UserMessage(inputs.QUESTION)]
    async with AsyncOpenRouter(API_KEY, base_url=url, observer=observer) as client:
        for _ in range(20):
            await client.chat.send(model=inputs.MODEL, messages=messages)
        gc.collect()
        watch = Stopwatch().start()
        for _ in range(CALLS):
            await client.chat.send(model=inputs.MODEL, messages=messages)
        watch.stop()
    return watch.cpu / CALLS * 1e6


async def streamed(observer: Observer | None, url: str) -> float:
    """Return the microseconds of CPU per chunk."""
    messages = [UserMessage(inputs.QUESTION)]
    async with AsyncOpenRouter(API_KEY, base_url=url, observer=observer) as client:

        async def read() -> int:
            texts: list[str] = []
            async with client.chat.send(
                model=inputs.MODEL, messages=messages, stream=True
            ) as stream:
                async for chunk in stream:
                    texts.append(chunk.text)  # noqa: PERF401 - as a caller reads it
            return len(texts)

        await read()
        gc.collect()
        watch = Stopwatch().start()
        for _ in range(STREAMS):
            assert await read() >= CHUNKS
        watch.stop()
    return watch.cpu / (STREAMS * CHUNKS) * 1e6


async def measure(kind: str, job: Job) -> tuple[float, float]:
    """Return the microseconds of CPU per plain call, and per chunk."""
    observer = make_observer(kind)
    return (
        await plain(observer, job.url("completion")),
        await streamed(observer, job.url(SCENARIO)),
    )


def measure_in_process(kind: str, port: int) -> tuple[float, float]:
    """Measure in a new process, because the SDK is configured for a whole process."""
    command = [sys.executable, "-m", "benchmarks.tracing"]
    command += ["--kind", kind, "--port", str(port)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    call, chunk = map(float, done.stdout.split())
    return call, chunk


def report(title: str, figures: dict[str, list[float]]) -> None:
    """Print the median of each kind, and what it adds to no observer."""
    print(f"us of CPU per {title}: median, difference to no observer (range)")
    for kind, values in figures.items():
        pairs = zip(values, figures["none"], strict=True)
        added = [mine - other for mine, other in pairs]
        print(
            f"  {kind:<13} {statistics.median(values):7.1f}   "
            f"{statistics.median(added):+.1f} ({min(added):+.1f} - {max(added):+.1f})"
        )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kind", choices=KINDS, help="internal")
    parser.add_argument("--port", type=int, help="internal")
    options = parser.parse_args()
    if options.kind:
        print(*asyncio.run(measure(options.kind, Job(port=options.port))))
        return
    calls: dict[str, list[float]] = {kind: [] for kind in KINDS}
    chunks: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with harness.server() as port:
        for _ in range(options.rounds):
            for kind in KINDS:
                call, chunk = measure_in_process(kind, port)
                calls[kind].append(call)
                chunks[kind].append(chunk)
    report("plain call", calls)
    report("chunk", chunks)


if __name__ == "__main__":
    main()
