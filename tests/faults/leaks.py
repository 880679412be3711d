"""Checks that a test leaves no tasks, files, slots or memory behind."""

import asyncio
import gc
import time
import tracemalloc
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from openrouter_async import AsyncOpenRouter


def descriptors() -> int:
    """Return the number of open files and sockets of this process."""
    return len(list(Path("/dev/fd").iterdir()))


@asynccontextmanager
async def no_leaks(seconds: float = 1.0) -> AsyncGenerator[None]:
    """
    Check that the block leaves no task, file descriptor or unhandled exception.

    Tasks, file descriptors, and calls of the loop's exception handler are counted.
    Warnings are errors in the tests; a collection makes those of `__del__` appear.
    """
    loop = asyncio.get_running_loop()
    # Debug mode stores a stack for each callback, which would take most of the time of
    # these tests.
    loop.set_debug(False)
    tasks = asyncio.all_tasks()
    files = descriptors()
    reported: list[dict[str, Any]] = []

    def report(_: object, context: dict[str, Any]) -> None:
        # The script server reports the broken handshakes that a test asks for.
        if "incoming connection" not in context["message"]:
            reported.append(context)

    loop.set_exception_handler(report)
    yield
    gc.collect()
    end = time.monotonic() + seconds
    while time.monotonic() < end and (  # noqa: ASYNC110 - sockets close without event
        descriptors() > files or asyncio.all_tasks() != tasks
    ):
        await asyncio.sleep(0.005)
    assert asyncio.all_tasks() - tasks == set()
    assert descriptors() <= files
    assert reported == [], reported


def assert_at_rest(client: AsyncOpenRouter) -> None:
    """Check that no slot is in use and no call waits for one."""
    assert (client.stats.in_use, client.stats.queued) == (0, 0)


@contextmanager
def memory_below(limit: int) -> Generator[None]:
    """Check that the block allocates less than `limit` bytes at a time."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        yield
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak / 2**20:.1f} MiB"
