"""
Leaks in a long run: `python -m benchmarks soak --long`.

50,000 calls, 5,000 streams and 5,000 streams that are left after one chunk, in twenty
turns. It measures what remains: memory since the fourth turn, tasks and descriptors.
Only openrouter_async takes part. It does not measure speed, and the server injects no
faults.
"""

# ruff: noqa: D102 - the methods are described in the base class

import asyncio
import gc
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from benchmarks import inputs
from benchmarks.case import Case, Job, Mark, Sample, Stopwatch
from benchmarks.contender import OURS
from benchmarks.settings import AS_INSTALLED
from benchmarks.streams import resident_bytes

TURNS = 20
WARM_TURNS = 4
CALLS = 50_000
STREAMS = 5000
CANCELS = 5000
AT_ONCE = 50


class Soak(Case):
    """Calls, streams and cancelled streams, and the resources that they leak."""

    name = "soak"
    work = "50,000 calls, 5,000 streams, 5,000 streams left early"
    figure = "MiB grown after warm-up"
    marks = (
        Mark("MiB grown", 5.0),
        Mark("tasks left", 0),
        Mark("descriptors left", 0),
    )
    contenders = (OURS,)
    settings = (AS_INSTALLED,)
    fresh = True
    long = True

    def __init__(self, contender: str, job: Job) -> None:
        super().__init__(contender, job)
        from benchmarks.ours import Ours  # noqa: PLC0415 - only for OURS

        self._kind = Ours

    async def warm_up(self) -> None:
        """The first turns are the warm-up."""

    async def measure(self) -> Sample:
        tasks_before = len(asyncio.all_tasks())
        descriptors_before = open_descriptors()
        calls = self._kind(self.job.url("completion"), AT_ONCE)
        streams = self._kind(self.job.url("text-20-5-0"), AT_ONCE)
        leaving = self._kind(self.job.url("hold"), AT_ONCE)
        scale = TURNS * (10 if self.job.quick else 1)
        warm = 0
        watch = Stopwatch().start()
        for turn in range(TURNS):
            await _many(calls.complete, CALLS // scale)
            await _many(streams.stream, STREAMS // scale)
            await _many(leaving.leave, CANCELS // scale)
            if turn == WARM_TURNS - 1:
                gc.collect()
                warm = resident_bytes()
        watch.stop()
        gc.collect()
        grown = (resident_bytes() - warm) / inputs.MIB
        for client in (calls, streams, leaving):
            await client.aclose()
        # aiohttp closes some sockets in a later iteration of the event loop.
        await asyncio.sleep(0.1)
        extras = {
            "MiB grown": grown,
            "tasks left": len(asyncio.all_tasks()) - tasks_before,
            "descriptors left": open_descriptors() - descriptors_before,
        }
        units = (CALLS + STREAMS + CANCELS) * TURNS // scale
        return Sample(grown, watch.wall, units, extras)


async def _many(work: Callable[[], Coroutine[Any, Any, object]], count: int) -> None:
    left = iter(range(count))

    async def repeat() -> None:
        for _ in left:
            await work()

    await asyncio.gather(*(repeat() for _ in range(AT_ONCE)))


def open_descriptors() -> int:
    """Return the number of open descriptors of this process."""
    folder = Path("/proc/self/fd")
    if not folder.exists():
        folder = Path("/dev/fd")
    return len(list(folder.iterdir()))
