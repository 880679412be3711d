"""Fan out with gather: the client finds out how many calls the model accepts."""

import asyncio

from openrouter_async import AsyncOpenRouter, UserMessage


async def main() -> None:
    async with AsyncOpenRouter(concurrency="auto") as client:
        responses = await asyncio.gather(
            *(
                client.chat.send(
                    model="openai/gpt-4o-mini",
                    messages=[UserMessage(f"Describe the number {number} in a word.")],
                )
                for number in range(30)
            )
        )
        print(len(responses), "responses")
        for key, limiter in client.stats.limiters.items():
            print(key.model, limiter.refusals, "refusals")


asyncio.run(main())
