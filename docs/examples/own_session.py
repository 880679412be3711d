"""Share the connections of an aiohttp session."""

import asyncio

import aiohttp

from openrouter_async import AsyncOpenRouter, UserMessage


async def main() -> None:
    connector = aiohttp.TCPConnector(limit=50)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        AsyncOpenRouter(session=session) as client,
    ):
        response = await client.chat.send(
            model="openai/gpt-4o-mini", messages=[UserMessage("Hello")]
        )
        print(response.text)


asyncio.run(main())
