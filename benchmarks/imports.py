"""
Imports: `python -m benchmarks import`.

CPU of a whole `python -c "import X"`, interpreter included, with compiled files and
the disk cache warm. It does not measure the first start after an installation, and
not what a contender puts off until it is used.
"""

# ruff: noqa: D102 -- the base class says it

import os
import sys
import time

from benchmarks.case import RATIO, Case, Job, Mark, Sample
from benchmarks.contender import (
    HAND,
    LIBRARIES,
    OFFICIAL,
    OPENAI,
    OURS,
    UnsupportedError,
)

STARTS = 3

STATEMENTS = {
    HAND: "import aiohttp, attrs, cattrs",
    OURS: "import openrouter_async",
    OPENAI: "from openai import AsyncOpenAI",
    OFFICIAL: "from openrouter import OpenRouter",
}


class Import(Case):
    """Start Python and import a contender, against aiohttp, attrs and cattrs."""

    name = "import"
    work = "python -c 'import ...'; by hand: aiohttp, attrs and cattrs"
    figure = "ms of CPU"
    marks = (Mark(RATIO, 1.25, aim=1.15),)
    contenders = LIBRARIES

    def __init__(self, contender: str, job: Job) -> None:
        super().__init__(contender, job)
        self._starts = job.some(STARTS, 1)
        self._statement = STATEMENTS[contender]

    async def warm_up(self) -> None:
        self._start()

    async def measure(self) -> Sample:
        started = time.perf_counter()
        cpu = sum(self._start() for _ in range(self._starts))
        wall = time.perf_counter() - started
        return Sample(cpu / self._starts * 1e3, wall, self._starts)

    def _start(self) -> float:
        """
        Seconds of CPU that one start takes.

        Raises:
            UnsupportedError: The import failed.
        """
        pid = os.posix_spawn(
            sys.executable, [sys.executable, "-c", self._statement], os.environ
        )
        _, status, usage = os.wait4(pid, 0)
        if status:
            raise UnsupportedError(f"cannot be imported: {self._statement}")
        return usage.ru_utime + usage.ru_stime
