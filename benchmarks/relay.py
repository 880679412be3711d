"""
Relays, compared with reading the stream: `python -m benchmarks.relay`.

It measures the CPU time per chunk of `async for chunk in stream`, and of relays in each
format whose bytes are thrown away, with one event per network read and with 20; and the
resident memory of 1,000 open streams, and of 1,000 relays of them, each in a new
process. All take turns. It also measures how long it takes, after the readers of 1,000
relays have left, until no upstream is open in the server, which is a process of its
own, no task is left, and all slots are free. It does not measure a web framework, TLS,
a slow reader, or the full garbage collections of a process with 1,000 open streams.
"""

import argparse
import asyncio
import gc
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self

from benchmarks import harness, inputs
from benchmarks.case import Job, Stopwatch
from benchmarks.contender import API_KEY
from benchmarks.streams import raise_descriptor_limit, resident_bytes
from openrouter_async import AsyncOpenRouter, PendingStream, UserMessage
from openrouter_async.relay import Relay
from openrouter_async.relay.relay import FormatName
from openrouter_async.testing import LocalOpenRouter, Reply

FORMATS: Final[tuple[FormatName, ...]] = ("sse", "ai-sdk", "openai", "text")
# Scenario of the server (chunks, events per write, pause in us), streams in total,
# and streams at the same time.
LOADS: Final = {
    "1 event per read": ((150, 1, 12_000), 100, 100),
    "20 events per read": ((1000, 20, 1000), 40, 4),
}
LIMITS: Final = {"1 event per read": 1.35, "20 events per read": 1.4}
OPEN: Final = 1000
MEMORY_LIMIT: Final = 2.0
# Seconds in which half of the readers leave, and the limit for what they leave behind.
LEAVING: Final = 2.0
LEFT_LIMIT: Final = 0.1


def pending(client: AsyncOpenRouter) -> PendingStream[Any]:
    """Return a stream that is not open yet."""
    return client.chat.send(
        model=inputs.MODEL, messages=[UserMessage(inputs.QUESTION)], stream=True
    )


async def iterate(client: AsyncOpenRouter) -> int:
    """Read a stream and return the number of its chunks."""
    chunks = 0
    text: list[str] = []
    async with pending(client) as stream:
        async for chunk in stream:
            chunks += 1
            text.append(chunk.text)
    return chunks


def relayed(name: FormatName) -> Callable[[AsyncOpenRouter], Awaitable[int]]:
    """Return a function that reads a relay and returns the number of its bytes."""

    async def read(client: AsyncOpenRouter) -> int:
        size = 0
        async with Relay(pending(client), name) as relay:
            async for data in relay:
                size += len(data)
        return size

    return read


async def cpu_per_chunk(
    read: Callable[[AsyncOpenRouter], Awaitable[int]],
    url: str,
    chunks: int,
    streams: int,
    at_once: int,
) -> float:
    """Read streams and return the microseconds of CPU per chunk."""
    async with AsyncOpenRouter(
        API_KEY, base_url=url, max_connections=at_once
    ) as client:
        left = iter(range(streams))

        async def work() -> None:
            for _ in left:
                assert await read(client) > 0

        await read(client)
        gc.collect()
        watch = Stopwatch().start()
        await asyncio.gather(*(work() for _ in range(at_once)))
        watch.stop()
    return watch.cpu / (streams * chunks) * 1e6


async def open_memory(url: str, *, relays: bool) -> float:
    """Open 1,000 streams, or relays of streams, and return the KiB of each."""
    raise_descriptor_limit(OPEN + 100)
    async with AsyncOpenRouter(API_KEY, base_url=url, max_connections=OPEN) as client:
        held: list[Any] = []

        async def open_one() -> None:
            if relays:
                relay = Relay(pending(client), "ai-sdk")
                await relay.open(within=60)
                await anext(relay)
                held.append(relay)
                held.append(asyncio.ensure_future(anext(relay)))
            else:
                stream = await pending(client)
                await anext(stream)
                held.append(stream)
                held.append(asyncio.ensure_future(anext(stream)))

        for _ in range(20):
            await open_one()
        before = resident_bytes()
        await asyncio.gather(*(open_one() for _ in range(OPEN - 20)))
        after = resident_bytes()
        for each in held:
            if isinstance(each, asyncio.Future):
                each.cancel()
        await asyncio.sleep(0.5)
    return (after - before) / (OPEN - 20) / inputs.KIB


def memory_in_process(url: str, kind: str) -> float:
    """Measure the memory in a new process."""
    command = [sys.executable, "-m", "benchmarks.relay", "--memory", kind, "--url", url]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


