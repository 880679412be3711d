"""
One contender of one case, in a process of its own.

Started by the harness: `python -m benchmarks.worker CASE CONTENDER JOB`, JOB being
JSON. It says that it is ready, then does a round for each line of input and answers
with a line of JSON. The loop stands still between rounds.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import attrs

from benchmarks.case import Case, Job
from benchmarks.cases import find
from benchmarks.contender import UnsupportedError


def say(answer: dict[str, Any]) -> None:
    """One line to the harness."""
    print(json.dumps(answer), flush=True)


def loop_factory(job: Job) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop; None for asyncio's own."""
    if not job.uvloop:
        return None
    import uvloop  # noqa: PLC0415 -- only who asks for it needs it

    return uvloop.new_event_loop


def work(case_type: type[Case], contender: str, job: Job) -> None:
    """Prepare, then a round for each line of input."""

    async def make() -> Case:
        case = case_type(contender, job)
        await case.warm_up()
        return case

    with asyncio.Runner(loop_factory=loop_factory(job)) as runner:
        case = runner.run(make())
        say({"ready": True})
        for _ in sys.stdin:
            say({"sample": attrs.asdict(runner.run(case.measure()))})
        runner.run(case.aclose())


def main() -> None:
    """Run, and tell the harness what goes wrong."""
    name, contender, job_json = sys.argv[1:]
    job = Job(**json.loads(job_json))
    if job.core is not None:
        os.sched_setaffinity(0, {job.core})
    try:
        work(find(name), contender, job)
    except UnsupportedError as error:
        say({"absent": str(error)})
    except Exception as error:  # noqa: BLE001 -- a peer may fail in any way
        say({"failed": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
