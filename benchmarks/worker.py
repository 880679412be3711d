"""
The process of one contender in one case.

The harness starts it with `python -m benchmarks.worker CASE CONTENDER JOB`, where JOB
is JSON. It reports that it is ready; then it does a round for each line of its input
and writes a line of JSON. The event loop does not run between rounds.
"""

import asyncio
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import attrs

from benchmarks.case import Case, Job
from benchmarks.cases import find
from benchmarks.contender import UnsupportedError, entry


def send(message: dict[str, Any]) -> None:
    """Write a line to the harness."""
    print(json.dumps(message), flush=True)


def versions(contender: str) -> dict[str, str]:
    """Return the versions of Python and of the contender's packages."""
    found = {"Python": platform.python_version()}
    return found | {name: version(name) for name in entry(contender).packages}


def loop_factory(job: Job) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of the event loop; None for asyncio's own."""
    if not job.uvloop:
        return None
    import uvloop  # noqa: PLC0415 - only needed in one setting

    return uvloop.new_event_loop


def work(case_type: type[Case], contender: str, job: Job) -> None:
    """Warm up, then do a round for each line of input."""

    async def make() -> Case:
        case = case_type(contender, job)
        await case.warm_up()
        return case

    with asyncio.Runner(loop_factory=loop_factory(job)) as runner:
        case = runner.run(make())
        send({"ready": True, "versions": versions(contender)})
        for _ in sys.stdin:
            send({"sample": attrs.asdict(runner.run(case.measure()))})
        runner.run(case.aclose())


def main() -> None:
    """Run the worker, and report errors to the harness."""
    name, contender, job_json = sys.argv[1:]
    job = Job(**json.loads(job_json))
    if job.core is not None:
        os.sched_setaffinity(0, {job.core})
    try:
        work(find(name), contender, job)
    except UnsupportedError as error:
        send({"absent": str(error)})
    except Exception as error:  # noqa: BLE001 - a contender may fail in any way
        send({"failed": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
