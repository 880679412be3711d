"""Runs a command's coroutine so that Ctrl-C is heard at once."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# Seconds. A signal that arrives just as the loop falls asleep does not wake it (nor
# does any on Windows), and a silent stream has nothing else that would.
_BEAT = 0.1


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """
    Run a coroutine on a loop that never sleeps for long.

    Raises:
        KeyboardInterrupt: Ctrl-C; the coroutine was cancelled, and has cleaned up.
    """

    async def awake() -> T:
        loop = asyncio.get_running_loop()

        def beat() -> None:
            loop.call_later(_BEAT, beat)

        beat()
        return await work

    return asyncio.run(awake())
