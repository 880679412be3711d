"""
Imports: `python -m benchmarks import`.

CPU time of a whole `python -c "import X"`, including the interpreter, with compiled and
cached files. It does not measure the first start after an installation, or imports that
a contender defers until first use.
"""

# ruff: noqa: D102 - the methods are described in the base class

import os
import sys
import time

from benchmarks.case import RATIO, Case, Job, Mark, Sample
from benchmarks.contender import (
    HANDWRITTEN,
    OFFICIAL,
    OPENAI,
    OURS,
    UnsupportedError,
)
from benchmarks.settings import AS_INSTALLED

STARTS = 3

STATEMENTS = {
    HANDWRITTEN: "import aiohttp, attrs, cattrs",
    OURS: "import openrouter_async",
    OPENAI: "from openai import AsyncOpenAI",
    OFFICIAL: "from openrouter import OpenRouter",
}


class Import(Case):
    """Start of Python with an import; hand-written: aiohttp, attrs and cattrs."""

    name = "import"
    work = "python -c 'import ...'; hand-written: aiohttp, attrs and cattrs"
    figure = "ms of CPU"
    marks = (Mark(RATIO, 1.25),)
    peers = (OPENAI, OFFICIAL)
    settings = (AS_INSTALLED,)

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
        Return the CPU time of one start, in seconds.

        Raises:
            UnsupportedError: If the import failed.
        """
        pid = os.posix_spawn(
            sys.executable, [sys.executable, "-c", self._statement], os.environ
        )
        _, status, usage = os.wait4(pid, 0)
        if status:
            raise UnsupportedError(f"cannot be imported: {self._statement}")
        return usage.ru_utime + usage.ru_stime
