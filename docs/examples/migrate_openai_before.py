"""openai-python, pointed at OpenRouter: a request, routing, a stream, and an error."""

import asyncio
import os

import openai

MODEL = "openai/gpt-4o-mini"


async def main() -> None:
    async with openai.AsyncOpenAI(
        api_key=os.environ["OPENROUTER_API_KEY"],
        base_url=os.environ["OPENROUTER_BASE_URL"],
        timeout=60,
        default_headers={"HTTP-Referer": "https://example.com"},
    ) as client:
        try:
            completion = await client.chat.completions.create(
                model=MODEL,
                messages=[{"role": "user", "content": "Hello"}],
                extra_body={"provider": {"sort": "throughput"}},
            )
        except openai.RateLimitError as error:
            print("rate limit:", error.message)
            return
        except openai.APIStatusError as error:
            print("error:", error.status_code, error.message)
            return
        print(completion.choices[0].message.content)

        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            if chunk.choices:
                print(chunk.choices[0].delta.content or "", end="")
            if chunk.usage:
                print("\n", chunk.usage.total_tokens, "tokens")


asyncio.run(main())
