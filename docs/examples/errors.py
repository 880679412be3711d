"""Catch the exceptions of a call."""

import asyncio

from openrouter_async import (
    APIConnectionError,
    AsyncOpenRouter,
    ChatError,
    PaymentRequiredError,
    RateLimitError,
    StreamInterruptedError,
    UserMessage,
)


async def main() -> None:
    async with AsyncOpenRouter() as client:
        try:
            response = await client.chat.send(
                model="openai/gpt-4o-mini", messages=[UserMessage("Hello")]
            )
        except RateLimitError as error:  # raised when the retries are used up
            print("retry after", error.retry_after, "attempts", len(error.attempts))
        except PaymentRequiredError as error:
            print(error)  # status, type, provider, its message, and what to do
        except ChatError as error:  # any other error response of OpenRouter
            print(error.status_code, error.code, error.provider_name, error.upstream)
        except StreamInterruptedError as error:
            print("cut off after", error.partial)
        except APIConnectionError as error:  # DNS, TCP, TLS, resets, timeouts
            print(error, error.cause)
        else:
            print(response.text)


asyncio.run(main())
