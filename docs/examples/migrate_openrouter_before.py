"""The official SDK: a request, a stream, and an error."""

import asyncio
import os

from openrouter import OpenRouter, errors

MESSAGES = [{"role": "user", "content": "Hello"}]


async def main() -> None:
    async with OpenRouter(
        api_key=os.environ["OPENROUTER_API_KEY"],
        server_url=os.environ["OPENROUTER_BASE_URL"],
        timeout_ms=60_000,
    ) as client:
        try:
            response = await client.chat.send_async(
                model="openai/gpt-4o-mini", messages=MESSAGES
            )
        except errors.TooManyRequestsResponseError as error:
            print("rate limit:", error.message)
            return
        except errors.OpenRouterError as error:
            print("error:", error.status_code, error.message)
            return
        print(response.choices[0].message.content)

        stream = await client.chat.send_async(
            model="openai/gpt-4o-mini", messages=MESSAGES, stream=True
        )
        async with stream:
            async for chunk in stream:
                if chunk.error:
                    print("error:", chunk.error.message)
                    break
                if chunk.choices:
                    print(chunk.choices[0].delta.content or "", end="")
        print()


asyncio.run(main())
