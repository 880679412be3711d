"""However a run ends: nothing is left behind, and nobody is left in the dark."""

import asyncio
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from pathlib import Path
from types import coroutine
from typing import Any

import pytest
from support import MakeClient

from openrouter_async import (
    AsyncOpenRouter,
    BatchResult,
    BatchRun,
    BatchStoppedError,
    JournalError,
)
from openrouter_async.batch import errors_path
from openrouter_async.batch.journal import Journal
from openrouter_async.testing import LocalOpenRouter, error_reply

ROWS = 12


def names(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def clear(path: Path) -> None:
    path.unlink(missing_ok=True)


def mode(path: Path) -> int:
    return path.stat().st_mode


def size(path: Path) -> int:
    return path.stat().st_size


def prompts(count: int = ROWS) -> list[str]:
    return [f"prompt {number}" for number in range(count)]


async def read(run: BatchRun) -> list[BatchResult]:
    async with run:
        return [result async for result in run]


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if "openrouter-journal" in t.name]


# --- cancelled anywhere ------------------------------------------------------------


@coroutine
def watched(
    work: Awaitable[None], suspended: Callable[[], None]
) -> Generator[Any, Any, None]:
    """Await some work; `suspended` is called each time that it waits."""
    steps = work.__await__()
    thrown: BaseException | None = None
    while True:
        try:
            future = next(steps) if thrown is None else steps.throw(thrown)
        except StopIteration:
            return
        suspended()
        try:
            yield future
        except BaseException as error_reply:  # noqa: BLE001 - it is the work's to handle
            thrown = error_reply
        else:
            thrown = None


async def cancelled_at(work: Coroutine[Any, Any, None], *places: int) -> int:
    """Run some work, cancelled where it waits for these times; return how often it did."""
    count = 0
    loop = asyncio.get_running_loop()

    def suspended() -> None:
        nonlocal count
        count += 1
        if count in places:
            loop.call_soon(task.cancel)

    task = asyncio.ensure_future(watched(work, suspended))
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
    return count


async def use(client: AsyncOpenRouter, out: Path) -> None:
    run = client.chat.send_many(prompts(), model="m", journal=out, concurrency=3)
    async with run:
        async for _ in run:
            await asyncio.sleep(0)
            if run.stats.done > ROWS // 2:
                break


@pytest.mark.parametrize("also", [None, 1])
async def test_a_task_may_be_cancelled_wherever_it_waits(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path, also: int | None
) -> None:
    """Once or twice: no task, thread, slot, lock or half a line stays, nor a row twice."""
    server.capacity.latency = 0.003
    place = 0
    while True:
        place += 1
        clear(out)
        places = (place,) if also is None else (place, place + also)
        waits = await cancelled_at(use(client, out), *places)

        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert client.stats.in_use == 0
        again = Journal(out)
        again.open()
        again.close()
        server.capacity.latency = 0
        await read(client.chat.send_many(prompts(), model="m", journal=out))
        server.capacity.latency = 0.003
        assert sorted(names(out)) == sorted(f"row-{n}" for n in range(ROWS))
        if waits < place:
            break
    while threads():  # noqa: ASYNC110 - the last one is on its way out
        await asyncio.sleep(0.001)

    assert place > 2


def test_a_loop_that_ends_takes_the_run_with_it(
    server: LocalOpenRouter, out: Path
) -> None:
    """Even where nobody leaves the block: what came is written, and the lock is free."""
    server.capacity.latency = 0.01

    async def forget() -> None:
        client = AsyncOpenRouter(server.api_key, base_url=server.url)
        run = client.chat.send_many(prompts(500), model="m", journal=out, concurrency=9)
        await run.__aenter__()
        seen.extend([await anext(run) for _ in range(20)])

    seen: list[BatchResult] = []
    asyncio.run(forget())
    again = Journal(out)
    again.open()
    again.close()

    assert {f"row-{result.index}" for result in seen} <= set(names(out))
    assert len(names(out)) == len(set(names(out))) < 500


