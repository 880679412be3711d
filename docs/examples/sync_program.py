"""Use the client in a program that is otherwise synchronous."""

import asyncio

from openrouter_async import AsyncOpenRouter, UserMessage

client = AsyncOpenRouter()


async def complete(prompt: str) -> str:
    response = await client.chat.send(
        model="openai/gpt-4o-mini", messages=[UserMessage(prompt)]
    )
    return response.text


def main() -> None:
    # Each asyncio.run has its own event loop, and the client its own connections there.
    for prompt in ("Hello", "Goodbye"):
        print(asyncio.run(complete(prompt)))


main()
