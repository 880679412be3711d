"""
openai on our httpx transport, on httpx, on aiohttp: `python -m benchmarks.adapters`.

It measures the CPU time of a plain call, one at a time, and of a chunk of a stream,
with one event per network read, with and without openai's own parsing, and the time of
a plain call from start to end. The contenders take turns, in one process. It does not
measure the other frameworks that the transport serves, concurrency, TLS, retries or
errors.
"""

import argparse
import asyncio
import gc
import statistics
import time
from typing import Final

import httpx2
from openai import AsyncOpenAI

from benchmarks import harness
from benchmarks.case import Job, Stopwatch
from benchmarks.contender import API_KEY
from benchmarks.peer_openai import OpenAI, OpenAIOnAiohttp
from openrouter_async import AsyncOpenRouter
from openrouter_async.adapters.httpx import OpenRouterTransport

CALLS: Final = 300
STREAMS: Final = 8
# Scenario of the server: chunks, events per write, pause in microseconds.
CHUNKS: Final = 1000
SCENARIO: Final = f"text-{CHUNKS}-1-200"
# Highest ratio to openai on httpx.
LIMIT: Final = 1.0


class OpenAIOnOurs(OpenAI):
    """openai on this library's httpx transport."""

    def __init__(self, base_url: str, connections: int) -> None:
        self._router = AsyncOpenRouter(
            API_KEY, base_url=base_url, max_connections=connections
        )
        self._client = AsyncOpenAI(
            api_key=API_KEY,
            base_url=base_url,
            max_retries=0,
            http_client=httpx2.AsyncClient(transport=OpenRouterTransport(self._router)),
        )
        self._completions = self._client.chat.completions

    async def aclose(self) -> None:
        """Close both clients."""
        await super().aclose()
        await self._router.aclose()


CONTENDERS: Final[dict[str, type[OpenAI]]] = {
    "httpx": OpenAI,
    "aiohttp": OpenAIOnAiohttp,
    "ours": OpenAIOnOurs,
}


async def plain(make: type[OpenAI], job: Job, calls: int) -> tuple[float, float]:
    """Return the microseconds of CPU, and of the whole call, per plain call."""
    contender = make(job.url("completion"), 1)
    for _ in range(10):
        await contender.complete()
    gc.collect()
    started = time.perf_counter()
    watch = Stopwatch().start()
    for _ in range(calls):
        assert await contender.complete()
    watch.stop()
    wall = time.perf_counter() - started
    await contender.aclose()
    return watch.cpu / calls * 1e6, wall / calls * 1e6


async def stream(make: type[OpenAI], job: Job, streams: int) -> float:
    """Return the microseconds of CPU per chunk."""
    contender = make(job.url(SCENARIO), 1)
    await contender.stream()
    gc.collect()
    watch = Stopwatch().start()
    for _ in range(streams):
        assert (await contender.stream()).chunks >= CHUNKS
    watch.stop()
    await contender.aclose()
    return watch.cpu / (streams * CHUNKS) * 1e6


async def read_bytes(make: type[OpenAI], job: Job, streams: int) -> float:
    """Return the microseconds of CPU per chunk that openai does not parse."""
    contender = make(job.url(SCENARIO), 1)
    await contender.read_bytes()
    gc.collect()
    watch = Stopwatch().start()
    for _ in range(streams):
        assert await contender.read_bytes() > CHUNKS
    watch.stop()
    await contender.aclose()
    return watch.cpu / (streams * CHUNKS) * 1e6


def report(title: str, figures: dict[str, list[float]]) -> None:
    """Print the median of each contender and its ratio to openai on httpx."""
    print(f"{title}: median, ratio to httpx (range)")
    for name, values in figures.items():
        pairs = zip(values, figures["httpx"], strict=True)
        ratios = [mine / other for mine, other in pairs]
        print(
            f"  {name:<8} {statistics.median(values):8.1f}   "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"
            + (f"   must be <= {LIMIT}" if name == "ours" else "")
        )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapters")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    cpu: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    wall: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    chunk: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    unparsed: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with harness.server() as port:
        job = Job(port=port)
        for _ in range(rounds):
            for name, make in CONTENDERS.items():
                spent, passed = asyncio.run(plain(make, job, CALLS))
                cpu[name].append(spent)
                wall[name].append(passed)
                chunk[name].append(asyncio.run(stream(make, job, STREAMS)))
                cost = asyncio.run(read_bytes(make, job, STREAMS))
                unparsed[name].append(cost)
    report("us of CPU per plain call", cpu)
    report("us per plain call, start to end", wall)
    report("us of CPU per chunk", chunk)
    report("us of CPU per chunk, read as bytes that openai does not parse", unparsed)


if __name__ == "__main__":
    main()
