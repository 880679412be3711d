"""
Streams: `python -m benchmarks stream`, `paced` and `wide`.

`stream` measures CPU time per chunk with 20 events per read, `paced` with one event per
read, and `wide` the memory of 3,000 open streams. They do not measure TLS, real
networks or latency. In `stream` and `paced`, the server determines the wall time: it
writes so slowly that every client keeps up, because a client that falls behind gets its
events in larger reads, which are cheaper.
"""

# ruff: noqa: D102 - the methods are described in the base class

import asyncio
import os
import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks import inputs
from benchmarks.case import RATIO, Case, Job, Mark, Sample, Stopwatch
from benchmarks.contender import (
    BARE,
    HANDWRITTEN,
    OFFICIAL,
    OPENAI,
    OPENAI_AIOHTTP,
    OURS,
    OURS_CHOICES,
    OURS_RAW,
    PEERS,
    Contender,
    StreamCounts,
)
from benchmarks.settings import AS_INSTALLED, EQUAL_MALLOC, INTERPRETERS

STREAMS = 60
CHUNKS = 1000
AT_ONCE = 4
BATCH = 20

PACED_AT_ONCE = 200
PACED_CHUNKS = 75
PACED_PAUSE_US = 20_000

WIDE = 3000
WARM = 20


class Stream(Case):
    """
    60 streams of 1,000 chunks, 20 events to a network read, 4 at once.

    openrouter_async takes part three times: it reads `chunk.text`, the text in
    `chunk.choices`, or the text in `chunk.raw`.
    """

    name = "stream"
    work = "60 streams of 1,000 chunks, 20 events to a read, 4 at once"
    figure = "us of CPU per chunk"
    marks = (
        Mark(RATIO, 0.9),
        Mark(RATIO, 1.05, contender=OURS_CHOICES),
        Mark(RATIO, 1.1, contender=OURS_CHOICES, baseline=BARE),
    )
    contenders = (BARE, HANDWRITTEN, OURS, OURS_CHOICES, OURS_RAW)
    peers = PEERS
    settings = (AS_INSTALLED, EQUAL_MALLOC, *INTERPRETERS)

    def __init__(self, contender: str, job: Job) -> None:
        super().__init__(contender, job)
        kind = self.kind()
        # 80 events per pause; slow contenders need a longer one to keep up.
        pause_us = 1000 if kind.divisor == 1 else 2500 * kind.divisor
        self._chunks = CHUNKS // (5 if job.quick else 1)
        url = job.url(f"text-{self._chunks}-{BATCH}-{pause_us}")
        self._client = kind(url, AT_ONCE)
        self._streams = job.some(STREAMS, kind.divisor, least=AT_ONCE)
        self._returned = self._chunks + kind.surplus
        self._expected = inputs.text_length(inputs.text_stream(self._chunks))

    async def warm_up(self) -> None:
        await self._client.stream()

    async def measure(self) -> Sample:
        left = iter(range(self._streams))
        all_counts: list[StreamCounts] = []

        async def work() -> None:
            for _ in left:
                all_counts.append(await self._client.stream())  # noqa: PERF401 - shared

        watch = Stopwatch().start()
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        watch.stop()
        check(all_counts, self._returned, self._expected)
        chunks = self._streams * self._chunks
        extras: dict[str, float] = {}
        reads = sum(counts.reads for counts in all_counts)
        if reads:
            extras["events per read"] = chunks / reads
        return Sample(watch.cpu / chunks * 1e6, watch.wall, chunks, extras)

    async def aclose(self) -> None:
        await self._client.aclose()


