"""Continue a conversation: send the messages so far, and the next question."""

import asyncio

from openrouter_async import AsyncOpenRouter, MessageLike, SystemMessage, UserMessage


async def main() -> None:
    messages: list[MessageLike] = [SystemMessage("Answer in one sentence.")]
    async with AsyncOpenRouter() as client:
        for question in ("What is a quasar?", "How far away is the nearest one?"):
            messages.append(UserMessage(question))
            response = await client.chat.send(
                model="openai/gpt-4o-mini", messages=messages
            )
            print(response.text)
            messages.append(response.message)  # sent back as it was received


asyncio.run(main())
