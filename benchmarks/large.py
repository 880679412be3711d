"""
Large events and long streams: `python -m benchmarks giant` and `fold`.

`giant` reads one event of 20 MiB (an image), in reads of 64 KiB or 1 KiB; `fold`
combines a stream of 50,000 chunks into one response. Both must take linear time, so
they are also run at a quarter of the size; "growth" is the cost per unit at full size
divided by that at a quarter. Slow contenders get smaller inputs. They do not measure
peak memory. In `giant`, a client that is slower than the server gets larger reads.
"""

# ruff: noqa: D102 - the methods are described in the base class

import functools

from benchmarks import inputs
from benchmarks.case import RATIO, Case, Job, Mark, Sample, Stopwatch
from benchmarks.contender import OFFICIAL, OPENAI, OPENAI_AIOHTTP, Folded
from benchmarks.streams import check

GIANT_BYTES = 20 * inputs.MIB
GIANT_HEAVY_BYTES = 4 * inputs.MIB

FOLD_CHUNKS = 50_000

LINEAR = 1.3


class Giant(Case):
    """One event of 20 MiB, in reads of `read` bytes."""

    figure = "ms of CPU per MiB"
    marks = (Mark(RATIO, 1.5), Mark("growth", LINEAR))
    peers = (OPENAI, OPENAI_AIOHTTP, OFFICIAL)
    peers_take_long = True
    read: int
    pause_us: int

    def __init__(self, contender: str, job: Job) -> None:
        super().__init__(contender, job)
        self._kind = self.kind()
        self._size = GIANT_BYTES if self._kind.divisor == 1 else GIANT_HEAVY_BYTES
        if job.quick:
            self._size //= 4
        self._expected = inputs.text_length(inputs.last_events())

    async def warm_up(self) -> None:
        await self._once(self._size // 16)

    async def measure(self) -> Sample:
        quarter = await self._once(self._size // 4)
        whole = await self._once(self._size)
        mebibytes = self._size / inputs.MIB
        return Sample(
            whole.cpu / mebibytes * 1e3,
            whole.wall,
            round(mebibytes),
            {"growth": whole.cpu / quarter.cpu / 4},
        )

    async def _once(self, size: int) -> Stopwatch:
        scenario = f"giant-{size}-{self.read}-{self.pause_us}"
        client = self._kind(self.job.url(scenario), 1)
        try:
            watch = Stopwatch().start()
            counts = await client.stream()
            watch.stop()
        finally:
            await client.aclose()
        check([counts], 3, self._expected)
        return watch


class Giant64K(Giant):
    """One event of 20 MiB, in reads of 64 KiB."""

    name = "giant/64k"
    work = "one event of 20 MiB in reads of 64 KiB"
    read = 64 * inputs.KIB
    pause_us = 400


class Giant1K(Giant):
    """One event of 20 MiB, in reads of 1 KiB."""

    name = "giant/1k"
    work = "one event of 20 MiB in reads of 1 KiB"
    read = inputs.KIB
    pause_us = 60


class Fold(Case):
    """
    A stream of 50,000 chunks, combined into one response.

    In openrouter_async, this is `stream.collect()`.
    """

    name = "fold"
    work = "a stream of 50,000 chunks, combined into one response"
    figure = "us of CPU per chunk"
    marks = (Mark(RATIO, 0.7), Mark("growth", LINEAR))
    peers = (OPENAI,)
    peers_take_long = True

    def __init__(self, contender: str, job: Job) -> None:
        super().__init__(contender, job)
        self._kind = self.kind()
        self._chunks = job.some(FOLD_CHUNKS, self._kind.divisor)

    async def warm_up(self) -> None:
        await self._once(self._chunks // 16)

    async def measure(self) -> Sample:
        quarter = await self._once(self._chunks // 4)
        whole = await self._once(self._chunks)
        extras = {"growth": whole.cpu / quarter.cpu / 4}
        figure = whole.cpu / self._chunks * 1e6
        return Sample(figure, whole.wall, self._chunks, extras)

    async def _once(self, chunks: int) -> Stopwatch:
        expected = expected_lengths(chunks)
        client = self._kind(self.job.url(f"fold-{chunks}"), 1)
        try:
            watch = Stopwatch().start()
            found = await client.fold()
            watch.stop()
        finally:
            await client.aclose()
        assert (found.text, found.arguments) == (expected.text, expected.arguments)
        assert found.reasoning in (None, expected.reasoning)
        return watch


@functools.cache
def expected_lengths(chunks: int) -> Folded:
    """Return the lengths of a `fold_stream` of `chunks` chunks."""
    return Folded(*inputs.fold_lengths(inputs.fold_stream(chunks)))
