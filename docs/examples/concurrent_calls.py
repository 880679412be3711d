"""Make several calls at the same time with one client."""

import asyncio

from openrouter_async import AsyncOpenRouter, UserMessage


async def ask(client: AsyncOpenRouter, question: str) -> str:
    response = await client.chat.send(
        model="openai/gpt-4o-mini", messages=[UserMessage(question)]
    )
    return response.text


async def main() -> None:
    async with AsyncOpenRouter() as client, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(ask(client, f"Describe {color} in one word."))
            for color in ("red", "green", "blue")
        ]
    for task in tasks:
        print(task.result())


asyncio.run(main())
