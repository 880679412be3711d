"""Report errors to the model, and limit the time of tools and of the whole run."""

import asyncio

from openrouter_async import (
    AsyncOpenRouter,
    MaxTurnsError,
    ToolError,
    ToolRunTimeoutError,
    UserMessage,
    tool,
)

BOOKS = {"42": "The Hitchhiker's Guide to the Galaxy"}


@tool(timeout=5)  # seconds of one call
async def find_book(number: str) -> str:
    """Return the title of a book."""
    if number not in BOOKS:
        raise ToolError(f"There is no book {number}. Try 42.")  # for the model
    return BOOKS[number]


async def main() -> None:
    async with AsyncOpenRouter() as client:
        run = client.chat.run_tools(
            model="openai/gpt-4o-mini",
            messages=[UserMessage("Find book 7.")],
            tools=[find_book],
            max_turns=4,
            deadline=60,  # seconds of the whole run
        )
        try:
            await run
            print(run.response.text)
        except ToolRunTimeoutError as error:
            print("still running:", error.tools)
        except MaxTurnsError as error:
            print("the model still calls tools:", error.response.tool_calls)
    for result in run.results:
        print(result.call.function.arguments, "->", result.content)


asyncio.run(main())
