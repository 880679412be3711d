"""
Large things: `python -m benchmarks giant` and `fold`.

`giant` is one event of 20 MiB (a picture), in reads of 64 KiB and of 1 KiB; `fold` a
stream of 100,000 chunks, added up into one reply. Both must be linear, so each is also
done at a quarter of the size; "growth" is what a unit costs at the full size over what
it costs at the quarter. Peers get smaller ones. What they do not measure: peak memory.
A client that is slower than the server's pace in `giant` gets larger reads.
"""

# ruff: noqa: D102 -- the base class says it

import functools

from benchmarks import inputs
from benchmarks.case import RATIO, Case, Job, Mark, Sample, Stopwatch
from benchmarks.contender import LIBRARIES, OURS, Folded
from benchmarks.streams import check

GIANT_BYTES = 20 * inputs.MIB
GIANT_HEAVY_BYTES = 4 * inputs.MIB

FOLD_CHUNKS = 100_000

LINEAR = 1.3


class Giant(Case):
    """One event of 20 MiB, in reads of `read` bytes."""

    figure = "ms of CPU per MiB"
    marks = (Mark(RATIO, 1.5), Mark("growth", LINEAR))
    read: int
    pause_us: int

    def __init__(self, contender: str, job: Job) -> None:
        super().__init__(contender, job)
        self._kind = self.kind()
        self._size = GIANT_BYTES if self._kind.heft == 1 else GIANT_HEAVY_BYTES
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
            tally = await client.stream()
            watch.stop()
        finally:
            await client.aclose()
        check([tally], 3, self._expected)
        return watch


class Giant64K(Giant):
    """In reads of 64 KiB."""

    name = "giant/64k"
    work = "one event of 20 MiB in reads of 64 KiB"
    read = 64 * inputs.KIB
    pause_us = 400


class Giant1K(Giant):
    """In reads of 1 KiB."""

    name = "giant/1k"
    work = "one event of 20 MiB in reads of 1 KiB"
    read = inputs.KIB
    pause_us = 60


class Fold(Case):
    """A stream of 100,000 chunks becomes one reply."""

    name = "fold"
    work = "a stream of 100,000 chunks becomes one reply"
    figure = "us of CPU per chunk"
    # The share is of what it costs to read the same stream, each typed chunk touched.
    marks = (Mark("fold / stream", 0.30), Mark("growth", LINEAR))
    contenders = LIBRARIES

    def __init__(self, contender: str, job: Job) -> None:
        super().__init__(contender, job)
        self._kind = self.kind()
        self._chunks = job.some(FOLD_CHUNKS, self._kind.heft)

    async def warm_up(self) -> None:
        await self._once(self._chunks // 16)

    async def measure(self) -> Sample:
        quarter = await self._once(self._chunks // 4)
        whole = await self._once(self._chunks)
        extras = {"growth": whole.cpu / quarter.cpu / 4}
        if self.contender == OURS:
            extras["fold / stream"] = await self._share()
        figure = whole.cpu / self._chunks * 1e6
        return Sample(figure, whole.wall, self._chunks, extras)

    async def _once(self, chunks: int) -> Stopwatch:
        expected = folded(chunks)
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

    async def _share(self) -> float:
        """What folding costs, over what reading the same stream costs."""
        # Only here: the other contenders must not import it.
        from benchmarks.ours import Ours, fold_alone  # noqa: PLC0415

        client = Ours(self.job.url(f"fold-{self._chunks}"), 1)
        try:
            watch = Stopwatch().start()
            await client.stream()
            reading = watch.stop().cpu
            chunks = await client.chunks()
        finally:
            await client.aclose()
        watch.start()
        fold_alone(chunks)
        return watch.stop().cpu / reading


@functools.cache
def folded(chunks: int) -> Folded:
    """What a fold stream of `chunks` chunks comes to."""
    return Folded(*inputs.fold_lengths(inputs.fold_stream(chunks)))
