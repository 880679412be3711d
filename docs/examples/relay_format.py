"""A format of your own: the one of the AI SDK, with a title before the text."""

import asyncio

from openrouter_async import AsyncOpenRouter, UserMessage
from openrouter_async.relay import AISDKFormat, Relay


class TitledFormat(AISDKFormat):
    """Sends the title of the conversation as a part of its own."""

    def begin(self) -> bytes:
        """Return the start of the message, and the title."""
        title = b'data: {"type":"data-title","data":"A conversation"}\n\n'
        return super().begin() + title


async def main() -> None:
    """Print the bytes that a browser would get."""
    async with AsyncOpenRouter() as client:
        stream = client.chat.send(
            model="openai/gpt-4o-mini", messages=[UserMessage("Hello")], stream=True
        )
        async for data in Relay(stream, TitledFormat(message_id="m1")):
            print(data.decode(), end="")


if __name__ == "__main__":
    asyncio.run(main())
