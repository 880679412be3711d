"""Print a response while it is generated."""

import asyncio

from openrouter_async import AsyncOpenRouter, UserMessage


async def main() -> None:
    async with (
        AsyncOpenRouter() as client,
        client.chat.send(
            model="openai/gpt-4o-mini",
            messages=[UserMessage("Tell me a story")],
            stream=True,
        ) as stream,
    ):
        async for chunk in stream:
            print(chunk.text, end="", flush=True)
        print()
        print(stream.response.usage.total_tokens, "tokens")  # the complete ChatResponse


asyncio.run(main())
