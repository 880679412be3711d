"""The end of a run: cancellation, broken journals, errors of the items."""

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
from support import MakeClient, custom_ids, prompts, read_results

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


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def clear(path: Path) -> None:
    path.unlink(missing_ok=True)


def mode(path: Path) -> int:
    return path.stat().st_mode


def size(path: Path) -> int:
    return path.stat().st_size


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if "openrouter-journal" in t.name]


# --- cancellation ------------------------------------------------------------------


@coroutine
def watched(
    work: Awaitable[None], suspended: Callable[[], None]
) -> Generator[Any, Any, None]:
    """Await some work; call `suspended` each time that it waits."""
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
        except BaseException as error:  # noqa: BLE001 - thrown into the work
            thrown = error
        else:
            thrown = None


async def cancelled_at(work: Coroutine[Any, Any, None], *waits: int) -> int:
    """Run some work and cancel it at the given waits; return the number of waits."""
    count = 0
    loop = asyncio.get_running_loop()

    def suspended() -> None:
        nonlocal count
        count += 1
        if count in waits:
            loop.call_soon(task.cancel)

    task = asyncio.ensure_future(watched(work, suspended))
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
    return count


async def use(client: AsyncOpenRouter, out: Path) -> None:
    run = client.chat.send_many(prompts(ROWS), model="m", journal=out, concurrency=3)
    async with run:
        async for _ in run:
            await asyncio.sleep(0)
            if run.stats.done > ROWS // 2:
                break


@pytest.mark.parametrize("also", [None, 1])
async def test_run_leaves_nothing_behind_wherever_it_is_cancelled(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path, also: int | None
) -> None:
    """No task, thread, slot, lock or incomplete line, and no row twice."""
    server.capacity.latency = 0.003
    first = 0
    while True:
        first += 1
        clear(out)
        cancelled = (first,) if also is None else (first, first + also)
        waits = await cancelled_at(use(client, out), *cancelled)

        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert client.stats.in_use == 0
        again = Journal(out)
        again.open()
        again.close()
        server.capacity.latency = 0
        await read_results(client.chat.send_many(prompts(ROWS), model="m", journal=out))
        server.capacity.latency = 0.003
        assert sorted(custom_ids(out)) == sorted(f"row-{n}" for n in range(ROWS))
        if waits < first:
            break
    while threads():  # noqa: ASYNC110 - the last one is on its way out
        await asyncio.sleep(0.001)

    assert first > 2


def test_journal_is_written_and_unlocked_when_the_loop_ends_during_a_run(
    server: LocalOpenRouter, out: Path
) -> None:
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

    assert {f"row-{result.index}" for result in seen} <= set(custom_ids(out))
    assert len(custom_ids(out)) == len(set(custom_ids(out))) < 500


