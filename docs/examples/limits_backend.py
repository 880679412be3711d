"""Tell a user when to come back, instead of letting the request wait."""

import asyncio

from openrouter_async import (
    AsyncOpenRouter,
    RateLimitError,
    Retries,
    Timeouts,
    UserMessage,
)


async def reply_to(client: AsyncOpenRouter, question: str) -> str:
    try:
        response = await client.chat.send(
            model="openai/gpt-4o-mini", messages=[UserMessage(question)]
        )
    except RateLimitError as error:
        return f"Busy; try again in {error.retry_after or 1:.0f} s."
    return response.text


async def main() -> None:
    # No user waits longer than half a second for a start.
    timeouts, retries = Timeouts(pool=0.5), Retries(max_attempts=1)
    async with AsyncOpenRouter(timeouts=timeouts, retries=retries) as client:
        for question in ("Hello!", "Hello again!"):
            print(await reply_to(client, question))
        (limiter,) = client.stats.limiters.values()
        print("cooldown:", limiter.cooldown > 0)


asyncio.run(main())
