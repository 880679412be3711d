"""
Plain calls: `python -m benchmarks complete`.

CPU time per call of a client with open connections, for a response of 1 KiB. It does
not measure TLS, opening connections or large responses.
"""

# ruff: noqa: D102 - the methods are described in the base class

import asyncio

from benchmarks import inputs
from benchmarks.case import RATIO, Case, Job, Mark, Sample, Stopwatch
from benchmarks.contender import BARE, HANDWRITTEN, OURS, PEERS
from benchmarks.settings import AS_INSTALLED, EQUAL_MALLOC, INTERPRETERS

CALLS = 2000
AT_ONCE = 100


class Complete(Case):
    """2,000 calls, 100 at a time, with a response of 1 KiB."""

    name = "complete"
    work = "2,000 calls, 100 at a time, a response of 1 KiB"
    figure = "us of CPU per call"
    marks = (
        Mark(RATIO, 0.85),
        Mark(RATIO, 0.95, setting=EQUAL_MALLOC),
        Mark(RATIO, 0.9, baseline=BARE),
    )
    contenders = (BARE, HANDWRITTEN, OURS)
    peers = PEERS
    settings = (AS_INSTALLED, EQUAL_MALLOC, *INTERPRETERS)

    def __init__(self, contender: str, job: Job) -> None:
        super().__init__(contender, job)
        kind = self.kind()
        self._calls = job.some(CALLS, kind.divisor, least=AT_ONCE)
        self._client = kind(job.url("completion"), AT_ONCE)

    async def warm_up(self) -> None:
        await self._run(10 if self.job.quick else AT_ONCE)

    async def measure(self) -> Sample:
        watch = Stopwatch().start()
        await self._run(self._calls)
        watch.stop()
        return Sample(watch.cpu / self._calls * 1e6, watch.wall, self._calls)

    async def _run(self, calls: int) -> None:
        left = iter(range(calls))
        characters = 0

        async def work() -> None:
            nonlocal characters
            for _ in left:
                text = await self._client.complete()
                characters += len(text)

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        assert characters == calls * len(inputs.completion_text()), characters

    async def aclose(self) -> None:
        await self._client.aclose()
