"""What must be as it was before, whatever went wrong in between."""

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
    """Return how many files and sockets this process holds."""
    return len(list(Path("/dev/fd").iterdir()))


@asynccontextmanager
async def no_leaks(seconds: float = 1.0) -> AsyncGenerator[None]:
    """
    Check, after the block, that it left nothing behind.

    No task, no file descriptor, no complaint to the loop's exception handler. Warnings
    are errors in this suite; those of the garbage collector come out in here.
    """
    loop = asyncio.get_running_loop()
    # It notes a stack for every callback, which is most of the time of these tests.
    loop.set_debug(False)
    tasks = asyncio.all_tasks()
    files = descriptors()
    complaints: list[dict[str, Any]] = []

    def complain(_: object, context: dict[str, Any]) -> None:
        # What the script server has to say of broken hand-shakes is its own affair.
        if "incoming connection" not in context["message"]:
            complaints.append(context)

    loop.set_exception_handler(complain)
    yield
    gc.collect()
    end = time.monotonic() + seconds
    # Sockets close without an event of ours.
    while time.monotonic() < end and (  # noqa: ASYNC110
        descriptors() > files or asyncio.all_tasks() != tasks
    ):
        await asyncio.sleep(0.005)
    assert asyncio.all_tasks() - tasks == set()
    assert descriptors() <= files
    assert complaints == [], complaints


def assert_at_rest(client: AsyncOpenRouter) -> None:
    """No slot is held and nobody waits for one."""
    assert (client.stats.in_use, client.stats.queued) == (0, 0)


@contextmanager
def memory_below(most: int) -> Generator[None]:
    """Check that the block never holds more than this many bytes at a time."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        yield
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < most, f"{peak / 2**20:.1f} MiB"
