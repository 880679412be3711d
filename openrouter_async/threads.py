"""
Threads for functions that block: tools and files.

`asyncio.to_thread` is not used. Its threads, 6 on a machine with two cores, also
resolve the names of hosts, so that a few slow tools would make every new connection of
the process wait, and fail by its timeout.
"""

import asyncio
import atexit
import contextvars
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

T = TypeVar("T")

# An idle thread ends after this time. Starting one takes 0.1 ms.
_IDLE_SECONDS: Final = 10.0

_Job = Callable[[], None]


class ThreadGroup:
    """
    Threads for functions of one kind, which never wait for those of another kind.

    The threads are daemons: a function that hangs does not keep the process from
    ending. At the end of the process, running functions have `grace` seconds to return.
    A child process that is forked starts with no threads.
    """

    def __init__(self, name: str, limit: int, *, grace: float = 0.0) -> None:
        """
        Create the group; no thread is started.

        Args:
            name: Beginning of the names of the threads.
            limit: Maximum number of threads; further functions wait.
            grace: Seconds that the end of the process waits for running functions.
        """
        self._name = name
        self._limit = limit
        self._grace = grace
        self._reset()
        # Windows has no fork.
        getattr(os, "register_at_fork", dict)(after_in_child=self._reset)
        atexit.register(self._drain)

    def _reset(self) -> None:
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._idle = 0

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """
        Call a function in a thread, in a copy of the caller's context.

        If the caller is cancelled, a function that has started continues; its result
        and its exception are dropped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def job() -> None:
            if future.cancelled():
                return
            try:
                result = context.run(function, *args)
            except BaseException as error:  # noqa: BLE001 - raised in the caller
                _report(loop, _fail, future, error)
            else:
                _report(loop, _succeed, future, result)

        self._submit(job)
        return await future

    def _submit(self, job: _Job) -> None:
        with self._changed:
            self._jobs.append(job)
            if self._idle >= len(self._jobs) or self._threads >= self._limit:
                self._changed.notify()
                return
            self._threads += 1
            name = f"{self._name}-{self._threads}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The process has as many threads as it may have. The threads of the group
            # execute the job later, if there are any.
            with self._changed:
                self._threads -= 1
                if self._threads:
                    return
                self._jobs.remove(job)
            raise

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._jobs:
                    self._idle += 1
                    self._changed.wait(_IDLE_SECONDS)
                    self._idle -= 1
                if not self._jobs:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
            job()
            # A job refers to its arguments; an idle thread must not keep them.
            del job

    def _drain(self) -> None:
        end = time.monotonic() + self._grace
        while self._threads > self._idle and time.monotonic() < end:
            time.sleep(0.01)


def _report(
    loop: asyncio.AbstractEventLoop,
    report: Callable[[asyncio.Future[Any], Any], None],
    future: asyncio.Future[Any],
    value: Any,
) -> None:
    # A loop that was closed while the function ran: nobody waits for the result.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(report, future, value)


def _succeed(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


TOOL_THREADS: Final = ThreadGroup("openrouter-tool", 256, grace=2.0)
"""
For plain tools.

256: a run executes 8 at a time, and a process has many runs. 2 s: a tool of a cancelled
run can finish what it writes.
"""

FILE_THREADS: Final = ThreadGroup("openrouter-file", 16)
"""For files and stdin. 16: more readers do not make a disk faster."""
