"""Pass a stream on with one write per read of the connection, not one per chunk."""

import asyncio
import sys

from openrouter_async import AsyncOpenRouter, UserMessage


async def main() -> None:
    messages = [UserMessage("Write a haiku about sockets.")]
    async with (
        AsyncOpenRouter() as client,
        client.chat.send(
            model="openai/gpt-4o-mini", messages=messages, stream=True
        ) as stream,
    ):
        while chunks := await stream.read_available():
            sys.stdout.write("".join(chunk.text for chunk in chunks))
            sys.stdout.flush()
    print()


asyncio.run(main())
