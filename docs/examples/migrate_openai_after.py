"""openrouter_async: a request, routing, a stream, and an error."""

import asyncio

from openrouter_async import (
    APIError,
    AsyncOpenRouter,
    ProviderPreferences,
    RateLimitError,
    Timeouts,
    UserMessage,
)

MODEL = "openai/gpt-4o-mini"


async def main() -> None:
    async with AsyncOpenRouter(
        timeouts=Timeouts(total=60), app_url="https://example.com"
    ) as client:
        try:
            response = await client.chat.send(
                model=MODEL,
                messages=[UserMessage("Hello")],
                provider=ProviderPreferences(sort="throughput"),
            )
        except RateLimitError as error:
            print("rate limit:", error.message)
            return
        except APIError as error:
            print("error:", error.status_code, error.message)
            return
        print(response.text)

        async with client.chat.send(
            model=MODEL, messages=[UserMessage("Hello")], stream=True
        ) as stream:
            async for chunk in stream:
                print(chunk.text, end="")
            print("\n", stream.response.usage.total_tokens, "tokens")


asyncio.run(main())