class UpstreamProcess:
    """
    A `LocalOpenRouter` in a process of its own, so that it takes no time from relays.

    Each line of its input is the name of a counter, a sign and a number. It answers
    with the time at which the counter was there; clocks of processes are the same.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-m", "benchmarks.relay", "--upstream"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ask(self, counter: str, sign: str, number: int) -> Awaitable[float]:
        """Return the time at which a counter is at most, or at least, a number."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{counter} {sign} {number}\n")
        self._process.stdin.flush()
        return asyncio.to_thread(lambda: float(self._read()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def serve_upstream() -> None:
    """Run the server of `UpstreamProcess` until its input ends."""
    raise_descriptor_limit(OPEN + 100)
    with LocalOpenRouter(default=Reply(["x", "y"], chunk_delay=600)) as server:
        print(server.url, flush=True)
        for line in sys.stdin:
            counter, sign, number = line.split()
            while True:
                count = getattr(server.stats, counter)
                if count <= int(number) if sign == "<=" else count >= int(number):
                    break
                time.sleep(0.001)
            print(time.monotonic(), flush=True)


async def leave_behind(upstream: UpstreamProcess) -> tuple[float, float]:
    """
    Return the seconds from the leave of the last reader until nothing is left of it.

    First, half of the readers leave at random moments; then all the others at once.
    Nothing is left when the server has no open stream, and the client no task and no
    slot in use.
    """
    raise_descriptor_limit(OPEN + 100)
    generator = random.Random(1)
    async with AsyncOpenRouter(
        API_KEY, base_url=upstream.url, max_connections=OPEN
    ) as client:

        async def read() -> None:
            async for _ in Relay(pending(client), "ai-sdk"):
                pass

        readers = [asyncio.create_task(read()) for _ in range(OPEN)]
        await upstream.ask("in_flight", ">=", OPEN)
        while len(asyncio.all_tasks()) <= 2 * OPEN:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
        # All of them have their first chunk, and wait.
        await asyncio.sleep(0.5)
        gc.collect()
        generator.shuffle(readers)
        leaving = readers[: OPEN // 2]

        async def until_left(relays: int, closed: Awaitable[float]) -> float:
            # The task of the caller, and two of each relay: the reader's and its own.
            tasks = 1 + 2 * relays
            while (  # noqa: ASYNC110 - what is left has no event
                client.stats.in_use > relays or len(asyncio.all_tasks()) > tasks
            ):
                await asyncio.sleep(0.001)
            released = time.monotonic()
            return max(released, await closed)

        loop = asyncio.get_running_loop()
        for reader in leaving:
            loop.call_later(generator.uniform(0, LEAVING), reader.cancel)
        closed = upstream.ask("in_flight", "<=", OPEN // 2)
        await asyncio.wait(leaving)
        left = time.monotonic()
        half = await until_left(OPEN - len(leaving), closed) - left
        closed = upstream.ask("in_flight", "<=", 0)
        left = time.monotonic()
        for reader in readers:
            reader.cancel()
        return half, await until_left(0, closed) - left


def report(name: str, figures: list[float], base: list[float], limit: float) -> None:
    """Print the median and the ratios of one contender."""
    ratios = [mine / other for mine, other in zip(figures, base, strict=True)]
    print(
        f"  {name:<12} {statistics.median(figures):7.2f}   "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"
        + ("" if figures is base else f"   must be <= {limit}")
    )


def report_leaving(rounds: list[tuple[float, float]]) -> None:
    """Print the times after which nothing is left of the readers that left."""
    print(f"ms until nothing is left, {OPEN // 2} of {OPEN} readers leave: median, max")
    for name, column in (
        ("one by one", [each[0] for each in rounds]),
        ("at once", [each[1] for each in rounds]),
    ):
        print(
            f"  {name:<12} {statistics.median(column) * 1e3:7.0f}   "
            f"{max(column) * 1e3:.0f}"
            f"   must be <= {LEFT_LIMIT * 1e3:.0f}"
        )


async def measure_cpu(job: Job, rounds: int) -> None:
    """Measure and print the CPU time per chunk."""
    readers: dict[str, Callable[[AsyncOpenRouter], Awaitable[int]]]
    readers = {"iteration": iterate}
    readers.update((name, relayed(name)) for name in FORMATS)
    for load, ((chunks, batch, pause), streams, at_once) in LOADS.items():
        url = job.url(f"text-{chunks}-{batch}-{pause}")
        figures: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(rounds):
            for name, read in readers.items():
                cost = await cpu_per_chunk(read, url, chunks, streams, at_once)
                figures[name].append(cost)
        print(f"us of CPU per chunk, {load}: median, ratio to iteration (range)")
        for name, costs in figures.items():
            report(name, costs, figures["iteration"], LIMITS[load])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", choices=["stream", "relay"], help="internal")
    parser.add_argument("--url", help="internal")
    parser.add_argument("--upstream", action="store_true", help="internal")
    options = parser.parse_args()
    if options.upstream:
        serve_upstream()
        return
    if options.memory:
        relays = options.memory == "relay"
        print(asyncio.run(open_memory(options.url, relays=relays)))
        return
    with harness.server() as port:
        job = Job(port=port)
        asyncio.run(measure_cpu(job, options.rounds))
        bare: list[float] = []
        relays_: list[float] = []
        for _ in range(max(1, options.rounds // 2)):
            bare.append(memory_in_process(job.url("hold"), "stream"))
            relays_.append(memory_in_process(job.url("hold"), "relay"))
    print("KiB of memory of each of 1,000 that are open: median, ratio (range)")
    report("stream", bare, bare, MEMORY_LIMIT)
    report("relay", relays_, bare, MEMORY_LIMIT)
    with UpstreamProcess() as upstream:
        report_leaving(
            [asyncio.run(leave_behind(upstream)) for _ in range(options.rounds)]
        )


if __name__ == "__main__":
    main()
