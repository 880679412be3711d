"""Read the key from a file before each attempt, for keys that are rotated."""

import asyncio
from pathlib import Path

from openrouter_async import AsyncOpenRouter, UserMessage

KEY_FILE = Path("openrouter.key")


def read_key() -> str:
    return KEY_FILE.read_text("utf-8")


async def main() -> None:
    async with AsyncOpenRouter(api_key=read_key) as client:
        response = await client.chat.send(
            model="openai/gpt-4o-mini", messages=[UserMessage("Hello")]
        )
        print(response.text)


asyncio.run(main())
