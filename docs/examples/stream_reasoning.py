"""Print the reasoning of a model in grey, then its text."""

import asyncio

from openrouter_async import AsyncOpenRouter, UserMessage

GREY, NORMAL = "\033[90m", "\033[0m"


async def main() -> None:
    async with (
        AsyncOpenRouter() as client,
        client.chat.send(
            model="anthropic/claude-sonnet-4.5",
            messages=[UserMessage("Is 221 a prime number?")],
            reasoning={"effort": "low"},
            stream=True,
        ) as stream,
    ):
        async for chunk in stream:
            if chunk.reasoning:
                print(f"{GREY}{chunk.reasoning}{NORMAL}", end="", flush=True)
            if chunk.text:
                print(chunk.text, end="", flush=True)
        print()
        usage = stream.response.usage
        print("reasoning tokens:", usage.completion_tokens_details.reasoning_tokens)


asyncio.run(main())