async def test_what_is_called_back_twice_is_abandoned_once(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """However many ask for it."""
    server.capacity.latency = 5
    async with client.chat.send_many(prompts(), model="m", concurrency=9) as run:
        await server.until(requests=9)
        await asyncio.gather(*(run.stop(drain=False) for _ in range(3)))

    assert run.stats.abandoned == 9


async def test_a_drain_may_be_given_up(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The run goes on ending; leaving the block calls back what is out."""
    server.capacity.latency = 5
    async with client.chat.send_many(prompts(), model="m", concurrency=9) as run:
        await server.until(requests=9)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await run.stop()
        assert not run.stats.is_over

    assert run.stats.is_over
    assert run.stats.abandoned == 9


def test_a_snapshot_can_be_taken_without_a_loop(server: LocalOpenRouter) -> None:
    """Of a run that is over, and of one that is not."""

    async def run_it() -> BatchRun:
        async with AsyncOpenRouter(server.api_key, base_url=server.url) as client:
            run = client.chat.send_many(prompts(), model="m")
            await run.__aenter__()
            await anext(run)
            stats.append(await asyncio.to_thread(lambda: run.stats))
            await run.aclose()
        return run

    stats: list[Any] = []
    run = asyncio.run(run_it())

    assert not stats[0].is_over
    assert run.stats.is_over
    assert run.stats.seconds >= stats[0].seconds


# --- the journal -------------------------------------------------------------------


async def test_stopping_while_the_journal_is_read_sends_nothing(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A large one takes seconds, and whoever presses Ctrl-C then means it."""
    await read(client.chat.send_many(prompts(), model="m", journal=out))
    sent = len(server.requests)
    reading, go_on = threading.Event(), threading.Event()
    opened = Journal.open

    def slowly(journal: Journal) -> None:
        reading.set()
        go_on.wait(10)
        opened(journal)

    monkeypatch.setattr(Journal, "open", slowly)
    run = client.chat.send_many(prompts(99), model="m", journal=out)
    entering = asyncio.ensure_future(run.__aenter__())
    await asyncio.to_thread(reading.wait, 10)
    await run.stop()
    go_on.set()
    await entering

    assert [result async for result in run] == []
    await run.aclose()
    assert run.stats.stop_reason == "stopped"
    assert len(server.requests) == sent
    assert len(names(out)) == ROWS


async def test_items_that_can_not_be_begun_leave_no_lock(
    client: AsyncOpenRouter, out: Path
) -> None:
    """Nothing is opened for them."""

    class Items:
        """Rows that raise when they are asked for."""

        def __iter__(self) -> Any:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await read(client.chat.send_many(Items(), model="m", journal=out))

    assert len(await read(client.chat.send_many(["a"], model="m", journal=out))) == 1


async def test_a_journal_that_failed_is_told_to_who_leaves(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even if it reads no further: its rows would be paid for twice."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("openrouter_async.batch.jsonl.os.write", full)
    run = client.chat.send_many(prompts(), model="m", journal=out, concurrency=1)

    async def leave() -> None:
        async with run:
            assert (await anext(run)).ok

    with pytest.raises(JournalError, match="No space left"):
        await leave()
    await run.aclose()


async def test_whatever_breaks_the_journal_ends_the_run(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing that goes wrong on the other thread is lost there."""

    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Journal, "write", broken)
    run = client.chat.send_many(prompts(), model="m", journal=out, concurrency=1)
    with pytest.raises(MemoryError):
        await read(run)

    assert run.stats.stop_reason == "journal"
    assert len(server.requests) < ROWS


def test_a_full_disk_ends_the_command(
    server: LocalOpenRouter, tmp_path: Path, out: Path
) -> None:
    """With whole lines, a reason and a code; with room again, the same one goes on."""
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts(60)))
    command = [
        *(sys.executable, "-m", "openrouter_async", "batch", "run", str(source)),
        *("-o", str(out), "-m", "m", "-c", "4", "--progress", "none"),
    ]
    environment = {
        **os.environ,
        "OPENROUTER_BASE_URL": server.url,
        "OPENROUTER_API_KEY": server.api_key,
    }

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    full = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=little_room,
    )
    assert full.returncode == 2
    assert "can not be used: File too large" in full.stderr
    assert 0 < len(names(out)) < 60

    after = subprocess.run(command, env=environment, check=False)
    assert after.returncode == 0
    assert sorted(names(out)) == sorted(f"row-{n}" for n in range(60))


async def test_rows_reach_the_disk_when_no_other_comes(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Within a second, although the run waits for its next one."""
    monkeypatch.setattr("openrouter_async.batch.engine._TICK", 0.05)
    synced: list[tuple[int, str]] = []
    sync = os.fsync

    def noted(file: int) -> None:
        sync(file)
        synced.append((os.fstat(file).st_size, threading.current_thread().name))

    monkeypatch.setattr(os, "fsync", noted)
    server.reply("slow", when="prompt 1", delay=1)
    run = client.chat.send_many(prompts(2), model="m", journal=out)
    async with run:
        await anext(run)
        await asyncio.sleep(0.5)
        ((length, thread),) = synced
        assert length == size(out)
        assert thread.startswith("openrouter-journal")


async def test_the_end_waits_for_the_disk(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is on its way to the disk is there when the run is over."""
    monkeypatch.setattr("openrouter_async.batch.engine._TICK", 0.02)
    begun, ended = threading.Event(), threading.Event()
    sync = os.fsync

    def slow(file: int) -> None:
        begun.set()
        time.sleep(0.2)
        sync(file)
        ended.set()

    monkeypatch.setattr(os, "fsync", slow)
    server.reply("slow", when="prompt 1", delay=60)
    async with client.chat.send_many(prompts(2), model="m", journal=out) as run:
        await anext(run)
        await asyncio.to_thread(begun.wait, 5)
        await run.stop(drain=False)

        assert ended.is_set()


async def test_a_disk_that_breaks_ends_the_run(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As soon as it is found out."""
    monkeypatch.setattr("openrouter_async.batch.engine._TICK", 0.05)

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    server.capacity.latency = 0.1
    run = client.chat.send_many(prompts(99), model="m", journal=out, concurrency=1)
    with pytest.raises(JournalError, match="Input/output error"):
        await read(run)

    assert run.stats.stop_reason == "journal"
    assert 0 < run.stats.ok < 20


async def test_the_file_is_written_on_a_thread(
    client: AsyncOpenRouter, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that can not keep up does not hold the loop up."""
    on: list[str] = []
    write = os.write

    def noted(file: int, data: bytes) -> int:
        on.append(threading.current_thread().name)
        return write(file, data)

    monkeypatch.setattr("openrouter_async.batch.jsonl.os.write", noted)
    run = client.chat.send_many(prompts(), model="m", journal=out, concurrency=1)
    await read(run)

    assert sorted(names(out)) == sorted(f"row-{n}" for n in range(ROWS))
    assert on
    assert all(name.startswith("openrouter-journal") for name in on)


async def test_the_failures_are_as_readable_as_the_rest(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    """Tidying them up changes no permissions."""
    server.reply(error_reply(400), when="prompt 1", times=None)
    await read(client.chat.send_many(prompts(2), model="m", journal=out))

    assert mode(errors_path(out)) == mode(out)


# --- the rows ----------------------------------------------------------------------


async def test_items_that_cancel_themselves_are_no_end(
    client: AsyncOpenRouter,
) -> None:
    """What they await may be cancelled, and the rows after that would be lost quietly."""

    async def rows() -> AsyncIterator[str]:
        yield "a"
        raise asyncio.CancelledError

    run = client.chat.send_many(rows(), model="m")
    with pytest.raises(BatchStoppedError, match="items were cancelled"):
        await read(run)

    assert run.stats.stop_reason == "input"


async def test_a_worker_that_is_cancelled_from_outside_ends_the_run(
    make_client: MakeClient,
) -> None:
    """Its row would be lost quietly."""

    async def key() -> str:
        raise asyncio.CancelledError

    run = make_client(api_key=key).chat.send_many(prompts(3), model="m")
    with pytest.raises(BatchStoppedError, match="from outside"):
        await read(run)

    assert run.stats.stop_reason == "error"


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_items_that_raise_raise_after_the_rows_before_them(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path, kind: str
) -> None:
    """What was out comes home, and is read and written."""
    server.capacity.latency = 0.05

    def plain() -> Any:
        yield from prompts(5)
        raise ZeroDivisionError

    async def turned() -> AsyncIterator[str]:
        for prompt in plain():
            yield prompt

    rows: Any = plain() if kind == "plain" else turned()
    run = client.chat.send_many(rows, model="m", journal=out, ordered=True)
    results: list[int] = []

    async def consume() -> None:
        async with run:
            async for result in run:
                results.append(result.index)

    with pytest.raises(ZeroDivisionError):
        await consume()

    assert run.stats.stop_reason == "input"
    assert results == sorted(results)
    assert {f"row-{index}" for index in results} == set(names(out))
    assert len(results) == run.stats.ok == 5
