"""
The harness runs the contenders of a case in turn, each in its own process.

`python -m benchmarks` uses it. The server runs on one core and the contenders on
another, one at a time. Each contender does one round in each setting before the next
round starts, so that changes of the machine affect all of them. It cannot keep other
programs off the cores.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Self

import attrs

from benchmarks.case import Case, Job, Sample
from benchmarks.contender import HANDWRITTEN, OURS, entry
from benchmarks.environments import ROOT, python_of
from benchmarks.results import CaseResults, Result
from benchmarks.settings import AS_INSTALLED, INTERPRETERS, MALLOC, Setting

# Seconds. A round takes a few; a contender that needs this long does not respond.
ROUND_TIMEOUT = 180.0


class ContenderError(Exception):
    """A contender cannot take part in a case, or failed."""


class Worker:
    """
    The process of the contender of `result` in one case.

    Raises:
        ContenderError: If the environment of the contender or setting does not exist.
    """

    def __init__(self, case: type[Case], result: Result, job: Job) -> None:
        setting = result.setting
        environment = environment_of(result)
        python = python_of(environment)
        if not python.exists():
            raise ContenderError(
                f"not installed: run `python -m benchmarks.environments {environment}`"
            )
        job = attrs.evolve(job, uvloop=setting.uvloop)
        command = [case.name, result.contender, json.dumps(attrs.asdict(job))]
        # A pipe could fill up and block the worker; our own stderr shows the tables.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", *command],
            cwd=ROOT,
            env=worker_variables(setting),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def ready(self) -> dict[str, str]:
        """
        Wait until the worker has warmed up, and return the versions of its packages.

        Raises:
            ContenderError: If the contender cannot take part.
        """
        versions: dict[str, str] = self._receive()["versions"]
        return versions

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


def environment_of(result: Result) -> str:
    """Return the name of the environment that a participant runs in."""
    return entry(result.contender).environment or result.setting.environment


def worker_variables(setting: Setting) -> dict[str, str]:
    """Return the environment variables of a worker."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        # Workers cache compiled files: compiling in a measured process has the same
        # effect on malloc as `EQUAL_MALLOC`, by accident.
        if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("MALLOC_")
    }
    return {**inherited, **(MALLOC if setting.equal_malloc else {})}


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


def participants(
    case: type[Case], settings: Sequence[Setting], *, peers: bool
) -> list[Result]:
    """Return an empty result for each contender of a case, in each setting."""
    results: list[Result] = []
    for setting in settings:
        contenders = case.contenders
        if setting in INTERPRETERS:
            contenders = (HANDWRITTEN, OURS)
        elif setting == AS_INSTALLED and (peers or not case.peers_take_long):
            contenders += case.peers
        results += [Result(contender, setting) for contender in contenders]
    return results


def compile_files(
    planned: Iterable[CaseResults], job: Job, report: Callable[[str], None]
) -> None:
    """Compile and cache the files of this project and of each contender."""
    projects: set[str] = set()
    done: set[tuple[str, str]] = set()
    for case, result in (
        (one.case, result) for one in planned for result in one.results
    ):
        environment = environment_of(result)
        python = python_of(environment)
        if (environment, result.contender) in done or not python.exists():
            continue
        done.add((environment, result.contender))
        report(f"compiling: {result.contender}, {environment or 'this Python'}")
        if environment not in projects:
            projects.add(environment)
            folders = "benchmarks", "openrouter_async"
            subprocess.run(
                [python, "-m", "compileall", "-q", *folders], cwd=ROOT, check=True
            )
        # `run` repeats and reports the error of a contender that cannot take part.
        with suppress(ContenderError), Worker(case, result, job) as worker:
            worker.ready()


def run(
    found: CaseResults, job: Job, rounds: int, report: Callable[[str], None]
) -> None:
    """Let all participants of a case do a round in turn, `rounds` times."""
    case = found.case
    with ExitStack() as stack:
        workers: dict[int, Worker] = {}
        for number in range(rounds):
            for at, result in enumerate(found.results):
                if result.note:
                    continue
                report(
                    f"{case.name}, round {number + 1} of {rounds}: "
                    f"{result.contender}, {result.setting.name}"
                )
                try:
                    if case.fresh:
                        with Worker(case, result, job) as worker:
                            result.versions = worker.ready()
                            result.samples.append(worker.round())
                        continue
                    if at not in workers:
                        workers[at] = stack.enter_context(Worker(case, result, job))
                        result.versions = workers[at].ready()
                    result.samples.append(workers[at].round())
                except ContenderError as error:
                    result.note = str(error)
