"""See the attempts of a call, what each may have cost, and change the retries."""

import asyncio

from openrouter_async import (
    AsyncOpenRouter,
    OpenRouterError,
    Retries,
    UserMessage,
)


async def main() -> None:
    messages = [UserMessage("Hello")]
    async with AsyncOpenRouter(retries=Retries(max_attempts=5)) as client:
        try:
            response = await client.chat.send(
                model="openai/gpt-4o-mini", messages=messages
            )
        except OpenRouterError as error:
            attempts = error.attempts
            print("failed:", error)
        else:
            attempts = response.http.attempts
            print(response.text)
        for attempt in attempts:
            print(attempt.status, attempt.waited, attempt.billing, attempt.error)

        # A cheap request that may be billed twice: retry whatever fails.
        response = await client.chat.send(
            model="openai/gpt-4o-mini",
            messages=messages,
            retries=Retries(ambiguous=True),
        )
        print(response.text)


asyncio.run(main())
