"""Leave a stream early, limit a block of code, and cancel a task."""

import asyncio

from openrouter_async import AsyncOpenRouter, UserMessage

MODEL = "openai/gpt-4o-mini"
COUNT = [UserMessage("Count to a thousand.")]


async def leave_early(client: AsyncOpenRouter) -> None:
    async with client.chat.send(model=MODEL, messages=COUNT, stream=True) as stream:
        received = 0
        async for chunk in stream:
            received += len(chunk.text.split())
            if received >= 5:
                break
    # Here the connection is closed.


async def limit(client: AsyncOpenRouter) -> None:
    try:
        async with asyncio.timeout(60):
            response = await client.chat.send(model=MODEL, messages=COUNT)
            print(response.finish_reason)
    except TimeoutError:
        print("no response after 60 seconds")


async def cancel_a_task(client: AsyncOpenRouter) -> None:
    task = asyncio.create_task(client.chat.send(model=MODEL, messages=COUNT))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    print("cancelled:", task.cancelled())


async def main() -> None:
    async with AsyncOpenRouter() as client:
        await leave_early(client)
        await limit(client)
        await cancel_a_task(client)
        print(client.stats.in_use, "connections in use")


asyncio.run(main())
