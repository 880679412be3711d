"""Threads for functions that block."""

import asyncio
import contextvars
import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest

from openrouter_async.threads import ThreadGroup

NAME = contextvars.ContextVar("NAME", default="nobody")


async def test_function_runs_in_a_thread_with_the_context_of_its_caller() -> None:
    group = ThreadGroup("some", 1)
    NAME.set("somebody")

    def look(prefix: str) -> tuple[str, str, bool]:
        found = prefix + NAME.get()
        NAME.set("changed")
        thread = threading.current_thread()
        return found, thread.name, thread.daemon

    assert await group.run(look, "by ") == ("by somebody", "some-1", True)
    assert await group.run(look, "") == ("somebody", "some-1", True)
    assert NAME.get() == "somebody"


async def test_exception_is_raised_in_the_caller() -> None:
    def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await ThreadGroup("some", 1).run(fail)


async def test_functions_beyond_the_limit_wait() -> None:
    group = ThreadGroup("some", 2)
    running = 0
    most = 0
    lock = threading.Lock()

    def work() -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.005)
        with lock:
            running -= 1
        return 1

    results = await asyncio.gather(*(group.run(work) for _ in range(10)))

    assert (sum(results), most) == (10, 2)


async def test_busy_threads_do_not_delay_name_lookups() -> None:
    """The loop resolves names in its default executor."""
    loop = asyncio.get_running_loop()
    end = threading.Event()
    group = ThreadGroup("some", 100)
    waiting = [asyncio.create_task(group.run(end.wait)) for _ in range(64)]
    await asyncio.sleep(0)

    found = await asyncio.wait_for(loop.getaddrinfo("localhost", 80), 5)

    assert found
    assert not any(task.done() for task in waiting)
    end.set()
    await asyncio.gather(*waiting)


async def test_cancelled_caller_leaves_at_once_and_the_result_is_dropped() -> None:
    group = ThreadGroup("some", 1)
    end = threading.Event()
    calls: list[str] = []

    def fail() -> None:
        end.wait()
        raise LookupError

    first = asyncio.create_task(group.run(fail))
    second = asyncio.create_task(group.run(calls.append, "second"))
    third = asyncio.create_task(group.run(end.wait))
    await asyncio.sleep(0.01)
    for task in (first, second):
        task.cancel()
    done, _ = await asyncio.wait([first, second], timeout=1)
    assert len(done) == 2
    end.set()

    assert await third
    assert calls == []


async def test_result_that_arrives_after_the_cancellation_is_dropped() -> None:
    group = ThreadGroup("some", 1)
    end = threading.Event()
    task = asyncio.create_task(group.run(end.wait))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    end.set()

    assert await group.run(len, "abc") == 3
    assert task.cancelled()


def test_loop_that_is_closed_gets_no_result() -> None:
    group = ThreadGroup("some", 1)
    end = threading.Event()
    returned = threading.Event()

    def work() -> None:
        end.wait()
        returned.set()

    async def start() -> None:
        task = asyncio.create_task(group.run(work))
        await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(start())
    end.set()

    assert returned.wait(5)
    assert asyncio.run(group.run(len, "abc")) == 3


def test_idle_threads_end_and_keep_no_arguments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("openrouter_async.threads._IDLE_SECONDS", 0.02)
    group = ThreadGroup("ending", 1)

    class Argument: ...

    argument = Argument()
    seen = weakref.ref(argument)
    asyncio.run(group.run(id, argument))
    del argument
    for thread in threading.enumerate():
        if thread.name == "ending-1":
            thread.join(5)
    gc.collect()

    assert seen() is None
    assert asyncio.run(group.run(len, "abc")) == 3


async def test_thread_that_cannot_be_started_is_an_error_or_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group = ThreadGroup("some", 9)
    end = threading.Event()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            await group.run(len, "abc")
    first = asyncio.create_task(group.run(end.wait))
    await asyncio.sleep(0.01)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        second = asyncio.create_task(group.run(len, "abc"))
        await asyncio.sleep(0)
    end.set()

    assert await first
    assert await second == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="The system has no fork.")
def test_forked_process_starts_its_own_threads() -> None:
    code = """
import asyncio, os
from openrouter_async.threads import FILE_THREADS
asyncio.run(FILE_THREADS.run(len, "abc"))
child = os.fork()
if child == 0:
    os._exit(asyncio.run(asyncio.wait_for(FILE_THREADS.run(len, "abcd"), 5)))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    command = [sys.executable, "-W", "ignore", "-c", code]

    assert subprocess.run(command, capture_output=True, check=True).stdout == b"4\n"


async def test_drain_ends_when_all_functions_have_returned_or_grace_is_over() -> None:
    group = ThreadGroup("some", 1, grace=0.05)
    end = threading.Event()
    task = asyncio.create_task(group.run(end.wait))
    await asyncio.sleep(0.01)

    group._drain()  # pyright: ignore[reportPrivateUsage]

    assert not task.done()
    end.set()
    assert await task


@pytest.mark.parametrize(("seconds", "printed"), [(0.2, b"written"), (60, b"")])
def test_end_of_the_process_waits_a_little_for_running_functions(
    seconds: float, printed: bytes
) -> None:
    code = f"""
import asyncio, time
from openrouter_async.threads import ThreadGroup
group = ThreadGroup("some", 1, grace=1.0)
def work():
    time.sleep({seconds})
    print("written", end="", flush=True)
async def main():
    await asyncio.wait_for(group.run(work), 0.05)
try:
    asyncio.run(main())
except TimeoutError:
    pass
"""
    command = [sys.executable, "-c", code]

    ended = subprocess.run(command, capture_output=True, check=True, timeout=30)

    assert ended.stdout == printed
