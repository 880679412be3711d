"""Send one request and print the response."""

import asyncio

from openrouter_async import AsyncOpenRouter, UserMessage


async def main() -> None:
    async with AsyncOpenRouter() as client:  # reads the key from OPENROUTER_API_KEY
        response = await client.chat.send(
            model="openai/gpt-4o-mini", messages=[UserMessage("Hello")]
        )
        print(response.text, response.usage.cost, response.http.generation_id)


asyncio.run(main())
