"""Test a run of hosted batches; the batch ends after a tenth of a second."""

import asyncio

from openrouter_async import AsyncOpenRouter
from openrouter_async.batch.hosted.intervals import HostedIntervals
from openrouter_async.testing import BatchScript, LocalOpenRouter


async def main() -> None:
    async with LocalOpenRouter(batches=BatchScript(running=0.1)) as server:
        server.batches.fail_next("stored_502")
        async with AsyncOpenRouter(server.api_key, base_url=server.url) as client:
            run = client.batches.run(
                ["Hello"],
                model="openai/gpt-4o-mini",
                journal="out.jsonl",
                intervals=HostedIntervals().scaled(0.01),
            )
            async with run:
                results = [result async for result in run]

    assert [result.ok for result in results] == [True]


asyncio.run(main())
