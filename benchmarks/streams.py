"""
Streams: `python -m benchmarks stream`, `paced` and `wide`.

`stream` is CPU per chunk when 20 events come with a read, `paced` when each comes by
itself, `wide` memory while 5,000 streams are open. What they do not measure: TLS, real
networks, latency. Wall time in `stream` and `paced` is the server's pace: it is so slow
that every client keeps up, since one that falls behind gets its events in larger reads,
which are cheaper.
"""

# ruff: noqa: D102 -- the base class says it

import asyncio
import os
import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks import inputs
from benchmarks.case import RATIO, Case, Job, Mark, Sample, Stopwatch
from benchmarks.contender import HAND, Contender, Tally

STREAMS = 100
CHUNKS = 1000
AT_ONCE = 4
BATCH = 20

PACED_AT_ONCE = 200
PACED_CHUNKS = 100
PACED_PAUSE_US = 20_000

WIDE = 5000
WARM = 20


class Stream(Case):
    """100 streams of 1,000 chunks, 20 events to a network read, 4 at once."""

    name = "stream"
    work = "100 streams of 1,000 chunks, 20 events to a read, 4 at once"
    figure = "us of CPU per chunk"
    marks = (Mark(RATIO, 2.0, aim=1.5),)

    def __init__(self, contender: str, job: Job) -> None:
        super().__init__(contender, job)
        kind = self.kind()
        # 4 x 20 events per pause; peers of heft need it that much longer.
        pause_us = 1000 if kind.heft == 1 else 2500 * kind.heft
        self._chunks = CHUNKS // (5 if job.quick else 1)
        url = job.url(f"text-{self._chunks}-{BATCH}-{pause_us}")
        self._client = kind(url, AT_ONCE)
        self._streams = job.some(STREAMS, kind.heft, least=AT_ONCE)
        self._expected = inputs.text_length(inputs.text_stream(self._chunks))

    async def warm_up(self) -> None:
        await self._client.stream()

    async def measure(self) -> Sample:
        left = iter(range(self._streams))
        tallies: list[Tally] = []

        async def work() -> None:
            for _ in left:
                tallies.append(await self._client.stream())  # noqa: PERF401 -- shared

        watch = Stopwatch().start()
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        watch.stop()
        check(tallies, self._chunks, self._expected)
        chunks = self._streams * self._chunks
        extras: dict[str, float] = {}
        if self.contender == HAND:
            reads = sum(tally.reads for tally in tallies)
            extras["events per read"] = chunks / reads
        return Sample(watch.cpu / chunks * 1e6, watch.wall, chunks, extras)

    async def aclose(self) -> None:
        await self._client.aclose()


class Paced(Case):
    """
    200 streams at once, one event per read.

    Measured from when all have begun until nine tenths have come, so that what it
    costs to open a stream is not in it.
    """

    name = "paced"
    work = "200 streams at once, one event per read"
    figure = "us of CPU per chunk"
    marks = (Mark(RATIO, 1.15),)

    def __init__(self, contender: str, job: Job) -> None:
        super().__init__(contender, job)
        kind = self.kind()
        heavy = kind.heft > 1
        # Opening 200 streams takes a heavy peer seconds, and they must overlap.
        self._chunks = max(16, 300 // kind.heft) if heavy else PACED_CHUNKS
        if job.quick:
            self._chunks = max(10, self._chunks // 4)
        pause_us = 16_000 * kind.heft if heavy else PACED_PAUSE_US
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

        tallies = await asyncio.gather(
            *(self._client.stream(counter()) for _ in range(self._at_once))
        )
        check(tallies, self._chunks, self._expected)
        chunks = at_end - at_start
        assert 0 < at_start < at_end, (
            "opening took so long that the streams did not meet"
        )
        extras: dict[str, float] = {}
        if self.contender == HAND:
            reads = sum(tally.reads for tally in tallies)
            extras["events per read"] = self._at_once * self._chunks / reads
        return Sample(watch.cpu / chunks * 1e6, watch.wall, chunks, extras)

    async def aclose(self) -> None:
        await self._client.aclose()


class Wide(Case):
    """
    5,000 streams open at once: what memory each holds.

    A fresh process for each round; resident memory once every stream has brought its
    first chunk and waits for its second, less that before, over the streams.
    """

    name = "wide"
    work = "5,000 streams open at once"
    figure = "KiB of memory per open stream"
    marks = (Mark(RATIO, 1.25),)
    fresh = True

    def __init__(self, contender: str, job: Job) -> None:
        super().__init__(contender, job)
        kind: type[Contender] = self.kind()
        self._streams = job.some(WIDE, kind.heft)
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
        """Resident bytes with all streams open, and the seconds until they were."""
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

        async def hold() -> Tally:
            try:
                return await self._client.stream(counter())
            except BaseException:
                all_begun.set()
                raise

        tasks = [asyncio.create_task(hold()) for _ in range(streams)]
        await all_begun.wait()
        first_tokens = time.perf_counter() - started
        # Let each reader get back to waiting.
        await asyncio.sleep(0.1)
        memory = resident_bytes()
        await release(self.job.port)
        check(await asyncio.gather(*tasks), 4, self._expected)
        return memory, first_tokens

    async def aclose(self) -> None:
        await self._client.aclose()


async def release(port: int) -> None:
    """Have the server write what it holds back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /release HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()


def check(tallies: Iterable[Tally], chunks: int, characters: int) -> None:
    """Nobody may have left anything out."""
    for tally in tallies:
        assert tally.chunks == chunks, (tally.chunks, chunks)
        assert tally.characters == characters, (tally.characters, characters)


def resident_bytes() -> int:
    """Resident memory of this process."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        # Not Linux: the highest so far, in KiB (in bytes on macOS).
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * inputs.KIB
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def raise_descriptor_limit(needed: int) -> None:
    """
    See to it that `needed` descriptors can be open.

    Raises:
        RuntimeError: The hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise RuntimeError(f"needs {needed} descriptors, the hard limit is {hard}")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
