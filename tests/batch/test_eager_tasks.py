"""A run on an event loop whose tasks start at once."""

import asyncio
import sys

import pytest

from openrouter_async import AsyncOpenRouter
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