class Paced(Case):
    """
    200 streams at the same time, one event per read.

    The measurement starts when all streams have begun and ends when nine tenths of the
    events have been read, so that it does not include opening the streams.
    """

    name = "paced"
    work = "200 streams at the same time, one event per read"
    figure = "us of CPU per chunk"
    marks = (Mark(RATIO, 0.7), Mark(RATIO, 1.02, setting=EQUAL_MALLOC))
    contenders = (BARE, HANDWRITTEN, OURS)
    peers = (OPENAI, OPENAI_AIOHTTP, OFFICIAL)
    peers_take_long = True
    settings = (AS_INSTALLED, EQUAL_MALLOC, *INTERPRETERS)

    def __init__(self, contender: str, job: Job) -> None:
        super().__init__(contender, job)
        kind = self.kind()
        heavy = kind.divisor > 1
        # A slow contender opens 200 streams in seconds, and all must overlap.
        self._chunks = max(16, 300 // kind.divisor) if heavy else PACED_CHUNKS
        if job.quick:
            self._chunks = max(10, self._chunks // 4)
        pause_us = 16_000 * kind.divisor if heavy else PACED_PAUSE_US
        url = job.url(f"text-{self._chunks}-1-{pause_us}")
        self._at_once = PACED_AT_ONCE // (4 if job.quick else 1)
        self._client = kind(url, PACED_AT_ONCE)
        self._expected = inputs.text_length(inputs.text_stream(self._chunks))

    async def warm_up(self) -> None:
        await self._client.stream()

    async def measure(self) -> Sample:
        begun = 0
        seen = 0
        enough = self._at_once * self._chunks * 9 // 10
        at_start = at_end = 0
        watch = Stopwatch()

        def counter() -> Callable[[], None]:
            first = True

            def count() -> None:
                nonlocal begun, seen, first, at_start, at_end
                seen += 1
                if first:
                    first = False
                    begun += 1
                    if begun == self._at_once:
                        at_start = seen
                        watch.start()
                if seen == enough:
                    at_end = seen
                    watch.stop()

            return count

        all_counts = await asyncio.gather(
            *(self._client.stream(counter()) for _ in range(self._at_once))
        )
        check(all_counts, self._chunks, self._expected)
        chunks = at_end - at_start
        assert 0 < at_start < at_end, (
            "the first streams ended before the last one was opened"
        )
        extras: dict[str, float] = {}
        reads = sum(counts.reads for counts in all_counts)
        if reads:
            extras["events per read"] = self._at_once * self._chunks / reads
        return Sample(watch.cpu / chunks * 1e6, watch.wall, chunks, extras)

    async def aclose(self) -> None:
        await self._client.aclose()


class Wide(Case):
    """
    The memory of 3,000 open streams.

    Each round runs in a new process. The figure is the growth of resident memory until
    every stream has read its first chunk and waits for the second, per stream.
    """

    name = "wide"
    work = "3,000 streams open at the same time"
    figure = "KiB of memory per open stream"
    marks = (Mark(RATIO, 1.1),)
    contenders = (BARE, HANDWRITTEN, OURS)
    peers = (OPENAI, OPENAI_AIOHTTP, OFFICIAL)
    peers_take_long = True
    fresh = True

    def __init__(self, contender: str, job: Job) -> None:
        super().__init__(contender, job)
        kind: type[Contender] = self.kind()
        self._streams = job.some(WIDE, kind.divisor)
        raise_descriptor_limit(self._streams + 100)
        self._client = kind(job.url("hold"), max(self._streams, WARM))
        self._expected = inputs.text_length(inputs.text_stream(4))

    async def warm_up(self) -> None:
        await self._open(WARM)

    async def measure(self) -> Sample:
        before = resident_bytes()
        watch = Stopwatch().start()
        memory, first_tokens = await self._open(self._streams)
        watch.stop()
        return Sample(
            (memory - before) / self._streams / inputs.KIB,
            watch.wall,
            self._streams,
            {
                "s to all first tokens": first_tokens,
                "us of CPU per stream": watch.cpu / self._streams * 1e6,
            },
        )

    async def _open(self, streams: int) -> tuple[int, float]:
        """Return the resident bytes with all streams open, and the seconds it took."""
        begun = 0
        started = time.perf_counter()
        all_begun = asyncio.Event()

        def counter() -> Callable[[], None]:
            first = True

            def count() -> None:
                nonlocal begun, first
                if first:
                    first = False
                    begun += 1
                    if begun == streams:
                        all_begun.set()

            return count

        async def hold() -> StreamCounts:
            try:
                return await self._client.stream(counter())
            except BaseException:
                all_begun.set()
                raise

        tasks = [asyncio.create_task(hold()) for _ in range(streams)]
        await all_begun.wait()
        first_tokens = time.perf_counter() - started
        # Let each reader wait for its second chunk.
        await asyncio.sleep(0.1)
        memory = resident_bytes()
        await release(self.job.port)
        check(await asyncio.gather(*tasks), 4, self._expected)
        return memory, first_tokens

    async def aclose(self) -> None:
        await self._client.aclose()


async def release(port: int) -> None:
    """Make the server write what it holds back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /release HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()


def check(all_counts: Iterable[StreamCounts], chunks: int, characters: int) -> None:
    """Check that each stream was read completely."""
    for counts in all_counts:
        assert counts.chunks == chunks, (counts.chunks, chunks)
        assert counts.characters == characters, (counts.characters, characters)


def resident_bytes() -> int:
    """Return the resident memory of this process, in bytes."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        # Other systems only report the maximum, in KiB (on macOS in bytes).
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * inputs.KIB
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def raise_descriptor_limit(needed: int) -> None:
    """
    Raise the limit of open descriptors to `needed`.

    Raises:
        RuntimeError: If the hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise RuntimeError(f"{needed} descriptors needed, but the hard limit is {hard}")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
