"""Test a retry without waiting for it."""

import asyncio
import time

from openrouter_async import AsyncOpenRouter, UserMessage
from openrouter_async.testing import Clock, LocalOpenRouter, error_reply

waits: list[float] = []


async def sleep(seconds: float) -> None:
    waits.append(seconds)


clock = Clock(now=time.monotonic, sleep=sleep, random=lambda: 0.5)


async def main() -> None:
    async with LocalOpenRouter() as server:
        server.reply(error_reply(429, retry_after=30)).then("Hello")
        async with AsyncOpenRouter("any", base_url=server.url, clock=clock) as client:
            await client.chat.send(model="m", messages=[UserMessage("Hi")])

    assert 30 <= waits[0] <= 33


asyncio.run(main())
