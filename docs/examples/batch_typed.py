"""Send many prompts, and get a value of a type for each."""

import asyncio

from attrs import define

from openrouter_async import AsyncOpenRouter


@define
class Review:
    stars: int
    summary: str


async def main() -> None:
    texts = ["Loved it!", "Never again.", "Well."]
    async with AsyncOpenRouter() as client:
        run = client.chat.send_many(texts, model="openai/gpt-4o-mini", output=Review)
        async with run:
            async for result in run:
                if result.output is not None:
                    print(texts[result.index], result.output.stars)


asyncio.run(main())
