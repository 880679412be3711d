"""openrouter_async: a request, a stream, and an error."""

import asyncio

from openrouter_async import APIError, AsyncOpenRouter, RateLimitError, Timeouts

MODEL = "openai/gpt-4o-mini"
MESSAGES = [{"role": "user", "content": "Hello"}]


async def main() -> None:
    async with AsyncOpenRouter(timeouts=Timeouts(total=60)) as client:
        try:
            response = await client.chat.send(model=MODEL, messages=MESSAGES)
        except RateLimitError as error:  # after two retries
            print("rate limit:", error.message)
            return
        except APIError as error:
            print("error:", error.status_code, error.message)
            return
        print(response.text)
        print(response.usage.cost)  # as OpenRouter charges it

        async with client.chat.send(
            model=MODEL, messages=MESSAGES, stream=True
        ) as stream:
            async for chunk in stream:
                print(chunk.text, end="")
        print()


asyncio.run(main())
