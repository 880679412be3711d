"""
What a case is: work for a contender, the figure it gives, and the marks to meet.

Not run by itself. A case runs inside a worker, a process of its own for each
contender; only the values here travel between worker and harness.
"""

import resource
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from attrs import define, field, frozen

from benchmarks.contender import EVERYONE, Contender, load

RATIO = "ratio"


@frozen
class Mark:
    """
    What openrouter_async must meet.

    Attributes:
        of: `RATIO` to the hand-written one, or the name of one of `Sample.extras`.
        limit: The median must not be above this.
        aim: What is better still; None for no such.
    """

    of: str
    limit: float
    aim: float | None = None


@frozen
class Job:
    """
    What a worker has to know.

    Attributes:
        port: Where the benchmark server listens, on the loopback.
        quick: A tenth of the work: to see that all works, not for figures.
        uvloop: Run on uvloop instead of asyncio's own loop.
        core: The CPU to stay on; None where that cannot be chosen.
    """

    port: int
    quick: bool = False
    uvloop: bool = False
    core: int | None = None

    def url(self, scenario: str) -> str:
        """The base URL that makes the server play `scenario`."""
        return f"http://127.0.0.1:{self.port}/{scenario}/api/v1"

    def some(self, count: int, heft: int, least: int = 1) -> int:
        """`count` units of work, less for the quick and for the heavy."""
        return max(least, count // heft // (10 if self.quick else 1))


@frozen
class Sample:
    """
    What one round of one contender gave.

    Attributes:
        figure: What the case is about, per unit.
        wall: Seconds that the round took.
        units: How many units it was.
        extras: Further facts, by name.
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
        """Begin anew."""
        self.cpu, self.wall = cpu_seconds(), time.perf_counter()
        return self

    def stop(self) -> "Stopwatch":
        """Turn `cpu` and `wall` into the seconds since `start`."""
        self.cpu = cpu_seconds() - self.cpu
        self.wall = time.perf_counter() - self.wall
        return self


def cpu_seconds() -> float:
    """Seconds of CPU that this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Case(ABC):
    """
    One case, in a worker, for one contender.

    Attributes:
        name: As on the command line; a group's cases share what is before "/".
        work: What is done, in a line.
        figure: What `Sample.figure` is, with its unit.
        marks: What must be met.
        contenders: Who takes part.
        fresh: A new worker for each round, since the first run is what counts.
        long: Only with `--long`.
    """

    name: ClassVar[str]
    work: ClassVar[str]
    figure: ClassVar[str]
    marks: ClassVar[tuple[Mark, ...]]
    contenders: ClassVar[tuple[str, ...]] = EVERYONE
    fresh: ClassVar[bool] = False
    long: ClassVar[bool] = False

    def __init__(self, contender: str, job: Job) -> None:
        self.contender = contender
        self.job = job

    def kind(self) -> type[Contender]:
        """The class of the contender; imported at the first call."""
        return load(self.contender)

    @abstractmethod
    async def warm_up(self) -> None:
        """Do a little of the work."""

    @abstractmethod
    async def measure(self) -> Sample:
        """Do the work, once."""

    async def aclose(self) -> None:
        """Let go of everything."""
        return
