"""
A case: work for a contender, the figure that it measures, and marks for that figure.

This module is not run directly. A case runs in a worker process, one per contender. The
values defined here are all that is exchanged between worker and harness.
"""

import resource
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from attrs import define, field, frozen

from benchmarks.contender import HANDWRITTEN, OURS, Contender, load
from benchmarks.settings import AS_INSTALLED, EQUAL_MALLOC, Setting

RATIO = "ratio"


@frozen
class Mark:
    """
    A limit that openrouter_async must stay within.

    Attributes:
        of: `RATIO` to `baseline`, or a name in `Sample.extras`.
        limit: Highest allowed median.
        contender: The contender that it applies to.
        baseline: The contender that `RATIO` refers to.
        setting: The setting that it applies to.
    """

    of: str
    limit: float
    contender: str = OURS
    baseline: str = HANDWRITTEN
    setting: Setting = AS_INSTALLED


@frozen
class Job:
    """
    The options of a worker.

    Attributes:
        port: Port of the benchmark server on the loopback interface.
        quick: If True, do a tenth of the work. This checks that the case works; its
            figures are not meaningful.
        uvloop: If True, run on uvloop instead of asyncio's own loop.
        core: CPU core to run on; None if the platform cannot set it.
    """

    port: int
    quick: bool = False
    uvloop: bool = False
    core: int | None = None

    def url(self, scenario: str) -> str:
        """Return the base URL that makes the server play `scenario`."""
        return f"http://127.0.0.1:{self.port}/{scenario}/api/v1"

    def some(self, count: int, divisor: int, least: int = 1) -> int:
        """Return how many of `count` units of work to do, at least `least`."""
        return max(least, count // divisor // (10 if self.quick else 1))


@frozen
class Sample:
    """
    The measurement of one round of one contender.

    Attributes:
        figure: The measured quantity, per unit.
        wall: Duration of the round in seconds.
        units: Number of units in the round.
        extras: Further figures by name.
    """

    figure: float
    wall: float
    units: int
    extras: Mapping[str, float] = field(factory=dict[str, float])


@define
class Stopwatch:
    """CPU (user and system, all threads of the process) and wall time since `start`."""

    cpu: float = 0.0
    wall: float = 0.0

    def start(self) -> "Stopwatch":
        """Start, or start again."""
        self.cpu, self.wall = cpu_seconds(), time.perf_counter()
        return self

    def stop(self) -> "Stopwatch":
        """Set `cpu` and `wall` to the seconds since `start`."""
        self.cpu = cpu_seconds() - self.cpu
        self.wall = time.perf_counter() - self.wall
        return self


def cpu_seconds() -> float:
    """Return the CPU time that this process has used, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Case(ABC):
    """
    A case, in the worker of one contender.

    Attributes:
        name: Name on the command line. The cases of a group share the part before "/".
        work: Description of the work, in one line.
        figure: Description of `Sample.figure`, with its unit.
        marks: The marks for openrouter_async.
        contenders: Names of the contenders that take part in each setting.
        peers: Names of the other clients that take part as they are installed.
        peers_take_long: If True, `peers` only take part with `--peers`.
        settings: The settings in which it is run by default.
        fresh: If True, use a new worker for each round, because only the first run of a
            process is representative.
        long: If True, run only with `--long`.
    """

    name: ClassVar[str]
    work: ClassVar[str]
    figure: ClassVar[str]
    marks: ClassVar[tuple[Mark, ...]]
    contenders: ClassVar[tuple[str, ...]] = (HANDWRITTEN, OURS)
    peers: ClassVar[tuple[str, ...]] = ()
    peers_take_long: ClassVar[bool] = False
    settings: ClassVar[tuple[Setting, ...]] = (AS_INSTALLED, EQUAL_MALLOC)
    fresh: ClassVar[bool] = False
    long: ClassVar[bool] = False

    def __init__(self, contender: str, job: Job) -> None:
        self.contender = contender
        self.job = job

    def kind(self) -> type[Contender]:
        """Return the class of the contender, importing its module if necessary."""
        return load(self.contender)

    @abstractmethod
    async def warm_up(self) -> None:
        """Do a small part of the work."""

    @abstractmethod
    async def measure(self) -> Sample:
        """Do the work once."""

    async def aclose(self) -> None:
        """Release all resources."""
        return
