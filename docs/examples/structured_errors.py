"""Send an output that does not match its type back to the model, once."""

import asyncio
from typing import Literal

from attrs import define

from openrouter_async import (
    AsyncOpenRouter,
    OutputRefusedError,
    OutputTruncatedError,
    OutputValidationError,
    UserMessage,
)


@define
class Review:
    stars: Literal[1, 2, 3, 4, 5]
    summary: str


async def main() -> None:
    messages = [UserMessage("Rate this text: I have read worse.")]
    async with AsyncOpenRouter() as client:
        try:
            response = await client.chat.send(
                model="openai/gpt-4o-mini", messages=messages, output=Review
            )
        except OutputValidationError as error:
            # error.response is complete and billed. A second request costs money, so
            # it is your decision.
            correction = UserMessage("Invalid JSON: " + "; ".join(error.errors))
            response = await client.chat.send(
                model="openai/gpt-4o-mini",
                messages=[*messages, error.response.message, correction],
                output=Review,
            )
        except OutputTruncatedError as error:
            print("increase max_tokens:", error.response.text)
            return
        except OutputRefusedError as error:
            print("refused:", error.refusal)
            return
    print(response.output.stars, response.output.summary)


asyncio.run(main())
