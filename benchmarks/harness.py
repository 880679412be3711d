"""
Runs the contenders of a case in turns, each in a process of its own.

Run by `python -m benchmarks`. Server on one core, contenders on another, one at a time;
a round of each, then the next round, so that what changes on the machine meanwhile
meets all of them. It cannot keep other programs off those cores.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import attrs
from attrs import define, field

from benchmarks.case import Case, Job, Sample

ROOT = Path(__file__).parent.parent

# A round takes seconds; a peer that needs more than this is stuck.
PATIENCE = 180.0


class AbsentError(Exception):
    """A contender cannot take part in this case."""


@define
class Result:
    """
    What one contender did in one case.

    Attributes:
        samples: One for each round.
        note: Why there are none, or not all.
    """

    contender: str
    samples: list[Sample] = field(factory=list[Sample])
    note: str = ""


class Worker:
    """The process of one contender in one case, once it is ready."""

    def __init__(self, case: type[Case], contender: str, job: Job) -> None:
        # Not a pipe, which would be full some day; not ours, which has the tables.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 -- closed in __exit__
        command = [case.name, contender, json.dumps(attrs.asdict(job))]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", *command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def ready(self) -> None:
        """
        Wait until it has warmed up.

        Raises:
            AbsentError: It cannot take part.
        """
        self._answer()

    def round(self) -> Sample:
        """
        Let it do the work once.

        Raises:
            AbsentError: It failed.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return Sample(**self._answer()["sample"])

    def _answer(self) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        # A worker says one line at a time, so nothing hides in the buffer.
        if not select.select([stdout], [], [], PATIENCE)[0]:
            raise AbsentError(f"gave no answer for {PATIENCE:.0f} s")
        line = stdout.readline()
        if not line:
            self._errors.seek(0)
            last = self._errors.read().decode("utf-8", "replace").splitlines()[-1:]
            raise AbsentError(f"died: {' '.join(last)}")
        answer: dict[str, Any] = json.loads(line)
        for kind in ("absent", "failed"):
            if kind in answer:
                raise AbsentError(answer[kind])
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def cores() -> tuple[int | None, int | None]:
    """A core for the contenders and another for the server, where there are two."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    free = sorted(os.sched_getaffinity(0))
    return (free[0], free[1]) if len(free) > 1 else (None, None)


@contextmanager
def server() -> Generator[int]:
    """The benchmark server in its own process; gives its port."""
    _, core = cores()
    command = [sys.executable, "-m", "benchmarks.server"]
    if core is not None:
        command.append(str(core))
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def run(
    case: type[Case], job: Job, rounds: int, tell: Callable[[str], None]
) -> list[Result]:
    """What each contender of `case` did in `rounds` rounds, in turns."""
    results = [Result(contender) for contender in case.contenders]
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for number in range(rounds):
            for result in results:
                if result.note:
                    continue
                tell(f"{case.name}, round {number + 1} of {rounds}: {result.contender}")
                try:
                    if case.fresh:
                        with Worker(case, result.contender, job) as worker:
                            worker.ready()
                            result.samples.append(worker.round())
                        continue
                    if result.contender not in workers:
                        worker = Worker(case, result.contender, job)
                        workers[result.contender] = stack.enter_context(worker)
                        worker.ready()
                    result.samples.append(workers[result.contender].round())
                except AbsentError as error:
                    result.note = str(error)
    return results
