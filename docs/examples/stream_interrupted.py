"""Keep what was received of a stream that was cut off."""

import asyncio

from openrouter_async import AsyncOpenRouter, OpenRouterError, UserMessage


async def main() -> None:
    messages = [UserMessage("Write a long story.")]
    async with AsyncOpenRouter() as client:
        try:
            async with client.chat.send(
                model="openai/gpt-4o-mini", messages=messages, stream=True
            ) as stream:
                response = await stream.collect()
        except OpenRouterError as error:
            if error.partial is None:  # nothing was received
                raise
            print(type(error).__name__, "after:", error.partial.text)
            print("look up its cost with", error.generation_id)
        else:
            print(response.text)


asyncio.run(main())
