"""Manage hosted batches yourself, with single calls."""

import asyncio

from openrouter_async import AsyncOpenRouter


async def main() -> None:
    async with AsyncOpenRouter() as client:
        batch = await client.batches.create(
            ["Hello", "Goodbye"], model="openai/gpt-4o-mini"
        )
        batch = await client.batches.get(batch.id)
        print(batch.status, batch.counts.total, batch.cost)
        async for batch in client.batches.list(status=["completed"]):
            async for result in client.batches.results(batch.id):
                print(result.custom_id, result.text)
            await client.batches.delete(batch.id)


asyncio.run(main())
