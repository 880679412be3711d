"""Set timeouts for a client and for one call."""

import asyncio

from openrouter_async import APITimeoutError, AsyncOpenRouter, Timeouts, UserMessage


async def main() -> None:
    async with AsyncOpenRouter(timeouts=Timeouts(first_token=20, idle=10)) as client:
        try:
            response = await client.chat.send(
                model="openai/gpt-4o-mini",
                messages=[UserMessage("Hello")],
                timeouts=30,  # seconds for this whole call, including its retries
            )
            print(response.text)
        except APITimeoutError as error:
            print(error.phase, error.seconds, error.generation_id)


asyncio.run(main())
