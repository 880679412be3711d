"""Let a model call two functions, and print its final response."""

import asyncio
from typing import Annotated, Literal

from openrouter_async import AsyncOpenRouter, UserMessage, tool


@tool
async def get_weather(
    city: Annotated[str, "In the local spelling."], unit: Literal["C", "F"] = "C"
) -> dict[str, float]:
    """Return today's weather in a city."""
    return {"temperature": 21.5 if unit == "C" else 70.7}


@tool
def get_population(city: str) -> int:  # not async, so it runs in a thread
    """Return the number of people who live in a city."""
    return {"Nice": 343_000}.get(city, 0)


async def main() -> None:
    async with AsyncOpenRouter() as client:
        run = await client.chat.run_tools(
            model="openai/gpt-4o-mini",
            messages=[UserMessage("Get weather and get population of Nice, please.")],
            tools=[get_weather, get_population],
            max_turns=5,
        )
    print(run.response.text)
    print(len(run.turns), "requests,", len(run.results), "calls,", run.cost, "dollars")


asyncio.run(main())
