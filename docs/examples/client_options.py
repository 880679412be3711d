"""Options of a client, of a client derived from it, and of one call."""

import asyncio

from openrouter_async import AsyncOpenRouter, Retries, Timeouts, UserMessage

HELLO = [UserMessage("Hello")]


async def main() -> None:
    async with AsyncOpenRouter(
        app_url="https://example.com",
        app_title="Example",
        timeouts=Timeouts(total=120),
        max_connections=200,
    ) as client:
        # The same connections, without retries.
        once = client.with_options(retries=Retries(max_attempts=1))
        await once.chat.send(model="openai/gpt-4o-mini", messages=HELLO)

        # One call with another key, a header, and a field that this version of the
        # library does not know.
        response = await client.chat.send(
            model="openai/gpt-4o-mini",
            messages=HELLO,
            api_key="sk-or-v1-...",
            extra_headers={"X-Request-Source": "nightly"},
            extra_body={"new_field": 1},
        )
        print(response.text)


asyncio.run(main())
