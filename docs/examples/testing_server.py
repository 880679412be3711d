"""Test a program against the local server."""

import asyncio

from openrouter_async import AsyncOpenRouter, UserMessage
from openrouter_async.testing import LocalOpenRouter


async def main() -> None:
    async with LocalOpenRouter() as server:
        server.reply(status=429, headers={"Retry-After": "0"}).then("Hello, test")
        async with AsyncOpenRouter(api_key="any", base_url=server.url) as client:
            response = await client.chat.send(model="m", messages=[UserMessage("Hi")])

        assert response.text == "Hello, test"
        assert len(server.requests) == 2


asyncio.run(main())
