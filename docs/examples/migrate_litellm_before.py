"""litellm, with an OpenRouter model: a request, a stream, and an error."""

import asyncio

import litellm

MODEL = "openrouter/openai/gpt-4o-mini"
MESSAGES = [{"role": "user", "content": "Hello"}]


async def main() -> None:
    try:
        response = await litellm.acompletion(
            model=MODEL, messages=MESSAGES, timeout=60, num_retries=2
        )
    except litellm.RateLimitError as error:
        print("rate limit:", error.message)
        return
    except litellm.APIError as error:
        print("error:", error.status_code, error.message)
        return
    print(response.choices[0].message.content)
    print(litellm.completion_cost(response))  # from a table of prices

    stream = await litellm.acompletion(model=MODEL, messages=MESSAGES, stream=True)
    async for chunk in stream:
        print(chunk.choices[0].delta.content or "", end="")
    print()


asyncio.run(main())
