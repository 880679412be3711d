"""
The harness runs the contenders of a case in turn, each in its own process.

`python -m benchmarks` uses it. The server runs on one core and the contenders on
another, one at a time. Each contender does one round before the next round starts, so
that changes of the machine affect all of them. It cannot keep other programs off the
cores.
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

# Seconds. A round takes a few; a contender that needs this long does not respond.
ROUND_TIMEOUT = 180.0


class ContenderError(Exception):
    """A contender cannot take part in a case, or failed."""


@define
class Result:
    """
    The samples of one contender in one case.

    Attributes:
        samples: One per round.
        note: The reason if samples are missing.
    """

    contender: str
    samples: list[Sample] = field(factory=list[Sample])
    note: str = ""


class Worker:
    """The process of one contender in one case."""

    def __init__(self, case: type[Case], contender: str, job: Job) -> None:
        # A pipe could fill up and block the worker; our own stderr shows the tables.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
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
        Wait until the worker has warmed up.

        Raises:
            ContenderError: If the contender cannot take part.
        """
        self._receive()

    def round(self) -> Sample:
        """
        Let the worker do one round.

        Raises:
            ContenderError: If the round failed.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return Sample(**self._receive()["sample"])

    def _receive(self) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        # A worker writes one line at a time, so the buffer is empty before `select`.
        if not select.select([stdout], [], [], ROUND_TIMEOUT)[0]:
            raise ContenderError(f"sent nothing for {ROUND_TIMEOUT:.0f} s")
        line = stdout.readline()
        if not line:
            self._errors.seek(0)
            last = self._errors.read().decode("utf-8", "replace").splitlines()[-1:]
            raise ContenderError(f"exited: {' '.join(last)}")
        message: dict[str, Any] = json.loads(line)
        for kind in ("absent", "failed"):
            if kind in message:
                raise ContenderError(message[kind])
        return message

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
    """Return a core for the contenders and one for the server, or None for both."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    free = sorted(os.sched_getaffinity(0))
    return (free[0], free[1]) if len(free) > 1 else (None, None)


@contextmanager
def server() -> Generator[int]:
    """Run the benchmark server in its own process and yield its port."""
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
    case: type[Case], job: Job, rounds: int, report: Callable[[str], None]
) -> list[Result]:
    """Run the contenders of a case in turn, `rounds` times, and return the results."""
    results = [Result(contender) for contender in case.contenders]
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for number in range(rounds):
            for result in results:
                if result.note:
                    continue
                report(
                    f"{case.name}, round {number + 1} of {rounds}: {result.contender}"
                )
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
                except ContenderError as error:
                    result.note = str(error)
    return results