async def test_requests_cancelled_by_several_stops_are_counted_once(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity.latency = 5
    async with client.chat.send_many(prompts(ROWS), model="m", concurrency=9) as run:
        await server.until(requests=9)
        await asyncio.gather(*(run.stop(drain=False) for _ in range(3)))

    assert run.stats.abandoned == 9


async def test_cancelled_drain_goes_on_until_the_block_is_left(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity.latency = 5
    async with client.chat.send_many(prompts(ROWS), model="m", concurrency=9) as run:
        await server.until(requests=9)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await run.stop()
        assert not run.stats.is_over

    assert run.stats.is_over
    assert run.stats.abandoned == 9


def test_stats_can_be_read_from_another_thread_and_after_the_loop(
    server: LocalOpenRouter,
) -> None:

    async def run_it() -> BatchRun:
        async with AsyncOpenRouter(server.api_key, base_url=server.url) as client:
            run = client.chat.send_many(prompts(ROWS), model="m")
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


async def test_stop_while_the_journal_is_read_sends_nothing(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await read_results(client.chat.send_many(prompts(ROWS), model="m", journal=out))
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
    assert len(custom_ids(out)) == ROWS


async def test_items_whose_iter_raises_leave_no_lock(
    client: AsyncOpenRouter, out: Path
) -> None:

    class Items:
        """Rows whose `__iter__` raises."""

        def __iter__(self) -> Any:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await read_results(client.chat.send_many(Items(), model="m", journal=out))

    assert (
        len(await read_results(client.chat.send_many(["a"], model="m", journal=out)))
        == 1
    )


async def test_journal_error_is_raised_on_leaving_the_block(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if the caller stopped reading: its rows would be paid for twice."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("openrouter_async.batch.jsonl.os.write", full)
    run = client.chat.send_many(prompts(ROWS), model="m", journal=out, concurrency=1)

    async def leave() -> None:
        async with run:
            assert (await anext(run)).ok

    with pytest.raises(JournalError, match="No space left"):
        await leave()
    await run.aclose()


async def test_any_exception_of_the_journal_thread_ends_the_run(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Journal, "write", broken)
    run = client.chat.send_many(prompts(ROWS), model="m", journal=out, concurrency=1)
    with pytest.raises(MemoryError):
        await read_results(run)

    assert run.stats.stop_reason == "journal"
    assert len(server.requests) < ROWS


def test_command_on_a_full_disk_fails_and_can_be_resumed(
    server: LocalOpenRouter, tmp_path: Path, out: Path
) -> None:
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

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    full = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit_file_size,
    )
    assert full.returncode == 2
    assert "out.jsonl: File too large" in full.stderr
    assert 0 < len(custom_ids(out)) < 60

    after = subprocess.run(command, env=environment, check=False)
    assert after.returncode == 0
    assert sorted(custom_ids(out)) == sorted(f"row-{n}" for n in range(60))


async def test_lines_are_flushed_while_the_run_waits_for_a_response(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("openrouter_async.batch.lifetime._TICK", 0.05)
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


async def test_end_of_the_run_waits_for_a_flush(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("openrouter_async.batch.lifetime._TICK", 0.02)
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


async def test_flush_that_fails_ends_the_run(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("openrouter_async.batch.lifetime._TICK", 0.05)

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    server.capacity.latency = 0.1
    run = client.chat.send_many(prompts(99), model="m", journal=out, concurrency=1)
    with pytest.raises(JournalError, match="Input/output error"):
        await read_results(run)

    assert run.stats.stop_reason == "journal"
    assert 0 < run.stats.ok < 20


async def test_journal_is_written_on_its_thread(
    client: AsyncOpenRouter, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk must not block the event loop."""
    on: list[str] = []
    write = os.write

    def noted(file: int, data: bytes) -> int:
        on.append(threading.current_thread().name)
        return write(file, data)

    monkeypatch.setattr("openrouter_async.batch.jsonl.os.write", noted)
    run = client.chat.send_many(prompts(ROWS), model="m", journal=out, concurrency=1)
    await read_results(run)

    assert sorted(custom_ids(out)) == sorted(f"row-{n}" for n in range(ROWS))
    assert on
    assert all(name.startswith("openrouter-journal") for name in on)


async def test_compacted_failures_file_has_the_mode_of_the_journal(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    server.reply(error_reply(400), when="prompt 1", times=None)
    await read_results(client.chat.send_many(prompts(2), model="m", journal=out))

    assert mode(errors_path(out)) == mode(out)


# --- the rows ----------------------------------------------------------------------


async def test_items_that_raise_cancelled_error_end_the_run_with_an_error(
    client: AsyncOpenRouter,
) -> None:
    """Otherwise the rows after that would be missing without a message."""

    async def rows() -> AsyncIterator[str]:
        yield "a"
        raise asyncio.CancelledError

    run = client.chat.send_many(rows(), model="m")
    with pytest.raises(BatchStoppedError, match="items raised CancelledError"):
        await read_results(run)

    assert run.stats.stop_reason == "input"


async def test_worker_cancelled_from_outside_ends_the_run_with_an_error(
    make_client: MakeClient,
) -> None:

    async def key() -> str:
        raise asyncio.CancelledError

    run = make_client(api_key=key).chat.send_many(prompts(3), model="m")
    with pytest.raises(BatchStoppedError, match="from outside"):
        await read_results(run)

    assert run.stats.stop_reason == "error"


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_error_of_the_items_is_raised_after_the_rows_before_it(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path, kind: str
) -> None:
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
    assert {f"row-{index}" for index in results} == set(custom_ids(out))
    assert len(results) == run.stats.ok == 5
