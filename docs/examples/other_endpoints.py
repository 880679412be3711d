"""Call endpoints other than chat with the same client."""

import asyncio

from openrouter_async import AsyncOpenRouter


async def main() -> None:
    async with AsyncOpenRouter() as client:
        models = await client.request("GET", "/models")
        print(len(models["data"]) > 0)
        key = await client.request("GET", "/key")
        print("usage of this key:", key["data"]["usage"])


asyncio.run(main())
