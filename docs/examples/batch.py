"""Send many prompts."""

import asyncio

from openrouter_async import AsyncOpenRouter


async def main() -> None:
    prompts = [f"Tell me a fact about the number {n}" for n in range(100)]
    async with AsyncOpenRouter() as client:
        run = client.chat.send_many(prompts, model="openai/gpt-4o-mini")
        async with run:
            async for result in run:
                print(result.index, result.text if result.ok else result.error)


asyncio.run(main())
