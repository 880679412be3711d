"""openrouter_async: a request, a stream, and an error."""

import asyncio

from openrouter_async import AsyncOpenRouter, ChatError, RateLimitError, Timeouts

MESSAGES = [{"role": "user", "content": "Hello"}]


async def main() -> None:
    async with AsyncOpenRouter(timeouts=Timeouts(total=60)) as client:
        try:
            response = await client.chat.send(
                model="openai/gpt-4o-mini", messages=MESSAGES
            )
        except RateLimitError as error:  # after two retries
            print("rate limit:", error.message)
            return
        except ChatError as error:
            print("error:", error.status_code, error.message)
            return
        print(response.text)

        # An error within the stream raises the same exceptions.
        async with client.chat.send(
            model="openai/gpt-4o-mini", messages=MESSAGES, stream=True
        ) as stream:
            async for chunk in stream:
                print(chunk.text, end="")
        print()


asyncio.run(main())
