"""A run on an event loop whose tasks start at once."""

# pyright: reportPrivateUsage=false

import asyncio
import sys

import pytest

from openrouter_async import AsyncOpenRouter
from openrouter_async.batch.workers import WorkerPool
from openrouter_async.testing import LocalOpenRouter


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks")
async def test_run_with_eager_tasks_and_much_concurrency_ends(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - not in 3.11
    run = client.chat.send_many(map(str, range(800)), model="m", concurrency=600)
    async with run:
        count = sum([result.ok async for result in run])
    loop.set_task_factory(None)

    assert count == server.stats.requests == 800


async def test_task_that_asks_for_a_worker_while_it_is_created_does_not_nest(
    server: LocalOpenRouter, client: AsyncOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an eager task does, on every Python."""
    depths: list[int] = []
    depth = 0
    add = WorkerPool._add

    def add_and_ask_again(pool: WorkerPool) -> None:
        nonlocal depth
        depth += 1
        depths.append(depth)
        add(pool)
        pool.add()
        depth -= 1

    monkeypatch.setattr(WorkerPool, "_add", add_and_ask_again)
    run = client.chat.send_many(map(str, range(20)), model="m", concurrency=8)
    async with run:
        count = sum([result.ok async for result in run])

    assert count == 20
    assert set(depths) == {1}
