"""Send rows as hosted batches, and wait for their results."""

import asyncio
from pathlib import Path

from openrouter_async import AsyncOpenRouter


async def main() -> None:
    async with AsyncOpenRouter() as client:
        run = client.batches.run(
            Path("in.jsonl"),
            model="openai/gpt-4o-mini",
            max_tokens=300,
            journal="out.jsonl",
        )
        async with run:
            async for result in run:  # results arrive when a batch ends
                print(result.index, result.text if result.ok else result.error)


asyncio.run(main())
