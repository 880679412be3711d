"""Running a command's coroutine so that it reacts to Ctrl-C at once."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# Seconds between two wake-ups of the event loop. A signal that arrives just before the
# loop waits for I/O does not wake it (nor does any signal on Windows), and on a silent
# stream nothing else would.
_WAKE_INTERVAL = 0.1


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """
    Run a coroutine on a new event loop that wakes up at short intervals.

    Raises:
        KeyboardInterrupt: On Ctrl-C, after the coroutine was cancelled and has ended.
    """

    async def run() -> T:
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_later(_WAKE_INTERVAL, wake)

        wake()
        return await coroutine

    return asyncio.run(run())
